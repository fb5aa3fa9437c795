// sigmoid_gate against the reference; gates far from zero open and close completely.
import { checkCase, random } from '../op-case.js';

const gates = (rows: number): Float32Array => random('gate', rows, 3);

test.each([
  ['one row', 1, 33],
  ['a few', 7, 5],
  ['many', 40, 64],
])('%s', (name, rows, columns) => {
  checkCase({
    name,
    build: (builder, input) => builder.sigmoidGate(input('x', columns), input('gate', 1)),
    inputs: { x: random('x', rows * columns), gate: gates(rows) },
  });
});

test('open, closed, and no number', () => {
  checkCase({
    name: 'ends',
    build: (builder, input) => builder.sigmoidGate(input('x', 2), input('gate', 1)),
    inputs: { x: Float32Array.of(1, -2, 1, -2, 1, -2), gate: Float32Array.of(100, -80, NaN) },
    absolute: 1e-30,
  });
});
