// expert_gate_up: for every type, level, team and batch the bits of gated_linear with the expert's matrices.
import type { DType } from '../../../lib/program/dtype.js';
import { isaLevels } from '../executors.js';
import { quantisedTypes } from '../linear/cases.js';
import { expectSameBits } from '../op-case.js';
import { expertAlone, expertProgram, expertWeights, routedRows, runExperts, someRows, type Experts } from './cases.js';

const types: DType[] = ['F32', 'F16', 'BF16', ...quantisedTypes];

/** What every expert makes of every row, looked up by ids; rows of zeros where an id is none. */
function expected(
  experts: Experts,
  weights: ReturnType<typeof expertWeights>,
  rows: ReturnType<typeof routedRows>,
  isa: string,
) {
  const { hidden } = experts;
  const all = Array.from({ length: experts.experts }, (_, e) => expertAlone(experts, weights, e, rows.x, isa, 'h'));
  const y = new Float32Array(rows.ids.length * hidden);
  rows.ids.forEach((id, pair) => {
    const row = Math.floor(pair / experts.used);
    if (id >= 0 && id < experts.experts) y.set(all[id].subarray(row * hidden, (row + 1) * hidden), pair * hidden);
  });
  return y;
}

test.each(types)('%s', (dtype) => {
  const experts: Experts = { dtype, experts: 5, used: 3, width: 256, hidden: 96 };
  const program = expertProgram(experts, 'h');
  const weights = expertWeights(experts, 'h');
  const rows = routedRows(experts, 23);
  rows.ids.set([1, 1, 4], 3 * 7); // one expert twice
  rows.ids.set([-1, 5, 2], 3 * 9); // two that are none
  for (const isa of isaLevels()) {
    const wanted = expected(experts, weights, rows, isa);
    for (const [threads, repack] of [
      [1, true],
      [2, false],
      [3, true],
    ] as const) {
      expectSameBits(
        runExperts(program, weights, rows, { isa, threads, repack }),
        wanted,
        `${isa}, ${threads} threads`,
      );
    }
    const pairs = experts.used * experts.hidden;
    for (const [first, count] of [
      [0, 1],
      [7, 1],
      [8, 2],
      [3, 7],
    ]) {
      const part = runExperts(program, weights, someRows(rows, experts, first, count), { isa, threads: 2 });
      expectSameBits(part, wanted.slice(first * pairs, (first + count) * pairs), `${isa}, rows ${first} + ${count}`);
    }
  }
});

test('experts that fill no panel stay as in their file, beside others that do', () => {
  const experts: Experts = { dtype: 'Q8_0', experts: 3, used: 2, width: 64, hidden: 40 };
  const program = expertProgram(experts, 'h');
  const weights = expertWeights(experts, 'h');
  const rows = routedRows(experts, 9);
  for (const isa of isaLevels()) {
    expectSameBits(runExperts(program, weights, rows, { isa, threads: 2 }), expected(experts, weights, rows, isa), isa);
  }
});
