// Quantisers: how much they lose on normal numbers, what they keep exactly, and what they refuse.
import { native, nativeCall } from '../../lib/native.js';
import { dtypes, inGguf, rowBytes } from '../../lib/program/dtype.js';
import type { DType } from '../../lib/program/dtype.js';
import { Generator } from '../fixtures/random/generator.js';

const types = Object.values(dtypes)
  .filter(({ weight }) => weight)
  .map(({ name }) => name as DType);
const blockTypes = types.filter((dtype) => dtypes[dtype].block > 1);

function quantise(dtype: DType, values: Float32Array, rows = 1): Uint8Array {
  const columns = values.length / rows;
  const bytes = new Uint8Array(rows * rowBytes(dtype, columns));
  nativeCall(() => native().quantize(dtypes[dtype].id, values, rows, columns, bytes));
  return bytes;
}

function dequantise(dtype: DType, bytes: Uint8Array, columns: number, rows = 1): Float32Array {
  const values = new Float32Array(rows * columns);
  nativeCall(() => native().dequantize(dtypes[dtype].id, bytes, rows, columns, values));
  return values;
}

const through = (dtype: DType, values: Float32Array): Float32Array =>
  dequantise(dtype, quantise(dtype, values), values.length);

function relativeError(values: Float32Array, kept: Float32Array): number {
  let [error, size] = [0, 0];
  for (let i = 0; i < values.length; ++i) {
    error += (kept[i] - values[i]) ** 2;
    size += values[i] ** 2;
  }
  return Math.sqrt(error / size);
}

/** Normal numbers by Box and Muller: tails matter to a scale. */
function normals(count: number): Float32Array {
  const generator = new Generator(1, 'normals');
  const uniform = (): number => (generator.next() + 0.5) / 2 ** 32;
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

// Root of mean square error over that of the values. Q8_0, Q6_K, Q5_K, Q4_K and Q4_0 were computed independently of this
// code; the others are of these quantisers, and may not get worse.
const losses: Partial<Record<DType, number>> = {
  F32: 0,
  F16: 0.000208,
  BF16: 0.00166,
  Q8_0: 0.00535,
  Q6_K: 0.0177,
  Q5_K: 0.0362,
  Q5_1: 0.0378,
  Q5_0: 0.0427,
  Q4_K: 0.0718,
  IQ4_NL: 0.0751,
  IQ4_XS: 0.0758,
  Q4_1: 0.0782,
  Q4_0: 0.0859,
  Q3_K: 0.148,
  Q2_K: 0.275,
  // Of one row of 65536 values, whose largest is at 4.3: what a scale per row costs.
  W8A16: 0.01134,
  W8A8: 0.01134,
  W8A16_G128: 0.0065,
  W8A16_G64: 0.00594,
  W8A16_G32: 0.00535,
  W4A16: 0.1926,
  W4A8: 0.1756,
  W4A16_G128: 0.1115,
  W4A8_G128: 0.1029,
  W4A16_G64: 0.1032,
  W4A16_G32: 0.095,
};

test.each(types)('%s loses as much of normal numbers as its bits must', (dtype) => {
  const wanted = losses[dtype] as number;
  const values = normals(1 << 16);
  const found = relativeError(values, through(dtype, values));
  expect(found).toBeGreaterThanOrEqual(wanted * 0.98);
  expect(found).toBeLessThanOrEqual(wanted * 1.02);
});

test.each(blockTypes)('%s keeps zeros, and loses no more of large or small numbers', (dtype) => {
  expect(Array.from(through(dtype, new Float32Array(512)), Math.abs)).toEqual(Array(512).fill(0));
  const values = normals(1024);
  const loss = relativeError(values, through(dtype, values));
  for (const size of [0.01, 100, 10000]) {
    const scaled = values.map((value) => value * size);
    expect(relativeError(scaled, through(dtype, scaled))).toBeLessThan(loss * 1.1 + 0.001);
  }
});

test.each(blockTypes.filter(inGguf))('%s survives an outlier, a constant row and values of one sign', (dtype) => {
  const outlier = normals(256);
  outlier[77] = 1000;
  expect(Math.abs(through(dtype, outlier)[77] - 1000)).toBeLessThan(60);
  for (const value of [3, -3]) {
    const kept = through(dtype, new Float32Array(256).fill(value));
    expect(kept.every((found) => Math.abs(found - value) < 0.13)).toBe(true);
  }
  for (const sign of [1, -1]) {
    const values = normals(256).map((value) => sign * (1 + Math.abs(value)));
    expect(relativeError(values, through(dtype, values))).toBeLessThan(0.3);
  }
});

test.each(types.filter((dtype) => !inGguf(dtype)))(
  '%s: an outlier costs its group only, a constant row half a step',
  (dtype) => {
    const outlier = normals(512);
    outlier[77] = 1000;
    const kept = through(dtype, outlier);
    const step = dtype.startsWith('W4') ? 1000 / 7 : 1000 / 119;
    expect(Math.abs(kept[77] - 1000)).toBeLessThanOrEqual(step / 2 + 1);
    const group = /_G(\d+)/.exec(dtype);
    if (group && dtype !== 'W4A8_G128') {
      expect(relativeError(outlier.subarray(128), kept.subarray(128))).toBeLessThan(0.13);
    }
    for (const value of [3, -3]) {
      const constant = through(dtype, new Float32Array(256).fill(value));
      expect(constant.every((found) => Math.abs(found - value) <= (dtype.startsWith('W4') ? 3 / 14 : 3 / 200))).toBe(
        true,
      );
    }
  },
);

// Codes whose range is used up and whose scale is a power of two come back as they were.
test.each(['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0'] as const)('%s keeps what it can hold', (dtype) => {
  const [low, high] = { Q4_0: [-8, 7], Q4_1: [0, 15], Q5_0: [-16, 15], Q5_1: [0, 31], Q8_0: [-127, 127] }[dtype];
  const generator = new Generator(2, dtype);
  const values = Float32Array.from({ length: 320 }, (_, i) =>
    i % 32 === 3 ? low : i % 32 === 9 && low === 0 ? high : generator.integer(low, high),
  ).map((value) => value / 16);
  expect(Array.from(through(dtype, values), (value) => value + 0)).toEqual(Array.from(values));
});

test.each(types)('%s refuses what it cannot hold, by place', (dtype) => {
  const bad = dtype === 'F32' || dtype === 'BF16' ? [NaN, Infinity] : [NaN, -Infinity, 65600];
  for (const value of bad) {
    const values = new Float32Array(512);
    values[300] = value;
    expect(() => quantise(dtype, values, 2)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('value 44 of row 1') }),
    );
  }
});

test('sizes and types are checked', () => {
  const call = (id: number, values: number, columns: number, bytes: number) => (): void =>
    nativeCall(() => native().quantize(id, new Float32Array(values), 1, columns, new Uint8Array(bytes)));
  expect(call(2, 32, 32, 18)).not.toThrow();
  expect(call(2, 32, 32, 17)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
  expect(call(2, 31, 32, 18)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
  expect(call(2, 40, 40, 22)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
  expect(call(26, 32, 32, 128)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED_TENSOR_TYPE' }));
  expect(call(999, 32, 32, 18)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED_TENSOR_TYPE' }));
});
