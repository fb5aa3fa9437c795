// config.json → ModelConfig. Defaults are those of the transformers classes, for fields that published files leave out.
import { VivaceError } from '../../errors.js';
import {
  architectures,
  checkConfig,
  readLongGen,
  type Architecture,
  type longGenDefaults,
  type ModelConfig,
} from '../model-config.js';
import { expertDefaults, readExperts } from './experts.js';
import { Fields } from './json.js';
import { readScheme } from './quantised/scheme.js';
import { readRope } from './rope.js';

interface Family {
  readonly architecture: Architecture;
  readonly class: string;
  readonly activation: 'silu' | 'gelu_pytorch_tanh';
  readonly tied: boolean;
  readonly defaults: Readonly<Record<string, number>>;
}

const gemma = { activation: 'gelu_pytorch_tanh', tied: true } as const;
const other = { activation: 'silu', tied: false } as const;
const gemmaDefaults = {
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  rms_norm_eps: 1e-6,
  query_pre_attn_scalar: 256,
  sliding_window: 4096,
};

/** By `model_type`. */
const families: Readonly<Record<string, Family>> = {
  llama: {
    architecture: 'llama',
    class: 'Llama',
    ...other,
    defaults: { rms_norm_eps: 1e-6, max_position_embeddings: 2048 },
  },
  mistral: {
    architecture: 'llama',
    class: 'Mistral',
    ...other,
    defaults: { num_key_value_heads: 8, rms_norm_eps: 1e-6, max_position_embeddings: 131072, sliding_window: 4096 },
  },
  qwen2: {
    architecture: 'qwen2',
    class: 'Qwen2',
    ...other,
    defaults: {
      num_key_value_heads: 32,
      rms_norm_eps: 1e-6,
      max_position_embeddings: 32768,
      sliding_window: 4096,
      max_window_layers: 28,
    },
  },
  qwen3: {
    architecture: 'qwen3',
    class: 'Qwen3',
    ...other,
    defaults: {
      num_key_value_heads: 32,
      head_dim: 128,
      rms_norm_eps: 1e-6,
      max_position_embeddings: 32768,
      sliding_window: 4096,
      max_window_layers: 28,
    },
  },
  gemma2: {
    architecture: 'gemma2',
    class: 'Gemma2',
    ...gemma,
    defaults: {
      ...gemmaDefaults,
      max_position_embeddings: 8192,
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30,
    },
  },
  gemma3: {
    architecture: 'gemma3',
    class: 'Gemma3',
    ...gemma,
    defaults: { ...gemmaDefaults, max_position_embeddings: 131072 },
  },
  mixtral: {
    architecture: 'llama',
    class: 'Mixtral',
    ...other,
    defaults: {
      num_key_value_heads: 8,
      rms_norm_eps: 1e-5,
      max_position_embeddings: 131072,
      ...expertDefaults.mixtral,
    },
  },
  qwen2_moe: {
    architecture: 'qwen2moe',
    class: 'Qwen2Moe',
    ...other,
    defaults: {
      num_key_value_heads: 16,
      rms_norm_eps: 1e-6,
      max_position_embeddings: 32768,
      sliding_window: 4096,
      max_window_layers: 28,
      ...expertDefaults.qwen2_moe,
    },
  },
  qwen3_moe: {
    architecture: 'qwen3moe',
    class: 'Qwen3Moe',
    ...other,
    defaults: {
      num_key_value_heads: 4,
      rms_norm_eps: 1e-6,
      max_position_embeddings: 32768,
      sliding_window: 4096,
      max_window_layers: 28,
      ...expertDefaults.qwen3_moe,
    },
  },
  deepseek: {
    architecture: 'deepseek',
    class: 'Deepseek',
    ...other,
    defaults: { rms_norm_eps: 1e-6, max_position_embeddings: 2048, ...expertDefaults.deepseek },
  },
  phi3: {
    architecture: 'phi3',
    class: 'Phi3',
    ...other,
    defaults: { rms_norm_eps: 1e-5, max_position_embeddings: 4096 },
  },
};

/** The settings of the text model: those of `text_config` where a model of several kinds of input nests them. */
export function textConfig(config: Fields): Fields {
  return config.fields('text_config') ?? config;
}

/** The architecture alone, before anything else is read. Throws UNSUPPORTED_ARCHITECTURE or UNSUPPORTED_FEATURE. */
export function readArchitecture(config: Fields): Architecture {
  const text = textConfig(config);
  const family = familyOf(text, config);
  refuse(text, config, family);
  return family.architecture;
}

