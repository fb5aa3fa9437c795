// gated_activation_quantize against gated_activation and quantize_rows one after the other.
import { activations } from '../../../lib/program/ops.js';
import { random } from '../op-case.js';
import { expectFused, expectTokensFused } from './cases.js';

const shapes = activations.flatMap((activation) =>
  [1, 3, 40].flatMap((rows) =>
    [32, 96, 544].flatMap((columns) => [1e-3, 1, 30].map((size) => [activation, rows, columns, size] as const)),
  ),
);

test.each(shapes)('%s, %d rows of %d values around %d', (activation, rows, columns, size) => {
  expectFused(columns, (builder, input) => builder.gatedActivation(input('gate'), input('up'), activation), {
    gate: random('gate', rows * columns, size),
    up: random('up', rows * columns, size),
  });
});

test.each(
  activations.flatMap((activation) =>
    [
      [1, 32],
      [3, 1030],
      [40, 134],
    ].map(([rows, columns]) => [activation, rows, columns] as const),
  ),
)('tokens: %s, %d rows of %d values', (activation, rows, columns) => {
  expectTokensFused(columns, (builder, input) => builder.gatedActivation(input('gate'), input('up'), activation), {
    gate: random('gate', rows * columns),
    up: random('up', rows * columns),
  });
});

test('a NaN or an infinity spoils its row as before', () => {
  const gate = random('gate', 4 * 64);
  gate[70] = NaN;
  gate[200] = -Infinity;
  expectFused(64, (builder, input) => builder.gatedActivation(input('gate'), input('up'), 'silu'), {
    gate,
    up: random('up', 4 * 64),
  });
});
