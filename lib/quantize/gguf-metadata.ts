// What converters write about a model of config.json: the keys of a GGUF file, and tensors that hold factors of positions.
import type { GgufInput, GgufTensorInput } from '../formats/gguf-writer.js';
import type { ModelConfig } from '../formats/model-config.js';
import { VivaceError } from '../errors.js';
import { llama3Divisors } from '../models/rope.js';

const f32 = (value: number): GgufInput => ({ type: 'f32', value });

/** Throws UNSUPPORTED_FEATURE for what no key expresses. */
export function configMetadata(config: ModelConfig): Map<string, GgufInput> {
  const { architecture, rope, slidingWindow, slidingLayers } = config;
  const gemma = architecture === 'gemma2' || architecture === 'gemma3';
  if (architecture === 'llama' && rope.dimensions !== config.headDim)
    throw inexpressible('a partial rotation of heads');
  if (slidingWindow !== undefined && !gemma && slidingWindow < config.contextLength) {
    throw inexpressible(`a sliding window of ${slidingWindow} tokens for ${architecture}`);
  }
  const keys: Record<string, GgufInput | undefined> = {
    context_length: config.contextLength,
    embedding_length: config.width,
    block_count: config.layers,
    feed_forward_length: config.hidden,
    vocab_size: config.vocab,
    'attention.head_count': config.heads,
    'attention.head_count_kv': config.kvHeads,
    'attention.key_length': config.headDim,
    'attention.value_length': config.valueDim,
    'attention.layer_norm_rms_epsilon': f32(config.normEpsilon),
    'attention.sliding_window': gemma ? slidingWindow : undefined,
    'attention.sliding_window_pattern':
      gemma && slidingLayers ? { type: 'array', of: 'bool', values: slidingLayers } : undefined,
    'attention.scale': config.attentionScale === undefined ? undefined : f32(config.attentionScale),
    'rope.dimension_count': rope.dimensions,
    'rope.freq_base': f32(rope.base),
    'rope.freq_base_swa': rope.localBase === undefined ? undefined : f32(rope.localBase),
    attn_logit_softcapping: config.attentionSoftcap === undefined ? undefined : f32(config.attentionSoftcap),
    final_logit_softcapping: config.finalSoftcap === undefined ? undefined : f32(config.finalSoftcap),
    ...scalingKeys(config),
    ...longGenKeys(config),
    ...expertKeys(config),
  };
  return new Map<string, GgufInput>([
    ['general.architecture', architecture],
    ['general.name', config.name ?? architecture],
    ...Object.entries(keys).flatMap(([key, value]): [string, GgufInput][] =>
      value === undefined ? [] : [[`${architecture}.${key}`, value]],
    ),
  ]);
}

function expertKeys({ architecture, experts, layers }: ModelConfig): Record<string, GgufInput | undefined> {
  if (!experts) return {};
  const { sparse, hidden, sharedHidden } = experts;
  // Later dense layers have no key; readers that know of them go by their tensors.
  const dense = sparse.includes(true) ? sparse.indexOf(true) : layers;
  return {
    expert_count: experts.count,
    expert_used_count: experts.used,
    expert_feed_forward_length: architecture === 'llama' ? undefined : hidden,
    expert_shared_feed_forward_length: architecture === 'qwen2moe' ? sharedHidden : undefined,
    expert_shared_count: architecture === 'deepseek' ? sharedHidden / hidden : undefined,
    leading_dense_block_count: dense === 0 ? undefined : dense,
    expert_weights_scale: f32(experts.scale),
    expert_weights_norm: experts.normalise,
    expert_gating_func: experts.scoring === 'sigmoid' ? 2 : 1,
    expert_group_count: experts.groups === 1 ? undefined : experts.groups,
    expert_group_used_count: experts.groups === 1 ? undefined : experts.groupsUsed,
  };
}

/** Keys of our own (lib/formats/longgen.ts). */
function longGenKeys({ longGen }: ModelConfig): Record<string, GgufInput> {
  if (!longGen) return {};
  const { layers, ...numbers } = longGen;
  return {
    'longgen.layer_types': { type: 'array', of: 'string', values: layers },
    ...Object.fromEntries(Object.entries(numbers).map(([name, value]) => [`longgen.${name}`, value])),
  };
}

const inexpressible = (what: string): VivaceError =>
  new VivaceError('UNSUPPORTED_FEATURE', `A GGUF file cannot express ${what}`, {
    remedy: 'Quantise to W4A16 or W8A8, which keep config.json.',
  });

function scalingKeys({ rope: { scaling }, contextLength }: ModelConfig): Record<string, GgufInput> {
  switch (scaling.type) {
    case 'linear':
      return { 'rope.scaling.type': 'linear', 'rope.scaling.factor': f32(scaling.factor) };
    case 'yarn': {
      // Engines multiply the key with yarn's own factor; the config holds the product.
      const own = 1 + 0.1 * Math.log(scaling.factor);
      const { attentionFactor } = scaling;
      return {
        'rope.scaling.type': 'yarn',
        'rope.scaling.factor': f32(scaling.factor),
        'rope.scaling.original_context_length': scaling.originalContextLength,
        'rope.scaling.yarn_beta_fast': f32(scaling.betaFast),
        'rope.scaling.yarn_beta_slow': f32(scaling.betaSlow),
        ...(attentionFactor === undefined ? {} : { 'rope.scaling.attn_factor': f32(attentionFactor / own) }),
      };
    }
    case 'longrope': {
      const { originalContextLength: original, attentionFactor } = scaling;
      const ratio = contextLength / original;
      const factor = attentionFactor ?? (ratio > 1 ? Math.sqrt(1 + Math.log(ratio) / Math.log(original)) : 1);
      return { 'rope.scaling.original_context_length': original, 'rope.scaling.attn_factor': f32(factor) };
    }
    default:
      return {};
  }
}

/** Divisors of frequencies, which GGUF keeps in tensors. */
export function ropeTensors({ rope }: ModelConfig): GgufTensorInput[] {
  const { scaling } = rope;
  const tensor = (name: string, values: ArrayLike<number>): GgufTensorInput => {
    const floats = Float32Array.from(values);
    return { name, dtype: 'F32', shape: [floats.length], data: new Uint8Array(floats.buffer) };
  };
  if (scaling.type === 'llama3')
    return [tensor('rope_freqs.weight', llama3Divisors(scaling, rope.base, rope.dimensions))];
  if (scaling.type !== 'longrope' || !scaling.shortFactors || !scaling.longFactors) return [];
  return [
    tensor('rope_factors_short.weight', scaling.shortFactors),
    tensor('rope_factors_long.weight', scaling.longFactors),
  ];
}
