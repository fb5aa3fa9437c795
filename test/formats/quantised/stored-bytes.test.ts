// The rows that quantised checkpoints become, byte by byte: what lies at each place is what a closed form says.
import { rowBytes, type DType } from '../../../lib/program/dtype.js';
import * as write from './checkpoint-writers.js';
import type { Linear } from './checkpoint-writers.js';
import { compressed, half, layer, linearOf, name, open } from './random-checkpoint.js';

const floatByte = (value: number, i: number): number =>
  (new Uint32Array(Float32Array.of(value).buffer)[0] >>> (8 * i)) & 255;
const nibbles = ({ code }: Linear, row: number, column: number): number =>
  code(row, column) | (code(row, column + 1) << 4);

/** Byte `i` of row `n` of a type: words of `width` columns each (the high 24 bits of a scale, a zero point), then their codes. */
function a16(bits: 4 | 8, linear: Linear, width: number, n: number, i: number): number {
  const size = 4 + (width * bits) / 8;
  const word = Math.floor(i / size);
  const place = i % size;
  const group = Math.floor((word * width) / linear.group);
  if (place === 0) return (linear.zero(n, group) - (bits === 8 ? 128 : 0)) & 255;
  if (place < 4) return floatByte(linear.scale(n, group), place);
  const column = word * width + ((place - 4) * 8) / bits;
  return bits === 4 ? nibbles(linear, n, column) : linear.code(n, column) ^ 128;
}

/** Scale and shift of a row, four bytes each. */
const head = (scale: number, shift: number, i: number): number => floatByte(i < 4 ? scale : shift, i % 4);

function expectBytes(
  store: ReturnType<typeof open>,
  dtype: DType,
  linear: Linear,
  byte: (row: number, i: number) => number,
): void {
  expect(store.info(name)).toMatchObject({ dtype, shape: [linear.rows, linear.columns] });
  const size = rowBytes(dtype, linear.columns);
  const bytes = store.bytes(name);
  expect(bytes.length).toBe(linear.rows * size);
  const wrong = bytes.findIndex((value, at) => value !== byte(Math.floor(at / size), at % size));
  if (wrong >= 0) throw new Error(`byte ${wrong % size} of row ${Math.floor(wrong / size)} is ${bytes[wrong]}`);
  store.close();
}

// Rows and columns that are no multiple of a vector, of a tile of the packers, or of the file's words.
test.each([
  ['W4A16', 4, 7, 72, 72],
  ['W4A16_G32', 4, 65, 160, 32],
  ['W4A16_G64', 4, 3, 192, 64],
  ['W4A16_G128', 4, 130, 384, 128],
  ['W4A16_G128', 4, 5, 512, 256],
  ['W8A16', 8, 65, 52, 52],
  ['W8A16_G32', 8, 33, 96, 32],
  ['W8A16_G64', 8, 9, 320, 64],
  ['W8A16_G128', 8, 66, 256, 128],
] as const)('%s from %d bits, [%d, %d] in groups of %d', (dtype, bits, rows, columns, group) => {
  const linear = linearOf({ rows, columns, bits, group });
  const scheme = compressed({ bits, symmetric: false, ...(group === columns ? {} : { groupSize: group }) });
  const width = group === columns ? columns : Math.min(group, 128);
  expectBytes(open(write.packed(layer, linear, 'F16', true), scheme), dtype, linear, (n, i) =>
    a16(bits, linear, width, n, i),
  );
});

test.each([
  [1, 1],
  [67, 131],
  [130, 64],
])('W8A8 [%d, %d]', (rows, columns) => {
  const linear = linearOf({ rows, columns, bits: 8, group: columns });
  const scheme = compressed({ bits: 8, symmetric: false, tokens: true });
  expectBytes(open(write.bytes(layer, linear, 'F32', true), scheme), 'W8A8', linear, (n, i) =>
    i < 8
      ? head(linear.scale(n, 0), Math.fround(linear.scale(n, 0) * (linear.zero(n, 0) - 128)), i)
      : linear.code(n, i - 8) ^ 128,
  );
});

test('W4A8', () => {
  const served = linearOf({ rows: 96, columns: 160, bits: 4, group: 160 });
  expectBytes(open(write.qserve(layer, served), undefined), 'W4A8', served, (n, i) =>
    i < 8 ? head(served.scale(n, 0), half(served.scale(n, 0) * served.zero(n, 0)), i) : nibbles(served, n, 2 * (i - 8)),
  );
});

test('W4A8_G128', () => {
  const linear = linearOf({ rows: 96, columns: 384, bits: 4, group: 128 });
  const groupScale = (row: number, g: number): number => 1 + ((3 * row + 5 * g) % 8);
  expectBytes(open(write.qserve(layer, linear, groupScale), undefined), 'W4A8_G128', linear, (n, i) => {
    if (i < 8) return head(linear.scale(n, 0), 0, i);
    const [g, place] = [Math.floor((i - 8) / 66), (i - 8) % 66];
    if (place === 0) return groupScale(n, g);
    if (place === 1) return (-groupScale(n, g) * linear.zero(n, g)) & 255;
    return nibbles(linear, n, 128 * g + 2 * (place - 2));
  });
});
