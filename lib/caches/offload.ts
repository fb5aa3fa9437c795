// Layers whose keys and values lie in a file: what a caller says of that, and what came of it.
import { tmpdir } from 'node:os';
import { byteCount, checkNames, flag, integer, number } from '../decode/option-checks.js';
import { expected } from '../errors.js';
import type { NativeOffloadStatistics } from '../native.js';
import type { KvCache } from '../program/executor.js';
import type { KvOffload } from '../program/kv-policy.js';

export interface OffloadOptions {
  /**
   * Memory for keys and values of these layers, never more: bytes, or a text as '256MiB'. Half of it must hold one layer of
   * all texts of the sessions with the same options; the rest keeps single rows that were chosen lately.
   */
  readonly memory: number | string;
  /** A folder for the file, which has no name and is gone with the process. Default: the system's for temporary files. */
  readonly path?: string;
  /** What the next layer seems to choose is read while a layer is computed. Default true; results are the same. */
  readonly ahead?: boolean;
  /** At most so many bytes a second are read, for measurements. Default 0: as fast as they are. */
  readonly bytesPerSecond?: number;
  /** Every read takes up to so many microseconds more, at random, for tests. Default 0. */
  readonly delayUs?: number;
}

/** As a policy keeps it. */
export interface OffloadPolicy extends Omit<OffloadOptions, 'memory'> {
  readonly memory: number;
}

const names = ['memory', 'path', 'ahead', 'bytesPerSecond', 'delayUs'];

/** Throws INVALID_ARGUMENT. */
export function offloadPolicy(given: OffloadOptions | number | string): OffloadPolicy {
  const options = typeof given === 'object' && given !== null ? given : { memory: given };
  checkNames(options, names, 'the options of offload');
  const { memory, path, ahead, bytesPerSecond, delayUs } = options;
  if (path !== undefined && (typeof path !== 'string' || path === '')) throw expected('a path', 'offload.path', path);
  return {
    memory: byteCount('offload.memory', memory),
    ...(path === undefined ? {} : { path }),
    ...(ahead === undefined ? {} : { ahead: flag('offload.ahead', ahead, true) }),
    ...(bytesPerSecond === undefined
      ? {}
      : { bytesPerSecond: number('offload.bytesPerSecond', bytesPerSecond, 0, 0, Number.MAX_VALUE) }),
    ...(delayUs === undefined ? {} : { delayUs: integer('offload.delayUs', delayUs, 0, 0, 10_000_000) }),
  };
}

export const nativeOffload = ({ memory, path, ahead, bytesPerSecond, delayUs }: OffloadPolicy): KvOffload => ({
  memory,
  folder: path ?? tmpdir(),
  ahead: ahead ?? true,
  bytesPerSecond: bytesPerSecond ?? 0,
  delayUs: delayUs ?? 0,
});

export interface OffloadResult {
  /** Keys with their values that rows chose. */
  readonly rows: number;
  /** Of these, the shares that were in memory: since their pages were, since they had been chosen before, or by a guess. */
  readonly resident: number;
  readonly kept: number;
  readonly foreseen: number;
  /** How many of the rows that layers chose their guesses had chosen, too; absent where nothing was guessed. */
  readonly guessed?: number;
  /** Rows that were read ahead and not chosen. */
  readonly vain: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** What threads waited for reads, all together. */
  readonly stallMs: number;
}

/** Begins to count; what it gives tells what was done since then, as long as the cache lives. */
export function watchOffload(kv: KvCache): () => OffloadResult | undefined {
  const before = kv.offloaded?.();
  if (!before) return () => undefined;
  return () => {
    const now = kv.offloaded?.();
    return now && resultOf(now, before);
  };
}

function resultOf(now: NativeOffloadStatistics, before: NativeOffloadStatistics): OffloadResult {
  const since = (name: keyof NativeOffloadStatistics): number => now[name] - before[name];
  const rows = since('resident') + since('kept') + since('foreseen') + since('missed');
  const share = (name: keyof NativeOffloadStatistics): number => (rows > 0 ? since(name) / rows : 0);
  return {
    rows,
    resident: share('resident'),
    kept: share('kept'),
    foreseen: share('foreseen'),
    ...(since('guessedOf') > 0 ? { guessed: since('guessed') / since('guessedOf') } : {}),
    vain: since('vain'),
    bytesRead: since('bytesRead'),
    bytesWritten: since('bytesWritten'),
    stallMs: 1000 * since('stallSeconds'),
  };
}
