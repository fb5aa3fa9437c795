// The canonical configuration of a decoder-only transformer, filled from GGUF metadata or from config.json.
import { VivaceError } from '../errors.js';

export type Architecture =
  'llama' | 'qwen2' | 'qwen3' | 'gemma2' | 'gemma3' | 'phi3' | 'qwen2moe' | 'qwen3moe' | 'deepseek';

export type RopeScaling =
  | { readonly type: 'none' }
  | { readonly type: 'linear'; readonly factor: number }
  // GGUF files express this one as the tensor `rope_freqs.weight` (divisors) and say `none`.
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

/** Layers whose feed-forward part is many experts, of which every row goes to a few. */
export interface ExpertsConfig {
  readonly count: number;
  /** Experts of a row. */
  readonly used: number;
  /** MLP width of one expert. */
  readonly hidden: number;
  /** MLP width of the expert that every row goes to; 0: there is none. */
  readonly sharedHidden: number;
  /** Per layer: experts, or one dense MLP. */
  readonly sparse: readonly boolean[];
  readonly scoring: 'softmax' | 'sigmoid';
  /** The weights of a row's experts are divided by their sum, and multiplied by `scale`. */
  readonly normalise: boolean;
  readonly scale: number;
  /** Experts come in groups, of which a row uses only some: those of the best expert, or of the best two together. */
  readonly groups: number;
  readonly groupsUsed: number;
  readonly groupScore: 'max' | 'top2';
}

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
    /** Of layers without a sliding window when there is a `localBase`; those with one are then not scaled. */
    readonly scaling: RopeScaling;
    /** How q and k rows lie in the file: GGUF llama keeps pairs adjacent, everything else rotates halves. */
    readonly layout: 'adjacent' | 'halves';
  };
  /** Keys seen by a sliding-window layer, the current one included; undefined: none. */
  readonly slidingWindow?: number;
  /** Per layer: does the window apply. Undefined: to none, or to all when `slidingWindow` is set and the family says so. */
  readonly slidingLayers?: readonly boolean[];
  /** Layers that were trained to see less than everything. */
  readonly longGen?: LongGenConfig;
  readonly experts?: ExpertsConfig;
  readonly attentionSoftcap?: number;
  readonly finalSoftcap?: number;
  /** Query scale; default 1/√headDim. */
  readonly attentionScale?: number;
  readonly tiedEmbedding: boolean;
}

export const architectures: readonly Architecture[] = [
  'llama',
  'qwen2',
  'qwen3',
  'gemma2',
  'gemma3',
  'phi3',
  'qwen2moe',
  'qwen3moe',
  'deepseek',
];

const positive = [
  'contextLength',
  'width',
  'layers',
  'hidden',
  'heads',
  'kvHeads',
  'headDim',
  'valueDim',
  'vocab',
] as const;
/** Far above every model, and low enough that nothing sized by them overflows. */
export const configLimits = { layers: 4096, heads: 2 ** 16, dimension: 2 ** 28, experts: 1024 } as const;

/** The config without undefined fields, if its numbers fit together. Throws FORMAT_INVALID, naming the first that does not. */
export function checkConfig(config: ModelConfig): ModelConfig {
  const invalid = (name: string, value: unknown, wanted: string): VivaceError =>
    new VivaceError('FORMAT_INVALID', `The model's ${name} is ${String(value)}, expected ${wanted}`);
  for (const name of positive) {
    const value = config[name];
    const limit =
      name === 'layers' ? configLimits.layers : name.endsWith('eads') ? configLimits.heads : configLimits.dimension;
    if (!Number.isInteger(value) || value < 1 || value > limit)
      throw invalid(name, value, `an integer from 1 to ${limit}`);
  }
  const { heads, kvHeads, headDim, layers, rope, slidingLayers, slidingWindow } = config;
  if (heads % kvHeads !== 0) throw invalid('kvHeads', kvHeads, `a divisor of its ${heads} heads`);
  if (!(config.normEpsilon > 0 && config.normEpsilon < 1))
    throw invalid('normEpsilon', config.normEpsilon, 'a small number above 0');
  if (!(rope.base > 0)) throw invalid('rope base', rope.base, 'a number above 0');
  if (rope.localBase !== undefined && !(rope.localBase > 0))
    throw invalid('local rope base', rope.localBase, 'a number above 0');
  const { dimensions } = rope;
  if (!Number.isInteger(dimensions) || dimensions % 2 !== 0 || dimensions < 2 || dimensions > headDim) {
    throw invalid('rope dimensions', dimensions, `an even integer from 2 to ${headDim}`);
  }
  if ('factor' in rope.scaling && !(rope.scaling.factor > 0))
    throw invalid('rope scaling factor', rope.scaling.factor, 'a number above 0');
  if ('originalContextLength' in rope.scaling && !(rope.scaling.originalContextLength > 0)) {
    throw invalid('original context length', rope.scaling.originalContextLength, 'a number above 0');
  }
  if (slidingWindow !== undefined && !(Number.isInteger(slidingWindow) && slidingWindow > 0)) {
    throw invalid('sliding window', slidingWindow, 'an integer above 0');
  }
  if (slidingLayers !== undefined && slidingLayers.length !== layers) {
    throw invalid('list of sliding layers', slidingLayers.length, `one entry for each of ${layers} layers`);
  }
  if (config.experts !== undefined) checkExperts(config.experts, layers, invalid);
  return withoutUndefined({ ...config, rope: withoutUndefined({ ...rope, scaling: withoutUndefined(rope.scaling) }) });
}

