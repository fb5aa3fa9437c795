// quantize_tokens, seen through a linear whose weight is the identity: what A8_TOKEN keeps of every activation, bit for bit.
import { rowBytes } from '../../../lib/program/dtype.js';
import { linearProgram, through8Bits } from '../linear/cases.js';
import { expectSameBits, random } from '../op-case.js';
import { isaLevels, runNative, variantsAndCard } from '../executors.js';

const columns = 150; // no multiple of a vector

/** W8A8 with scale 1 and code 1 on the diagonal. */
function identity(): Uint8Array {
  const size = rowBytes('W8A8', columns);
  const bytes = new Uint8Array(columns * size);
  const view = new DataView(bytes.buffer);
  for (let n = 0; n < columns; ++n) {
    view.setFloat32(n * size, 1, true);
    bytes[n * size + 8 + n] = 1;
  }
  return bytes;
}

const weight = identity();
const program = linearProgram({ dtype: 'W8A8', columns, out: columns });

function check(x: Float32Array): void {
  const wanted = through8Bits(x, columns).map((value) => value + 0); // a sum has no negative zero
  for (const [name, variant] of variantsAndCard()) {
    const { y } = runNative(program, () => weight, { x }, variant);
    expectSameBits(
      y.map((value) => value + 0),
      wanted,
      name,
    );
  }
}

test.each([1e-20, 1e-3, 1, 1e4, 1e30])('values around %d', (size) => check(random('a8', 21 * columns, size)));

test('halves of a code go to the even one', () => {
  // 127 in the row: the scale is 1.
  check(Float32Array.from({ length: columns }, (_, i) => (i === 31 ? -127 : i - 75.5)));
});

test('a row of zeros, of tiny values, of one value', () => {
  const x = new Float32Array(3 * columns);
  x.fill(1e-38, columns, 2 * columns);
  x[2 * columns + 149] = 3;
  check(x);
});

test('a row with a NaN or an infinity is NaN, and no other', () => {
  const x = random('a8', 3 * columns);
  x[5] = NaN;
  x[2 * columns + 149] = -Infinity;
  const clean = through8Bits(x, columns);
  for (const [name, variant] of variantsAndCard()) {
    const { y } = runNative(program, () => weight, { x }, variant);
    expect(y.subarray(0, columns).every(Number.isNaN)).toBe(true);
    expect(y.subarray(2 * columns).every(Number.isNaN)).toBe(true);
    const middle = (values: Float32Array): Float32Array => values.slice(columns, 2 * columns).map((value) => value + 0);
    expectSameBits(middle(y), middle(clean), name);
  }
});

test('rows of more than 65536 columns are refused', () => {
  const wide = linearProgram({ dtype: 'W8A8', columns: 65537, out: 1 });
  const bytes = new Uint8Array(rowBytes('W8A8', 65537));
  for (const isa of isaLevels()) {
    expect(() => runNative(wide, () => bytes, { x: new Float32Array(65537) }, { isa, threads: 1, fuse: true })).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    );
  }
});
