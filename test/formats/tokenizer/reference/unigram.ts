// Unigram ("t5"): the segmentation with the greatest sum of scores, by Viterbi over a trie of the tokens' bytes.
import type { CharacterMap } from '../../../../lib/formats/tokenizer/character-map.js';
import { TokenType, type Vocabulary } from '../../../../lib/formats/tokenizer/vocabulary.js';

const UNKNOWN_PENALTY = 10;
const MARK = '\u2581';

/** Bytes of a text to a segmentation; linear in the text times the longest token. */
export class UnigramEncoder {
  private readonly trie: ByteTrie;
  private readonly scores: Float64Array;
  private readonly unknownScore: number;
  private readonly byteTokens: readonly (number | undefined)[] | undefined;

  /** `byteFallback`: unknown characters become byte tokens, where the vocabulary has all they need. */
  constructor(
    vocabulary: Vocabulary,
    scores: ArrayLike<number>,
    private readonly unknown: number | undefined,
    byteFallback = false,
  ) {
    const { types, size } = vocabulary;
    this.trie = new ByteTrie(vocabulary.bytes.length);
    this.scores = new Float64Array(size);
    let lowest = Infinity;
    for (let id = 0; id < size; id++) {
      const type = types[id];
      if (type === TokenType.normal && scores[id] < lowest) lowest = scores[id];
      this.scores[id] = type === TokenType.userDefined ? 0 : scores[id];
      if (type === TokenType.normal || type === TokenType.userDefined || type === TokenType.unused) {
        this.trie.add(vocabulary.bytes, vocabulary.offsets[id], vocabulary.offsets[id + 1], id);
      }
    }
    // GGUF's scores and their arithmetic are float32, those of tokenizer.json float64.
    this.unknownScore =
      scores instanceof Float32Array ? Math.fround(lowest - UNKNOWN_PENALTY) : lowest - UNKNOWN_PENALTY;
    if (byteFallback) {
      this.byteTokens = Array.from({ length: 256 }, (_, byte) =>
        vocabulary.id(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
      );
    }
  }

  encode(text: Uint8Array, out: number[]): void {
    const count = text.length;
    const best = new Float64Array(count + 1).fill(-Infinity);
    const from = new Int32Array(count + 1);
    const token = new Int32Array(count + 1).fill(-1);
    best[0] = 0;
    for (let at = 0; at < count;) {
      const width = widthOf(text[at], count - at);
      let single = false;
      let node = 0;
      for (let end = at; end < count;) {
        node = this.trie.child(node, text[end++]);
        if (node < 0) break;
        const id = this.trie.value(node);
        if (id < 0) continue;
        if (end - at === width) single = true;
        const score = best[at] + this.scores[id];
        if (score > best[end]) {
          best[end] = score;
          from[end] = at;
          token[end] = id;
        }
      }
      const score = best[at] + this.unknownScore;
      if (!single && score > best[at + width]) {
        best[at + width] = score;
        from[at + width] = at;
        token[at + width] = -1;
      }
      at += width;
    }
    this.trace(text, from, token, out);
  }

  /** Neighbouring unknown characters become one unknown token. */
  private trace(text: Uint8Array, from: Int32Array, token: Int32Array, out: number[]): void {
    const start = out.length;
    let end = text.length;
    while (end > 0) {
      let at = from[end];
      if (token[end] >= 0) out.push(token[end]);
      else {
        while (at > 0 && token[at] < 0) at = from[at];
        this.pushUnknown(text, at, end, out);
      }
      end = at;
    }
    const reversed = out.splice(start).reverse();
    for (const id of reversed) out.push(id);
  }

  private pushUnknown(text: Uint8Array, start: number, end: number, out: number[]): void {
    const bytes = this.byteTokens;
    if (bytes && text.subarray(start, end).every((byte) => bytes[byte] !== undefined)) {
      for (let i = end - 1; i >= start; i--) out.push(bytes[text[i]] ?? 0);
    } else if (this.unknown !== undefined) out.push(this.unknown);
  }
}

function widthOf(first: number, left: number): number {
  return Math.min(left, first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4);
}

/** Children in one hash table: (node, byte) → node. */
class ByteTrie {
  private readonly keys: Float64Array; // node · 256 + byte + 1
  private readonly nodes: Int32Array;
  private readonly values: Int32Array; // token of a node, or -1
  private readonly mask: number;
  private count = 1;

  constructor(bytes: number) {
    let capacity = 16;
    while (capacity < 2 * bytes) capacity *= 2;
    this.mask = capacity - 1;
    this.keys = new Float64Array(capacity);
    this.nodes = new Int32Array(capacity);
    this.values = new Int32Array(bytes + 1).fill(-1);
  }

  add(bytes: Uint8Array, start: number, end: number, id: number): void {
    let node = 0;
    for (let i = start; i < end; i++) {
      const slot = this.slot(node, bytes[i]);
      if (this.keys[slot] === 0) {
        this.keys[slot] = node * 256 + bytes[i] + 1;
        this.nodes[slot] = this.count++;
      }
      node = this.nodes[slot];
    }
    if (node > 0 && this.values[node] < 0) this.values[node] = id;
  }

  child(node: number, byte: number): number {
    const slot = this.slot(node, byte);
    return this.keys[slot] === 0 ? -1 : this.nodes[slot];
  }

  value(node: number): number {
    return this.values[node];
  }

  private slot(node: number, byte: number): number {
    const key = node * 256 + byte + 1;
    const mixed = Math.imul(node ^ (byte << 22), 0x9e3779b1 | 0);
    let slot = (mixed ^ (mixed >>> 15)) & this.mask;
    while (this.keys[slot] !== 0 && this.keys[slot] !== key) slot = (slot + 1) & this.mask;
    return slot;
  }
}

/** Text to the bytes that the encoder takes: mapped characters, spaces as U+2581, by the options that the file sets. */
export function unigramNormalizer(options: {
  readonly map?: CharacterMap;
  readonly addSpacePrefix: boolean;
  readonly removeExtraSpaces: boolean;
}): (text: string) => Uint8Array {
  const { map, addSpacePrefix, removeExtraSpaces } = options;
  return (text) => {
    const plain = Buffer.from(text, 'utf8');
    const mapped = map ? Buffer.from(map.apply(plain)).toString('utf8') : text;
    const marked = removeExtraSpaces ? markWords(mapped) : markSpaces(mapped, addSpacePrefix);
    return Buffer.from(marked, 'utf8');
  };
}

/** Every word gets one mark in front; the spaces themselves go. */
function markWords(text: string): string {
  return text
    .split(' ')
    .filter((word) => word !== '')
    .map((word) => MARK + word)
    .join('');
}

/** Every space becomes a mark; with `prefix` the first word gets one more. */
function markSpaces(text: string, prefix: boolean): string {
  let first = 0;
  while (first < text.length && text[first] === ' ') first++;
  const extra = prefix && first < text.length ? MARK : '';
  return MARK.repeat(first) + extra + text.slice(first).replaceAll(' ', MARK);
}
