// Times linear for every weight type and several batch sizes, next to what this machine can reach at most:
//   npm run bench -- ops [--type Q4_0,Q8_0] [--rows 1,8,512] [--threads 2] [--level avx2] [--out 8192] [--columns 4096]
//                        [--rounds 15] [--json]
// The limit of a run is the larger of reading its bytes at the measured bandwidth and doing its operations at the
// measured peak; `of limit` is the limit's time over the best one.
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { native } from '../lib/native.js';
import { NativeProgram } from '../lib/program/native-program.js';
import { dtypes, rowBytes } from '../lib/program/dtype.js';
import type { DType } from '../lib/program/dtype.js';
import { linearProgram, quantise, weightTypes } from '../test/ops/linear/cases.js';
import { random } from '../test/ops/op-case.js';

interface Measured {
  readonly op: 'linear';
  readonly type: string;
  readonly rows: number;
  readonly best: number; // seconds
  readonly median: number;
  readonly bytesPerSecond: number; // of weights, at the best time
  readonly operationsPerSecond: number;
  readonly ofLimit: number;
  readonly bound: 'memory' | 'arithmetic';
  readonly toOneRow?: number; // best time over that of one row
}

const { values: options } = parseArgs({
  options: {
    type: { type: 'string' },
    rows: { type: 'string', default: '1,2,4,8,16,32,128,512' },
    threads: { type: 'string', default: String(availableParallelism()) },
    level: { type: 'string' },
    out: { type: 'string', default: '8192' },
    columns: { type: 'string', default: '4096' },
    rounds: { type: 'string', default: '15' },
    json: { type: 'boolean', default: false },
  },
});
const threads = Number(options.threads);
const rounds = Number(options.rounds);
const [out, columns] = [Number(options.out), Number(options.columns)];
const types = options.type ? (options.type.split(',') as DType[]) : weightTypes;
const batches = options.rows.split(',').map(Number);

void main();

async function main(): Promise<void> {
  const level = options.level ?? native().isaLevels().at(-1);
  const limits = await native().ceilings(threads, 256 * 2 ** 20, level);
  if (!options.json) {
    const { bytesPerSecond, floatOperations, int8Operations } = limits;
    console.log(
      `${level}, ${threads} threads, weight [${out}, ${columns}]; limits: ${giga(bytesPerSecond)} GB/s, ` +
        `${giga(floatOperations)} G float and ${giga(int8Operations)} G int8 operations/s\n`,
    );
    console.log('type        rows   best ms  median ms    GB/s   Gop/s  of limit  bound       to one row');
  }
  const all: Measured[] = [];
  for (const type of types)
    for (const measured of measure(type, level, limits)) {
      all.push(measured);
      if (!options.json) print(measured);
    }
  if (options.json) console.log(JSON.stringify({ level, threads, out, columns, limits, ops: all }, null, 1));
}

function* measure(
  type: DType,
  level: string | undefined,
  limits: { bytesPerSecond: number; floatOperations: number; int8Operations: number },
): Generator<Measured> {
  const bytes = repeated(type);
  const program = new NativeProgram(linearProgram({ dtype: type, columns, out }), () => bytes, {
    threads,
    ...(level ? { isa: level } : {}),
  });
  // Codes times 8-bit activations run on the integer units; W4A16 and W8A16 are multiplied as floats.
  const peak = dtypes[type].block > 1 && !type.includes('A16') ? limits.int8Operations : limits.floatOperations;
  let oneRow: number | undefined;
  for (const rows of batches) {
    const times = timesOf(program, rows);
    const best = times[0];
    if (rows === 1) oneRow = best;
    const operations = 2 * rows * columns * out;
    const memory = (bytes.length + 4 * rows * (columns + out)) / limits.bytesPerSecond;
    const arithmetic = operations / peak;
    yield {
      op: 'linear',
      type,
      rows,
      best,
      median: times[times.length >> 1],
      bytesPerSecond: bytes.length / best,
      operationsPerSecond: operations / best,
      ofLimit: Math.max(memory, arithmetic) / best,
      bound: memory > arithmetic ? 'memory' : 'arithmetic',
      ...(oneRow === undefined ? {} : { toOneRow: best / oneRow }),
    };
  }
  program.dispose();
}

/** Seconds per run on the wall clock, ascending; what surrounds linear is counted: the call, and quantisation of x. */
function timesOf(program: NativeProgram, rows: number): number[] {
  const x = random('x', rows * columns);
  const y = new Float32Array(rows * out);
  const times: number[] = [];
  for (let round = -2; round < rounds; ++round) {
    const begin = performance.now();
    program.runSync({ x }, undefined, { y });
    if (round >= 0) times.push((performance.now() - begin) / 1000);
  }
  return times.sort((a, b) => a - b);
}

/** The bytes of a large weight: 64 rows of normal numbers, over and over. */
function repeated(type: DType): Uint8Array {
  const few = Math.min(64, out);
  const part = quantise(type, random('weight', few * columns), few, columns);
  const bytes = new Uint8Array(out * rowBytes(type, columns));
  for (let at = 0; at < bytes.length; at += part.length) bytes.set(part.subarray(0, bytes.length - at), at);
  return bytes;
}

function print(m: Measured): void {
  const columns = [
    m.type.padEnd(10),
    String(m.rows).padStart(5),
    (m.best * 1e3).toFixed(3).padStart(9),
    (m.median * 1e3).toFixed(3).padStart(10),
    giga(m.bytesPerSecond).padStart(7),
    giga(m.operationsPerSecond).padStart(7),
    `${(100 * m.ofLimit).toFixed(0)} %`.padStart(9),
    ` ${m.bound.padEnd(10)}`,
    m.toOneRow === undefined ? '' : `${m.toOneRow.toFixed(2)}`.padStart(5),
  ];
  console.log(columns.join(' '));
}

function giga(value: number): string {
  return (value / 1e9).toFixed(1);
}
