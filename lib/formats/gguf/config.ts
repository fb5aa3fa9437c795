// GGUF metadata → ModelConfig. Defaults are those of llama.cpp, which these files were written for.
import { VivaceError } from '../../errors.js';
import { architectures, checkConfig, readLongGen, type Architecture, type ModelConfig } from '../model-config.js';
import type { TensorSource } from '../model-source.js';
import {
  missingKey,
  optionalArray,
  optionalBoolean,
  optionalInteger,
  optionalNumber,
  optionalString,
  optionalUniform,
  type Metadata,
} from './metadata.js';
import { ggufExperts } from './experts.js';
import { ropeScaling } from './rope.js';

type Tensors = ReadonlyMap<string, TensorSource>;

/** Throws FORMAT_INVALID, MISSING_TENSOR, UNSUPPORTED_ARCHITECTURE or UNSUPPORTED_FEATURE. */
export function ggufConfig(metadata: Metadata, tensors: Tensors): ModelConfig {
  const architecture = readArchitecture(metadata);
  const integer = (key: string): number => {
    const value = optionalInteger(metadata, `${architecture}.${key}`);
    if (value === undefined) throw missingKey(`${architecture}.${key}`);
    return value;
  };
  refuse(metadata, architecture);
  const layers = integer('block_count');
  const uniform = (key: string): number | undefined => optionalUniform(metadata, `${architecture}.${key}`, layers);
  const number = (key: string): number | undefined => optionalNumber(metadata, `${architecture}.${key}`);
  const width = integer('embedding_length');
  const heads = uniform('attention.head_count');
  const hidden = uniform('feed_forward_length');
  const normEpsilon = number('attention.layer_norm_rms_epsilon');
  if (heads === undefined) throw missingKey(`${architecture}.attention.head_count`);
  if (hidden === undefined) throw missingKey(`${architecture}.feed_forward_length`);
  if (normEpsilon === undefined) throw missingKey(`${architecture}.attention.layer_norm_rms_epsilon`);
  const headDim = optionalInteger(metadata, `${architecture}.attention.key_length`) ?? width / heads;

  return checkConfig({
    architecture,
    name: optionalString(metadata, 'general.name'),
    contextLength: integer('context_length'),
    width,
    layers,
    hidden,
    heads,
    kvHeads: uniform('attention.head_count_kv') ?? heads,
    headDim,
    valueDim: optionalInteger(metadata, `${architecture}.attention.value_length`) ?? width / heads,
    vocab: embeddingRows(tensors),
    normEpsilon,
    rope: {
      base: number('rope.freq_base') ?? 10000,
      localBase: number('rope.freq_base_swa') ?? (architecture === 'gemma3' ? 10000 : undefined),
      dimensions: optionalInteger(metadata, `${architecture}.rope.dimension_count`) ?? headDim,
      scaling: ropeScaling(metadata, architecture, tensors),
      layout: architecture === 'llama' || architecture === 'deepseek' ? 'adjacent' : 'halves',
    },
    ...(longGen(metadata, architecture, layers) ?? sliding(metadata, architecture, layers)),
    experts: ggufExperts(metadata, architecture, { layers, hidden }, tensors),
    attentionSoftcap: number('attn_logit_softcapping') || (architecture === 'gemma2' ? 50 : undefined),
    finalSoftcap: number('final_logit_softcapping') || (architecture === 'gemma2' ? 30 : undefined),
    attentionScale: number('attention.scale') || largeGemmaScale(architecture, layers, width, heads),
    tiedEmbedding: !tensors.has('output.weight'),
  });
}

function readArchitecture(metadata: Metadata): Architecture {
  const name = optionalString(metadata, 'general.architecture');
  if (name === undefined) throw missingKey('general.architecture');
  const architecture = architectures.find((known) => known === name);
  if (architecture === undefined) {
    throw new VivaceError(
      'UNSUPPORTED_ARCHITECTURE',
      `The model's architecture is "${name}"; supported are ${architectures.join(', ')}`,
    );
  }
  return architecture;
}

