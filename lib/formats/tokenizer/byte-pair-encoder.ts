// Byte-level BPE on token ids: merges are a hash from (left id, right id) to (rank, merged id).
import type { StringTable } from '../gguf.js';
import { readAlphabet } from './byte-alphabet.js';
import { PairMerger, type PairRule } from './pair-merger.js';
import { ByteIndex, hashBytes, TokenType, type Vocabulary } from './vocabulary.js';

const CACHED_CHARACTERS = 32;
const CACHED_PIECES = 1 << 16;

/** Cuts a text into pieces that are encoded independently. */
export type Splitter = (text: string) => readonly string[];

export class BytePairEncoder implements PairRule {
  merged = -1;
  private readonly index: ByteIndex; // over the bytes that tokens stand for
  private readonly types: Int32Array;
  private readonly byteSymbols = new Int32Array(256);
  private readonly pairs: MergeTable;
  /** Symbols that merges name but the vocabulary lacks: ids from the vocabulary's size on. */
  private readonly strangers: Uint8Array[] = [];
  private readonly strangerIds = new Map<string, number>();
  private readonly merger = new PairMerger();
  private readonly cache = new Map<string, Int32Array>();
  private bytes: Uint8Array = new Uint8Array(256);

  constructor(
    private readonly vocabulary: Vocabulary,
    merges: StringTable,
    private readonly split: Splitter,
    private readonly ignoreMerges: boolean,
  ) {
    this.types = vocabulary.types;
    this.index = indexBytes(vocabulary);
    for (let byte = 0; byte < 256; byte++) this.byteSymbols[byte] = this.symbolOf(Uint8Array.of(byte), 0, 1);
    this.pairs = this.readMerges(merges);
  }

  encode(text: string, out: number[]): void {
    for (const piece of this.split(text)) {
      const known = this.cache.get(piece);
      if (known) {
        for (let i = 0; i < known.length; i++) out.push(known[i]);
        continue;
      }
      const from = out.length;
      this.encodePiece(piece, out);
      if (piece.length > CACHED_CHARACTERS) continue;
      if (this.cache.size >= CACHED_PIECES) this.cache.clear();
      this.cache.set(piece, Int32Array.from(out.slice(from)));
    }
  }

  rank(merger: PairMerger, left: number, right: number): number {
    const entry = this.pairs.find(merger.symbol[left], merger.symbol[right]);
    if (entry < 0) return -1;
    this.merged = this.pairs.merged(entry);
    return this.pairs.rank(entry);
  }

  private encodePiece(piece: string, out: number[]): void {
    if (this.bytes.length < 3 * piece.length) this.bytes = new Uint8Array(6 * piece.length);
    const bytes = this.bytes;
    const { written: count } = encoder.encodeInto(piece, bytes);
    if (this.ignoreMerges) {
      const whole = this.index.find(bytes, 0, count);
      if (whole >= 0 && this.isText(whole)) {
        out.push(whole);
        return;
      }
    }
    const merger = this.merger;
    merger.reserve(count);
    for (let i = 0; i < count; i++) {
      merger.symbol[i] = this.byteSymbols[bytes[i]];
      merger.start[i] = i;
      merger.end[i] = i + 1;
    }
    merger.run(count, this, (at) => this.emit(merger.symbol[at], out));
  }

  /** A symbol that is no token becomes its single bytes; bytes without a token are dropped, as llama.cpp does. */
  private emit(symbol: number, out: number[]): void {
    if (symbol < this.vocabulary.size && this.isText(symbol)) {
      out.push(symbol);
      return;
    }
    for (const byte of this.bytesOf(symbol)) {
      const single = this.byteSymbols[byte];
      if (single !== symbol && single < this.vocabulary.size && this.isText(single)) out.push(single);
    }
  }

  /** Control tokens never come out of plain text, even if merges or the whole-piece rule would spell one. */
  private isText(id: number): boolean {
    return this.types[id] !== TokenType.control && this.types[id] !== TokenType.unknown;
  }

  private bytesOf(symbol: number): Uint8Array {
    if (symbol >= this.vocabulary.size) return this.strangers[symbol - this.vocabulary.size];
    const spelled = this.vocabulary.slice(symbol);
    const bytes = new Uint8Array(spelled.length);
    return bytes.subarray(0, Math.max(0, readAlphabet(spelled, 0, spelled.length, bytes, 0)));
  }

