// config.json and GGUF metadata of one model give one ModelConfig; what transformers would compute otherwise is refused.
import { writeGguf, type GgufInput } from '../../../lib/formats/gguf-writer.js';
import type { ModelConfig } from '../../../lib/formats/model-config.js';
import { openModelFile } from '../../../lib/formats/open.js';
import { scratch, thrown } from '../scratch.js';
import { writeDirectory } from './directory.js';

const place = scratch();

type Json = Record<string, unknown>;

const base: Json = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
};
const configOf = (changes: Json | string): ModelConfig =>
  openModelFile(
    writeDirectory(place, 'tiny', { config: typeof changes === 'string' ? changes : { ...base, ...changes } }),
  ).config;

const ggufBase = {
  context_length: 512,
  embedding_length: 64,
  block_count: 4,
  feed_forward_length: 96,
  'attention.head_count': 4,
  'attention.head_count_kv': 2,
  'attention.layer_norm_rms_epsilon': { type: 'f32', value: 1e-5 },
} satisfies Record<string, GgufInput>;

function ggufConfig(
  architecture: string,
  keys: Record<string, GgufInput>,
  tensors: readonly string[] = [],
): ModelConfig {
  const metadata: Record<string, GgufInput> = {
    'general.architecture': architecture,
    'general.name': 'tiny',
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': ['a'],
  };
  for (const [key, value] of Object.entries({ ...ggufBase, ...keys })) metadata[`${architecture}.${key}`] = value;
  const shapes: [string, number[]][] = [
    ['token_embd.weight', [6, 64]],
    ...tensors.map((name): [string, number[]] => [name, [8]]),
  ];
  const [path] = writeGguf(place.at('tiny.gguf'), {
    metadata,
    tensors: shapes.map(([name, shape]) => ({
      name,
      dtype: 'F32',
      shape,
      data: new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)),
    })),
  });
  return openModelFile(path).config;
}

describe('both formats give one config', () => {
  const f32 = (value: number): GgufInput => ({ type: 'f32', value });

  test.each<[string, Json, string, Record<string, GgufInput>]>([
    ['llama', {}, 'llama', {}],
    [
      'llama with linear scaling',
      { rope_scaling: { type: 'linear', factor: 2.5 } },
      'llama',
      { 'rope.scaling.type': 'linear', 'rope.scaling.factor': f32(2.5) },
    ],
    [
      'mistral without a window',
      { model_type: 'mistral', sliding_window: null, head_dim: 32, rope_theta: 1e6 },
      'llama',
      {
        'attention.key_length': 32,
        'attention.value_length': 32,
        'rope.dimension_count': 32,
        'rope.freq_base': f32(1e6),
      },
    ],
    [
      'qwen2',
      { model_type: 'qwen2', rms_norm_eps: 1e-6, sliding_window: 128 },
      'qwen2',
      { 'attention.layer_norm_rms_epsilon': f32(1e-6) },
    ],
    [
      'qwen2 with yarn',
      { model_type: 'qwen2', rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 128 } },
      'qwen2',
      {
        'rope.scaling.type': 'yarn',
        'rope.scaling.factor': f32(4),
        'rope.scaling.original_context_length': 128,
      },
    ],
    [
      'qwen3',
      { model_type: 'qwen3', head_dim: 128 },
      'qwen3',
      { 'attention.key_length': 128, 'attention.value_length': 128 },
    ],
    [
      'gemma2',
      { model_type: 'gemma2', head_dim: 256, query_pre_attn_scalar: 256, sliding_window: 64 },
      'gemma2',
      {
        'attention.key_length': 256,
        'attention.value_length': 256,
        'attention.sliding_window': 64,
        attn_logit_softcapping: f32(50),
        final_logit_softcapping: f32(30),
      },
    ],
    [
      'gemma3',
      {
        model_type: 'gemma3_text',
        num_hidden_layers: 13,
        sliding_window: 512,
        rope_theta: undefined,
        rope_scaling: { rope_type: 'linear', factor: 8 },
      },
      'gemma3',
      {
        block_count: 13,
        'attention.key_length': 256,
        'attention.value_length': 256,
        'attention.sliding_window': 512,
        'rope.freq_base': f32(1e6),
        'rope.scaling.type': 'linear',
        'rope.scaling.factor': f32(8),
      },
    ],
    ['phi3', { model_type: 'phi3', partial_rotary_factor: 0.75 }, 'phi3', { 'rope.dimension_count': 12 }],
  ])('%s', (_, changes, architecture, keys) => {
    const fromDirectory = configOf(changes);
    const fromGguf = ggufConfig(architecture, keys);
    // The directory holds a head, which tied models ignore; rotation differs on purpose: converters permute llama's rows.
    expect(fromDirectory).toEqual({
      ...fromGguf,
      tiedEmbedding: architecture.startsWith('gemma'),
      rope: { ...fromGguf.rope, layout: 'halves' },
    });
  });

  test('phi3 with longrope, but for the factors, which GGUF files keep in tensors', () => {
    const factors = Array.from({ length: 8 }, (_, index) => 1 + index);
    const changes = {
      model_type: 'phi3',
      max_position_embeddings: 4096,
      original_max_position_embeddings: 512,
      rope_scaling: { type: 'longrope', short_factor: factors, long_factor: factors.map((factor) => factor * 2) },
    };
    const { rope, ...rest } = configOf(changes);
    const keys = { context_length: 4096, 'rope.scaling.original_context_length': 512 };
    const { rope: ggufRope, ...ggufRest } = ggufConfig('phi3', keys, [
      'rope_factors_long.weight',
      'rope_factors_short.weight',
    ]);
    expect(rest).toEqual({ ...ggufRest, tiedEmbedding: false });
    expect(rope.scaling).toEqual({
      ...ggufRope.scaling,
      shortFactors: factors,
      longFactors: factors.map((factor) => factor * 2),
    });
    for (const type of ['su', 'yarn']) {
      expect(configOf({ ...changes, rope_scaling: { ...changes.rope_scaling, type } }).rope.scaling.type).toBe(
        'longrope',
      );
    }
  });
});

