// The canonical configuration of a decoder-only transformer, filled from GGUF metadata or from config.json.

export type Architecture = 'llama' | 'qwen2' | 'qwen3' | 'gemma2' | 'gemma3' | 'phi3';

export type RopeScaling =
  | { readonly type: 'none' }
  | { readonly type: 'linear'; readonly factor: number }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalContextLength: number;
    }
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly originalContextLength: number;
      readonly attentionFactor?: number;
      readonly betaFast: number;
      readonly betaSlow: number;
    }
  | {
      readonly type: 'longrope';
      readonly originalContextLength: number;
      readonly attentionFactor?: number;
      /** Divisors per frequency; GGUF files keep them in the tensors rope_factors_short and rope_factors_long instead. */
      readonly shortFactors?: readonly number[];
      readonly longFactors?: readonly number[];
    };

export interface ModelConfig {
  readonly architecture: Architecture;
  readonly name?: string;
  readonly contextLength: number;
  /** Embedding width. */
  readonly width: number;
  readonly layers: number;
  /** MLP width. */
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** Width of one key (and query) head; values may differ. */
  readonly headDim: number;
  readonly valueDim: number;
  /** Rows of the embedding; may exceed the tokenizer's size. */
  readonly vocab: number;
  readonly normEpsilon: number;
  readonly rope: {
    readonly base: number;
    /** Base of sliding-window layers (gemma3: 10000). */
    readonly localBase?: number;
    /** Rotated values per head (partial rotary when < headDim). */
    readonly dimensions: number;
    readonly scaling: RopeScaling;
    /** How q and k rows lie in the file: GGUF llama keeps pairs adjacent, everything else rotates halves. */
    readonly layout: 'adjacent' | 'halves';
  };
  /** Keys seen by a sliding-window layer, the current one included; undefined: none. */
  readonly slidingWindow?: number;
  /** Per layer: does the window apply. Undefined: to none, or to all when `slidingWindow` is set and the family says so. */
  readonly slidingLayers?: readonly boolean[];
  readonly attentionSoftcap?: number;
  readonly finalSoftcap?: number;
  /** Query scale; default 1/√headDim. */
  readonly attentionScale?: number;
  readonly tiedEmbedding: boolean;
}
