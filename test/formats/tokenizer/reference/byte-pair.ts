// Byte-level BPE on token ids: merges are a hash from (left id, right id) to (rank, merged id).
import type { StringTable } from '../../../../lib/formats/gguf.js';
import { readAlphabet } from '../../../../lib/formats/tokenizer/byte-alphabet.js';
import { MergeTable } from './merge-table.js';
import { PairMerger, type PairRule } from './pair-merger.js';
import { PieceCache } from './piece-cache.js';
import { joinsWords, splitAtMarks } from './word-marks.js';
import type { Spelling } from '../../../../lib/formats/tokenizer/vocabulary-tokenizer.js';
import { ByteIndex, hashBytes, TokenType, type Vocabulary } from '../../../../lib/formats/tokenizer/vocabulary.js';

/** Cuts a text into pieces that are encoded independently. */
export type Splitter = (text: string) => readonly string[];

export interface BytePairOptions {
  /** "left", separator, "right"; the separator is looked for after the first byte. */
  readonly merges: StringTable;
  readonly separator: number;
  /** Byte-level: symbols are bytes in GPT-2's alphabet. Otherwise they are characters (Llama 2 in tokenizer.json). */
  readonly spelling: Spelling;
  /** Left out: the text is one piece, or is cut where no merge can cross. */
  readonly split?: Splitter;
  /** A piece that is a token as a whole is taken as it is. */
  readonly ignoreMerges: boolean;
  /** Characters without a token become byte tokens; without these the unknown token. */
  readonly byteFallback?: boolean;
  readonly unknown?: number;
  /** Neighbouring unknown characters become one unknown token. */
  readonly fuseUnknown?: boolean;
}

const UNKNOWN = -1; // as a symbol: merges with nothing

export class BytePairEncoder implements PairRule {
  merged = -1;
  private readonly index: ByteIndex; // over the bytes that tokens stand for
  private readonly types: Int32Array;
  private readonly alphabet: boolean;
  private readonly split: Splitter;
  private readonly byteSymbols = new Int32Array(256);
  private readonly pairs: MergeTable;
  /** Symbols that merges name but the vocabulary lacks: ids from the vocabulary's size on. */
  private readonly strangers: Uint8Array[] = [];
  private readonly strangerIds = new Map<string, number>();
  private readonly merger = new PairMerger();
  private readonly cache = new PieceCache();
  private readonly encodePiece = (piece: string, out: number[]): void => this.encodeOne(piece, out);
  private bytes: Uint8Array = new Uint8Array(256);

