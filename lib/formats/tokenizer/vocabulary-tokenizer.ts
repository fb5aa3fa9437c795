// A tokenizer over a vocabulary and an encoder: special tokens, BOS and EOS, and bytes back to text. What a file format
// says about these is its recipe.
import { VivaceError } from '../../errors.js';
import { readAlphabet } from './byte-alphabet.js';
import type { Encoded, NativeEncoder, TextPart } from './native-encoder.js';
import { PieceStore } from './piece-store.js';
import { SpecialSplitter, type Span, type SpecialToken } from './special-splitter.js';
import type { DecodeOptions, EncodedText, EncodeOptions, SpecialIds, Tokenizer } from './tokenizer.js';
import { TokenType, type Vocabulary } from './vocabulary.js';

const SPACE = 0x20;
const lenient = new TextDecoder('utf-8', { ignoreBOM: true });

/** How normal tokens spell what they stand for: bytes in GPT-2's alphabet, or characters with U+2581 for a space. */
export type Spelling = 'alphabet' | 'marks';

export interface Recipe {
  readonly engine: Tokenizer['engine'];
  readonly special: SpecialIds;
  readonly endOfGeneration: ReadonlySet<number>;
  readonly addsSpacePrefix: boolean;
  readonly spelling: Spelling;
  /** Ids that `addSpecial` puts before and after a text. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** Does white space around special tokens mean Unicode's (Hugging Face) or ASCII's (GGUF). */
  readonly unicodeStrip: boolean;
  /** The rest is called once, when first needed. */
  vocabulary(): Vocabulary;
  specialTokens(vocabulary: Vocabulary): readonly SpecialToken[];
  encoder(vocabulary: Vocabulary): NativeEncoder;
}

export class VocabularyTokenizer implements Tokenizer {
  readonly engine: Tokenizer['engine'];
  readonly special: SpecialIds;
  readonly endOfGeneration: ReadonlySet<number>;
  readonly addsSpacePrefix: boolean;
  private lazyVocabulary?: Vocabulary;
  private lazyEncoder?: NativeEncoder;
  private lazySplitter?: SpecialSplitter;
  private lazyPieces?: PieceStore;

  constructor(private readonly recipe: Recipe) {
    this.engine = recipe.engine;
    this.special = recipe.special;
    this.endOfGeneration = recipe.endOfGeneration;
    this.addsSpacePrefix = recipe.addsSpacePrefix;
  }

  get vocabSize(): number {
    return this.vocabulary.size;
  }

  encode(text: string, options: EncodeOptions = {}): Int32Array {
    return this.run(text, options, false).tokens;
  }

  encodeWithOffsets(text: string, options: EncodeOptions = {}): EncodedText {
    const { tokens, offsets = new Uint32Array(tokens.length + 1) } = this.run(text, options, true);
    return { tokens, offsets };
  }

  /** The first token that is not special loses one leading space if encode() puts one there. */
  decode(tokens: ArrayLike<number>, options: DecodeOptions = {}): string {
    const { skipSpecial = true } = options;
    const { types } = this.vocabulary;
    const ids = this.checked(tokens);
    const bytes = this.store.join(ids, skipSpecial ? types : undefined);
    const first = this.addsSpacePrefix ? ids.findIndex((token) => !this.isSpecial(token)) : -1;
    if (first < 0 || this.piece(ids[first])[0] !== SPACE) return lenient.decode(bytes);
    let start = 0;
    if (!skipSpecial) for (let i = 0; i < first; i++) start += this.piece(ids[i]).length;
    bytes.copyWithin(start, start + 1);
    return lenient.decode(bytes.subarray(0, -1));
  }

  piece(token: number): Uint8Array {
    return this.store.get(this.check(token));
  }

  tokenText(token: number): string {
    return this.vocabulary.text(this.check(token));
  }

  tokenId(text: string): number | undefined {
    return this.vocabulary.id(text);
  }

  controlSpans(text: string): readonly Span[] {
    return this.splitter.controlSpans(text);
  }

  isSpecial(token: number): boolean {
    const type = this.vocabulary.types[token];
    return type === TokenType.control || type === TokenType.unknown;
  }

  private run(text: string, options: EncodeOptions, withOffsets: boolean): Encoded {
    const { addSpecial = true, parseSpecial = false, plain } = options;
    const parts = this.splitter.split(text, parseSpecial, plain);
    return this.encoder.encode(addSpecial ? this.frame(parts) : parts, withOffsets);
  }

  /** A rendered template may begin with BOS (or end with EOS) already; a second one harms the model. */
  private frame(parts: readonly TextPart[]): readonly TextPart[] {
    const { before, after } = this.recipe;
    const begins = before.length > 0 && parts[0]?.token === before[0];
    const ends = after.length > 0 && parts[parts.length - 1]?.token === after[0];
    return [...(begins ? [] : before.map(inserted)), ...parts, ...(ends ? [] : after.map(inserted))];
  }

  private get vocabulary(): Vocabulary {
    return (this.lazyVocabulary ??= this.recipe.vocabulary());
  }

  private get encoder(): NativeEncoder {
    return (this.lazyEncoder ??= this.recipe.encoder(this.vocabulary));
  }

  private get splitter(): SpecialSplitter {
    return (this.lazySplitter ??= new SpecialSplitter(
      this.recipe.specialTokens(this.vocabulary),
      this.recipe.unicodeStrip,
    ));
  }

  private get store(): PieceStore {
    return (this.lazyPieces ??= new PieceStore(this.vocabSize, (token) => this.readPiece(token)));
  }

  private check(token: number): number {
    if (Number.isInteger(token) && token >= 0 && token < this.vocabSize) return token;
    throw new VivaceError('INVALID_ARGUMENT', `Expected a token id below ${this.vocabSize}, received ${token}`);
  }

  private checked(tokens: ArrayLike<number>): Int32Array {
    const ids = tokens instanceof Int32Array ? tokens : Int32Array.from(tokens);
    const size = this.vocabSize;
    for (let i = 0; i < ids.length; i++) if (ids[i] !== tokens[i] || ids[i] >>> 0 >= size) this.check(tokens[i]);
    return ids;
  }

  private readPiece(token: number): Uint8Array {
    const { vocabulary } = this;
    const text = vocabulary.slice(token);
    const type = vocabulary.types[token];
    if (type === TokenType.byte) return Uint8Array.of(Number.parseInt(vocabulary.text(token).slice(3, 5), 16));
    if (type !== TokenType.normal && type !== TokenType.unused) return text.slice();
    if (this.recipe.spelling === 'marks') return unmark(text);
    const bytes = new Uint8Array(text.length);
    const end = readAlphabet(text, 0, text.length, bytes, 0);
    return end < 0 ? text.slice() : bytes.slice(0, end);
  }
}

/** U+2581 (E2 96 81) to a space, on bytes: a token need not be valid UTF-8. */
function unmark(text: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(text.length);
  let at = 0;
  for (let i = 0; i < text.length; i++) {
    const mark = text[i] === 0xe2 && text[i + 1] === 0x96 && text[i + 2] === 0x81;
    bytes[at++] = mark ? 0x20 : text[i];
    if (mark) i += 2;
  }
  return bytes.slice(0, at);
}

function inserted(token: number): TextPart {
  return { text: '', token };
}