  private symbolOf(bytes: Uint8Array, start: number, end: number, hash: number = hashBytes(bytes, start, end)): number {
    const id = this.index.find(bytes, start, end, hash);
    if (id >= 0) return id;
    const name = Buffer.from(bytes.subarray(start, end)).toString('latin1');
    let symbol = this.strangerIds.get(name);
    if (symbol === undefined) {
      symbol = this.vocabulary.size + this.strangers.length;
      this.strangers.push(bytes.slice(start, end));
      this.strangerIds.set(name, symbol);
    }
    return symbol;
  }

  /** "left right": cut at the first space after position 0. */
  private readMerges(merges: StringTable): MergeTable {
    const table = new MergeTable(merges.length);
    const { bytes, offsets } = merges;
    let longest = 0;
    for (let i = 0; i < merges.length; i++) longest = Math.max(longest, offsets[i + 1] - offsets[i]);
    const scratch = new Uint8Array(longest);
    for (let rank = 0; rank < merges.length; rank++) {
      const end = offsets[rank + 1];
      let space = offsets[rank] + 1;
      while (space < end && bytes[space] !== 0x20) space++;
      if (space >= end) continue;
      const middle = readAlphabet(bytes, offsets[rank], space, scratch, 0);
      const last = middle < 0 ? -1 : readAlphabet(bytes, space + 1, end, scratch, middle);
      if (last <= middle || middle === 0) continue; // not spelled in the alphabet: text cannot reach it
      const leftHash = hashBytes(scratch, 0, middle);
      const left = this.symbolOf(scratch, 0, middle, leftHash);
      const right = this.symbolOf(scratch, middle, last);
      table.add(left, right, rank, this.symbolOf(scratch, 0, last, hashBytes(scratch, middle, last, leftHash)));
    }
    return table;
  }
}

const encoder = new TextEncoder();

/** The arena again, spelled in bytes instead of the alphabet; tokens that no text can give are empty. */
function indexBytes(vocabulary: Vocabulary): ByteIndex {
  const { bytes, offsets, size } = vocabulary;
  const plain = new Uint8Array(bytes.length);
  const starts = new Uint32Array(size + 1);
  let at = 0;
  for (let id = 0; id < size; id++) {
    at = Math.max(at, readAlphabet(bytes, offsets[id], offsets[id + 1], plain, at));
    starts[id + 1] = at;
  }
  return new ByteIndex(plain, starts, () => true);
}

/** (left, right) → (rank, merged): four integers a slot, open addressing, load ≤ 1/2; of equal pairs the first stays. */
class MergeTable {
  private readonly slots: Int32Array; // [capacity, 4]: left + 1, right, rank, merged
  private readonly mask: number;

  constructor(count: number) {
    let capacity = 16;
    while (capacity < 2 * count) capacity *= 2;
    this.mask = capacity - 1;
    this.slots = new Int32Array(4 * capacity);
  }

  add(left: number, right: number, rank: number, merged: number): void {
    let slot = this.place(left, right);
    while (this.slots[4 * slot] !== 0) {
      if (this.slots[4 * slot] === left + 1 && this.slots[4 * slot + 1] === right) return;
      slot = (slot + 1) & this.mask;
    }
    this.slots.set([left + 1, right, rank, merged], 4 * slot);
  }

  find(left: number, right: number): number {
    const slots = this.slots;
    let slot = this.place(left, right);
    for (;;) {
      const first = slots[4 * slot];
      if (first === 0) return -1;
      if (first === left + 1 && slots[4 * slot + 1] === right) return slot;
      slot = (slot + 1) & this.mask;
    }
  }

  rank(slot: number): number {
    return this.slots[4 * slot + 2];
  }

  merged(slot: number): number {
    return this.slots[4 * slot + 3];
  }

  private place(left: number, right: number): number {
    const mixed = Math.imul(Math.imul(left, 0x9e3779b1 | 0) ^ right, 0x85ebca6b | 0);
    return (mixed ^ (mixed >>> 15)) & this.mask;
  }
}
