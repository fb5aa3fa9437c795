// rms_norm_quantize against rms_norm and quantize_rows one after the other, and when it must not be made.
import { ProgramBuilder } from '../../../lib/program/builder.js';
import type { Value } from '../../../lib/program/program.js';
import { random } from '../op-case.js';
import { callsSpared, expectFused, expectTokensFused, identity } from './cases.js';

const shapes = [1, 3, 40].flatMap((rows) =>
  [32, 96, 544].flatMap((width) => [0, 1e-20, 1, 1e4].map((size) => [rows, width, size])),
);

test.each(shapes)('%d rows of %d values around %d', (rows, width, size) => {
  const weight = random('weight', width);
  expectFused(width, (builder, input) => builder.rmsNorm(input('x'), builder.constant('w', 1, width, weight), 1e-6), {
    x: random('x', rows * width, size),
  });
});

// Widths that are no multiple of anything, and zeros, which have a scale of their own.
test.each([
  [1, 32, 1],
  [3, 1030, 1e4],
  [40, 134, 1],
  [2, 62, 0],
])('tokens: %d rows of %d values around %d', (rows, width, size) => {
  const weight = random('weight', width);
  const make = (builder: ProgramBuilder, input: (name: string) => Value) =>
    builder.rmsNorm(input('x'), builder.constant('w', 1, width, weight), 1e-6);
  expectTokensFused(width, make, { x: random('x', rows * width, size) });
});

test('a NaN or an infinity spoils its row as before', () => {
  const x = random('x', 5 * 64);
  x[70] = NaN;
  x[200] = Infinity;
  const weight = random('weight', 64);
  expectFused(64, (builder, input) => builder.rmsNorm(input('x'), builder.constant('w', 1, 64, weight), 1e-6), { x });
});

test('norms of heads, and norms that are wanted as floats, stay by themselves', () => {
  const builder = new ProgramBuilder('kept', () => ({ dtype: 'Q8_0', shape: [64, 64] }));
  const x = builder.input('x', 'F32', 'rows', 64);
  const heads = builder.rmsNorm(x, builder.constant('h', 1, 32, random('h', 32)), 1e-6);
  const wanted = builder.rmsNorm(x, builder.constant('w', 1, 64, random('w', 64)), 1e-6);
  const weight = builder.weight('weight', [64, 64]);
  const program = builder.finish({ y: builder.linear(heads, weight), z: builder.linear(wanted, weight), wanted });
  expect(callsSpared(program, identity(64))).toBe(0);
});
