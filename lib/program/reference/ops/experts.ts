// route, expert_gate_up, expert_down and sigmoid_gate: rows that go to some of many experts.
import { activations, groupScores, scorings } from '../../ops.js';
import { matrixBy, matrixOf } from '../matrix.js';
import type { Matrix } from '../matrix.js';
import type { ReferenceOp } from './call.js';
import { dot } from './linear.js';
import { softmaxOf, sum } from './norm.js';
import { formulas } from './pointwise.js';

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** Places of the `count` best values, best first; equal ones in their order, NaN behind every number. */
function best(values: Float64Array, count: number): number[] {
  const rank = (value: number): number => (Number.isNaN(value) ? 1 : 0);
  return Array.from(values.keys())
    .sort((a, b) => rank(values[a]) - rank(values[b]) || (values[a] === values[b] ? 0 : values[b] - values[a]) || a - b)
    .slice(0, count);
}

export const route: ReferenceOp = ({ inputs: [logits], optional, attributes }) => {
  const [used, scoring, normalise, scale, groups, groupsUsed, groupScore] = attributes;
  const bias = optional(1)?.row(0);
  const size = logits.columns / groups;
  const chosen = Array.from({ length: logits.rows }, (_, row) => {
    const given = logits.row(row);
    const scores = scorings[scoring] === 'softmax' ? softmaxOf(given) : given.map(sigmoid);
    const sums = groups > 1 && groupScores[groupScore] === 'top2';
    const compared = bias ? scores.map((score, i) => score + bias[i]) : sums ? scores : given;
    const worth = Float64Array.from({ length: groups }, (_, g) => {
      const its = compared.slice(g * size, (g + 1) * size);
      return sum(Float64Array.from(best(its, sums ? 2 : 1), (i) => its[i]));
    });
    const open = best(worth, groupsUsed).sort((a, b) => a - b);
    const offered = open.flatMap((g) => Array.from({ length: size }, (_, i) => g * size + i));
    const ids = best(
      Float64Array.from(offered, (e) => compared[e]),
      used,
    ).map((i) => offered[i]);
    const weights = Float64Array.from(ids, (e) => scores[e]);
    const total = normalise ? sum(weights) + 1e-20 : 1;
    return { ids: Float64Array.from(ids), weights: weights.map((weight) => (weight / total) * scale) };
  });
  return [
    matrixOf(
      chosen.map(({ ids }) => ids),
      used,
    ),
    matrixOf(
      chosen.map(({ weights }) => weights),
      used,
    ),
  ];
};

/** x · rowᵀ for the `count` rows of an expert's matrix. */
const times = (x: Float64Array, weight: Matrix, expert: number, count: number): Float64Array =>
  Float64Array.from({ length: count }, (_, i) => dot(x, weight.row(expert * count + i)));

const isExpert = (id: number, experts: number): boolean => Number.isInteger(id) && id >= 0 && id < experts;

export const expert_gate_up: ReferenceOp = ({ inputs: [x, gate, up, ids], attributes: [experts, activation] }) => {
  const columns = gate.rows / experts;
  const formula = formulas[activations[activation]];
  return [
    matrixBy(x.rows, ids.columns * columns, (row) => {
      const y = new Float64Array(ids.columns * columns);
      ids.row(row).forEach((id, slot) => {
        if (!isExpert(id, experts)) return;
        const right = times(x.row(row), up, id, columns);
        y.set(
          times(x.row(row), gate, id, columns).map((left, i) => formula(left) * right[i]),
          slot * columns,
        );
      });
      return y;
    }),
  ];
};

export const expert_down: ReferenceOp = ({ inputs: [x, weight, ids, weights], optional, attributes: [experts] }) => {
  const out = weight.rows / experts;
  const residual = optional(4);
  return [
    matrixBy(x.rows, out, (row) => {
      const y = Float64Array.from(residual?.row(row) ?? new Float64Array(out));
      ids.row(row).forEach((id, slot) => {
        if (!isExpert(id, experts)) return;
        const its = x.row(row).slice(slot * weight.columns, (slot + 1) * weight.columns);
        times(its, weight, id, out).forEach((value, i) => (y[i] += weights.row(row)[slot] * value));
      });
      return y;
    }),
  ];
};

export const sigmoid_gate: ReferenceOp = ({ inputs: [x, gate] }) => [
  matrixBy(x.rows, x.columns, (row) => x.row(row).map((value) => value * sigmoid(gate.row(row)[0]))),
];