describe('positions', () => {
  const scaling = (rope: unknown, more: Json = {}): ModelConfig['rope']['scaling'] =>
    configOf({ rope_scaling: rope, ...more }).rope.scaling;

  test('no scaling in all its spellings', () => {
    for (const none of [null, { type: 'default' }, { rope_type: 'default' }, { rope_type: 'linear', factor: 1.0 }]) {
      expect(scaling(none)).toEqual({ type: 'none' });
    }
  });

  test('llama3', () => {
    const rope = {
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 128,
    };
    expect(scaling(rope)).toEqual({
      type: 'llama3',
      factor: 8,
      lowFrequencyFactor: 1,
      highFrequencyFactor: 4,
      originalContextLength: 128,
    });
  });

  test('rope_parameters of newer files', () => {
    const rope = { rope_type: 'linear', factor: 2, rope_theta: 7000, partial_rotary_factor: 0.5 };
    expect(configOf({ rope_theta: undefined, rope_parameters: rope }).rope).toEqual({
      base: 7000,
      dimensions: 8,
      scaling: { type: 'linear', factor: 2 },
      layout: 'halves',
    });
    const perLayer = {
      full_attention: { rope_type: 'linear', factor: 8, rope_theta: 2e6 },
      sliding_attention: { rope_type: 'default', rope_theta: 9000 },
    };
    expect(configOf({ model_type: 'gemma3_text', rope_parameters: perLayer }).rope).toMatchObject({
      base: 2e6,
      localBase: 9000,
      scaling: { type: 'linear', factor: 8 },
    });
  });

  test.each<[string, string, unknown]>([
    ['dynamic', 'UNSUPPORTED_FEATURE', { type: 'dynamic', factor: 2 }],
    ['mrope', 'UNSUPPORTED_FEATURE', { type: 'mrope' }],
    ['yarn with mscale', 'UNSUPPORTED_FEATURE', { type: 'yarn', factor: 2, mscale: 1 }],
    ['linear without a factor', 'FORMAT_INVALID', { type: 'linear' }],
    ['llama3 without its bounds', 'FORMAT_INVALID', { type: 'llama3', factor: 8 }],
    [
      'longrope of another length',
      'FORMAT_INVALID',
      { type: 'su', short_factor: [1], long_factor: [1], original_max_position_embeddings: 8 },
    ],
    ['a string', 'FORMAT_INVALID', 'linear'],
  ])('%s: %s', (_, code, rope) => {
    expect(thrown(() => scaling(rope)).code).toBe(code);
  });
});

describe('sliding windows', () => {
  const sliding = (changes: Json): Pick<ModelConfig, 'slidingWindow' | 'slidingLayers'> => {
    const { slidingWindow, slidingLayers } = configOf(changes);
    return { slidingWindow, slidingLayers };
  };
  const none = { slidingWindow: undefined, slidingLayers: undefined };

  test('mistral has one by default, on every layer', () => {
    expect(sliding({ model_type: 'mistral' })).toEqual({
      slidingWindow: 4096,
      slidingLayers: [true, true, true, true],
    });
    expect(sliding({ model_type: 'mistral', sliding_window: null })).toEqual(none);
    expect(sliding({})).toEqual(none);
  });

  test('qwen has one only if told so, above max_window_layers', () => {
    const keys = { model_type: 'qwen2', sliding_window: 32, max_window_layers: 3 };
    expect(sliding(keys)).toEqual(none);
    expect(sliding({ ...keys, use_sliding_window: true })).toEqual({
      slidingWindow: 32,
      slidingLayers: [false, false, false, true],
    });
  });

  test('layer_types overrule every pattern', () => {
    const types = ['full_attention', 'sliding_attention', 'full_attention', 'full_attention'];
    expect(sliding({ model_type: 'gemma2', layer_types: types }).slidingLayers).toEqual([false, true, false, false]);
    expect(thrown(() => configOf({ model_type: 'gemma2', layer_types: ['chunked_attention'] })).code).toBe(
      'UNSUPPORTED_FEATURE',
    );
    expect(thrown(() => configOf({ model_type: 'gemma2', layer_types: types.slice(1) })).code).toBe('FORMAT_INVALID');
  });

  test('phi3 honours its window, unlike GGUF readers', () => {
    expect(sliding({ model_type: 'phi3', sliding_window: 2047 }).slidingLayers).toEqual([true, true, true, true]);
  });
});

