// How keys and values are rounded when they are stored: bit for bit as cpp/ops/attention/kv_write.h says.
import type { KvDType } from '../executor.js';
import { rowBytes } from '../dtype.js';
import { dequantiseRow, halfToNumber } from './dequantise.js';

/** The nearest 16-bit float of a 32-bit one, ties to even. */
export function numberToHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(size)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  // Values of [2^e, 2^(e+1)) are whole multiples of 2^(e−10); below 2^-14 all are multiples of 2^-24.
  const exponent = Math.max(Math.floor(Math.log2(size || 2 ** -30)), -14);
  const exact = size / 2 ** (exponent - 10);
  const floor = Math.floor(exact);
  const rest = exact - floor;
  const whole = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
  // A whole number of 1024 or more carries into the exponent by itself.
  return sign | (whole + (exponent + 14) * 1024);
}

const encoders: Readonly<Record<KvDType, (values: Float32Array, out: DataView) => void>> = {
  F32: (values, out) => values.forEach((value, i) => out.setFloat32(4 * i, value, true)),
  F16: (values, out) => values.forEach((value, i) => out.setUint16(2 * i, numberToHalf(value), true)),
  Q4_0: (values, out) => {
    for (let block = 0; block * 32 < values.length; ++block) {
      const part = values.subarray(32 * block, 32 * block + 32);
      const strange = part.some((value) => !Number.isFinite(value));
      const extreme = part.reduce((found, value) => (Math.abs(value) > Math.abs(found) ? value : found), 0);
      const d = strange ? NaN : extreme / -8;
      const inverse = Math.abs(d) >= 2 ** -126 ? Math.fround(1 / d) : 0;
      out.setUint16(18 * block, numberToHalf(d), true);
      const codes = Array.from(part, (value) => {
        const x = inverse === 0 ? 0 : Math.fround(value * inverse);
        return Math.min(15, Math.trunc(Math.fround(x + 8.5)));
      });
      for (let i = 0; i < 16; ++i) out.setUint8(18 * block + 2 + i, codes[i] | (codes[i + 16] << 4));
    }
  },
  Q8_0: (values, out) => {
    for (let block = 0; block * 32 < values.length; ++block) {
      const part = values.subarray(32 * block, 32 * block + 32);
      const strange = part.some((value) => !Number.isFinite(value));
      const d = strange ? NaN : Math.fround(Math.max(...part.map(Math.abs)) / 127);
      const inverse = d >= 2 ** -126 ? Math.fround(1 / d) : 0;
      out.setUint16(34 * block, numberToHalf(d), true);
      part.forEach((value, i) => {
        const x = inverse === 0 ? 0 : Math.fround(value * inverse);
        out.setInt8(34 * block + 2 + i, Math.trunc(Math.fround(x + (x < 0 ? -0.5 : 0.5))));
      });
    }
  },
};

/** A row as the cache stores it; values are rounded to 32-bit floats first, which is what native code has. */
export function quantiseRow(dtype: KvDType, values: Float64Array): Uint8Array {
  const bytes = new Uint8Array(rowBytes(dtype, values.length));
  encoders[dtype](Float32Array.from(values), new DataView(bytes.buffer));
  return bytes;
}

/** Keys of 32 tokens, halves, as a full page keeps them: a block per channel. */
export function quantiseChannels(keys: readonly Float64Array[]): Uint8Array {
  const dim = keys[0].length;
  const out = new DataView(new ArrayBuffer(20 * dim));
  for (let channel = 0; channel < dim; ++channel) {
    const values = keys.map((key) => key[channel]);
    const strange = values.some((value) => !Number.isFinite(value));
    const low = strange ? 0 : Math.min(...values);
    const step = numberToHalf(strange ? NaN : Math.fround(Math.fround(Math.max(...values) - low) / 15));
    const width = strange ? 0 : halfToNumber(step);
    const inverse = width > 0 ? Math.fround(1 / width) : 0;
    const codes = values.map((value) => {
      const ratio = strange ? 0 : Math.fround(Math.fround(Math.fround(value - low) * inverse) + 0.5);
      return ratio < 15 ? Math.trunc(ratio) : 15;
    });
    out.setUint16(20 * channel, step, true);
    out.setUint16(20 * channel + 2, numberToHalf(low), true);
    for (let i = 0; i < 16; ++i) out.setUint8(20 * channel + 4 + i, codes[i] | (codes[i + 16] << 4));
  }
  return new Uint8Array(out.buffer);
}

/** The keys that such blocks stand for. */
export function dequantiseChannels(blocks: Uint8Array): Float64Array[] {
  const dim = blocks.length / 20;
  const channels = Array.from({ length: dim }, (_, channel) =>
    dequantiseRow('KIVI4', blocks.subarray(20 * channel, 20 * channel + 20), 32),
  );
  return Array.from({ length: 32 }, (_, token) => Float64Array.from(channels, (values) => values[token]));
}
