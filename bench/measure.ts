// Times the ops of a program by its own profile, their data in memory or in the caches, next to this machine's limits.
import { readFileSync } from 'node:fs';
import { native, type Ceilings, type NativeCallProfile } from '../lib/native.js';
import { ProgramBuilder } from '../lib/program/builder.js';
import { NativeProgram, type NativeBatch } from '../lib/program/native-program.js';

export interface Place {
  readonly threads: number;
  readonly level: string;
  /** Rounds at most; slow ops get fewer. */
  readonly rounds: number;
  /** Leave the caches as they are; otherwise everything is driven out of them before each round. */
  readonly warm: boolean;
}

export interface Measured {
  readonly op: string;
  readonly best: number; // seconds of a call
  readonly median: number;
  readonly bytes: number; // of a call
  readonly operations: number;
}

/** More than the caches hold, eight times over: of this machine's third level, or of one of 64 MiB. */
export const coldBytes = Math.max(256 * 2 ** 20, 8 * (cacheBytes() ?? 64 * 2 ** 20));

function cacheBytes(): number | undefined {
  try {
    const text = readFileSync('/sys/devices/system/cpu/cpu0/cache/index3/size', 'latin1').trim();
    const [, count, unit] = /^(\d+)([KM]?)$/.exec(text) ?? [];
    return count === undefined ? undefined : Number(count) * (unit === 'M' ? 2 ** 20 : unit === 'K' ? 2 ** 10 : 1);
  } catch {
    return undefined;
  }
}

/** How many calls a round has, each with data of its own. */
export const callsOf = (bytes: number): number => Math.max(1, Math.min(64, Math.ceil((64 * 2 ** 20) / bytes)));

export interface Run {
  readonly inputs: Readonly<Record<string, Int32Array | Float32Array>>;
  readonly batch?: NativeBatch;
  /** After each round. */
  readonly after?: () => void;
}

/** Seconds in which one spec is measured. */
const BUDGET = 0.8;

/** What each op of a program takes, over several rounds. */
export function measure(program: NativeProgram, { inputs, batch, after }: Run, place: Place): Measured[] {
  const { executable } = program;
  const times = new Map<string, number[]>();
  const moved = new Map<string, { bytes: number; operations: number }>();
  const outputs = program.runSync(inputs, batch);
  after?.();
  let spent = 0;
  for (let round = 0; round < place.rounds && (round < 3 || spent < BUDGET); ++round) {
    if (!place.warm) sweep(place);
    const before = executable.profile(true);
    const begin = performance.now();
    program.runSync(inputs, batch, outputs);
    spent += (performance.now() - begin) / 1000;
    const done = executable.profile(false);
    after?.();
    for (const [op, { calls, seconds, bytes, operations }] of sums(before, done)) {
      if (calls === 0) continue;
      times.set(op, [...(times.get(op) ?? []), seconds / calls]);
      moved.set(op, { bytes: bytes / calls, operations: operations / calls });
    }
  }
  return [...times].map(([op, list]) => {
    const sorted = list.sort((a, b) => a - b);
    const work = moved.get(op) ?? { bytes: 0, operations: 0 };
    return { op, best: sorted[0], median: sorted[sorted.length >> 1], ...work };
  });
}

type Sum = Pick<NativeCallProfile, 'calls' | 'seconds' | 'bytes' | 'operations'>;

function sums(before: readonly NativeCallProfile[], after: readonly NativeCallProfile[]): Map<string, Sum> {
  const result = new Map<string, Sum>();
  after.forEach((call, index) => {
    const sum = result.get(call.op) ?? { calls: 0, seconds: 0, bytes: 0, operations: 0 };
    const old = before[index];
    result.set(call.op, {
      calls: sum.calls + call.calls - old.calls,
      seconds: sum.seconds + call.seconds - old.seconds,
      bytes: sum.bytes + call.bytes - old.bytes,
      operations: sum.operations + call.operations - old.operations,
    });
  });
  return result;
}

let sweeper: NativeProgram | undefined;
const SWEEP_COLUMNS = 4096;

/** Reads so much memory, on the cores that will work, that nothing else is left in their caches. */
function sweep({ threads }: Place): void {
  if (!sweeper) {
    const out = Math.ceil(coldBytes / 4 / SWEEP_COLUMNS);
    const shape = [out, SWEEP_COLUMNS] as const;
    const builder = new ProgramBuilder('sweep', () => ({ dtype: 'F32', shape: [...shape] }));
    const y = builder.linear(builder.input('x', 'F32', 'rows', SWEEP_COLUMNS), builder.weight('weight', shape));
    const weight = new Float32Array(out * SWEEP_COLUMNS).fill(1); // pages of zeros would be one and the same
    sweeper = new NativeProgram(builder.finish({ y }), () => weight, { threads });
  }
  sweeper.runSync({ x: new Float32Array(SWEEP_COLUMNS) });
}

/** Measured again and again, because other guests of a machine come and go. */
export const limitsOf = ({ threads, level }: Place): Promise<Ceilings> => native().ceilings(threads, coldBytes, level);
