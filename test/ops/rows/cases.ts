// Cases of row_select, column_select and concat; tests check them, benches time them.
import { random } from '../op-case.js';
import type { OpCase } from '../op-case.js';

export const rowSelect: OpCase[] = [
  [1, 1, [0]],
  [4, 17, [3, 0, 0]],
  [9, 64, [0, 1, 2, 3, 4, 5, 6, 7, 8]],
  [33, 250, [32]],
].map(([rows, columns, indices]) => ({
  name: `rows ${String(indices)} of [${String(rows)}, ${String(columns)}]`,
  build: (builder, input) => builder.rowSelect(input('x', columns as number), input('indices', 1, 'I32', 'outputs')),
  inputs: {
    x: random('row_select', (rows as number) * (columns as number)),
    indices: Int32Array.from(indices as number[]),
  },
  relative: 0,
}));

export const columnSelect: OpCase[] = [
  [1, 1, [0]],
  [3, 17, [16, 0, 0, 5]],
  [9, 64, Array.from({ length: 64 }, (_, i) => (i * 37) % 64)],
  [2, 250, Array.from({ length: 300 }, (_, i) => (i * 7) % 250)],
].map(([rows, columns, indices]) => ({
  name: `${(indices as number[]).length} columns of [${String(rows)}, ${String(columns)}]`,
  build: (builder, input) =>
    builder.columnSelect(
      input('x', columns as number),
      builder.constant('order', 1, (indices as number[]).length, Int32Array.from(indices as number[])),
    ),
  inputs: { x: random('column_select', (rows as number) * (columns as number)) },
  relative: 0,
}));

export const concat: OpCase[] = [
  [1, 1, 1],
  [3, 17, 5],
  [9, 64, 64],
  [2, 250, 333],
].map(([rows, left, right]) => ({
  name: `[${rows}, ${left}] and [${rows}, ${right}]`,
  build: (builder, input) => builder.concat(input('a', left), input('b', right)),
  inputs: { a: random('concat.a', rows * left), b: random('concat.b', rows * right) },
  relative: 0,
}));
