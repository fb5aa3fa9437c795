// Quantised checkpoints: whatever the layout, every code, scale and zero point arrives at its place, to the last bit.
import { VivaceError } from '../../../lib/errors.js';
import type { SafetensorsTensorInput } from '../../../lib/formats/safetensors-writer.js';
import type { Scheme } from '../../../lib/formats/hugging-face/quantised/scheme.js';
import type { WeightStore } from '../../../lib/formats/weight-store.js';
import { rowBytes, type DType } from '../../../lib/program/dtype.js';
import { dequantiseRow } from '../../../lib/program/reference/dequantise.js';
import { Generator } from '../../fixtures/random/generator.js';
import { thrown } from '../scratch.js';
import * as write from './checkpoint-writers.js';
import { groupOf, type Linear } from './checkpoint-writers.js';
import { compressed, gptqScheme, half, layer, linearOf, name, open, typeOf } from './random-checkpoint.js';

/** The weight as stored, with columns back in the order of the file. */
function values(store: WeightStore, { rows, columns }: Linear, dtype: DType): Float64Array[] {
  const info = store.info(name);
  expect(info).toMatchObject({ dtype, shape: [rows, columns] });
  const all = store.bytes(name);
  const size = rowBytes(dtype, columns);
  return Array.from({ length: rows }, (_, n) => {
    const row = dequantiseRow(dtype, all.subarray(n * size, (n + 1) * size), columns);
    const order = info?.columnOrder;
    if (!order) return row;
    const inFile = new Float64Array(columns);
    order.forEach((column, i) => (inFile[column] = row[i]));
    return inFile;
  });
}

const wanted = (linear: Linear): Float64Array[] =>
  Array.from({ length: linear.rows }, (_, n) =>
    Float64Array.from({ length: linear.columns }, (__, k) => {
      const g = groupOf(linear, k);
      return linear.scale(n, g) * (linear.code(n, k) - linear.zero(n, g)) + 0;
    }),
  );

const plus0 = (rows: Float64Array[]): number[][] => rows.map((row) => Array.from(row, (value) => value + 0));

function check(tensors: SafetensorsTensorInput[], scheme: Scheme | undefined, linear: Linear, dtype: DType): void {
  const store = open(tensors, scheme);
  const found = plus0(values(store, linear, dtype));
  const expected = plus0(wanted(linear));
  const row = found.findIndex((value, n) => !value.every((number, k) => number === expected[n][k]));
  if (row >= 0) {
    const k = found[row].findIndex((number, column) => number !== expected[row][column]);
    throw new Error(`[${row}, ${k}] is ${found[row][k]}, not ${expected[row][k]}`);
  }
  store.close();
}

describe('gptq', () => {
  const shapes = [
    [4, 96, 256, 128],
    [4, 72, 256, 64],
    [4, 200, 160, 32],
    [4, 8, 512, 256],
    [4, 64, 144, 144],
    [8, 68, 256, 128],
    [8, 4, 36, 36],
    [2, 80, 128, 32],
  ] as const;
  test.each(shapes)('%d bits, [%d, %d] in groups of %d', (bits, rows, columns, group) => {
    const linear = linearOf({ rows, columns, bits, group });
    const dtype = typeOf(bits, group, columns);
    check(write.gptq(layer, linear, 1), gptqScheme(bits, false, true), linear, dtype);
    check(write.gptq(layer, linear, 0, false), gptqScheme(bits, false, false), linear, dtype);
  });

  test('a zero point of 0 is stored as the highest code', () => {
    const linear = linearOf({ rows: 16, columns: 128, bits: 4, group: 128, zero: 0 });
    check(write.gptq(layer, linear, 1), gptqScheme(4, false, true), linear, 'W4A16');
  });

  test.each([4, 8] as const)(
    '%d bits, symmetric: the data tell the first format from the second, whatever the config says',
    (bits) => {
      const linear = linearOf({ rows: 16, columns: 256, bits, group: 128, zero: 2 ** (bits - 1) });
      const dtype = typeOf(bits, 128, 256);
      for (const less of [0, 1] as const) {
        for (const said of [false, true])
          check(write.gptq(layer, linear, less), gptqScheme(bits, true, said), linear, dtype);
      }
    },
  );

  test('columns quantised in another order', () => {
    const shuffled = (column: number): number => Math.floor(((column * 37) % 256) / 64);
    const linear = linearOf({ rows: 40, columns: 256, bits: 4, group: 64, groupOf: shuffled });
    check(write.gptq(layer, linear, 1), gptqScheme(4, false, true), linear, 'W4A16_G64');
    expect(open(write.gptq(layer, linear, 1), gptqScheme(4, false, true)).info(name)?.columnOrder).toHaveLength(256);
    // In order, nothing is left to sort.
    const plain = linearOf({ rows: 40, columns: 256, bits: 4, group: 64 });
    expect(open(write.gptq(layer, plain, 1), gptqScheme(4, false, true)).info(name)).not.toHaveProperty('columnOrder');
  });

  test('groups of different sizes are refused by name', () => {
    const uneven = linearOf({ rows: 8, columns: 64, bits: 4, group: 32, groupOf: (column) => (column < 20 ? 0 : 1) });
    const error = thrown(() => open(write.gptq(layer, uneven, 1), gptqScheme(4, false, true)).info(name));
    expect(error).toMatchObject({ code: 'FORMAT_INVALID', message: expect.stringContaining(name) });
  });
});