function checkExperts(
  { count, used, hidden, sharedHidden, sparse, scale, groups, groupsUsed }: ExpertsConfig,
  layers: number,
  invalid: (name: string, value: unknown, wanted: string) => VivaceError,
): void {
  const within = (name: string, value: number, least: number, most: number): void => {
    if (!Number.isInteger(value) || value < least || value > most)
      throw invalid(name, value, `an integer from ${least} to ${most}`);
  };
  within('number of experts', count, 1, configLimits.experts);
  within('MLP width of an expert', hidden, 1, configLimits.dimension);
  within('MLP width of the shared expert', sharedHidden, 0, configLimits.dimension);
  within('number of groups of experts', groups, 1, count);
  if (count % groups !== 0) throw invalid('number of groups of experts', groups, `a divisor of its ${count} experts`);
  within('number of groups of experts of a row', groupsUsed, 1, groups);
  within('number of experts of a row', used, 1, (count / groups) * groupsUsed);
  if (!(Number.isFinite(scale) && scale > 0)) throw invalid('scale of experts', scale, 'a number above 0');
  if (sparse.length !== layers)
    throw invalid('list of layers with experts', sparse.length, `one entry for each of ${layers} layers`);
}

const withoutUndefined = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as T;

// Models trained for caches that differ from layer to layer (LongGen, Ge et al. 2024) say so in config.json by the list
// `layer_types` and the object `longgen`, in GGUF files by the same names under `<architecture>.longgen.`.

export const longGenLayers = ['full_attention', 'sliding_attention', 'block_sparse_attention'] as const;

export type LongGenLayer = (typeof longGenLayers)[number];

/** Defaults stand beside the names that files use. */
export const longGenDefaults = {
  /** Of layers with a window: the first tokens, seen by all, and the tokens that see each other. */
  sinks: 64,
  sliding_window: 2048,
  /** Of layers with blocks: tokens of a block, blocks nearby that are seen, and of the others one in so many. */
  block_size: 64,
  local_blocks: 16,
  vert_stride: 16,
  /** 1: all KV heads see the same blocks. */
  homo_heads: 0,
  head_offset: 0,
  /** Of the last KV heads so many see everything. */
  dense_heads: 0,
  /** 1: everybody sees the first block. */
  always_first_block: 1,
} as const;

export type LongGenNumbers = Readonly<Record<keyof typeof longGenDefaults, number>>;

export interface LongGenConfig extends LongGenNumbers {
  readonly layers: readonly LongGenLayer[];
}

/** `read` gives what a file says under a name. Throws FORMAT_INVALID, and UNSUPPORTED_FEATURE for other types of layers. */
export function readLongGen(
  types: readonly unknown[],
  layers: number,
  read: (name: keyof typeof longGenDefaults) => number | boolean | undefined,
): LongGenConfig {
  const odd = types.find((type) => !longGenLayers.some((known) => known === type));
  if (odd !== undefined) {
    throw new VivaceError(
      'UNSUPPORTED_FEATURE',
      `The model has layers of type ${JSON.stringify(odd)}; supported are ${longGenLayers.join(', ')}`,
    );
  }
  if (types.length !== layers)
    throw invalidLongGen(`${types.length} types of layers`, `one for each of ${layers} layers`);
  const numbers = Object.fromEntries(
    Object.entries(longGenDefaults).map(([name, fallback]) => [
      name,
      Number(read(name as keyof typeof longGenDefaults) ?? fallback),
    ]),
  ) as LongGenNumbers;
  for (const [name, value] of Object.entries(numbers)) {
    const least = ['sliding_window', 'block_size', 'local_blocks', 'vert_stride'].includes(name) ? 1 : 0;
    if (!Number.isInteger(value) || value < least || value > 2 ** 30)
      throw invalidLongGen(`longgen.${name} ${value}`, `an integer of at least ${least}`);
  }
  return { ...numbers, layers: types as readonly LongGenLayer[] };
}

const invalidLongGen = (found: string, wanted: string): VivaceError =>
  new VivaceError('FORMAT_INVALID', `The model has ${found}, expected ${wanted}`);
