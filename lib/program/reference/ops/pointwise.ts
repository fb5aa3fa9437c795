// add, mul, scale, soft_cap and gated_activation, value by value.
import { activations } from '../../ops.js';
import { matrixBy } from '../matrix.js';
import type { Matrix } from '../matrix.js';
import type { ReferenceOp } from './call.js';

const unary = (x: Matrix, formula: (value: number) => number): Matrix[] => [
  matrixBy(x.rows, x.columns, (row) => x.row(row).map(formula)),
];

/** `b` may be one row for all. */
const binary = (a: Matrix, b: Matrix, formula: (left: number, right: number) => number): Matrix[] => [
  matrixBy(a.rows, a.columns, (row) => {
    const right = b.row(b.rows === 1 ? 0 : row);
    return a.row(row).map((left, i) => formula(left, right[i]));
  }),
];

export const add: ReferenceOp = ({ inputs: [a, b] }) => binary(a, b, (left, right) => left + right);
export const mul: ReferenceOp = ({ inputs: [a, b] }) => binary(a, b, (left, right) => left * right);
export const scale: ReferenceOp = ({ inputs: [x], attributes: [factor] }) => unary(x, (value) => factor * value);
export const soft_cap: ReferenceOp = ({ inputs: [x], attributes: [cap] }) => unary(x, (value) => softCap(value, cap));

export const softCap = (value: number, cap: number): number => cap * Math.tanh(value / cap);

export const formulas: Readonly<Record<(typeof activations)[number], (x: number) => number>> = {
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu_tanh: (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

export const gated_activation: ReferenceOp = ({ inputs: [gate, up], attributes: [activation] }) => {
  const formula = formulas[activations[activation]];
  return binary(gate, up, (left, right) => formula(left) * right);
};
