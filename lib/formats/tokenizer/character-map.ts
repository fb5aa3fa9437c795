// SentencePiece's precompiled normaliser: a double-array trie from byte sequences to replacement strings.
import { VivaceError } from '../../errors.js';

const INVALID = 'The precompiled character map of the tokenizer is damaged';

/**
 * Layout: u32 size of the trie in bytes, the trie's u32 units, then the replacements, each ended by a zero byte. A unit
 * holds in bits 0-7 the byte that leads to it, in bit 8 whether a value hangs below, in bits 10-30 the distance to its
 * children (in steps of 256 if bit 9 is set); a value unit has bit 31 set and the place of the replacement below it.
 */
export class CharacterMap {
  private readonly units: Uint32Array;
  private readonly replacements: Uint8Array;

  /** Throws FORMAT_INVALID where the sizes do not fit. */
  constructor(blob: Uint8Array) {
    const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
    const size = blob.length < 4 ? 0 : view.getUint32(0, true);
    if (size === 0 || size % 4 !== 0 || 4 + size > blob.length) throw new VivaceError('FORMAT_INVALID', INVALID);
    this.units = new Uint32Array(size / 4);
    for (let i = 0; i < this.units.length; i++) this.units[i] = view.getUint32(4 + 4 * i, true);
    this.replacements = blob.subarray(4 + size);
  }

  /** Replaces, from left to right, the longest sequence that the map knows; the rest stays. */
  apply(text: Uint8Array): Uint8Array {
    const out: number[] = [];
    for (let at = 0; at < text.length;) {
      const { length, place } = this.longest(text, at);
      if (length > 0) {
        this.replacement(place, out);
        at += length;
        continue;
      }
      out.push(text[at++]);
      while (at < text.length && (text[at] & 0xc0) === 0x80) out.push(text[at++]);
    }
    return Uint8Array.from(out);
  }

  private longest(text: Uint8Array, at: number): { length: number; place: number } {
    let length = 0;
    let place = 0;
    let node = offsetOf(this.unit(0));
    for (let i = at; i < text.length && text[i] !== 0; i++) {
      node ^= text[i];
      const unit = this.unit(node);
      if ((unit & 0x800000ff) !== text[i]) break;
      node ^= offsetOf(unit);
      if ((unit & 0x100) === 0) continue;
      length = i - at + 1;
      place = this.unit(node) & 0x7fffffff;
    }
    return { length, place };
  }

  private unit(index: number): number {
    if (index < 0 || index >= this.units.length) throw new VivaceError('FORMAT_INVALID', INVALID);
    return this.units[index];
  }

  private replacement(place: number, out: number[]): void {
    let at = place;
    for (; this.replacements[at] !== 0; at++) {
      if (at >= this.replacements.length) throw new VivaceError('FORMAT_INVALID', INVALID);
      out.push(this.replacements[at]);
    }
  }
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}
