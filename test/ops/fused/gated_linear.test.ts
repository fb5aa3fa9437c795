// gated_linear against two linears and a gated_activation one after the other: every type that has it, with and without
// the quantiser behind it, and when it must not be made.
import { rowBytes } from '../../../lib/program/dtype.js';
import type { DType } from '../../../lib/program/dtype.js';
import { ProgramBuilder } from '../../../lib/program/builder.js';
import { NativeProgram } from '../../../lib/program/native-program.js';
import type { activations } from '../../../lib/program/ops.js';
import { emulatedDevice, isaLevels } from '../executors.js';
import { quantise, quantisedTypes } from '../linear/cases.js';
import { expectSameBits, random } from '../op-case.js';
import { callsSpared, identity } from './cases.js';

interface Shape {
  readonly dtype: DType;
  readonly columns: number;
  readonly out: number;
  /** A linear over the result, which then is A8. */
  readonly down: boolean;
  readonly activation?: (typeof activations)[number];
}

function gatedProgram({ dtype, columns, out, down, activation = 'silu' }: Shape) {
  const builder = new ProgramBuilder('gated', (name) =>
    name === 'down' ? { dtype: 'Q8_0', shape: [out, out] } : { dtype, shape: [out, columns] },
  );
  const x = builder.input('x', 'F32', 'rows', columns);
  const [gate, up] = ['gate', 'up'].map((name) => builder.linear(x, builder.weight(name, [out, columns])));
  const y = builder.gatedActivation(gate, up, activation);
  return builder.finish({ y: down ? builder.linear(y, builder.weight('down', [out, out])) : y });
}

function gatedWeights({ dtype, columns, out }: Shape): (name: string) => Uint8Array {
  const bytes = Object.fromEntries(
    ['gate', 'up'].map((name) => [name, quantise(dtype, random(name, out * columns), out, columns)]),
  );
  return (name) => (name === 'down' ? identity(out) : bytes[name]);
}

const types: DType[] = ['F32', 'F16', 'BF16', ...quantisedTypes];
const shapes: Shape[] = types.flatMap((dtype) => [
  { dtype, columns: 512, out: 96, down: true },
  { dtype, columns: dtype.startsWith('Q8') || dtype.endsWith('F32') ? 96 : 768, out: 53, down: false },
  { dtype, columns: 256, out: 64, down: true, activation: 'gelu_tanh' },
]);

test.each(shapes)('$dtype [$out, $columns], $activation', (shape) => {
  const { columns, out } = shape;
  const program = gatedProgram(shape);
  const weights = gatedWeights(shape);
  const rows = 37;
  const all = random('x', rows * columns);
  for (const isa of isaLevels()) {
    const run = (fuse: boolean, threads: number, repack: boolean, x: Float32Array) => {
      const compiled = new NativeProgram(program, weights, { isa, threads, fuse, repack });
      const { y } = compiled.runSync({ x }, undefined, { y: new Float32Array((x.length / columns) * out).fill(NaN) });
      const { calls } = compiled.executable.sizes();
      compiled.dispose();
      return { y, calls };
    };
    const plain = run(false, 1, false, all);
    const fused = run(true, 2, true, all);
    // quantise x, the op, and what lies behind; without fusion, two linears, the activation and its quantiser.
    expect(plain.calls - fused.calls).toBe(shape.down ? 3 : 2);
    expectSameBits(fused.y, plain.y, isa);
    expectSameBits(run(true, 3, false, all).y, plain.y, `${isa}, weights as in their file`);
    for (const [first, count] of [
      [0, 1],
      [36, 1],
      [5, 2],
      [3, 4],
      [9, 7],
      [20, 17],
    ]) {
      const part = run(true, 1 + (count % 2), count !== 2, all.slice(first * columns, (first + count) * columns));
      expectSameBits(part.y, plain.y.slice(first * out, (first + count) * out), `${isa}, rows ${first} + ${count}`);
    }
  }
});

// Wide enough for units of 128 columns on one thread and 64 on two, the last one shorter than the others.
test.each(['F32', 'F16', 'Q4_0', 'Q6_K'] as DType[])('%s: few rows in long units', (dtype) => {
  const [columns, rows] = [256, 9];
  for (const [out, down] of [
    [2080, true],
    [2069, false],
  ] as const) {
    const builder = new ProgramBuilder('long', (name) => {
      return name === 'down' ? { dtype: 'Q8_0', shape: [8, out] } : { dtype, shape: [out, columns] };
    });
    const x = builder.input('x', 'F32', 'rows', columns);
    const [gate, up] = ['gate', 'up'].map((name) => builder.linear(x, builder.weight(name, [out, columns])));
    const y = builder.gatedActivation(gate, up, 'silu');
    const program = builder.finish({ y: down ? builder.linear(y, builder.weight('down', [8, out])) : y });
    const own = gatedWeights({ dtype, columns, out, down });
    const last = down ? quantise('Q8_0', random('down', 8 * out), 8, out) : new Uint8Array();
    const all = random('x', rows * columns);
    for (const isa of isaLevels()) {
      const run = (fuse: boolean, threads: number, count: number) => {
        const weights = (name: string) => (name === 'down' ? last : own(name));
        const compiled = new NativeProgram(program, weights, { isa, threads, fuse });
        const given = { x: all.slice(0, count * columns) };
        const result = compiled.runSync(given, undefined, { y: new Float32Array(count * (down ? 8 : out)).fill(NaN) });
        compiled.dispose();
        return result.y;
      };
      const plain = run(false, 1, rows);
      for (const [threads, count] of [
        [1, 1],
        [2, 1],
        [1, 4],
        [2, 8],
        [1, 9],
      ]) {
        const expected = plain.slice(0, count * (down ? 8 : out));
        expectSameBits(run(true, threads, count), expected, `${isa}, ${threads} threads, ${count} rows of ${out}`);
      }
    }
  }
});

