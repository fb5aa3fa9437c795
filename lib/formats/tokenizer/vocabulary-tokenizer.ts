// A tokenizer over a vocabulary and an encoder: special tokens, BOS and EOS, and bytes back to text. What a file format
// says about these is its recipe.
import { VivaceError } from '../../errors.js';
import { readAlphabet } from './encoders/byte-alphabet.js';
import { SpecialSplitter, type Span, type SpecialToken } from './special-splitter.js';
import { decodeTokens } from './text-stream.js';
import type { DecodeOptions, EncodeOptions, SpecialIds, Tokenizer } from './tokenizer.js';
import { TokenType, type Vocabulary } from './vocabulary.js';

/** Encodes text between special tokens. */
export interface Encoder {
  /** `afterSpecial`: the text begins the input or follows a special token; `first`: it begins the input. */
  encode(text: string, out: number[], place: { readonly afterSpecial: boolean; readonly first: boolean }): void;
}

/** How normal tokens spell what they stand for: bytes in GPT-2's alphabet, or characters with U+2581 for a space. */
export type Spelling = 'alphabet' | 'marks';

export interface Recipe {
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
  encoder(vocabulary: Vocabulary): Encoder;
}

export class VocabularyTokenizer implements Tokenizer {
  readonly special: SpecialIds;
  readonly endOfGeneration: ReadonlySet<number>;
  readonly addsSpacePrefix: boolean;
  private readonly pieces = new Map<number, Uint8Array>();
  private lazyVocabulary?: Vocabulary;
  private lazyEncoder?: Encoder;
  private lazySplitter?: SpecialSplitter;

  constructor(private readonly recipe: Recipe) {
    this.special = recipe.special;
    this.endOfGeneration = recipe.endOfGeneration;
    this.addsSpacePrefix = recipe.addsSpacePrefix;
  }

  get vocabSize(): number {
    return this.vocabulary.size;
  }

  encode(text: string, options: EncodeOptions = {}): Int32Array {
    const { addSpecial = true, parseSpecial = false, plain } = options;
    const { before, after } = this.recipe;
    const parts = this.splitter.split(wellFormed(text), parseSpecial, plain);
    const out: number[] = [];
    // A rendered template may begin with BOS (or end with EOS) already; a second one harms the model.
    if (addSpecial && (before.length === 0 || parts[0] !== before[0])) out.push(...before);
    for (const [i, part] of parts.entries()) {
      if (typeof part === 'number') out.push(part);
      else
        this.encoder.encode(part, out, { first: i === 0, afterSpecial: i === 0 || typeof parts[i - 1] === 'number' });
    }
    if (addSpecial && (after.length === 0 || parts[parts.length - 1] !== after[0])) out.push(...after);
    return Int32Array.from(out);
  }

  decode(tokens: ArrayLike<number>, options: DecodeOptions = {}): string {
    return decodeTokens(this, tokens, options.skipSpecial ?? true);
  }

  piece(token: number): Uint8Array {
    const known = this.pieces.get(token);
    if (known) return known;
    const piece = this.readPiece(this.check(token));
    this.pieces.set(token, piece);
    return piece;
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

  private get vocabulary(): Vocabulary {
    return (this.lazyVocabulary ??= this.recipe.vocabulary());
  }

  private get encoder(): Encoder {
    return (this.lazyEncoder ??= this.recipe.encoder(this.vocabulary));
  }

  private get splitter(): SpecialSplitter {
    return (this.lazySplitter ??= new SpecialSplitter(
      this.recipe.specialTokens(this.vocabulary),
      this.recipe.unicodeStrip,
    ));
  }

  private check(token: number): number {
    if (Number.isInteger(token) && token >= 0 && token < this.vocabSize) return token;
    throw new VivaceError('INVALID_ARGUMENT', `Expected a token id below ${this.vocabSize}, received ${token}`);
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

/** Lone surrogates become U+FFFD, as in UTF-8. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, '\ufffd');
}
