// Every number format as a formula, element by element: the oracle that native kernels are compared with.
// Layouts are those of GGUF; all words are little-endian, and h below is a 16-bit float.
import { dtypes } from '../dtype.js';
import type { DType } from '../dtype.js';

/** One block, the index of an element in it, and the row's header if the type has one → the element's value. */
type Element = (block: DataView, index: number, header: DataView) => number;

/** The value of a 16-bit float. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 25) * (1024 + fraction) : sign * 2 ** -24 * fraction;
}

const half = (block: DataView, offset: number): number => halfToNumber(block.getUint16(offset, true));

/** The low half of the bytes' bits are the first `width` elements, the high half the next `width`. */
const nibble = (block: DataView, offset: number, index: number, width: number): number => {
  const byte = block.getUint8(offset + (index % width));
  return index < width ? byte & 15 : byte >> 4;
};

const bit = (block: DataView, offset: number, index: number): number =>
  (block.getUint8(offset + (index >> 3)) >> (index & 7)) & 1;

/** Q4_K and Q5_K: 6-bit scale and minimum of sub-block j out of 12 bytes. */
function scaleAndMin(block: DataView, offset: number, j: number): [number, number] {
  const byte = (index: number): number => block.getUint8(offset + index);
  if (j < 4) return [byte(j) & 63, byte(j + 4) & 63];
  return [(byte(j + 4) & 15) | ((byte(j - 4) >> 6) << 4), (byte(j + 4) >> 4) | ((byte(j) >> 6) << 4)];
}

/** Q3_K: 6-bit scale of sub-block j out of 12 bytes, less 32. */
function scaleOfQ3(block: DataView, offset: number, j: number): number {
  const low = nibble(block, offset, j, 8);
  const high = (block.getUint8(offset + 8 + (j % 4)) >> (2 * (j >> 2))) & 3;
  return (low | (high << 4)) - 32;
}

/** The 16 levels of IQ4_NL and IQ4_XS: denser around zero, as weights are. */
const levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/** Scale and zero point out of the word of a W?A16 group: the high 24 bits of a float32, and a byte. */
function scaleAndZero(view: DataView, signed: boolean): [scale: number, zero: number] {
  const word = new DataView(new ArrayBuffer(4));
  word.setUint32(0, view.getUint32(0, true) & 0xffffff00);
  return [word.getFloat32(0), signed ? view.getInt8(0) : view.getUint8(0)];
}

/** Nibbles in the order of elements, the low one first. */
const code4 = (block: DataView, offset: number, index: number): number =>
  (block.getUint8(offset + (index >> 1)) >> (4 * (index & 1))) & 15;

/** W8A16: scale · (code − zero), the word in `view`. */
const signedGroup = (view: DataView, code: number): number => {
  const [scale, zero] = scaleAndZero(view, true);
  return scale * (code - zero);
};

const unsignedGroup = (view: DataView, code: number): number => {
  const [scale, zero] = scaleAndZero(view, false);
  return scale * (code - zero);
};

/** W?A8: the header is a float32 scale and a float32 shift. */
const shifted = (header: DataView, code: number): number =>
  header.getFloat32(0, true) * code - header.getFloat32(4, true);

const grouped8: Element = (block, i) => signedGroup(block, block.getInt8(4 + i));
const grouped4: Element = (block, i) => unsignedGroup(block, code4(block, 4, i));

