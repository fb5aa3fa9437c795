// rms_norm, layer_norm, softmax and log_softmax: along a row.
import { matrixBy } from '../matrix.js';
import type { Matrix } from '../matrix.js';
import type { ReferenceOp } from './call.js';

export const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0);
const mean = (values: Float64Array): number => sum(values) / values.length;

/** Replaces consecutive groups of `width` values of every row. */
function byGroups(x: Matrix, width: number, formula: (group: Float64Array) => Float64Array): Matrix[] {
  return [
    matrixBy(x.rows, x.columns, (row) => {
      const values = x.row(row).slice();
      for (let from = 0; from < x.columns; from += width) {
        values.set(formula(values.slice(from, from + width)), from);
      }
      return values;
    }),
  ];
}

export const rms_norm: ReferenceOp = ({ inputs: [x, weight], attributes: [epsilon] }) =>
  byGroups(x, weight.columns, (group) => {
    const size = Math.sqrt(mean(group.map((value) => value ** 2)) + epsilon);
    return group.map((value, i) => (value / size) * weight.row(0)[i]);
  });

export const layer_norm: ReferenceOp = ({ inputs: [x, weight], optional, attributes: [epsilon] }) =>
  byGroups(x, weight.columns, (group) => {
    const bias = optional(2)?.row(0);
    const middle = mean(group);
    const size = Math.sqrt(mean(group.map((value) => (value - middle) ** 2)) + epsilon);
    return group.map((value, i) => ((value - middle) / size) * weight.row(0)[i] + (bias?.[i] ?? 0));
  });

export const softmax: ReferenceOp = ({ inputs: [x] }) => byGroups(x, x.columns, softmaxOf);

export const log_softmax: ReferenceOp = ({ inputs: [x] }) =>
  byGroups(x, x.columns, (row) => {
    const largest = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const logTotal = Math.log(sum(row.map((value) => Math.exp(value - largest))));
    return row.map((value) => value - largest - logTotal);
  });

export function softmaxOf(scores: Float64Array): Float64Array {
  const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = scores.map((score) => Math.exp(score - largest));
  const total = sum(powers);
  return powers.map((power) => power / total);
}
