// The printable alphabet in which byte-level BPE vocabularies spell bytes (GPT-2): 33-126, 161-172 and 174-255 stand for
// themselves, the other 68 bytes, in increasing order, for U+0100, U+0101, …

function spell(): Uint16Array {
  const codes = new Uint16Array(256);
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    codes[byte] = printable ? byte : next++;
  }
  return codes;
}

/** Byte → code point. */
export const codeOfByte: Uint16Array = spell();

/** Code point (below 0x144) → byte, or -1. */
export const byteOfCode: Int16Array = new Int16Array(0x144).fill(-1);
codeOfByte.forEach((code, byte) => (byteOfCode[code] = byte));

/**
 * Writes the bytes that `source[start, end)`, UTF-8 in the alphabet, stands for; returns the new end of `target`, or -1
 * where a character is not of the alphabet (such a token cannot come out of text).
 */
export function readAlphabet(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
  for (let i = start; i < end; i++) {
    const first = source[i];
    let code = first;
    if (first >= 0x80) {
      if (first < 0xc2 || first > 0xc5 || i + 1 >= end) return -1; // the alphabet ends at U+0143
      code = ((first & 0x1f) << 6) | (source[++i] & 0x3f);
    }
    const byte = code < 0x144 ? byteOfCode[code] : -1;
    if (byte < 0) return -1;
    target[at++] = byte;
  }
  return at;
}
