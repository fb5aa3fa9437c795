// Cases of add, mul, scale, soft_cap and gated_activation; tests check them, benches time them.
import { activations } from '../../../lib/program/ops.js';
import { random } from '../op-case.js';
import type { OpCase } from '../op-case.js';

/** [rows, columns]: below, at and beyond every vector width, and even shares of work that end inside a row. */
export const shapes = [
  [1, 1],
  [1, 15],
  [3, 16],
  [2, 33],
  [7, 67],
  [5, 129],
  [1, 4096],
] as const;

const named = (op: string, rows: number, columns: number): string => `${op} [${rows}, ${columns}]`;

const binary = (op: 'add' | 'mul'): OpCase[] =>
  shapes.flatMap(([rows, columns]) =>
    [rows, 1].map((otherRows) => ({
      name: `${named(op, rows, columns)}, b ${otherRows === rows ? 'of all rows' : 'of one row'}`,
      build: (builder, input) => {
        const a = input('a', columns);
        const b =
          otherRows === rows ? input('b', columns) : builder.constant('b', 1, columns, random(`${op} b`, columns));
        return builder[op](a, b);
      },
      inputs: { a: random(`${op} a`, rows * columns), b: random(`${op} b`, rows * columns) },
      relative: 1e-7,
    })),
  );

export const add = binary('add').map((opCase) => ({ ...opCase, absolute: 1e-7 }));
export const mul = binary('mul');

export const scale: OpCase[] = shapes.flatMap(([rows, columns]) =>
  [0.125, -3.7].map((factor) => ({
    name: `${named('scale', rows, columns)} by ${factor}`,
    build: (builder, input) => builder.scale(input('x', columns), factor),
    inputs: { x: random('scale x', rows * columns) },
    relative: 2e-7,
  })),
);

/** From far below the cap to far beyond it. */
export const softCap: OpCase[] = shapes.flatMap(([rows, columns]) =>
  [0.01, 1, 30, 1000].map((size) => ({
    name: `${named('soft_cap', rows, columns)} of values around ${size}`,
    build: (builder, input) => builder.softCap(input('x', columns), 30),
    inputs: { x: random('soft_cap x', rows * columns, size) },
    relative: 5e-7,
  })),
);

export const gatedActivation: OpCase[] = activations.flatMap((activation) =>
  shapes.flatMap(([rows, columns]) =>
    [1, 20].map((size) => ({
      name: `${named(activation, rows, columns)} of values around ${size}`,
      build: (builder, input) => builder.gatedActivation(input('gate', columns), input('up', columns), activation),
      inputs: { gate: random('gate', rows * columns, size), up: random('up', rows * columns) },
      relative: 1e-6,
      // Far below zero 1 + tanh cancels: what is left is 6e-8 of the gate.
      absolute: activation === 'gelu_tanh' ? 5e-7 * size : 0,
    })),
  ),
);