test.each([
  [64, 256, 128],
  [200, 160, 32],
  [8, 192, 64],
])('awq [%d, %d] in groups of %d', (rows, columns, group) => {
  const linear = linearOf({ rows, columns, bits: 4, group });
  check(write.awq(layer, linear), { method: 'awq' }, linear, typeOf(4, group, columns));
});

describe('compressed-tensors', () => {
  test.each([
    [4, 65, 256, 128],
    [4, 7, 192, 64],
    [4, 130, 72, 72],
    [8, 33, 256, 128],
    [8, 65, 52, 52],
  ] as const)('%d bits packed, [%d, %d] in groups of %d', (bits, rows, columns, group) => {
    const groupSize = group === columns ? {} : { groupSize: group };
    const dtype = typeOf(bits, group, columns);
    const symmetric = linearOf({ rows, columns, bits, group, zero: 2 ** (bits - 1) });
    const asymmetric = linearOf({ rows, columns, bits, group });
    check(
      write.packed(layer, symmetric, 'F16', false),
      compressed({ bits, symmetric: true, ...groupSize }),
      symmetric,
      dtype,
    );
    check(
      write.packed(layer, asymmetric, 'F32', true),
      compressed({ bits, symmetric: false, ...groupSize }),
      asymmetric,
      dtype,
    );
  });

  test('columns quantised in another order, and scales of BF16', () => {
    const options = { rows: 40, columns: 256, bits: 4, group: 64, groupOf: (k: number) => (k * 5 + 3) % 4 } as const;
    const linear = { ...linearOf(options), scale: (row: number, g: number) => (1 + ((row + g) % 64) / 64) * 2 ** -20 };
    check(
      write.packed(layer, linear, 'BF16', true, true),
      compressed({ bits: 4, symmetric: false, groupSize: 64 }),
      linear,
      'W4A16_G64',
    );
  });

  test.each([true, false])('bytes with 8-bit activations: %s', (tokens) => {
    const dtype = tokens ? 'W8A8' : 'W8A16';
    const symmetric = linearOf({ rows: 70, columns: 131, bits: 8, group: 131, zero: 128 });
    check(
      write.bytes(layer, symmetric, 'F32', false),
      compressed({ bits: 8, symmetric: true, tokens }),
      symmetric,
      dtype,
    );
    const asymmetric = linearOf({ rows: 5, columns: 64, bits: 8, group: 64 });
    check(
      write.bytes(layer, asymmetric, 'F16', true),
      compressed({ bits: 8, symmetric: false, tokens }),
      asymmetric,
      dtype,
    );
  });
});

describe('tensor-core layouts', () => {
  test.each([
    [128, 256, 128],
    [64, 48, 48],
    [192, 128, 32],
  ])('marlin [%d, %d] in groups of %d', (rows, columns, group) => {
    const linear = linearOf({ rows, columns, bits: 4, group, zero: 8 });
    check(write.marlin(layer, linear), { method: 'marlin' }, linear, typeOf(4, group, columns));
  });

  test('qqq per row', () => {
    const linear = linearOf({ rows: 128, columns: 80, bits: 4, group: 80, zero: 8 });
    check(write.qqq(layer, linear), { method: 'qqq' }, linear, 'W4A8');
  });

  test('qqq in groups becomes the bytes that its kernel multiplies with', () => {
    const linear = linearOf({ rows: 64, columns: 256, bits: 4, group: 128, zero: 8 });
    const groupScale = (row: number, g: number): number => half(1 + ((7 * row + 3 * g) % 150) / 10);
    const store = open(write.qqq(layer, linear, groupScale), { method: 'qqq' });
    const halfEven = (value: number): number => {
      const floor = Math.floor(value);
      const rest = value - floor;
      return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
    };
    const expected = Array.from({ length: 64 }, (_, n) =>
      Array.from({ length: 256 }, (__, k) => {
        const code = halfEven((linear.code(n, k) - 8) * groupScale(n, k >> 7));
        return Math.fround(linear.scale(n, 0)) * code + 0;
      }),
    );
    expect(plus0(values(store, linear, 'W8A8'))).toEqual(expected);
  });

  test('qserve per row', () => {
    const linear = linearOf({ rows: 96, columns: 64, bits: 4, group: 64 });
    const store = open(write.qserve(layer, linear), undefined);
    const expected = Array.from({ length: 96 }, (_, n) =>
      Array.from(
        { length: 64 },
        (__, k) => linear.scale(n, 0) * linear.code(n, k) - half(linear.scale(n, 0) * linear.zero(n, 0)) + 0,
      ),
    );
    expect(plus0(values(store, linear, 'W4A8'))).toEqual(expected);
  });

  test('qserve in groups', () => {
    const linear = linearOf({ rows: 64, columns: 256, bits: 4, group: 128 });
    const groupScale = (row: number, g: number): number => 1 + ((row + 5 * g) % 8);
    const store = open(write.qserve(layer, linear, groupScale), undefined);
    const expected = Array.from({ length: 64 }, (_, n) =>
      Array.from({ length: 256 }, (__, k) => {
        const g = k >> 7;
        const code = (((linear.code(n, k) - linear.zero(n, g)) * groupScale(n, g)) << 24) >> 24;
        return linear.scale(n, 0) * code + 0;
      }),
    );
    expect(plus0(values(store, linear, 'W4A8_G128'))).toEqual(expected);
  });
});

