// SentencePiece BPE as in GGUF's "llama" model: neighbours merge in the order of the merged token's score.
import { PairMerger, type PairRule } from './pair-merger.js';
import { PieceCache } from './piece-cache.js';
import { joinsWords, splitAtMarks } from './word-marks.js';
import { ByteIndex, TokenType, type Vocabulary } from '../../../../lib/formats/tokenizer/vocabulary.js';

export class SentencePieceEncoder implements PairRule {
  merged = -1;
  private readonly index: ByteIndex;
  private readonly order: Int32Array; // rank of a token's score, best first; equal scores share it
  private readonly byteTokens: Int32Array; // [256]
  private readonly merger = new PairMerger();
  private readonly cache = new PieceCache();
  private readonly encodePiece = (piece: string, out: number[]): void => this.encodeOne(piece, out);
  private readonly split: (text: string) => readonly string[];
  private bytes: Uint8Array = new Uint8Array(0);

  constructor(vocabulary: Vocabulary, scores: Float32Array | undefined, unknown: number | undefined) {
    // Control, unknown and byte tokens are left out, as in SentencePiece itself: the text "</s>" of a user must not merge
    // into the token, and its score 0 would even win over all others.
    const types = vocabulary.types;
    this.index = new ByteIndex(
      vocabulary.bytes,
      vocabulary.offsets,
      (id) => types[id] !== TokenType.control && types[id] !== TokenType.unknown && types[id] !== TokenType.byte,
    );
    this.order = rankScores(scores, vocabulary.size);
    this.byteTokens = new Int32Array(256);
    for (let byte = 0; byte < 256; byte++) {
      const name = `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
      const ascii = byte < 0x80 ? vocabulary.id(String.fromCharCode(byte)) : undefined;
      this.byteTokens[byte] = vocabulary.id(name) ?? ascii ?? unknown ?? -1;
    }
    this.split = joinsWords(vocabulary) ? (text) => [text] : splitAtMarks;
  }

  /** Appends the tokens of a text whose spaces are already U+2581. */
  encode(text: string, out: number[]): void {
    for (const piece of this.split(text)) this.cache.append(piece, out, this.encodePiece);
  }

  rank(merger: PairMerger, left: number, right: number): number {
    const start = merger.start[left];
    const end = merger.end[right];
    if (end - start > this.index.longest) return -1;
    this.merged = this.index.find(this.bytes, start, end);
    return this.merged < 0 ? -1 : this.order[this.merged];
  }

  private encodeOne(text: string, out: number[]): void {
    const bytes = Buffer.from(text, 'utf8');
    const merger = this.merger;
    merger.reserve(bytes.length);
    this.bytes = bytes;
    let count = 0;
    for (let i = 0; i < bytes.length; count++) {
      const first = bytes[i];
      merger.start[count] = i;
      i += first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
      merger.end[count] = i;
      merger.symbol[count] = this.index.find(bytes, merger.start[count], i);
    }
    merger.run(count, this, (at) => {
      if (merger.symbol[at] >= 0) {
        out.push(merger.symbol[at]);
        return;
      }
      for (let i = merger.start[at]; i < merger.end[at]; i++) {
        const token = this.byteTokens[bytes[i]];
        if (token >= 0) out.push(token);
      }
    });
  }
}

function rankScores(scores: Float32Array | undefined, size: number): Int32Array {
  const order = new Int32Array(size);
  if (!scores) return order;
  const distinct = Float32Array.from(new Set(scores.subarray(0, size)))
    .sort()
    .reverse();
  const ranks = new Map<number, number>();
  distinct.forEach((score, rank) => ranks.set(score, rank));
  for (let id = 0; id < size; id++) order[id] = ranks.get(scores[id]) ?? 0;
  return order;
}
