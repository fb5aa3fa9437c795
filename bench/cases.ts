// Times the cases that the tests of ops check, except linear (see ops.ts): `npm run bench -- cases [--op rms_norm] [--level avx2]
// [--threads 1] [--json]`. Each case's op is called 64 times in one program; the limit is reading its inputs and writing its
// output at the measured memory bandwidth, so small cases, which stay in the caches, can exceed it.
import { parseArgs } from 'node:util';
import { native } from '../lib/native.js';
import { ProgramBuilder } from '../lib/program/builder.js';
import { NativeProgram } from '../lib/program/native-program.js';
import type { Value } from '../lib/program/program.js';
import { rope, ropeTable } from '../test/ops/attention/rope-cases.js';
import { layerNorm, logSoftmax, rmsNorm, softmax } from '../test/ops/norm/cases.js';
import type { OpCase } from '../test/ops/op-case.js';
import { add, gatedActivation, mul, scale, softCap } from '../test/ops/pointwise/cases.js';
import { columnSelect, concat, rowSelect } from '../test/ops/rows/cases.js';

const cases: Readonly<Record<string, readonly OpCase[]>> = {
  rms_norm: rmsNorm,
  layer_norm: layerNorm,
  rope_table: ropeTable,
  rope,
  gated_activation: gatedActivation,
  add,
  mul,
  scale,
  soft_cap: softCap,
  row_select: rowSelect,
  column_select: columnSelect,
  concat,
  softmax,
  log_softmax: logSoftmax,
};
const copies = 64;
const rounds = 15;

const { values: options } = parseArgs({
  options: {
    op: { type: 'string' },
    level: { type: 'string' },
    threads: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
});

void main();

async function main(): Promise<void> {
  const level = options.level ?? native().isaLevels().at(-1) ?? 'baseline';
  const threads = Number(options.threads);
  const { bytesPerSecond } = await native().ceilings(threads, 256 * 2 ** 20, level);
  const measured = Object.entries(cases)
    .filter(([op]) => options.op === undefined || options.op === op)
    .flatMap(([op, list]) => list.map((one) => ({ op, ...time(one, level, threads, bytesPerSecond) })));
  if (options.json) {
    console.log(JSON.stringify({ level, threads, bytesPerSecond, cases: measured }, null, 1));
    return;
  }
  console.log(`${level}, ${threads} threads; limit: ${(bytesPerSecond / 1e9).toFixed(1)} GB/s\n`);
  console.log('     best us    GB/s  of limit  case');
  for (const { best, bytes, ofLimit, name } of measured) {
    const columns = [(best * 1e6).toFixed(3).padStart(12), (bytes / best / 1e9).toFixed(1).padStart(7)];
    console.log(`${columns.join(' ')} ${`${(100 * ofLimit).toFixed(0)} %`.padStart(9)}  ${name}`);
  }
}

/** Best seconds of one call, the bytes it moves, and the limit's time over it. */
function time(one: OpCase, isa: string, threads: number, bytesPerSecond: number) {
  const builder = new ProgramBuilder(one.name, () => undefined);
  const declared = new Map<string, Value>();
  let y: Value | undefined;
  for (let copy = 0; copy < copies; ++copy) {
    y = one.build(builder, (name, columns, dtype = 'F32', rows = 'rows') => {
      const value = declared.get(name) ?? builder.input(name, dtype, rows, columns);
      declared.set(name, value);
      return value;
    });
  }
  if (!y) throw new Error('no copies');
  const program = new NativeProgram(
    builder.finish({ y }),
    (tensor) => {
      throw new Error(`the case has no tensor ${tensor}`);
    },
    { isa, threads },
  );
  const output = program.runSync(one.inputs)['y'];
  let best = Infinity;
  for (let round = 0; round < rounds; ++round) {
    const begin = performance.now();
    program.runSync(one.inputs, undefined, { y: output });
    best = Math.min(best, (performance.now() - begin) / 1000 / copies);
  }
  program.dispose();
  const bytes = output.byteLength + Object.values(one.inputs).reduce((sum, input) => sum + input.byteLength, 0);
  return { name: one.name, best, bytes, ofLimit: bytes / bytesPerSecond / best };
}
