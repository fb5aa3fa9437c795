// Both ops of experts on a card: the bits of gated_linear and linear with the expert's own matrices there, the same for
// every batch, whoever shares it and however pairs are cut into tiles; and what the CPU computes, within roundings.
import type { DType } from '../../../lib/program/dtype.js';
import { emulatedDevice, isaLevels } from '../executors.js';
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
  type Weights,
} from './cases.js';

const types: DType[] = ['F32', 'F16', 'BF16', ...quantisedTypes];
const device = emulatedDevice();
const onCard = device ? test : test.skip;
const card = { device };
const isa = isaLevels().at(-1) as string;

/** What each chosen expert makes of its row, from programs of that expert alone on the card. */
function aloneOnCard(experts: Experts, weights: Weights, rows: Routed, shows: 'y' | 'h'): Float32Array {
  const { used, hidden, width } = experts;
  const columns = shows === 'h' ? hidden : width;
  const all = Array.from({ length: experts.experts }, (_, e) => expertAlone(experts, weights, e, rows.x, card, shows));
  const y = new Float32Array(rows.ids.length * columns);
  rows.ids.forEach((id, pair) => {
    const row = Math.floor(pair / used);
    if (id >= 0 && id < experts.experts) y.set(all[id].subarray(row * columns, (row + 1) * columns), pair * columns);
  });
  return y;
}

/** The sum in the order of slots, each product and sum rounded once, as fma does. */
function weighted({ ids, weights, residual }: Routed, { experts, used, width }: Experts, products: Float32Array) {
  const y = new Float64Array(residual.length);
  for (let i = 0; i < y.length; ++i) {
    const row = Math.floor(i / width);
    let sum = 0;
    for (let slot = 0; slot < used; ++slot) {
      const pair = row * used + slot;
      if (ids[pair] < 0 || ids[pair] >= experts) continue;
      sum = Math.fround(weights[pair] * products[pair * width + (i % width)] + sum);
    }
    y[i] = Math.fround(sum + residual[i]);
  }
  return y;
}

/** The last rows alone in batches of these sizes, and the first row. */
function checkRows(experts: Experts, weights: Weights, rows: Routed, batches: readonly number[]): void {
  const program = expertProgram(experts);
  const y = runExperts(program, weights, rows, card);
  const count = rows.x.length / experts.width;
  for (const [first, size] of [[0, 1], ...batches.map((size) => [count - size, size])]) {
    const part = runExperts(program, weights, someRows(rows, experts, first, size), card);
    expectSameBits(part, y.slice(first * experts.width, (first + size) * experts.width), `rows ${first} + ${size}`);
  }
  expectClose(y, runExperts(program, weights, rows, { isa }), 1e-4, 1e-4);
}

describe.each(types)('%s', (dtype) => {
  const experts: Experts = { dtype, experts: 4, used: 2, width: 256, hidden: 256 };
  onCard('rows among few and among many, ids that are none', () => {
    const weights = expertWeights(experts);
    const rows = routedRows(experts, 64);
    rows.ids.set([1, 1], 2 * 7); // one expert twice
    rows.ids.set([-1, 4], 2 * 9); // two that are none
    rows.ids.set([3, -2], 2 * 62);
    checkRows(experts, weights, rows, /F16|Q4_0|Q6_K/.test(dtype) ? [2, 7, 20, 33] : [2, 7, 20]);
    const few = someRows(rows, experts, 5, 6);
    const [h, alone] = [
      runExperts(expertProgram(experts, 'h'), weights, few, card),
      aloneOnCard(experts, weights, few, 'h'),
    ];
    // Tensor cores and float32 add up F16 and BF16 in different orders.
    if (/F16/.test(dtype)) expectClose(h, alone, 1e-5, 1e-5);
    else expectSameBits(h, alone, 'gate and up');
    const products = aloneOnCard(experts, weights, few, 'y');
    expectClose(
      runExperts(expertProgram(experts), weights, few, card),
      weighted(few, experts, products),
      /F16/.test(dtype) ? 1e-5 : 1e-6,
      1e-5,
    );
  });
});

describe.each(['Q4_0', 'Q8_0', 'F16'] as DType[])('%s', (dtype) => {
  onCard('all rows to one expert, all experts for every row, one expert', () => {
    for (const [count, used] of [
      [9, 1],
      [3, 3],
      [1, 1],
      [12, 10],
    ]) {
      const experts: Experts = { dtype, experts: count, used, width: 64, hidden: 32 };
      const rows = routedRows(experts, 21, used === 1 ? () => count - 1 : undefined);
      checkRows(experts, expertWeights(experts), rows, [2, 7]);
    }
  });
});

describe.each([
  ['Q4_0', 1184, 1056], // units that are not whole, more than a slice
  ['Q4_K', 1280, 1280],
  ['F32', 1030, 40], // columns that no fast kernel takes
  ['F16', 64, 24],
] as [DType, number, number][])('%s, %d by %d', (dtype, width, hidden) => {
  onCard('odd shapes', () => {
    const experts: Experts = { dtype, experts: 6, used: 3, width, hidden };
    checkRows(experts, expertWeights(experts), routedRows(experts, 8), [2]);
  });
});

onCard('matrices that are no whole strips stay as they are stored', () => {
  const experts: Experts = { dtype: 'Q8_0', experts: 3, used: 2, width: 64, hidden: 40 };
  const weights = expertWeights(experts, 'h');
  const rows = routedRows(experts, 9);
  const y = runExperts(expertProgram(experts, 'h'), weights, rows, card);
  expectClose(y, runExperts(expertProgram(experts, 'h'), weights, rows, { isa }), 1e-5, 1e-5);
});
