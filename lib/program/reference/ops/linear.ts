// linear, embedding, row_select, column_select and concat: rows of weights, rows of rows, columns in another order, or
// side by side.
import { matrixBy } from '../matrix.js';
import type { ReferenceOp } from './call.js';

export function dot(a: Float64Array, b: Float64Array): number {
  let total = 0;
  for (let i = 0; i < a.length; ++i) total += a[i] * b[i];
  return total;
}

export const linear: ReferenceOp = ({ inputs: [x, weight], optional }) => {
  const bias = optional(2)?.row(0);
  const residual = optional(3);
  return [
    matrixBy(x.rows, weight.rows, (row) => {
      const y = new Float64Array(weight.rows);
      for (let out = 0; out < weight.rows; ++out) {
        y[out] = dot(x.row(row), weight.row(out)) + (bias?.[out] ?? 0) + (residual?.row(row)[out] ?? 0);
      }
      return y;
    }),
  ];
};

export const embedding: ReferenceOp = ({ inputs: [weight, tokens], attributes: [scale] }) => [
  matrixBy(tokens.rows, weight.columns, (row) => weight.row(tokens.row(row)[0]).map((value) => scale * value)),
];

export const row_select: ReferenceOp = ({ inputs: [x, indices] }) => [
  matrixBy(indices.rows, x.columns, (row) => x.row(indices.row(row)[0])),
];

export const column_select: ReferenceOp = ({ inputs: [x, indices] }) => [
  matrixBy(x.rows, indices.columns, (row) => indices.row(0).map((column) => x.row(row)[column])),
];

export const concat: ReferenceOp = ({ inputs: [a, b] }) => [
  matrixBy(a.rows, a.columns + b.columns, (row) => Float64Array.of(...a.row(row), ...b.row(row))),
];
