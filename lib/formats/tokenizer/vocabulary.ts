// Token texts as bytes in one arena: read one at a time, found through a hash index that the first look-up builds.
import { native, nativeCall } from '../../native.js';
import { stringTable, type StringTable } from '../gguf.js';

/** Token types of GGUF. */
export const TokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

const FNV_START = 0x811c9dc5 | 0;
const FNV_PRIME = 0x01000193;

/** FNV-1a, resumable: the hash of a concatenation goes on from the hash of its first part. */
export function hashBytes(bytes: Uint8Array, start: number, end: number, from: number = FNV_START): number {
  let hash = from;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i], FNV_PRIME);
  return hash;
}

/** Finds a byte string among the strings of an arena; of equal strings the first wins. Open addressing, load ≤ 1/2. */
export class ByteIndex {
  readonly longest: number;
  private readonly slots: Int32Array; // string index + 1
  private readonly hashes: Int32Array; // of the string in the slot
  private readonly mask: number;

  /** String i is `bytes[starts[i], ends(i))`; those for which `include` is false are left out. */
  constructor(
    private readonly bytes: Uint8Array,
    private readonly offsets: Uint32Array,
    include: (index: number) => boolean,
  ) {
    const count = offsets.length - 1;
    let capacity = 16;
    while (capacity < 2 * count) capacity *= 2;
    this.mask = capacity - 1;
    this.slots = new Int32Array(capacity);
    this.hashes = new Int32Array(capacity);
    let longest = 0;
    for (let i = 0; i < count; i++) {
      const start = offsets[i];
      const end = offsets[i + 1];
      if (start === end || !include(i)) continue;
      const hash = hashBytes(bytes, start, end);
      let slot = this.spread(hash);
      while (this.slots[slot] !== 0) {
        if (this.hashes[slot] === hash && this.same(this.slots[slot] - 1, bytes, start, end)) break;
        slot = (slot + 1) & this.mask;
      }
      if (this.slots[slot] !== 0) continue;
      this.slots[slot] = i + 1;
      this.hashes[slot] = hash;
      if (end - start > longest) longest = end - start;
    }
    this.longest = longest;
  }

  /** The index of `source[start, end)`, or -1. */
  find(source: Uint8Array, start: number, end: number, hash: number = hashBytes(source, start, end)): number {
    let slot = this.spread(hash);
    for (;;) {
      const entry = this.slots[slot];
      if (entry === 0) return -1;
      if (this.hashes[slot] === hash && this.same(entry - 1, source, start, end)) return entry - 1;
      slot = (slot + 1) & this.mask;
    }
  }

  private spread(hash: number): number {
    return (hash ^ (hash >>> 15)) & this.mask; // FNV's low bits alone cluster on short strings
  }

  private same(index: number, source: Uint8Array, start: number, end: number): boolean {
    let at = this.offsets[index];
    if (this.offsets[index + 1] - at !== end - start) return false;
    for (let i = start; i < end; i++, at++) if (this.bytes[at] !== source[i]) return false;
    return true;
  }
}

export class Vocabulary {
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly offsets: Uint32Array; // [size + 1]
  /** The same as it lies in a file. */
  readonly list?: Uint8Array;
  private readonly readTypes?: () => Int32Array;
  private lazyTypes?: Int32Array;
  private lazyIndex?: ByteIndex;

  constructor(
    private readonly table: StringTable,
    readTypes?: () => Int32Array,
  ) {
    this.size = table.length;
    this.bytes = table.bytes;
    this.offsets = table.offsets;
    this.list = table.list;
    this.readTypes = readTypes;
  }

  /** A copy that the tokenizer may correct. All normal where the file has none. */
  get types(): Int32Array {
    return (this.lazyTypes ??= this.readTypes
      ? this.readTypes().slice()
      : new Int32Array(this.size).fill(TokenType.normal));
  }

  text(id: number): string {
    return this.table.get(id);
  }

  slice(id: number): Uint8Array {
    return this.bytes.subarray(this.offsets[id], this.offsets[id + 1]);
  }

  id(text: string): number | undefined {
    const bytes = Buffer.from(text, 'utf8');
    const id = this.index.find(bytes, 0, bytes.length);
    return id < 0 ? undefined : id;
  }

  /** All texts, whatever their type. */
  get index(): ByteIndex {
    return (this.lazyIndex ??= new ByteIndex(this.bytes, this.offsets, () => true));
  }

  /** Ids of a few texts by one pass, without building the index; `unusual`: not among tokens of normal type. */
  findFew(texts: readonly string[], unusual = false): Map<string, number> {
    const { bytes, offsets } = stringTable(texts);
    const ids = new Int32Array(texts.length);
    const types = unusual ? this.types : undefined;
    nativeCall(() => native().findStrings(this.bytes, this.offsets, bytes, offsets, types, ids));
    const found = new Map<string, number>();
    ids.forEach((id, index) => id >= 0 && found.set(texts[index], id));
    return found;
  }

  /** Ids of the tokens of some types, ascending. */
  ofTypes(wanted: readonly number[]): Int32Array {
    const ids: number[] = [];
    for (const type of wanted) {
      for (let id = this.types.indexOf(type); id >= 0; id = this.types.indexOf(type, id + 1)) ids.push(id);
    }
    return Int32Array.from(ids).sort();
  }
}