/** Keys of our own: what each layer of a model trained for it keeps. */
function longGen(metadata: Metadata, architecture: Architecture, layers: number): Partial<ModelConfig> | undefined {
  const types = optionalArray(metadata, `${architecture}.longgen.layer_types`);
  if (types === undefined) return undefined;
  const read = (name: string): number | undefined => optionalInteger(metadata, `${architecture}.longgen.${name}`);
  return { longGen: readLongGen(types.length === layers ? [...types.values()] : [], layers, read) };
}

/** Keys that change the arithmetic in ways that these architectures do not have here: better refused than ignored. */
const changesArithmetic = [
  'attention.q_lora_rank',
  'attention.kv_lora_rank',
  'attention.clamp_kqv',
  'attention.max_alibi_bias',
  'attention.temperature_scale',
  'embedding_scale',
  'residual_scale',
  'logit_scale',
];

function refuse(metadata: Metadata, architecture: Architecture): void {
  for (const key of changesArithmetic) {
    if ((optionalNumber(metadata, `${architecture}.${key}`) ?? 0) !== 0) {
      const code = key.endsWith('lora_rank') ? 'UNSUPPORTED_ARCHITECTURE' : 'UNSUPPORTED_FEATURE';
      throw new VivaceError(code, `The model sets \`${architecture}.${key}\`, which vivace does not compute`);
    }
  }
  if (optionalBoolean(metadata, `${architecture}.attention.causal`) === false) {
    throw new VivaceError(
      'UNSUPPORTED_FEATURE',
      'The model attends to later tokens (attention.causal is false), so it cannot generate text',
    );
  }
}

function embeddingRows(tensors: Tensors): number {
  const embedding = tensors.get('token_embd.weight');
  if (embedding === undefined) {
    throw new VivaceError('MISSING_TENSOR', 'The tensor `token_embd.weight` is missing', {
      remedy: tensors.size === 0 ? 'The file holds a vocabulary only; use a complete model.' : undefined,
    });
  }
  return embedding.shape[0] ?? 0;
}

/**
 * Sliding windows as llama.cpp applies them, whatever else the files say: only the gemmas have them. Keys of llama (old
 * mistral), qwen2 and qwen3 are not read there, and phi3's is read but switched off, because converters wrote it wrongly.
 */
function sliding(metadata: Metadata, architecture: Architecture, layers: number): Partial<ModelConfig> {
  if (architecture !== 'gemma2' && architecture !== 'gemma3') return {};
  const window =
    optionalInteger(metadata, `${architecture}.attention.sliding_window`) ?? (architecture === 'gemma2' ? 4096 : 0);
  if (window === 0) return {};
  const key = `${architecture}.attention.sliding_window_pattern`;
  if (metadata.get(key)?.type === 'array') {
    const pattern = optionalArray(metadata, key);
    if (
      pattern === undefined ||
      pattern.length !== layers ||
      pattern.elementType === 'string' ||
      pattern.elementType === 'array'
    ) {
      throw new VivaceError(
        'FORMAT_INVALID',
        `Expected one bool for each of ${layers} layers for the metadata key \`${key}\``,
      );
    }
    return { slidingWindow: window, slidingLayers: pattern.values().map(Boolean) };
  }
  const period = optionalInteger(metadata, key) ?? (architecture === 'gemma2' ? 2 : 6);
  return { slidingWindow: window, slidingLayers: slidingPeriod(layers, period) };
}

/** All but the last layer of each period slide; a period of 0 means all layers. */
export const slidingPeriod = (layers: number, period: number): boolean[] =>
  Array.from({ length: Math.min(layers, 4096) }, (_, layer) => period === 0 || layer % period < period - 1);

/** The 27B sizes of gemma 2 (46 layers) and 3 (62) scale queries by 1/√(width/heads); files have no key for it. */
function largeGemmaScale(architecture: Architecture, layers: number, width: number, heads: number): number | undefined {
  const large = (architecture === 'gemma2' && layers === 46) || (architecture === 'gemma3' && layers === 62);
  return large ? 1 / Math.sqrt(width / heads) : undefined;
}
