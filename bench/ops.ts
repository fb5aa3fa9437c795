// Times every op at realistic sizes, next to what this machine can reach at most:
//   npm run bench -- ops [--op linear,attention] [--type Q4_0,F16] [--rows 1,8,512] [--threads 2] [--level avx2]
//                        [--out 8192] [--columns 4096] [--depth 4096] [--rounds 15] [--warm] [--json]
// Before each round everything is driven out of the caches, and each call of a round has weights and inputs of its own;
// --warm leaves the caches as they are. The limit of a call is the larger of moving its bytes at the measured bandwidth
// and doing its operations at the measured peak, both measured again for each line; `of limit` is the limit's time over
// the best one. Outputs may stay in a cache, so what writes much can exceed 100 %.
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { native, type Ceilings } from '../lib/native.js';
import { takesA8, type DType } from '../lib/program/dtype.js';
import type { KvDType } from '../lib/program/executor.js';
import { weightTypes } from '../test/ops/linear/cases.js';
import { coldBytes, limitsOf, measure, type Measured, type Place } from './measure.js';
import { attentionSpec, embeddingSpecs, linearSpec, simpleSpecs, type Spec } from './op-shapes.js';

const { values: options } = parseArgs({
  options: {
    op: { type: 'string' },
    type: { type: 'string' },
    rows: { type: 'string' },
    threads: { type: 'string', default: String(availableParallelism()) },
    level: { type: 'string' },
    out: { type: 'string', default: '8192' },
    columns: { type: 'string', default: '4096' },
    depth: { type: 'string', default: '4096' },
    rounds: { type: 'string', default: '15' },
    warm: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

interface Line extends Measured {
  readonly type: string;
  readonly rows: number;
  readonly shape: string;
  readonly bytesPerSecond: number; // at the best time
  readonly operationsPerSecond: number;
  readonly limits: Ceilings;
  readonly bound: 'memory' | 'arithmetic';
  readonly ofLimit: number;
  readonly toOneRow?: number; // best time over that of one row
}

void main();

async function main(): Promise<void> {
  const level = options.level ?? (native().isaLevels().at(-1) as string);
  const { warm, json } = options;
  const place: Place = { threads: Number(options.threads), level, rounds: Number(options.rounds), warm };
  const lines: Line[] = [];
  if (!json) {
    const data = warm ? 'in the caches where it fits' : `in memory (${coldBytes >> 20} MiB read between rounds)`;
    console.log(`${level}, ${place.threads} threads, data ${data}\n`);
    console.log(
      'op                type      rows    best ms  median ms     GB/s    limit    Gop/s    limit  of limit  bound       to one row  shape',
    );
  }
  for (const spec of specs()) {
    const peak = await limitsOf(place);
    for (const line of time(spec, place, peak, lines)) {
      lines.push(line);
      if (!json) print(line);
    }
  }
  if (json) console.log(JSON.stringify({ level, threads: place.threads, warm, coldBytes, ops: lines }, null, 1));
}

function* specs(): Generator<Spec> {
  const wanted = options.op?.split(',');
  const wants = (...ops: string[]): boolean => wanted === undefined || ops.some((op) => wanted.includes(op));
  const rows = (fallback: string): number[] => (options.rows ?? fallback).split(',').map(Number);
  const types = (options.type?.split(',') as DType[] | undefined) ?? weightTypes;
  const [out, columns, depth] = [options.out, options.columns, options.depth].map(Number);
  if (wants('linear', 'quantize_rows', 'quantize_tokens')) {
    for (const type of types) for (const count of rows('1,4,8,32,512')) yield linearSpec(type, count, out, columns);
  }
  if (wants('attention', 'kv_write')) {
    const caches = (['F16', 'Q8_0', 'Q4_0', 'F32'] as KvDType[]).filter(
      (type) => !options.type || types.includes(type),
    );
    for (const type of caches) for (const count of rows('1,4,512')) yield attentionSpec(type, count, depth);
  }
  if (wants('embedding')) for (const count of rows('1,512')) yield* embeddingSpecs(count, types);
  if (options.type) return;
  for (const count of rows('1,512')) for (const spec of simpleSpecs(count)) if (wants(...spec.ops)) yield spec;
}

function* time(spec: Spec, place: Place, limits: Ceilings, before: readonly Line[]): Generator<Line> {
  const { type, rows, shape } = spec;
  const { program, run, dispose } = spec.open(place);
  const measured = measure(program, run, place);
  dispose();
  for (const one of measured.filter(({ op }) => spec.ops.includes(op))) {
    const { op, best, bytes, operations } = one;
    const integer = op === 'linear' && takesA8(type);
    const memory = bytes / limits.bytesPerSecond;
    const arithmetic = operations / (integer ? limits.int8Operations : limits.floatOperations);
    const same = before.find((line) => line.op === op && line.type === type && line.shape === shape && line.rows === 1);
    yield {
      ...one,
      type,
      rows,
      shape,
      bytesPerSecond: bytes / best,
      operationsPerSecond: operations / best,
      limits,
      bound: memory >= arithmetic ? 'memory' : 'arithmetic',
      ofLimit: Math.max(memory, arithmetic) / best,
      ...(same ? { toOneRow: best / same.best } : {}),
    };
  }
}

function print(line: Line): void {
  const { op, type, rows, best, median, limits, bound } = line;
  const integer = op === 'linear' && takesA8(type);
  const peak = integer ? limits.int8Operations : limits.floatOperations;
  const columns = [
    op.padEnd(17),
    type.padEnd(9),
    String(rows).padStart(4),
    (best * 1e3).toFixed(4).padStart(10),
    (median * 1e3).toFixed(4).padStart(10),
    giga(line.bytesPerSecond).padStart(8),
    giga(limits.bytesPerSecond).padStart(8),
    (line.operations > 0 ? giga(line.operationsPerSecond) : '').padStart(8),
    (line.operations > 0 ? giga(peak) : '').padStart(8),
    `${(100 * line.ofLimit).toFixed(0)} %`.padStart(9),
    ` ${bound.padEnd(10)}`,
    (line.toOneRow === undefined ? '' : line.toOneRow.toFixed(2)).padStart(10),
    ` ${line.shape}`,
  ];
  console.log(columns.join(' '));
}

function giga(value: number): string {
  return (value / 1e9).toFixed(1);
}
