// Cases of row_select; tests check them, benches time them.
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
