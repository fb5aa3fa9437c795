// rope against the reference; both layouts give the same bits; products of rotated vectors know only distances.
import { ProgramBuilder } from '../../../lib/program/builder.js';
import type { ropeLayouts } from '../../../lib/program/ops.js';
import { isaLevels, runNative } from '../executors.js';
import { checkCase, expectSameBits, random } from '../op-case.js';
import { frequencies, rope } from './rope-cases.js';

test.each(rope.map((opCase) => [opCase.name, opCase]))('%s', (_, opCase) => checkCase(opCase));

/** One head per row, rotated to the row's position. */
function rotate(isa: string, x: Float32Array, positions: Int32Array, layout: (typeof ropeLayouts)[number]) {
  const width = x.length / positions.length;
  const builder = new ProgramBuilder('rope', () => undefined);
  const table = builder.ropeTable(
    builder.input('positions', 'I32', 'rows'),
    builder.constant('frequencies', 1, width / 2, frequencies(width / 2)),
  );
  const y = builder.rope(builder.input('x', 'F32', 'rows', width), table, 1, layout);
  const program = builder.finish({ y });
  return runNative(program, () => new Uint8Array(), { x, positions }, { isa, threads: 1, fuse: true })['y'];
}

test.each(isaLevels())('%s: adjacent pairs and halves of the same model give the same bits', (isa) => {
  for (const width of [2, 10, 64, 128]) {
    const positions = Int32Array.from([0, 3, 77, 5000]);
    const halves = random('layouts', positions.length * width);
    const adjacent = halves.map((_, i) => {
      const [row, at] = [Math.floor(i / width), i % width];
      return halves[row * width + (at % 2 === 0 ? at / 2 : (at - 1) / 2 + width / 2)];
    });
    expectSameBits(
      rotate(isa, adjacent, positions, 'adjacent'),
      rotate(isa, halves, positions, 'halves'),
      `width ${width}`,
    );
  }
});

test.each(isaLevels())('%s: a query and a key meet as their distance says, up to position 1 000 000', (isa) => {
  const width = 64;
  const q = random('q', width);
  const k = random('k', width);
  const size = (v: Float32Array): number => Math.hypot(...v);
  const product = (at: number, distance: number): number => {
    const both = Float32Array.from([...q, ...k]);
    const y = rotate(isa, both, Int32Array.from([at, at - distance]), 'halves');
    return y.subarray(0, width).reduce((sum, value, i) => sum + value * y[width + i], 0) / (size(q) * size(k));
  };
  for (const distance of [0, 1, 17, 900]) {
    const wanted = product(distance, distance);
    for (const at of [1000, 54321, 1_000_000]) expect(Math.abs(product(at, distance) - wanted)).toBeLessThan(1e-6);
  }
});
