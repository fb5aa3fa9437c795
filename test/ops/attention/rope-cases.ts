// Cases of rope_table and rope; tests check them, benches time them.
import { ropeLayouts } from '../../../lib/program/ops.js';
import { random } from '../op-case.js';
import type { OpCase } from '../op-case.js';

export const frequencies = (half: number, base = 10000): Float32Array =>
  Float32Array.from({ length: half }, (_, i) => base ** (-i / half));

/** Positions up to 2^24, where an angle in float32 would have lost its turn. */
export const ropeTable: OpCase[] = [1, 7, 32, 64].flatMap((half) =>
  [1, 1.138629].map((magnitude) => ({
    name: `${half} frequencies, magnitude ${magnitude}`,
    build: (builder, input) =>
      builder.ropeTable(
        input('positions', 1, 'I32'),
        builder.constant('frequencies', 1, half, frequencies(half)),
        magnitude,
      ),
    inputs: { positions: Int32Array.from([0, 1, 2, 1000, 131071, 1 << 20, (1 << 24) + 1]) },
    relative: 1e-7,
    absolute: 1e-9,
  })),
);

/** [heads, width of a head, rotated values]: all of a head, half of it, and odd widths. */
const shapes = [
  [1, 2, 2],
  [3, 16, 16],
  [8, 64, 64],
  [2, 80, 32],
  [5, 13, 6],
  [32, 128, 128],
] as const;

export const rope: OpCase[] = ropeLayouts.flatMap((layout) =>
  shapes.flatMap(([heads, width, rotated]) =>
    [1, 5].map((rows) => ({
      name: `${layout}, [${rows}, ${heads} · ${width}], ${rotated} rotated`,
      build: (builder, input) => builder.rope(input('x', heads * width), input('table', rotated), heads, layout),
      inputs: {
        x: random('rope x', rows * heads * width),
        table: Float32Array.from({ length: rows * rotated }, (_, i) => {
          const [row, at] = [Math.floor(i / rotated), i % rotated];
          const angle = 3.1 * row + (at % (rotated / 2));
          return at < rotated / 2 ? Math.cos(angle) : Math.sin(angle);
        }),
      },
      relative: 1e-7,
      absolute: 5e-7, // products of values up to 5 are rounded before they are added
    })),
  ),
);
