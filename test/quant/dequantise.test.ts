// Dequantisers: hand-made blocks give the values that their closed forms say, and native code gives the bits of the plain
// TypeScript one for any bytes.
import { native } from '../../lib/native.js';
import { dtypes, rowBytes } from '../../lib/program/dtype.js';
import type { DType } from '../../lib/program/dtype.js';
import { dequantiseRow } from '../../lib/program/reference/dequantise.js';
import { Generator } from '../fixtures/random/generator.js';

function nativeRow(dtype: DType, bytes: Uint8Array, columns: number): Float32Array {
  const values = new Float32Array(columns);
  native().dequantize(dtypes[dtype].id, bytes, 1, columns, values);
  return values;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const repeat = (count: number, value: number): number[] => Array(count).fill(value);

// 16-bit floats as bytes
const one = [0x00, 0x3c];
const half = [0x00, 0x38];
const minusTwo = [0x00, 0xc0];

interface Golden {
  readonly dtype: DType;
  readonly what: string;
  readonly block: number[];
  readonly value: (i: number) => number;
}

const levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
// Bytes 0x10, 0x32 … 0xfe, 0x10 …: low nibbles 0 2 4 …, high ones 1 3 5 …
const nibbles = (count: number): number[] => range(count).map((i) => (2 * (i % 8)) | ((2 * (i % 8) + 1) << 4));
const nibbleOf = (i: number, width: number): number => 2 * (i % 8) + (i % (2 * width) < width ? 0 : 1);

const golden: Golden[] = [
  { dtype: 'Q4_0', what: 'nibbles', block: [...half, ...nibbles(16)], value: (i) => (nibbleOf(i, 16) - 8) / 2 },
  {
    dtype: 'Q4_1',
    what: 'nibbles',
    block: [...half, ...minusTwo, ...nibbles(16)],
    value: (i) => nibbleOf(i, 16) / 2 - 2,
  },
  {
    dtype: 'Q5_0',
    what: 'every third code with the fifth bit',
    // Bits 0, 3, 6, 9 …: 0x49 0x92 0x24 0x49
    block: [...one, 0x49, 0x92, 0x24, 0x49, ...nibbles(16)],
    value: (i) => nibbleOf(i, 16) + (i % 3 === 0 ? 16 : 0) - 16,
  },
  {
    dtype: 'Q5_1',
    what: 'the upper half with the fifth bit',
    block: [...one, ...half, 0, 0, 0xff, 0xff, ...nibbles(16)],
    value: (i) => nibbleOf(i, 16) + (i < 16 ? 0 : 16) + 0.5,
  },
  {
    dtype: 'Q8_0',
    what: 'both signs',
    block: [...minusTwo, ...range(32).map((i) => (240 + i) & 255)],
    value: (i) => -2 * (i - 16),
  },
  {
    dtype: 'IQ4_NL',
    what: 'all levels',
    block: [...half, ...range(16).map((i) => i | ((15 - i) << 4))],
    value: (i) => levels[i < 16 ? i : 31 - i] / 2,
  },
  {
    dtype: 'IQ4_XS',
    what: 'scales −32 … 31 in steps of 9',
    // Six bits 0, 9, 18 … 63: low nibbles 0 9 2 11 4 13 6 15, high bits 0 0 1 1 2 2 3 3.
    block: [...one, 0x50, 0xfa, 0x90, 0xb2, 0xd4, 0xf6, ...range(128).map((i) => (i % 16) | (3 << 4))],
    value: (i) => (9 * (i >> 5) - 32) * levels[i % 32 < 16 ? i % 16 : 3],
  },
  {
    dtype: 'Q2_K',
    what: 'scales j, minima 15 − j',
    block: [...range(16).map((j) => j | ((15 - j) << 4)), ...repeat(64, 0b11100100), ...one, ...half],
    value: (i) => (i >> 4) * ((i >> 5) % 4) - (15 - (i >> 4)) / 2,
  },
  {
    dtype: 'Q3_K',
    what: 'scales 4j − 32, third bit in odd groups',
    // Low nibbles of 4j: 0 4 8 12 …; high bits of 4j: j / 4.
    block: [
      ...repeat(32, 0b10101010),
      ...repeat(64, 0b11100100),
      ...[0x00, 0x44, 0x88, 0xcc, 0x00, 0x44, 0x88, 0xcc],
      ...repeat(4, 0b11100100),
      ...one,
    ],
    value: (i) => (4 * (i >> 4) - 32) * (((i >> 5) % 4) + ((i >> 5) % 2 ? 0 : -4)),
  },
  {
    dtype: 'Q4_K',
    what: 'scales 9j, minima 63 − 9j',
    block: [
      ...one,
      ...half,
      ...sixBits([0, 9, 18, 27, 36, 45, 54, 63], [63, 54, 45, 36, 27, 18, 9, 0]),
      ...nibbles(128),
    ],
    value: (i) => 9 * (i >> 5) * nibbleOf(i, 32) - (63 - 9 * (i >> 5)) / 2,
  },
  {
    dtype: 'Q5_K',
    what: 'the fifth bit in groups 0, 3, 6',
    block: [...one, ...half, ...sixBits(repeat(8, 33), repeat(8, 17)), ...repeat(32, 0b01001001), ...nibbles(128)],
    value: (i) => 33 * (nibbleOf(i, 32) + ((i >> 5) % 3 === 0 ? 16 : 0)) - 17 / 2,
  },
  {
    dtype: 'Q6_K',
    what: 'both signs of scales, two high bits by quarter',
    block: [...nibbles(128), ...repeat(64, 0b11100100), ...range(16).map((j) => (j - 8) & 255), ...half],
    value: (i) => (((i >> 4) - 8) * (nibbleOf(i, 64) + 16 * ((i >> 5) % 4) - 32)) / 2,
  },
  { dtype: 'F16', what: 'a third', block: [0x55, 0x35], value: () => 0.333251953125 },
  { dtype: 'BF16', what: 'a third', block: [0xab, 0x3e], value: () => 0.333984375 },
];

/** Scales and minima of six bits: of the first four in the low six bits of eight bytes, of the others in what is left. */
function sixBits(scales: number[], mins: number[]): number[] {
  const first = range(4).map((j) => scales[j] | ((scales[j + 4] >> 4) << 6));
  const second = range(4).map((j) => mins[j] | ((mins[j + 4] >> 4) << 6));
  return [...first, ...second, ...range(4).map((j) => (scales[j + 4] & 15) | ((mins[j + 4] & 15) << 4))];
}

test.each(golden.map((row) => [row.dtype, row.what, row] as const))('%s: %s', (dtype, _, { block, value }) => {
  expect(block.length).toBe(dtypes[dtype].bytes);
  const wanted = range(dtypes[dtype].block).map((i) => value(i) + 0);
  const bytes = Uint8Array.from(block);
  const plus = (row: Float32Array | Float64Array): number[] => Array.from(row, (found) => found + 0);
  expect(plus(dequantiseRow(dtype, bytes, wanted.length))).toEqual(wanted);
  expect(plus(nativeRow(dtype, bytes, wanted.length))).toEqual(wanted);
});

const types = Object.values(dtypes)
  .filter(({ weight }) => weight)
  .map(({ name }) => name as DType);

test.each(types)('%s: native and plain code give the same bits for any bytes', (dtype) => {
  const columns = dtypes[dtype].block * 300;
  const generator = new Generator(5, dtype);
  const bytes = Uint8Array.from({ length: rowBytes(dtype, columns) }, () => generator.integer(0, 255));
  // NaNs are equal whatever their bits: processors choose them.
  const found = nativeRow(dtype, bytes, columns);
  const wanted = Float32Array.from(dequantiseRow(dtype, bytes, columns));
  expect(found.findIndex((value, i) => !Object.is(value, wanted[i]))).toBe(-1);
});

test.each(['F16', 'BF16'] as const)('%s: all 65536 values, and back', (dtype) => {
  const bytes = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);
  const values = nativeRow(dtype, bytes, 65536);
  const wanted = dequantiseRow(dtype, bytes, 65536);
  expect(values.findIndex((value, i) => !Object.is(value, wanted[i]))).toBe(-1);
  const finite = Array.from(values.keys()).filter((i) => Number.isFinite(values[i]));
  const back = new Uint8Array(2 * finite.length);
  native().quantize(
    dtypes[dtype].id,
    Float32Array.from(finite, (i) => values[i]),
    1,
    finite.length,
    back,
  );
  expect(Array.from(new Uint16Array(back.buffer))).toEqual(finite);
});

test('narrowing rounds to the nearest, ties to even, and keeps subnormals', () => {
  const narrow = (dtype: 'F16' | 'BF16', value: number): number => {
    const out = new Uint8Array(2);
    native().quantize(dtypes[dtype].id, Float32Array.of(value), 1, 1, out);
    return dequantiseRow(dtype, out, 1)[0];
  };
  expect(narrow('F16', 1 + 2 ** -11)).toBe(1);
  expect(narrow('F16', 1 + 3 * 2 ** -11)).toBe(1 + 2 ** -9);
  expect(narrow('F16', 1 + 2 ** -11 + 2 ** -20)).toBe(1 + 2 ** -10);
  expect(narrow('F16', 2 ** -25)).toBe(0);
  expect(narrow('F16', 3 * 2 ** -25)).toBe(2 ** -23);
  expect(narrow('F16', -(2 ** -14) + 2 ** -25)).toBe(-(2 ** -14));
  expect(narrow('BF16', 1 + 2 ** -8)).toBe(1);
  expect(narrow('BF16', 1 + 3 * 2 ** -8)).toBe(1 + 2 ** -6);
});
