// Where the time of a token goes, op by op and matrix by matrix: `vivace bench --profile`.
import { VivaceError } from '../../errors.js';
import { native, nativeCall, type Ceilings, type NativeCallProfile } from '../../native.js';
import type { Model } from '../../model/model.js';
import { dtypes, takesA8, type DType } from '../../program/dtype.js';
import { amount, bytes, percent, table } from '../quantities.js';
import { MEASURED_BYTES } from './traffic.js';

export interface ProfileRow {
  readonly op: string;
  /** The matrix, the same of all layers; empty where there is none. */
  readonly weight: string;
  readonly type: string;
  /** Calls, milliseconds, bytes and operations per token (decode) or of the whole prompt (prefill). */
  readonly calls: number;
  readonly ms: number;
  /** Of the time of all rows. */
  readonly share: number;
  readonly bytes: number;
  readonly operations: number;
  readonly bytesPerSecond: number;
  /** The time that its bytes need at the measured bandwidth, or its operations at the measured peak, over its own. */
  readonly ofLimit: number;
}

export interface Profile {
  readonly tokens: number;
  /** Per token (decode) or of the whole prompt (prefill), on the clock. */
  readonly ms: number;
  /** Part of it that no op took: JavaScript, waking threads. */
  readonly outsideMs: number;
  readonly rows: readonly ProfileRow[];
}

type Snapshot = readonly NativeCallProfile[];

interface Sum {
  readonly op: string;
  readonly weight: string;
  readonly type: string;
  calls: number;
  seconds: number;
  bytes: number;
  operations: number;
}

/** `attn_q` for blk.7.attn_q.weight */
const kindOf = (weight: string): string => weight.replace(/^blk\.\d+\./, '').replace(/\.weight$/, '');

const typeOf = (id: number): string =>
  (Object.keys(dtypes) as DType[]).find((name) => dtypes[name].id === id) ?? String(id);

/** Sums up what happens between pairs of snapshots. */
class Phase {
  private readonly sums = new Map<string, Sum>();
  private wallMs = 0;

  add(before: Snapshot, after: Snapshot, ms: number): void {
    this.wallMs += ms;
    after.forEach((call, index) => {
      const { op, dtype } = call;
      const type = call.weight === '' ? '' : typeOf(dtype);
      const weight = kindOf(call.weight);
      const key = `${op} ${weight} ${type}`;
      const sum = this.sums.get(key) ?? { op, weight, type, calls: 0, seconds: 0, bytes: 0, operations: 0 };
      for (const name of ['calls', 'seconds', 'bytes', 'operations'] as const)
        sum[name] += call[name] - before[index][name];
      this.sums.set(key, sum);
    });
  }

  /** Divided by `parts`: tokens, or prompts. */
  profile(tokens: number, parts: number, limits: Ceilings): Profile {
    const ran = [...this.sums.values()].filter(({ calls }) => calls > 0).sort((a, b) => b.seconds - a.seconds);
    const total = ran.reduce((sum, { seconds }) => sum + seconds, 0);
    const rows = ran.map(({ op, weight, type, calls, seconds, bytes: moved, operations }) => {
      const peak =
        (op.endsWith('linear') || op.startsWith('expert_')) && takesA8(type)
          ? limits.int8Operations
          : limits.floatOperations;
      return {
        op,
        weight,
        type,
        calls: calls / parts,
        ms: (seconds * 1000) / parts,
        share: seconds / total,
        bytes: moved / parts,
        operations: operations / parts,
        bytesPerSecond: moved / seconds,
        ofLimit: Math.max(moved / limits.bytesPerSecond, operations / peak) / seconds,
      };
    });
    return { tokens, ms: this.wallMs / parts, outsideMs: (this.wallMs - total * 1000) / parts, rows };
  }
}

export interface ProfileOptions {
  readonly prompt: number;
  readonly generate: number;
  readonly repeat: number;
  readonly threads: number;
  readonly onProgress?: (fraction: number) => void;
}

/** Reads a prompt and generates, `repeat` times after a run that only brings the weights in. */
export async function measureProfile(
  model: Model,
  { prompt, generate, repeat, threads, onProgress }: ProfileOptions,
): Promise<{ limits: Ceilings; prefill: Profile; decode: Profile }> {
  const limits = await nativeCall(() => native().ceilings(threads, MEASURED_BYTES));
  const phases = { prefill: new Phase(), decode: new Phase() };
  const { vocabSize, endOfGeneration } = model.tokenizer;
  const logitBias = new Map([...endOfGeneration].map((token) => [token, -Infinity]));
  const tokens = Int32Array.from({ length: prompt }, (_, index) => (index * 7919 + 13) % vocabSize);
  for (let round = 0; round <= repeat; ++round) {
    const session = model.createSession();
    const speak = async (phase: Phase, given: Int32Array, maxTokens: number): Promise<void> => {
      const before = snapshotOf(model, round > 0);
      const begin = performance.now();
      for await (const _ of session.generate(given, { maxTokens, temperature: 0, logitBias }));
      const ms = performance.now() - begin;
      const after = snapshotOf(model, false);
      if (round > 0) phase.add(before, after, ms);
    };
    try {
      await speak(phases.prefill, tokens, 1);
      await speak(phases.decode, new Int32Array(0), generate);
    } finally {
      session.dispose();
    }
    onProgress?.((round + 1) / (repeat + 1));
  }
  return {
    limits,
    prefill: phases.prefill.profile(prompt, repeat, limits),
    decode: phases.decode.profile(generate, repeat * generate, limits),
  };
}

/** A row per op and matrix; bytes are per call of the table's unit (a token, a prompt). */
export function profileTable({ rows, ms, outsideMs }: Profile): string {
  const lines = rows.map((row) => [
    row.op,
    row.weight,
    row.type,
    amount(row.calls),
    row.ms.toFixed(3),
    percent(row.share),
    row.bytes > 0 ? bytes(row.bytes) : '',
    row.bytes > 0 ? amount(row.bytesPerSecond / 1e9) : '',
    row.bytes > 0 ? percent(row.ofLimit) : '',
  ]);
  return table([
    ['op', 'weight', 'type', 'calls', 'ms', 'share', 'moved', 'GB/s', 'of limit'],
    ...lines,
    ['outside ops', '', '', '', Math.max(0, outsideMs).toFixed(3), percent(Math.max(0, outsideMs) / ms), '', '', ''],
    ['all', '', '', '', ms.toFixed(3), '', '', '', ''],
  ]);
}

/** A snapshot, or UNSUPPORTED_FEATURE where the device does not measure. */
function snapshotOf(model: Model, on: boolean): Snapshot {
  const snapshot = model.profile(on);
  if (snapshot) return snapshot;
  throw new VivaceError('UNSUPPORTED_FEATURE', 'This device does not measure its ops', {
    remedy: 'Leave out --profile, or use --device cpu.',
  });
}