/** Throws UNSUPPORTED_ARCHITECTURE, UNSUPPORTED_FEATURE or FORMAT_INVALID. `vocab` is the number of embedding rows. */
export function readConfig(config: Fields, name: string, vocab: number, hasHead: boolean): ModelConfig {
  const text = textConfig(config);
  const family = familyOf(text, config);
  /** Absent fields have the family's default; null ones have none. */
  const number = (key: string): number | undefined => (text.has(key) ? text.number(key) : family.defaults[key]);
  const required = (key: string): number => {
    const value = text.integer(key) ?? family.defaults[key];
    if (value === undefined) throw text.missing(key);
    return value;
  };
  const { architecture } = family;
  const width = required('hidden_size');
  const heads = required('num_attention_heads');
  const layers = required('num_hidden_layers');
  const contextLength = required('max_position_embeddings');
  const headDim = text.integer('head_dim') ?? family.defaults.head_dim ?? width / heads;
  const queryScalar = number('query_pre_attn_scalar');
  return checkConfig({
    architecture,
    name,
    contextLength,
    width,
    layers,
    hidden: required('intermediate_size'),
    heads,
    kvHeads: number('num_key_value_heads') ?? heads,
    headDim,
    valueDim: headDim,
    vocab,
    normEpsilon: text.number('rms_norm_eps') ?? family.defaults.rms_norm_eps,
    rope: readRope(text, architecture, headDim, contextLength),
    ...(longGen(text, layers) ?? sliding(text, family, layers, number)),
    experts: readExperts(text, family.class, family.defaults, layers),
    attentionSoftcap: number('attn_logit_softcapping'),
    finalSoftcap: number('final_logit_softcapping'),
    attentionScale: queryScalar === undefined || queryScalar === headDim ? undefined : 1 / Math.sqrt(queryScalar),
    tiedEmbedding: tied(text, config, family) || !hasHead,
  });
}

/** Whether the head is the embedding, whatever tensors the files hold. */
function tied(text: Fields, config: Fields, family: Family): boolean {
  return text.boolean('tie_word_embeddings') ?? config.boolean('tie_word_embeddings') ?? family.tied;
}

function familyOf(text: Fields, config: Fields): Family {
  const type = text.string('model_type') ?? config.string('model_type');
  const found =
    type && Object.hasOwn(families, type.replace(/_text$/, '')) ? families[type.replace(/_text$/, '')] : undefined;
  if (found !== undefined) return found;
  const [className] = config.list('architectures') ?? [];
  if (type === undefined) {
    const named = Object.values(families).find((family) => className === `${family.class}ForCausalLM`);
    if (named !== undefined) return named;
    if (config.has('ssm_cfg') || config.has('d_model')) throw unknown('mamba');
    if (className === undefined) throw text.missing('model_type');
  }
  throw unknown(type ?? String(className));
}

const unknown = (name: string): VivaceError =>
  new VivaceError(
    'UNSUPPORTED_ARCHITECTURE',
    `The model's architecture is "${name}"; supported are ${architectures.join(', ')} (and mistral)`,
  );

/** The field `quantization_config`, wherever a model of several kinds of input has it. */
export const quantizationOf = (text: Fields, config: Fields): Fields | undefined =>
  text.fields('quantization_config') ?? config.fields('quantization_config');

function refuse(text: Fields, config: Fields, family: Family): void {
  readScheme(quantizationOf(text, config));
  const key = family.activation === 'silu' ? 'hidden_act' : 'hidden_activation';
  const activation = text.string(key) ?? family.activation;
  if (activation !== family.activation) {
    throw new VivaceError(
      'UNSUPPORTED_FEATURE',
      `The model's activation is "${activation}", expected "${family.activation}" for ${family.class}`,
    );
  }
  if (text.boolean('use_bidirectional_attention') === true) {
    throw new VivaceError(
      'UNSUPPORTED_FEATURE',
      'The model attends to later tokens (use_bidirectional_attention), so it cannot generate text',
    );
  }
}

/** Of models that say so, what each layer keeps; windows are part of it. */
function longGen(text: Fields, layers: number): Partial<ModelConfig> | undefined {
  const own = text.fields('longgen');
  const types = text.list('layer_types');
  if (own === undefined || types === undefined) return undefined;
  const read = (name: keyof typeof longGenDefaults): number | boolean | undefined =>
    typeof own.value(name) === 'boolean' ? own.boolean(name) : own.integer(name);
  return { longGen: readLongGen(types, layers, read) };
}

/** Which layers have a window, as transformers decides it: by `layer_types` in newer files, by rules before. */
function sliding(
  text: Fields,
  family: Family,
  layers: number,
  number: (key: string) => number | undefined,
): Partial<ModelConfig> {
  const window = number('sliding_window') ?? 0;
  const qwen = family.architecture.startsWith('qwen');
  if (window === 0 || (qwen && text.boolean('use_sliding_window') !== true)) return {};
  const types = text.list('layer_types');
  if (types !== undefined) {
    const odd = types.find((type) => type !== 'sliding_attention' && type !== 'full_attention');
    if (odd !== undefined) {
      throw new VivaceError(
        'UNSUPPORTED_FEATURE',
        `The model has layers of type ${JSON.stringify(odd)}; supported are sliding_attention and full_attention`,
      );
    }
    return windows(
      window,
      types.map((type) => type === 'sliding_attention'),
    );
  }
  const period = text.integer('sliding_window_pattern') ?? (family.architecture === 'gemma2' ? 2 : 6);
  const first = number('max_window_layers') ?? 0;
  const rule: Readonly<Record<Architecture, (layer: number) => boolean>> = {
    llama: () => true, // mistral; llama itself has no window
    phi3: () => true,
    qwen2: (layer) => layer >= first,
    qwen3: (layer) => layer >= first,
    qwen2moe: (layer) => layer >= first,
    qwen3moe: (layer) => layer >= first,
    deepseek: () => true, // has none
    gemma2: (layer) => (layer + 1) % period !== 0,
    gemma3: (layer) => (layer + 1) % period !== 0,
  };
  return windows(
    window,
    Array.from({ length: Math.min(layers, 4096) }, (_, layer) => rule[family.architecture](layer)),
  );
}

const windows = (window: number, layers: readonly boolean[]): Partial<ModelConfig> =>
  layers.includes(true) ? { slidingWindow: window, slidingLayers: layers } : {};
