// Which tokens of two vocabularies stand for the same bytes, and bytes as tokens of one vocabulary.
import type { Tokenizer } from '../../../../formats/tokenizer/tokenizer.js';

/** A byte string as a key of a Map: one character per byte. */
export const keyOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');

/** What stands for a byte where no other token does. */
const isByte = (text: string): boolean => /^<0x[0-9A-F]{2}>$/.test(text);

/** The tokens of a vocabulary by the bytes that they stand for: of equal ones the smallest that is no byte token. */
export class PieceIndex {
  /** Bytes of the longest one. */
  readonly longest: number;
  private readonly ids = new Map<string, number>();

  /** Of `count` tokens, 0 to count − 1; control and unknown tokens and those without bytes are left out. */
  constructor(tokenizer: Tokenizer, count: number) {
    let longest = 0;
    const bytes: number[] = [];
    for (let token = 0; token < count; token++) {
      if (tokenizer.isSpecial(token)) continue;
      const piece = tokenizer.piece(token);
      if (piece.length === 0) continue;
      const key = keyOf(piece);
      if (piece.length === 1 && isByte(tokenizer.tokenText(token))) bytes.push(token);
      else if (!this.ids.has(key)) this.ids.set(key, token);
      if (piece.length > longest) longest = piece.length;
    }
    this.longest = longest;
    for (const token of bytes) {
      const key = keyOf(tokenizer.piece(token));
      if (!this.ids.has(key)) this.ids.set(key, token);
    }
  }

  /** −1: there is none. */
  find(bytes: Uint8Array): number {
    return this.ids.get(keyOf(bytes)) ?? -1;
  }

  /** The fewest tokens that stand for these bytes, of equally few the one that is longest at the end; undefined: none do. */
  cover(bytes: Uint8Array): Int32Array | undefined {
    const { length } = bytes;
    const fewest = new Float64Array(length + 1).fill(Infinity);
    const last = new Int32Array(length + 1);
    const lengths = new Int32Array(length + 1);
    fewest[0] = 0;
    for (let end = 1; end <= length; end++) {
      for (let begin = Math.max(0, end - this.longest); begin < end; begin++) {
        if (fewest[begin] + 1 >= fewest[end]) continue;
        const token = this.find(bytes.subarray(begin, end));
        if (token < 0) continue;
        fewest[end] = fewest[begin] + 1;
        last[end] = token;
        lengths[end] = end - begin;
      }
    }
    if (fewest[length] === Infinity) return undefined;
    const tokens = new Int32Array(fewest[length]);
    for (let end = length, i = tokens.length - 1; i >= 0; end -= lengths[end], i--) tokens[i] = last[end];
    return tokens;
  }
}

/** Pairs of tokens that mean the same though they have no bytes: drafter's → target's. */
export type TokenPairs = Readonly<Record<number, number>>;

/**
 * The map between a drafter's vocabulary and a target's: tokens with the same bytes, nothing else (no change of case, no
 * stripping). Control tokens follow rules: the end of a text, of a turn and of a message each map to their own kind, and
 * `pairs` adds others; the rest, as begins and padding, map to nothing.
 */
export class Alignment {
  /** [drafter's tokens] the target's token, of equal ones as PieceIndex says, or −1. */
  readonly direct: Int32Array;
  /** [target's tokens] the drafter's token, the same. */
  readonly inverse: Int32Array;
  readonly targetPieces: PieceIndex;
  readonly drafterPieces: PieceIndex;

  /** Tokens at or beyond `targetVocab` and `drafterVocab` are never drawn and map to nothing: padding. */
  constructor(
    readonly target: Tokenizer,
    readonly drafter: Tokenizer,
    targetVocab: number,
    drafterVocab: number,
    pairs: TokenPairs = {},
  ) {
    const targets = Math.min(targetVocab, target.vocabSize);
    const drafters = Math.min(drafterVocab, drafter.vocabSize);
    this.targetPieces = new PieceIndex(target, targets);
    this.drafterPieces = new PieceIndex(drafter, drafters);
    this.direct = new Int32Array(drafters).fill(-1);
    this.inverse = new Int32Array(targets).fill(-1);
    for (let token = 0; token < drafters; token++) {
      if (!drafter.isSpecial(token)) this.direct[token] = this.targetPieces.find(drafter.piece(token));
    }
    for (let token = 0; token < targets; token++) {
      if (!target.isSpecial(token)) this.inverse[token] = this.drafterPieces.find(target.piece(token));
    }
    const pair = (own: number, other: number): void => {
      this.direct[own] = other;
      this.inverse[other] = own;
    };
    for (const kind of ['eom', 'eot', 'eos'] as const) {
      const [own, other] = [drafter.special[kind], target.special[kind]];
      if (own === undefined || other === undefined) continue;
      if (own < drafters && other < targets && this.direct[own] < 0 && this.inverse[other] < 0) pair(own, other);
    }
    for (const [own, other] of Object.entries(pairs)) pair(Number(own), other);
  }

  /** Tokens of the drafter that have one of the target's. */
  get mapped(): number {
    return this.direct.reduce((count, token) => count + Number(token >= 0), 0);
  }

  /** The share of these tokens of the target that one token of the drafter stands for. */
  shareOf(tokens: Int32Array): number {
    const known = tokens.reduce((count, token) => count + Number((this.inverse[token] ?? -1) >= 0), 0);
    return tokens.length === 0 ? 0 : known / tokens.length;
  }
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const SPACE = 0x20;

/**
 * Exactly these bytes as a tokenizer writes them, by its own merges where they are text, without a begin of text and without
 * a space that it would put before; else by the fewest of its tokens. Undefined: its tokens cannot say them.
 */
export function segment(bytes: Uint8Array, tokenizer: Tokenizer, pieces: PieceIndex): Int32Array | undefined {
  let text: string;
  try {
    text = strict.decode(bytes);
  } catch {
    return pieces.cover(bytes);
  }
  const spaced = tokenizer.addsSpacePrefix && bytes[0] === SPACE;
  const tokens = tokenizer.encode(spaced ? text.slice(1) : text, { addSpecial: false });
  let at = 0;
  for (const token of tokens) {
    const piece = tokenizer.piece(token);
    if (tokenizer.isSpecial(token) || pieces.find(piece) < 0) return pieces.cover(bytes);
    for (const byte of piece) if (bytes[at++] !== byte) return pieces.cover(bytes);
  }
  return at === bytes.length ? tokens : pieces.cover(bytes);
}
