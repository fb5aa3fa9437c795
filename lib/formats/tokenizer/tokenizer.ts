// The one face of every tokenizer, and the choice of the one that a model file asks for.
import type { Span } from './special-splitter.js';
import type { TokenizerSource } from '../tokenizer-source.js';
import { ggufRecipe } from './gguf-tokenizer.js';
import { huggingFaceRecipe } from './hugging-face-tokenizer.js';
import { VocabularyTokenizer } from './vocabulary-tokenizer.js';

export interface EncodeOptions {
  /** Insert BOS and EOS where the model file asks for them. Default true. */
  readonly addSpecial?: boolean;
  /** Read the text of control tokens as these tokens. Default false: user text cannot forge them. */
  readonly parseSpecial?: boolean;
  /** Ranges [start, end) of the text that stay text all the same: what users wrote inside a rendered template. */
  readonly plain?: readonly Span[];
}

export interface DecodeOptions {
  /** Leave out control tokens. Default true. */
  readonly skipSpecial?: boolean;
}

/** Ids that frame a text; absent where the file names none. */
export interface SpecialIds {
  readonly bos?: number;
  readonly eos?: number;
  readonly eot?: number;
  readonly eom?: number;
  readonly unknown?: number;
  readonly padding?: number;
}

/** A text's tokens, and where in the text they are. */
export interface EncodedText {
  readonly tokens: Int32Array;
  /** [tokens + 1]: token i is the bytes [offsets[i], offsets[i + 1]) of the text in UTF-8, which is all of it. */
  readonly offsets: Uint32Array;
}

export interface Tokenizer {
  /** `mixed`: text goes through steps of tokenizer.json in JavaScript before native code merges its pieces. */
  readonly engine: 'native' | 'mixed';
  readonly vocabSize: number;
  readonly special: SpecialIds;
  /** Ids after which a model has finished its turn. */
  readonly endOfGeneration: ReadonlySet<number>;
  /** Does encode() put a space before a text (SentencePiece); decode() then drops it again. */
  readonly addsSpacePrefix: boolean;
  encode(text: string, options?: EncodeOptions): Int32Array;
  /**
   * encode() with places. Inserted tokens are empty; white space that a special token swallows belongs to it. Throws
   * UNSUPPORTED_FEATURE where a tokenizer.json changes the text first.
   */
  encodeWithOffsets(text: string, options?: EncodeOptions): EncodedText;
  decode(tokens: ArrayLike<number>, options?: DecodeOptions): string;
  /** The bytes that one token stands for; may be part of a character. Do not write to them. */
  piece(token: number): Uint8Array;
  /** The token as the vocabulary spells it, for display. */
  tokenText(token: number): string;
  tokenId(text: string): number | undefined;
  /** Where a text spells control tokens, whole or begun at its end. */
  controlSpans(text: string): readonly Span[];
  /** Control and unknown tokens, hidden by decode(). */
  isSpecial(token: number): boolean;
}

/**
 * Cheap: nothing proportional to the vocabulary becomes JavaScript strings, and the encoder is built by the first encode().
 * Throws UNSUPPORTED_TOKENIZER for a kind or pre-split rule that is not known.
 */
export function createTokenizer(source: TokenizerSource): Tokenizer {
  return new VocabularyTokenizer(source.kind === 'gguf' ? ggufRecipe(source) : huggingFaceRecipe(source));
}
