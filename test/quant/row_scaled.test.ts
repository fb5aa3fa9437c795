// What rounding to nearest costs on normal numbers in rows of 4096, against values computed independently; and QoQ's promise
// that its second rounding stays within eight bits.
import { native } from '../../lib/native.js';
import { dtypes, rowBytes, type DType } from '../../lib/program/dtype.js';
import { Generator } from '../fixtures/random/generator.js';

const [rows, columns] = [256, 4096];

const { sqrt, log, cos, round, min, max, abs, PI } = Math;

function normals(): Float32Array {
  const generator = new Generator(3, 'normals');
  const uniform = (): number => (generator.next() + 0.5) / 2 ** 32;
  return Float32Array.from({ length: rows * columns }, () => sqrt(-2 * log(uniform())) * cos(2 * PI * uniform()));
}
const values = normals();

function loss(kept: Float32Array): number {
  let [error, size] = [0, 0];
  for (let i = 0; i < values.length; ++i) {
    error += (kept[i] - values[i]) ** 2;
    size += values[i] ** 2;
  }
  return sqrt(error / size);
}

function through(dtype: DType, given = values, count = rows): Float32Array {
  const bytes = new Uint8Array(count * rowBytes(dtype, columns));
  const kept = new Float32Array(given.length);
  native().quantize(dtypes[dtype].id, given, count, columns, bytes, 2);
  native().dequantize(dtypes[dtype].id, bytes, count, columns, kept);
  return kept;
}

test.each([
  ['W4A16_G128', 0.1108],
  ['W4A8_G128', 0.1017],
  ['W8A8', 0.0087],
  ['W8A16', 0.0087],
] as const)('%s', (dtype, wanted) => {
  const found = loss(through(dtype));
  expect(found).toBeGreaterThan(wanted * 0.98);
  expect(found).toBeLessThan(wanted * 1.02);
});

/** The textbook formulas, which checkpoints hold that other tools made. */
function asymmetric(group: number, highest: number): Float32Array {
  const kept = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += group) {
    const part = values.subarray(start, start + group);
    const [low, high] = [part.reduce((a, b) => min(a, b), 0), part.reduce((a, b) => max(a, b), 0)];
    const scale = (high - low) / highest;
    const zero = round(-low / scale);
    part.forEach((value, i) => (kept[start + i] = scale * (max(0, min(highest, round(value / scale) + zero)) - zero)));
  }
  return kept;
}

test.each([
  [4, 128, 0.1005],
  [4, 64, 0.0911],
  [2, 32, 0.406],
])('%d bits with zero points in groups of %d', (bits, group, wanted) => {
  const found = loss(asymmetric(group, 2 ** bits - 1));
  expect(found).toBeGreaterThan(wanted * 0.98);
  expect(found).toBeLessThan(wanted * 1.02);
});

test('W4A8 rounds a row as the formulas do', () => {
  const found = through('W4A8');
  const wanted = asymmetric(columns, 15);
  // Ties aside: the formulas round in float64.
  const different = found.reduce((count, value, i) => count + (abs(value - wanted[i]) > 1e-5 ? 1 : 0), 0);
  expect(different).toBeLessThan(values.length * 1e-5);
});

test('W4A8_G128: codes stay within eight bits, scales within 16, for the worst groups', () => {
  const groups: number[][] = [
    Array.from({ length: 128 }, (_, i) => (i % 2 ? 1 : -1)),
    Array.from({ length: 128 }, (_, i) => (i === 0 ? 1 : -1)),
    Array.from({ length: 128 }, (_, i) => (i === 0 ? -1 : 1)),
    Array.from({ length: 128 }, (_, i) => i / 127),
    Array.from({ length: 128 }, (_, i) => -i / 127),
    Array.from({ length: 128 }, (_, i) => (i - 64) / 64),
    Array.from({ length: 128 }, () => 1),
    Array.from({ length: 128 }, () => -0.5),
  ];
  const row = Float32Array.from({ length: columns }, (_, i) => groups[(i >> 7) % groups.length][i % 128]);
  const bytes = new Uint8Array(rowBytes('W4A8_G128', columns));
  native().quantize(dtypes.W4A8_G128.id, row, 1, columns, bytes);
  for (let block = 8; block < bytes.length; block += 66) {
    const [scale, zero] = [bytes[block], (bytes[block + 1] << 24) >> 24];
    expect(scale).toBeGreaterThanOrEqual(1);
    expect(scale).toBeLessThanOrEqual(16);
    for (const code of bytes.subarray(block + 2, block + 66)) {
      for (const nibble of [code & 15, code >> 4]) {
        expect(scale * nibble + zero).toBeGreaterThanOrEqual(-128);
        expect(scale * nibble + zero).toBeLessThanOrEqual(127);
      }
    }
  }
  const kept = through('W4A8_G128', row, 1);
  kept.forEach((value, i) => expect(abs(value - row[i])).toBeLessThan(9 / 119));
});