// Those that a card keeps in an order of their own; F16 and W8A8 are not among them.
const onCards: DType[] = [...quantisedTypes, 'W4A16', 'W4A16_G32', 'W4A16_G128', 'W8A16', 'W8A16_G64'];
const cardShapes: Shape[] = onCards.flatMap((dtype) => [
  { dtype, columns: 256, out: 96, down: true },
  { dtype, columns: 2304, out: 53, down: false, activation: 'gelu_tanh' }, // in slices
]);

test.each(cardShapes)('$dtype [$out, $columns], $activation, on the emulated card', (shape) => {
  const { columns, out } = shape;
  const program = gatedProgram(shape);
  const weights = gatedWeights(shape);
  const [rows, device] = [37, emulatedDevice()];
  if (!device) return; // a build without it
  const all = random('x', rows * columns);
  const run = (fuse: boolean, x: Float32Array) => {
    const compiled = new NativeProgram(program, weights, { device, fuse });
    const { y } = compiled.runSync({ x }, undefined, { y: new Float32Array((x.length / columns) * out).fill(NaN) });
    const { calls } = compiled.executable.sizes();
    compiled.dispose();
    return { y, calls };
  };
  const [plain, fused] = [run(false, all), run(true, all)];
  expect(plain.calls - fused.calls).toBe(shape.down ? 3 : 2);
  expectSameBits(fused.y, plain.y, 'fused');
  for (const [first, count] of [
    [36, 1],
    [3, 4],
    [9, 13],
  ]) {
    const part = run(true, all.slice(first * columns, (first + count) * columns));
    expectSameBits(part.y, plain.y.slice(first * out, (first + count) * out), `rows ${first} + ${count}`);
  }
});

test('stays as it is on a card that has no order of its own for the type', () => {
  const device = emulatedDevice();
  for (const dtype of device ? (['F16', 'W8A8'] as const) : []) {
    const shape: Shape = { dtype, columns: 64, out: 32, down: false };
    const calls = [false, true].map((fuse) => {
      const compiled = new NativeProgram(gatedProgram(shape), gatedWeights(shape), { device, fuse });
      const { calls: count } = compiled.executable.sizes();
      compiled.dispose();
      return count;
    });
    expect(calls[1]).toBe(calls[0]);
  }
});

test('a NaN or an infinity spoils its row alone', () => {
  const shape: Shape = { dtype: 'Q4_0', columns: 64, out: 32, down: true };
  const x = random('x', 5 * 64);
  x[70] = NaN;
  x[200] = Infinity;
  const run = (fuse: boolean) => {
    const compiled = new NativeProgram(gatedProgram(shape), gatedWeights(shape), { fuse });
    const { y } = compiled.runSync({ x });
    compiled.dispose();
    return y;
  };
  expectSameBits(run(true), run(false), 'fused');
});

describe('stays as it is', () => {
  const [columns, out] = [64, 32];
  const weight = new Uint8Array(out * rowBytes('Q8_0', columns));
  const kept: Record<string, (b: ProgramBuilder) => ReturnType<ProgramBuilder['finish']>> = {
    'when a product is read elsewhere': (b) => {
      const x = b.input('x', 'F32', 'rows', columns);
      const [gate, up] = ['a', 'b'].map((name) => b.linear(x, b.weight(name, [out, columns])));
      return b.finish({ y: b.gatedActivation(gate, up, 'silu'), up });
    },
    'when there is a bias': (b) => {
      const x = b.input('x', 'F32', 'rows', columns);
      const bias = b.constant('bias', 1, out, random('bias', out));
      const gate = b.linear(x, b.weight('a', [out, columns]), bias);
      return b.finish({ y: b.gatedActivation(gate, b.linear(x, b.weight('b', [out, columns])), 'silu') });
    },
    'when the inputs differ': (b) => {
      const [x, z] = ['x', 'z'].map((name) => b.input(name, 'F32', 'rows', columns));
      const [gate, up] = [x, z].map((from, i) => b.linear(from, b.weight(`w${i}`, [out, columns])));
      return b.finish({ y: b.gatedActivation(gate, up, 'silu') });
    },
    'when both sides are one product': (b) => {
      const product = b.linear(b.input('x', 'F32', 'rows', columns), b.weight('a', [out, columns]));
      return b.finish({ y: b.gatedActivation(product, product, 'silu') });
    },
  };
  test.each(Object.entries(kept))('%s', (_, make) => {
    const builder = new ProgramBuilder('kept', () => ({ dtype: 'Q8_0', shape: [out, columns] }));
    expect(callsSpared(make(builder), weight)).toBe(0);
  });

  test('when the weights are of two types', () => {
    const builder = new ProgramBuilder('kept', (name) => ({
      dtype: name === 'a' ? 'Q8_0' : 'F32',
      shape: [out, columns],
    }));
    const x = builder.input('x', 'F32', 'rows', columns);
    const [gate, up] = ['a', 'b'].map((name) => builder.linear(x, builder.weight(name, [out, columns])));
    const program = builder.finish({ y: builder.gatedActivation(gate, up, 'silu') });
    expect(callsSpared(program, new Uint8Array(out * columns * 4))).toBe(0);
  });
});