  constructor(
    private readonly vocabulary: Vocabulary,
    private readonly options: BytePairOptions,
  ) {
    this.types = vocabulary.types;
    this.alphabet = options.spelling === 'alphabet';
    this.index = this.alphabet
      ? indexAlphabet(vocabulary)
      : new ByteIndex(vocabulary.bytes, vocabulary.offsets, (id) => isText(this.types[id]));
    for (let byte = 0; byte < 256; byte++) {
      const name = `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
      if (this.alphabet) this.byteSymbols[byte] = this.symbolOf(Uint8Array.of(byte), 0, 1);
      else this.byteSymbols[byte] = (options.byteFallback ? vocabulary.id(name) : undefined) ?? -1;
    }
    this.pairs = this.readMerges(options.merges, options.separator);
    this.split = options.split ?? (joinsWords(vocabulary) ? (text) => [text] : splitAtMarks);
  }

  encode(text: string, out: number[]): void {
    for (const piece of this.split(text)) this.cache.append(piece, out, this.encodePiece);
  }

  rank(merger: PairMerger, left: number, right: number): number {
    const entry = this.pairs.find(merger.symbol[left], merger.symbol[right]);
    if (entry < 0) return -1;
    this.merged = this.pairs.merged(entry);
    return this.pairs.rank(entry);
  }

  private encodeOne(piece: string, out: number[]): void {
    if (this.bytes.length < 3 * piece.length) this.bytes = new Uint8Array(6 * piece.length);
    const bytes = this.bytes;
    const { written: count } = encoder.encodeInto(piece, bytes);
    if (this.options.ignoreMerges) {
      const whole = this.index.find(bytes, 0, count);
      if (whole >= 0 && isText(this.types[whole])) {
        out.push(whole);
        return;
      }
    }
    const symbols = this.alphabet ? this.placeBytes(count) : this.placeCharacters(count);
    let unknown = false;
    this.merger.run(symbols, this, (at) => {
      const symbol = this.merger.symbol[at];
      if (symbol === UNKNOWN) {
        if (this.options.unknown !== undefined && !(unknown && this.options.fuseUnknown))
          out.push(this.options.unknown);
      } else this.emit(symbol, out);
      unknown = symbol === UNKNOWN;
    });
  }

  private placeBytes(count: number): number {
    const { merger, bytes } = this;
    merger.reserve(count);
    for (let i = 0; i < count; i++) merger.symbol[i] = this.byteSymbols[bytes[i]];
    return count;
  }

  private placeCharacters(count: number): number {
    const { merger, bytes } = this;
    merger.reserve(count);
    let symbols = 0;
    for (let i = 0; i < count;) {
      const first = bytes[i];
      const end = i + (first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4);
      const whole = this.index.find(bytes, i, end);
      if (whole >= 0) merger.symbol[symbols++] = whole;
      else if (bytes.subarray(i, end).every((byte) => this.byteSymbols[byte] >= 0)) {
        for (let j = i; j < end; j++) merger.symbol[symbols++] = this.byteSymbols[bytes[j]];
      } else merger.symbol[symbols++] = UNKNOWN;
      i = end;
    }
    return symbols;
  }

  /** A symbol that is no token becomes its single bytes; bytes without a token are dropped, as llama.cpp does. */
  private emit(symbol: number, out: number[]): void {
    if (symbol < this.vocabulary.size && (isText(this.types[symbol]) || this.types[symbol] === TokenType.byte)) {
      out.push(symbol);
      return;
    }
    for (const byte of this.bytesOf(symbol)) {
      const single = this.byteSymbols[byte];
      if (single >= 0 && single !== symbol && single < this.vocabulary.size && isText(this.types[single]))
        out.push(single);
    }
  }

  private bytesOf(symbol: number): Uint8Array {
    if (symbol >= this.vocabulary.size) return this.strangers[symbol - this.vocabulary.size];
    const spelled = this.vocabulary.slice(symbol);
    if (!this.alphabet) return spelled;
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

  private readMerges(merges: StringTable, separator: number): MergeTable {
    const table = new MergeTable(merges.length);
    const { bytes, offsets } = merges;
    let longest = 0;
    for (let i = 0; i < merges.length; i++) longest = Math.max(longest, offsets[i + 1] - offsets[i]);
    const scratch = new Uint8Array(longest);
    for (let rank = 0; rank < merges.length; rank++) {
      const end = offsets[rank + 1];
      let cut = offsets[rank] + 1;
      while (cut < end && bytes[cut] !== separator) cut++;
      if (cut >= end) continue;
      const middle = this.read(bytes, offsets[rank], cut, scratch, 0);
      const last = middle < 0 ? -1 : this.read(bytes, cut + 1, end, scratch, middle);
      if (last <= middle || middle === 0) continue; // not spelled in the alphabet: text cannot reach it
      const leftHash = hashBytes(scratch, 0, middle);
      const left = this.symbolOf(scratch, 0, middle, leftHash);
      const right = this.symbolOf(scratch, middle, last);
      table.add(left, right, rank, this.symbolOf(scratch, 0, last, hashBytes(scratch, middle, last, leftHash)));
    }
    return table;
  }

  private read(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
    if (this.alphabet) return readAlphabet(source, start, end, target, at);
    target.set(source.subarray(start, end), at);
    return at + end - start;
  }
}

/** Control tokens never come out of plain text, even if merges or the whole-piece rule would spell one. */
function isText(type: number): boolean {
  return type !== TokenType.control && type !== TokenType.unknown && type !== TokenType.byte;
}

const encoder = new TextEncoder();

/** The arena again, spelled in bytes instead of the alphabet; tokens that no text can give are empty. */
function indexAlphabet(vocabulary: Vocabulary): ByteIndex {
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
