// linear with W?A8 weights: before the float epilogue, sums are those of whole numbers without limit of size; and what
// W?A16 multiplies with is the reference's weight to the last bit.
import { dtypes, rowBytes } from '../../../lib/program/dtype.js';
import type { DType } from '../../../lib/program/dtype.js';
import { dequantiseRow } from '../../../lib/program/reference/dequantise.js';
import { Generator } from '../../fixtures/random/generator.js';
import { linearProgram, tokenTypes, weightTypes } from '../linear/cases.js';
import { expectSameBits } from '../op-case.js';
import { runNative, variants, variantsAndCard } from '../executors.js';

const out = 11;

/** Random codes, or those of the largest sums; scale 1, shift 0. W4A8_G128: integer scales 1 … 16. */
function weights(dtype: DType, columns: number, extreme: boolean): Uint8Array {
  const generator = new Generator(5, `${dtype} ${columns}`);
  const size = rowBytes(dtype, columns);
  const bytes = Uint8Array.from({ length: out * size }, () => (extreme ? 0x80 : generator.integer(0, 255)));
  const view = new DataView(bytes.buffer);
  for (let n = 0; n < out; ++n) {
    view.setFloat32(n * size, 1, true);
    view.setFloat32(n * size + 4, 0, true);
    if (dtype !== 'W4A8_G128') continue;
    for (let block = n * size + 8; block < (n + 1) * size; block += 66) {
      const scale = extreme ? 16 : generator.integer(1, 16);
      bytes[block] = scale;
      view.setInt8(block + 1, -Math.min(128, scale * generator.integer(0, 15)));
    }
  }
  return bytes;
}

const shapes = [2, 30, 62, 64, 128, 130, 2048, 2176, 4352, 65536];

describe.each(tokenTypes)('%s', (dtype) => {
  const widths = shapes.filter((columns) => columns % dtypes[dtype].block === 0);
  test.each(widths)('%d columns', (columns) => {
    const rows = columns > 5000 ? 2 : 7;
    const generator = new Generator(9, 'x');
    for (const extreme of [false, true]) {
      const bytes = weights(dtype, columns, extreme);
      // 127 in every row: the scale is 1 and codes are the values.
      const x = Float32Array.from({ length: rows * columns }, (_, i) =>
        extreme ? (i % columns === 0 ? -127 : 127) : i % columns === 1 ? 127 : generator.integer(-127, 127),
      );
      const size = rowBytes(dtype, columns);
      const wanted = new Float32Array(rows * out);
      for (let n = 0; n < out; ++n) {
        const codes = dequantiseRow(dtype, bytes.subarray(n * size, (n + 1) * size), columns);
        for (let r = 0; r < rows; ++r) {
          let sum = 0; // whole numbers below 2^53
          for (let k = 0; k < columns; ++k) sum += codes[k] * x[r * columns + k];
          wanted[r * out + n] = sum; // the epilogue's one rounding
        }
      }
      const program = linearProgram({ dtype, columns, out });
      for (const [name, variant] of variantsAndCard()) {
        const { y } = runNative(program, () => bytes, { x }, variant);
        expectSameBits(
          y.map((value) => value + 0),
          wanted.map((value) => value + 0),
          name,
        );
      }
    }
  });
});

const floatTypes = weightTypes.filter((dtype) => /^W\dA16/.test(dtype));

test.each(floatTypes)('%s: unit vectors read every weight as it is', (dtype) => {
  const columns = dtypes[dtype].block < 32 ? 150 : 3 * dtypes[dtype].block;
  const size = rowBytes(dtype, columns);
  const generator = new Generator(6, dtype);
  const bytes = Uint8Array.from({ length: out * size }, () => generator.integer(0, 255));
  const view = new DataView(bytes.buffer);
  const step = dtypes[dtype].header ? size : dtypes[dtype].bytes;
  for (let at = 0; at < bytes.length; at += step) {
    view.setUint32(at, 0x3f800000 + generator.integer(-0x4000, 0x4000) * 256 + generator.integer(0, 255), true);
  }
  const rows = columns;
  const x = new Float32Array(rows * columns);
  for (let k = 0; k < columns; ++k) x[k * columns + k] = 1;
  const wanted = new Float32Array(rows * out);
  for (let n = 0; n < out; ++n) {
    const row = dequantiseRow(dtype, bytes.subarray(n * size, (n + 1) * size), columns);
    row.forEach((value, k) => (wanted[k * out + n] = value + 0));
  }
  const program = linearProgram({ dtype, columns, out });
  for (const variant of variants()) {
    const many = runNative(program, () => bytes, { x }, variant)['y'].map((value) => value + 0);
    expectSameBits(many, wanted, `${variant.isa} ×${variant.threads}`);
    for (const k of [0, 1, columns - 1]) {
      const one = runNative(program, () => bytes, { x: x.slice(k * columns, (k + 1) * columns) }, variant)['y'];
      expectSameBits(
        one.map((value) => value + 0),
        wanted.slice(k * out, (k + 1) * out),
        `${variant.isa}, column ${k}`,
      );
    }
  }
});