describe('gemma', () => {
  test('a nested text model takes the defaults of its class', () => {
    const text = { model_type: 'gemma3_text', hidden_size: 64, num_hidden_layers: 6, sliding_window: 1024 };
    const config = configOf(
      JSON.stringify({ model_type: 'gemma3', architectures: ['Gemma3ForConditionalGeneration'], text_config: text }),
    );
    expect(config).toMatchObject({
      architecture: 'gemma3',
      layers: 6,
      heads: 8,
      kvHeads: 4,
      headDim: 256,
      hidden: 9216,
      contextLength: 131072,
      normEpsilon: 1e-6,
      tiedEmbedding: true,
      slidingLayers: [true, true, true, true, true, false],
    });
    expect(config).not.toHaveProperty('attentionScale');
  });

  test('the 27B query scale and switched-off softcaps', () => {
    const keys = { model_type: 'gemma2', head_dim: 128, query_pre_attn_scalar: 144, attn_logit_softcapping: null };
    const config = configOf(keys);
    expect(config.attentionScale).toBe(1 / 12);
    expect(config).not.toHaveProperty('attentionSoftcap');
    expect(config.finalSoftcap).toBe(30);
  });
});

describe('refused', () => {
  test.each<[string, string, Json]>([
    ['bert', 'UNSUPPORTED_ARCHITECTURE', { model_type: 'bert' }],
    ['DeepSeek-V3', 'UNSUPPORTED_ARCHITECTURE', { model_type: 'deepseek_v3', n_routed_experts: 8 }],
    ['a name of Object.prototype', 'UNSUPPORTED_ARCHITECTURE', { model_type: 'constructor' }],
    [
      'mamba without a model_type',
      'UNSUPPORTED_ARCHITECTURE',
      { model_type: undefined, architectures: undefined, d_model: 64, ssm_cfg: {} },
    ],
    ['no model_type', 'FORMAT_INVALID', { model_type: undefined, architectures: undefined }],
    [
      'weights quantised in an unknown way',
      'UNSUPPORTED_FEATURE',
      { quantization_config: { quant_method: 'bitsandbytes' } },
    ],
    ['another activation', 'UNSUPPORTED_FEATURE', { hidden_act: 'relu' }],
    [
      'attention to later tokens',
      'UNSUPPORTED_FEATURE',
      { model_type: 'gemma3_text', use_bidirectional_attention: true },
    ],
    ['no width', 'FORMAT_INVALID', { hidden_size: undefined }],
    ['a width that is a string', 'FORMAT_INVALID', { hidden_size: '64' }],
    ['a negative width', 'FORMAT_INVALID', { hidden_size: -64 }],
    ['no heads', 'FORMAT_INVALID', { num_attention_heads: 0 }],
    ['10^12 layers', 'FORMAT_INVALID', { num_hidden_layers: 1e12, model_type: 'gemma2' }],
    ['a negative epsilon', 'FORMAT_INVALID', { rms_norm_eps: -1 }],
  ])('%s: %s', (_, code, changes) => {
    expect(thrown(() => configOf(changes)).code).toBe(code);
  });

  test('the class name stands in for a missing model_type', () => {
    expect(configOf({ model_type: undefined }).architecture).toBe('llama');
  });
});

describe('the text of config.json', () => {
  const text = JSON.stringify(base);

  test('NaN and Infinity are numbers, as in Python, except within strings', () => {
    const odd = text.replace('{', '{"a":NaN,"b":[Infinity,-Infinity],"c":"NaN \\" Infinity",');
    expect(configOf(odd)).toEqual(configOf({}));
  });

  test('a byte order mark is skipped', () => {
    expect(configOf(`\ufeff${text}`)).toEqual(configOf({}));
  });

  test.each(['', '[]', 'null', '{', text.replace('{', '{ // comment\n'), text.replace(/}$/, ',}'), `${text}NaN`])(
    'invalid: %j',
    (bad) => {
      const error = thrown(() => configOf(bad));
      expect(error.code).toBe('FORMAT_INVALID');
      expect(error.message).toContain('config.json');
    },
  );

  test('deep nesting is survived', () => {
    expect(configOf(text.replace('{', `{"deep":${'['.repeat(5000)}${']'.repeat(5000)},`))).toEqual(configOf({}));
  });
});
