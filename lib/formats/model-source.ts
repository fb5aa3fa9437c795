// What every model file becomes, whatever its format: canonical config, tensors by canonical name, tokenizer, templates.
import type { DType } from '../program/dtype.js';
import type { ModelConfig } from './model-config.js';
import type { TokenizerSource } from './tokenizer-source.js';

/** Where the bytes of one tensor lie. Canonical names are GGUF's (`blk.0.attn_q.weight`). */
export interface TensorSource {
  readonly name: string;
  readonly dtype: DType;
  /** Slowest axis first, as in Hugging Face files: a linear weight is [out, in]. */
  readonly shape: readonly number[];
  /** Index into `ModelSource.files`. */
  readonly file: number;
  /** Absolute byte offset in that file. */
  readonly offset: number;
  readonly bytes: number;
  /** Added to every value when it is loaded (gemma norms of Hugging Face files: 1); the tensor is small and becomes F32. */
  readonly add?: number;
}

export interface ModelSource {
  readonly format: 'gguf' | 'hugging-face';
  /** Absolute paths of all files that hold tensors. */
  readonly files: readonly string[];
  readonly config: ModelConfig;
  readonly tensors: ReadonlyMap<string, TensorSource>;
  readonly tokenizer: TokenizerSource;
  /** `default` and named ones (`tool_use`). */
  readonly chatTemplates: Readonly<Record<string, string>>;
  /** Raw metadata for `vivace inspect`: key → printable value (long arrays abbreviated). */
  readonly metadata: ReadonlyMap<string, unknown>;
}
