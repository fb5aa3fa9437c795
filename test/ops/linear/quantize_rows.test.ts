// quantize_rows, seen through a linear whose weight is the identity: what A8 keeps of every activation, bit for bit.
import { rowBytes } from '../../../lib/program/dtype.js';
import { expectSameBits, random } from '../op-case.js';
import { runNative, variantsAndCard } from '../executors.js';
import { linearProgram, throughA8 } from './cases.js';

const columns = 96;

/** Q8_0 with scale 1 and code 1 on the diagonal. */
function identity(): Uint8Array {
  const bytes = new Uint8Array(columns * rowBytes('Q8_0', columns));
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < bytes.length; block += 34) view.setUint16(block, 0x3c00, true);
  for (let n = 0; n < columns; ++n) bytes[n * rowBytes('Q8_0', columns) + Math.floor(n / 32) * 34 + 2 + (n % 32)] = 1;
  return bytes;
}

const weight = identity();
const program = linearProgram({ dtype: 'Q8_0', columns, out: columns });

function check(x: Float32Array): void {
  const wanted = throughA8(x).map((value) => value + 0); // a sum has no negative zero
  for (const [name, variant] of variantsAndCard()) {
    const { y } = runNative(program, () => weight, { x }, variant);
    expectSameBits(y, wanted, name);
  }
}

test.each([1e-20, 1e-3, 1, 1e4, 1e30])('values around %d', (size) => check(random('a8', 40 * columns, size)));

test('halves of a code go to the even one', () => {
  // 127 in the block: the scale is 1.
  check(Float32Array.from({ length: columns }, (_, i) => (i % 32 === 31 ? -127 : (i % 32) - 15.5)));
});

test('a block of zeros, of tiny values, of one value', () => {
  const x = new Float32Array(2 * columns);
  x.fill(1e-38, 32, 64);
  x[70] = 3;
  x[100] = 2 ** -100;
  check(x);
});

test('a block with a NaN or an infinity is NaN, and no other', () => {
  const x = random('a8', 2 * columns);
  x[5] = NaN;
  x[columns + 40] = -Infinity;
  const clean = throughA8(x);
  for (const [name, variant] of variantsAndCard()) {
    const { y } = runNative(program, () => weight, { x }, variant);
    // A sum over the row meets the NaN; the other row's blocks do not.
    expect(y.subarray(0, columns).some(Number.isFinite)).toBe(false);
    expect(y.subarray(columns).some(Number.isFinite)).toBe(false);
    const { y: other } = runNative(program, () => weight, { x: x.slice(32, columns + 32).fill(0, 64) }, variant);
    expectSameBits(
      other.slice(0, 32),
      clean.slice(32, 64).map((value) => value + 0),
      name,
    );
  }
});