test('one matrix in every four-bit layout becomes the same bytes', () => {
  const linear = linearOf({ rows: 128, columns: 256, bits: 4, group: 128, zero: 8 });
  const stores = [
    open(write.gptq(layer, linear, 1), gptqScheme(4, true, true)),
    open(write.gptq(layer, linear, 0), gptqScheme(4, false, false)),
    open(write.awq(layer, linear), { method: 'awq' }),
    open(write.packed(layer, linear, 'F16', false), compressed({ bits: 4, symmetric: true, groupSize: 128 })),
    open(write.marlin(layer, linear), { method: 'marlin' }),
  ];
  const [first, ...others] = stores.map((store) => Buffer.from(store.bytes(name)));
  expect(others.map((bytes) => bytes.equals(first))).toEqual([true, true, true, true]);
});

test('scales that are not finite, or out of range, are refused by name', () => {
  const linear = linearOf({ rows: 64, columns: 128, bits: 4, group: 128, zero: 8 });
  const bad = { ...linear, scale: () => NaN };
  for (const [tensors, scheme] of [
    [write.gptq(layer, bad, 1), gptqScheme(4, true, true)],
    [write.qqq(layer, bad), { method: 'qqq' }],
    [write.qserve(layer, linear, () => 99), undefined],
  ] as const) {
    const error = thrown(() => open([...tensors], scheme).bytes(name));
    expect(error).toMatchObject({ code: 'FORMAT_INVALID', message: expect.stringContaining(name) });
  }
});

test('parts that do not fit together are refused by name', () => {
  const linear = linearOf({ rows: 64, columns: 128, bits: 4, group: 64 });
  const [weights, zeros, scales] = write.awq(layer, linear);
  const error = thrown(() => open([weights, zeros], { method: 'awq' }));
  expect(error).toMatchObject({ code: 'MISSING_TENSOR', message: expect.stringContaining(`${layer}.scales`) });
  const short = { ...zeros, shape: [1, 8], data: new Uint8Array(32) };
  expect(thrown(() => open([weights, short, scales], { method: 'awq' }).bytes(name))).toMatchObject({
    code: 'SHAPE_MISMATCH',
    message: expect.stringContaining(name),
  });
  const odd = linearOf({ rows: 16, columns: 96, bits: 4, group: 48 });
  expect(thrown(() => open(write.gptq(layer, odd, 1), gptqScheme(4, false, true)))).toMatchObject({
    code: 'UNSUPPORTED_FEATURE',
    message: expect.stringContaining(layer),
  });
});

test('damaged headers end in an error with a code, never elsewhere', () => {
  const linear = linearOf({ rows: 64, columns: 128, bits: 4, group: 64, zero: 8 });
  const generator = new Generator(8, 'damage');
  const schemes: [SafetensorsTensorInput[], Scheme | undefined][] = [
    [write.gptq(layer, linear, 1), gptqScheme(4, false, true)],
    [write.awq(layer, linear), { method: 'awq' }],
    [write.packed(layer, linear, 'F16', true, true), compressed({ bits: 4, symmetric: false, groupSize: 64 })],
    [write.marlin(layer, linear), { method: 'marlin' }],
    [write.qqq(layer, linear, () => 2), { method: 'qqq' }],
    [write.qserve(layer, linear, () => 2), undefined],
  ];
  let refused = 0;
  for (const [tensors, scheme] of schemes) {
    for (let round = 0; round < 25; ++round) {
      const damaged = tensors.map((tensor) => {
        if (generator.integer(0, 2) > 0 || tensor.data instanceof Function) return tensor;
        // Another shape of fewer or more values, or bytes of another kind.
        const shape = tensor.shape.map((size) =>
          Math.max(0, size + generator.integer(-2, 2) * generator.integer(0, 9)),
        );
        const count = shape.reduce((a, b) => a * b, 1);
        const size =
          tensor.data.length /
            Math.max(
              1,
              tensor.shape.reduce((a, b) => a * b, 1),
            ) || 4;
        return { ...tensor, shape, data: Uint8Array.from({ length: count * size }, () => generator.integer(0, 255)) };
      });
      try {
        const store = open(damaged, scheme);
        if (store.info(name)) store.bytes(name);
        store.close();
      } catch (error) {
        if (!(error instanceof VivaceError)) throw error;
        refused += 1;
      }
    }
  }
  expect(refused).toBeGreaterThan(50);
});