const elements: Readonly<Record<DType, Element>> = {
  F32: (block) => block.getFloat32(0, true),
  F16: (block) => half(block, 0),
  BF16: (block) => {
    const word = new DataView(new ArrayBuffer(4));
    word.setUint32(0, block.getUint16(0, true) << 16);
    return word.getFloat32(0);
  },
  I32: (block) => block.getInt32(0, true),

  // h d; qs[16]
  Q4_0: (block, i) => half(block, 0) * (nibble(block, 2, i, 16) - 8),
  // h d; h m; qs[16]
  Q4_1: (block, i) => half(block, 0) * nibble(block, 4, i, 16) + half(block, 2),
  // h d; qh[4]; qs[16]
  Q5_0: (block, i) => half(block, 0) * (nibble(block, 6, i, 16) + 16 * bit(block, 2, i) - 16),
  // h d; h m; qh[4]; qs[16]
  Q5_1: (block, i) => half(block, 0) * (nibble(block, 8, i, 16) + 16 * bit(block, 4, i)) + half(block, 2),
  // h d; i8 qs[32]
  Q8_0: (block, i) => half(block, 0) * block.getInt8(2 + i),

  // sc[16] (scale, minimum); qs[64]; h d; h dmin
  Q2_K: (block, i) => {
    const sc = block.getUint8(i >> 4);
    const q = (block.getUint8(16 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
    return half(block, 80) * (sc & 15) * q - half(block, 82) * (sc >> 4);
  },
  // hmask[32]; qs[64]; sc[12]; h d
  Q3_K: (block, i) => {
    const low = (block.getUint8(32 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
    const high = (block.getUint8(i & 31) >> (i >> 5)) & 1;
    return half(block, 108) * scaleOfQ3(block, 96, i >> 4) * (low + 4 * high - 4);
  },
  // h d; h dmin; sc[12]; qs[128]
  Q4_K: (block, i) => {
    const [scale, min] = scaleAndMin(block, 4, i >> 5);
    return half(block, 0) * scale * nibble(block, 16 + 32 * (i >> 6), i & 63, 32) - half(block, 2) * min;
  },
  // h d; h dmin; sc[12]; qh[32]; qs[128]
  Q5_K: (block, i) => {
    const [scale, min] = scaleAndMin(block, 4, i >> 5);
    const high = (block.getUint8(16 + (i & 31)) >> (i >> 5)) & 1;
    const q = nibble(block, 48 + 32 * (i >> 6), i & 63, 32) + 16 * high;
    return half(block, 0) * scale * q - half(block, 2) * min;
  },
  // ql[128]; qh[64]; i8 sc[16]; h d
  Q6_K: (block, i) => {
    const low = nibble(block, 64 * (i >> 7), i & 127, 64);
    const high = (block.getUint8(128 + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
    return half(block, 208) * block.getInt8(192 + (i >> 4)) * (low + 16 * high - 32);
  },

  // h d; qs[16]
  IQ4_NL: (block, i) => half(block, 0) * levels[nibble(block, 2, i, 16)],
  // h d; u16 sc_high; sc_low[4]; qs[128]
  IQ4_XS: (block, i) => {
    const j = i >> 5;
    const low = (block.getUint8(4 + (j >> 1)) >> (4 * (j & 1))) & 15;
    const high = (block.getUint16(2, true) >> (2 * j)) & 3;
    return half(block, 0) * ((low | (high << 4)) - 32) * levels[nibble(block, 8 + 16 * j, i & 31, 16)];
  },

  // header: word; i8 code
  W8A16: (block, _, header) => signedGroup(header, block.getInt8(0)),
  // word; i8 codes
  W8A16_G32: grouped8,
  W8A16_G64: grouped8,
  W8A16_G128: grouped8,
  // header: word; two nibbles
  W4A16: (block, i, header) => unsignedGroup(header, code4(block, 0, i)),
  // word; nibbles
  W4A16_G32: grouped4,
  W4A16_G64: grouped4,
  W4A16_G128: grouped4,
  // header: f32 scale, f32 shift; i8 code
  W8A8: (block, _, header) => shifted(header, block.getInt8(0)),
  // h scale; h min; qs[16]: of a channel, 32 tokens
  KIVI4: (block, i) => half(block, 0) * nibble(block, 4, i, 16) + half(block, 2),
  // header: f32 scale, f32 shift; two nibbles
  W4A8: (block, i, header) => shifted(header, code4(block, 0, i)),
  // header: f32 scale, f32 shift; u8 s, i8 z, nibbles: code = s·q + z modulo 256
  W4A8_G128: (block, i, header) => {
    const code = block.getUint8(0) * code4(block, 2, i) + block.getInt8(1);
    return shifted(header, (code << 24) >> 24);
  },
};

/** The values of one stored row. Every value is exact in float64, and rounds to the float32 that native code computes. */
export function dequantiseRow(dtype: DType, bytes: Uint8Array, columns: number): Float64Array {
  const { block: width, bytes: size, header: before } = dtypes[dtype];
  const element = elements[dtype];
  const header = new DataView(bytes.buffer, bytes.byteOffset, before);
  const values = new Float64Array(columns);
  for (let start = 0; start < columns; start += width) {
    const block = new DataView(bytes.buffer, bytes.byteOffset + before + (start / width) * size, size);
    for (let index = 0; index < width; ++index) values[start + index] = element(block, index, header);
  }
  return values;
}
