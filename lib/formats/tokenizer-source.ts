// The two shapes in which files describe a tokenizer, before one is built.
import type { StringTable } from './gguf.js';

/** GGUF's `tokenizer.ggml.*` keys, large arrays still unread. */
export interface GgufTokenizerSource {
  readonly kind: 'gguf';
  /** `tokenizer.ggml.model`: llama, gpt2, t5 (bert, rwkv are refused). */
  readonly model: string;
  /** `tokenizer.ggml.pre`, undefined in old files. */
  readonly pre?: string;
  readonly tokens: StringTable;
  /** Lazily read: SentencePiece scores, one per token. */
  readonly scores?: () => Float32Array;
  /** 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. */
  readonly types?: () => Int32Array;
  readonly merges?: StringTable;
  readonly precompiledCharsmap?: () => Uint8Array;
  readonly addSpacePrefix?: boolean;
  readonly removeExtraWhitespaces?: boolean;
  readonly special: SpecialTokens;
}

/** Hugging Face's tokenizer.json (parsed) and what tokenizer_config.json and generation_config.json add. */
export interface HuggingFaceTokenizerSource {
  readonly kind: 'hugging-face';
  readonly json: unknown;
  readonly config: Readonly<Record<string, unknown>>;
  readonly special: SpecialTokens;
}

export type TokenizerSource = GgufTokenizerSource | HuggingFaceTokenizerSource;

/** Ids that end or frame a text; undefined where the file names none. */
export interface SpecialTokens {
  readonly bos?: number;
  readonly eos?: number;
  readonly eot?: number;
  readonly eom?: number;
  readonly unknown?: number;
  readonly padding?: number;
  readonly addBos?: boolean;
  readonly addEos?: boolean;
  /** More end-of-generation ids (generation_config.json may list several). */
  readonly endOfGeneration?: readonly number[];
}
