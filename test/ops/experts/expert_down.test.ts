// expert_down: the weighted sum of what linear gives with each chosen expert's matrix, the same bits for every team, batch
// and order of weights; and both ops of experts one after the other for batches up to a prompt.
import type { DType } from '../../../lib/program/dtype.js';
import { ReferenceProgram } from '../../../lib/program/reference/interpreter.js';
import { isaLevels } from '../executors.js';
import { quantisedTypes } from '../linear/cases.js';
import { expectClose, expectSameBits } from '../op-case.js';
import {
  expertAlone,
  expertProgram,
  expertWeights,
  routedRows,
  runExperts,
  someRows,
  type Experts,
  type Routed,
} from './cases.js';

const types: DType[] = ['F32', 'F16', 'BF16', ...quantisedTypes];

function expected(
  experts: Experts,
  weights: ReturnType<typeof expertWeights>,
  rows: Routed,
  isa: string,
): Float64Array {
  const { width, used } = experts;
  const all = Array.from({ length: experts.experts }, (_, e) => expertAlone(experts, weights, e, rows.x, isa, 'y'));
  const y = Float64Array.from(rows.residual);
  rows.ids.forEach((id, pair) => {
    const row = Math.floor(pair / used);
    if (id < 0 || id >= experts.experts) return;
    for (let i = 0; i < width; ++i) y[row * width + i] += rows.weights[pair] * all[id][row * width + i];
  });
  return y;
}

test.each(types)('%s', (dtype) => {
  const experts: Experts = { dtype, experts: 5, used: 3, width: 256, hidden: 256 };
  const program = expertProgram(experts);
  const weights = expertWeights(experts);
  const given = routedRows(experts, 21);
  given.ids.set([2, 2, 0], 15);
  given.ids.set([-1, 5, 1], 18);
  const { width } = experts;
  for (const isa of isaLevels()) {
    const y = runExperts(program, weights, given, { isa, fuse: false, repack: false });
    expectClose(y, expected(experts, weights, given, isa), 1e-5, 1e-5);
    for (const [threads, repack] of [
      [1, true],
      [2, false],
      [3, true],
    ] as const) {
      expectSameBits(runExperts(program, weights, given, { isa, threads, repack }), y, `${isa}, ${threads} threads`);
    }
    for (const [first, count] of [
      [0, 1],
      [5, 2],
      [6, 7],
    ]) {
      const part = runExperts(program, weights, someRows(given, experts, first, count), { isa, threads: 2 });
      expectSameBits(part, y.slice(first * width, (first + count) * width), `${isa}, rows ${first} + ${count}`);
    }
  }
});

describe.each(['F16', 'Q4_0', 'Q4_K'] as DType[])('%s: batches of many sizes', (dtype) => {
  const experts: Experts = { dtype, experts: 8, used: 2, width: 256, hidden: 256 };
  const program = expertProgram(experts);
  const weights = expertWeights(experts);
  const isa = isaLevels().at(-1) as string;
  const choices: Record<string, ((row: number, slot: number) => number) | undefined> = {
    'as they come': undefined,
    'all to one expert, and the second to another': (_, slot) => 6 - slot,
  };
  test.each(Object.entries(choices))('%s', (_, chooses) => {
    const all = routedRows(experts, 513, chooses);
    const y = runExperts(program, weights, all, { isa, threads: 2 });
    for (const count of [1, 2, 7, 64, 512]) {
      const first = 513 - count;
      const part = runExperts(program, weights, someRows(all, experts, first, count), {
        isa,
        threads: 1 + (count % 2),
      });
      expectSameBits(part, y.slice(first * 256), `${count} rows`);
    }
    expectSameBits(runExperts(program, weights, all, { isa, threads: 3, repack: false }), y, 'three threads');
  });
});

test('every expert at once, against the reference', () => {
  const experts: Experts = { dtype: 'F32', experts: 4, used: 4, width: 64, hidden: 48 };
  const program = expertProgram(experts);
  const weights = expertWeights(experts);
  const rows = routedRows(experts, 5);
  const shapes = { gate: [4, 48, 64], up: [4, 48, 64], down: [4, 64, 48] };
  const reference = new ReferenceProgram(program, (name) => ({
    dtype: 'F32',
    shape: shapes[name as keyof typeof shapes],
    bytes: weights[name as keyof typeof weights],
  }));
  const { y } = reference.run({ ...rows });
  for (const isa of isaLevels()) {
    expectClose(runExperts(program, weights, rows, { isa, threads: 2 }), y, 1e-5, 1e-5);
  }
});

test('the residual is added in the same pass', () => {
  const experts: Experts = { dtype: 'Q4_0', experts: 4, used: 2, width: 64, hidden: 64 };
  const program = expertProgram(experts);
  const weights = expertWeights(experts);
  const rows = routedRows(experts, 3);
  expectSameBits(
    runExperts(program, weights, rows, { fuse: true }),
    runExperts(program, weights, rows, { fuse: false }),
    'fused',
  );
});
