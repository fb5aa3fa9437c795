// GGUF metadata becomes the canonical config of each architecture, with the defaults that llama.cpp has.
import { ggufModel, openGgufModel } from '../../lib/formats/gguf-model.js';
import { openGguf } from '../../lib/formats/gguf.js';
import { writeGguf, type GgufInput, type GgufTensorInput } from '../../lib/formats/gguf-writer.js';
import type { ModelConfig } from '../../lib/formats/model-config.js';
import type { GgufTokenizerSource } from '../../lib/formats/tokenizer-source.js';
import { sharedData } from '../fixtures/shared-data.js';
import { scratch, thrown } from './scratch.js';

const { at } = scratch();

type Metadata = Record<string, GgufInput>;

const f32 = (name: string, shape: number[]): GgufTensorInput => ({
  name,
  dtype: 'F32',
  shape,
  data: new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)),
});
const embedding = f32('token_embd.weight', [6, 64]);
const head = f32('output.weight', [6, 64]);

const base = (architecture: string, keys: Metadata = {}): Metadata => ({
  'general.architecture': architecture,
  'general.name': 'tiny',
  ...Object.fromEntries(
    Object.entries({
      context_length: 512,
      embedding_length: 64,
      block_count: 4,
      feed_forward_length: 96,
      'attention.head_count': 4,
      'attention.layer_norm_rms_epsilon': { type: 'f32', value: 1e-5 },
      ...keys,
    } satisfies Metadata).map(([key, value]) => [`${architecture}.${key}`, value]),
  ),
  'tokenizer.ggml.model': 'llama',
  'tokenizer.ggml.tokens': ['<unk>', '<s>', '</s>', 'a', 'b'],
});

const open = (metadata: Metadata, tensors: GgufTensorInput[] = [embedding, head]): ReturnType<typeof openGgufModel> =>
  openGgufModel(writeGguf(at('model.gguf'), { metadata, tensors })[0]);

const common: ModelConfig = {
  architecture: 'llama',
  name: 'tiny',
  contextLength: 512,
  width: 64,
  layers: 4,
  hidden: 96,
  heads: 4,
  kvHeads: 4,
  headDim: 16,
  valueDim: 16,
  vocab: 6,
  normEpsilon: 1e-5,
  rope: { base: 10000, dimensions: 16, scaling: { type: 'none' }, layout: 'adjacent' },
  tiedEmbedding: false,
};
const halves = { ...common.rope, layout: 'halves' } as const;

describe('configs', () => {
  test('llama: adjacent pairs, all defaults', () => {
    const model = open(base('llama'));
    expect(model.config).toEqual(common);
    expect(model.format).toBe('gguf');
    expect(model.tensors.get('token_embd.weight')).toMatchObject({ shape: [6, 64], file: 0, bytes: 1536 });
  });

  test('llama: every key given', () => {
    const keys: Metadata = {
      'attention.head_count_kv': 2,
      'attention.key_length': 32,
      'attention.value_length': 24,
      'rope.freq_base': 500000,
      'rope.dimension_count': 32,
      'rope.scaling.type': 'linear',
      'rope.scaling.factor': { type: 'f32', value: 4 },
      'attention.scale': 0.25,
    };
    expect(open(base('llama', keys), [embedding]).config).toEqual({
      ...common,
      kvHeads: 2,
      headDim: 32,
      valueDim: 24,
      rope: { base: 500000, dimensions: 32, scaling: { type: 'linear', factor: 4 }, layout: 'adjacent' },
      attentionScale: 0.25,
      tiedEmbedding: true,
    });
  });

  test('equal counts per layer are one count', () => {
    const keys = { 'attention.head_count_kv': [2, 2, 2, 2], feed_forward_length: [96, 96, 96, 96] };
    expect(open(base('llama', keys)).config).toEqual({ ...common, kvHeads: 2 });
  });

  test.each(['qwen2', 'qwen3'] as const)('%s: halves, and no window whatever its keys say', (architecture) => {
    expect(open(base(architecture, { 'attention.sliding_window': 128 })).config).toEqual({
      ...common,
      architecture,
      rope: halves,
    });
  });

  test('llama and phi3 ignore a window as llama.cpp does', () => {
    expect(open(base('llama', { 'attention.sliding_window': 128 })).config).toEqual(common);
    expect(open(base('phi3', { 'attention.sliding_window': 2047 })).config).toEqual({
      ...common,
      architecture: 'phi3',
      rope: halves,
    });
  });

  test('gemma2: windows on even layers, softcaps, tied head', () => {
    const expected: ModelConfig = {
      ...common,
      architecture: 'gemma2',
      rope: halves,
      slidingWindow: 4096,
      slidingLayers: [true, false, true, false],
      attentionSoftcap: 50,
      finalSoftcap: 30,
      tiedEmbedding: true,
    };
    expect(open(base('gemma2'), [embedding]).config).toEqual(expected);
    const keys: Metadata = {
      'attention.sliding_window': 64,
      attn_logit_softcapping: 40.5,
      final_logit_softcapping: 20.5,
    };
    expect(open(base('gemma2', keys), [embedding]).config).toEqual({
      ...expected,
      slidingWindow: 64,
      attentionSoftcap: 40.5,
      finalSoftcap: 20.5,
    });
  });

  test('gemma3: five local layers to one global one, a base of their own', () => {
    const expected: ModelConfig = {
      ...common,
      architecture: 'gemma3',
      layers: 13,
      rope: { ...halves, base: 1e6, localBase: 10000, scaling: { type: 'linear', factor: 8 } },
      slidingWindow: 512,
      slidingLayers: Array.from({ length: 13 }, (_, layer) => layer !== 5 && layer !== 11),
      tiedEmbedding: true,
    };
    const keys: Metadata = {
      block_count: 13,
      'attention.sliding_window': 512,
      'rope.freq_base': 1000000,
      'rope.scaling.type': 'linear',
      'rope.scaling.factor': { type: 'f32', value: 8 },
    };
    expect(open(base('gemma3', keys), [embedding]).config).toEqual(expected);
  });

  test('sliding patterns are a period or one bool for each layer', () => {
    const layersOf = (pattern: GgufInput): readonly boolean[] | undefined =>
      open(base('gemma3', { 'attention.sliding_window': 8, 'attention.sliding_window_pattern': pattern })).config
        .slidingLayers;
    expect(layersOf(3)).toEqual([true, true, false, true]);
    expect(layersOf([false, true, true, false])).toEqual([false, true, true, false]);
    expect(thrown(() => layersOf([true])).code).toBe('FORMAT_INVALID');
  });

  test('gemma3 without a window has no sliding layers', () => {
    expect(open(base('gemma3')).config).not.toHaveProperty('slidingLayers');
  });

  test.each([
    ['gemma2', 46, 144],
    ['gemma3', 62, 168],
  ])('%s of %d layers (27B) scales queries by 1/√%d', (architecture, layers, scalar) => {
    const keys = {
      block_count: layers,
      embedding_length: scalar * 32,
      'attention.head_count': 32,
      'attention.key_length': 128,
    };
    expect(open(base(architecture, { ...keys, 'rope.dimension_count': 128 })).config.attentionScale).toBeCloseTo(
      scalar ** -0.5,
      12,
    );
    const smaller = { ...keys, block_count: layers - 1 };
    expect(open(base(architecture, smaller)).config).not.toHaveProperty('attentionScale');
  });

  test('phi3: longrope by its tensors, partial rotation', () => {
    const factors = ['rope_factors_long.weight', 'rope_factors_short.weight'].map((name) => f32(name, [6]));
    const keys: Metadata = {
      context_length: 131072,
      'rope.dimension_count': 12,
      'rope.scaling.original_context_length': 4096,
      'rope.scaling.attn_factor': { type: 'f32', value: 1.19 },
    };
    expect(open(base('phi3', keys), [embedding, head, ...factors]).config).toEqual({
      ...common,
      architecture: 'phi3',
      contextLength: 131072,
      rope: {
        ...halves,
        dimensions: 12,
        scaling: { type: 'longrope', originalContextLength: 4096, attentionFactor: 1.19 },
      },
    });
    const error = thrown(() => open(base('phi3', keys), [embedding, factors[0]]));
    expect([error.code, error.message]).toEqual([
      'MISSING_TENSOR',
      expect.stringContaining('rope_factors_short.weight'),
    ]);
  });

  test('scaling by yarn, by the old linear key, by none', () => {
    const scaling = (keys: Metadata): ModelConfig['rope']['scaling'] => open(base('qwen2', keys)).config.rope.scaling;
    expect(
      scaling({ 'rope.scaling.type': 'yarn', 'rope.scaling.factor': 4, 'rope.scaling.original_context_length': 128 }),
    ).toEqual({
      type: 'yarn',
      factor: 4,
      originalContextLength: 128,
      betaFast: 32,
      betaSlow: 1,
    });
    expect(
      scaling({ 'rope.scaling.type': 'yarn', 'rope.scaling.factor': 4, 'rope.scaling.attn_factor': 1 }),
    ).toMatchObject({
      attentionFactor: 1 + 0.1 * Math.log(4),
      originalContextLength: 512,
    });
    expect(scaling({ 'rope.scale_linear': { type: 'f32', value: 2 } })).toEqual({ type: 'linear', factor: 2 });
    expect(scaling({ 'rope.scaling.type': 'none', 'rope.scaling.factor': 4 })).toEqual({ type: 'none' });
    expect(scaling({ 'rope.scaling.type': 'linear', 'rope.scaling.factor': 1 })).toEqual({ type: 'none' });
  });
});

describe('refused', () => {
  const without = (key: string): Metadata =>
    Object.fromEntries(Object.entries(base('llama')).filter(([name]) => name !== key));

  test.each<[string, string, Metadata]>([
    ['another architecture', 'UNSUPPORTED_ARCHITECTURE', base('mamba')],
    ['no architecture', 'FORMAT_INVALID', without('general.architecture')],
    ['latent attention', 'UNSUPPORTED_ARCHITECTURE', base('llama', { 'attention.kv_lora_rank': 512 })],
    ['a scale that is not computed', 'UNSUPPORTED_FEATURE', base('llama', { logit_scale: 8.5 })],
    ['attention to later tokens', 'UNSUPPORTED_FEATURE', base('qwen3', { 'attention.causal': false })],
    ['layers that differ', 'UNSUPPORTED_FEATURE', base('llama', { 'attention.head_count_kv': [4, 2, 4, 4] })],
    ['a list of another length', 'FORMAT_INVALID', base('llama', { 'attention.head_count_kv': [4, 4] })],
    ['unknown scaling', 'UNSUPPORTED_FEATURE', base('llama', { 'rope.scaling.type': 'dynamic' })],
    ['yarn without a factor', 'FORMAT_INVALID', base('llama', { 'rope.scaling.type': 'yarn' })],
    ['no context length', 'FORMAT_INVALID', without('llama.context_length')],
    ['no epsilon', 'FORMAT_INVALID', without('llama.attention.layer_norm_rms_epsilon')],
    ['no heads', 'FORMAT_INVALID', base('llama', { 'attention.head_count': 0 })],
    ['heads that do not divide', 'FORMAT_INVALID', base('llama', { 'attention.head_count_kv': 3 })],
    ['a width that heads do not divide', 'FORMAT_INVALID', base('llama', { 'attention.head_count': 5 })],
    ['2^32 - 1 layers', 'FORMAT_INVALID', base('gemma2', { block_count: 4294967295 })],
    ['2^64 - 1 layers', 'FORMAT_INVALID', base('llama', { block_count: { type: 'u64', value: 2n ** 64n - 1n } })],
    ['a width that is a string', 'FORMAT_INVALID', base('llama', { embedding_length: 'wide' })],
    [
      'an epsilon that is no number',
      'FORMAT_INVALID',
      base('llama', { 'attention.layer_norm_rms_epsilon': { type: 'f32', value: NaN } }),
    ],
    ['odd rotation', 'FORMAT_INVALID', base('llama', { 'rope.dimension_count': 15 })],
    ['no tokenizer', 'UNSUPPORTED_TOKENIZER', without('tokenizer.ggml.model')],
    ['another tokenizer', 'UNSUPPORTED_TOKENIZER', { ...base('llama'), 'tokenizer.ggml.model': 'bert' }],
    ['scores for other tokens', 'FORMAT_INVALID', { ...base('llama'), 'tokenizer.ggml.scores': Float32Array.of(1, 2) }],
  ])('%s: %s', (_, code, metadata) => {
    expect(thrown(() => open(metadata)).code).toBe(code);
  });

  test('a vocabulary without weights', () => {
    const error = thrown(() => open(base('llama'), []));
    expect([error.code, error.remedy]).toEqual(['MISSING_TENSOR', expect.stringContaining('vocabulary only')]);
  });
});

describe('tokenizers', () => {
  const tokenizer = (keys: Metadata): GgufTokenizerSource => {
    const { tokenizer: source } = open({ ...base('llama'), ...keys });
    if (source.kind !== 'gguf') throw new Error('expected the keys of a GGUF file');
    return source;
  };

  test('all keys', () => {
    const source = tokenizer({
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'qwen2',
      'tokenizer.ggml.scores': Float32Array.of(0, 0, 0, -1, -2),
      'tokenizer.ggml.token_type': Int32Array.of(2, 3, 3, 1, 1),
      'tokenizer.ggml.merges': ['a b'],
      'tokenizer.ggml.precompiled_charsmap': Uint8Array.of(1, 2),
      'tokenizer.ggml.add_space_prefix': false,
      'tokenizer.ggml.remove_extra_whitespaces': true,
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
      'tokenizer.ggml.eot_token_id': 3,
      'tokenizer.ggml.eom_token_id': 4,
      'tokenizer.ggml.unknown_token_id': 0,
      'tokenizer.ggml.padding_token_id': 4294967295,
      'tokenizer.ggml.add_bos_token': true,
      'tokenizer.ggml.add_eos_token': false,
    });
    expect(source).toMatchObject({ model: 'gpt2', pre: 'qwen2', addSpacePrefix: false, removeExtraWhitespaces: true });
    expect(source.tokens.get(2)).toBe('</s>');
    expect(source.scores?.()).toEqual(Float32Array.of(0, 0, 0, -1, -2));
    expect(source.types?.()).toEqual(Int32Array.of(2, 3, 3, 1, 1));
    expect(source.merges?.get(0)).toBe('a b');
    expect(source.precompiledCharsmap?.()).toEqual(Uint8Array.of(1, 2));
    expect(source.special).toEqual({
      bos: 1,
      eos: 2,
      eot: 3,
      eom: 4,
      unknown: 0,
      padding: undefined,
      addBos: true,
      addEos: false,
    });
  });

  test('chat templates by name', () => {
    const metadata = { ...base('llama'), 'tokenizer.chat_template': 'D', 'tokenizer.chat_template.tool_use': 'T' };
    expect(open(metadata).chatTemplates).toEqual({ default: 'D', tool_use: 'T' });
  });

  test('a template called __proto__ is a template', () => {
    const { chatTemplates } = open({ ...base('llama'), 'tokenizer.chat_template.__proto__': 'T' });
    expect(Object.entries(chatTemplates)).toEqual([['__proto__', 'T']]);
  });
});

test('metadata for inspection is printable', () => {
  const { metadata } = open(base('llama'));
  expect(metadata.get('tokenizer.ggml.tokens')).toEqual(['<unk>', '<s>', '</s>', 'a', 'b']);
  expect(metadata.get('llama.block_count')).toBe(4);
});

test('stories260K opens as the llama that it is', () => {
  const path = sharedData('models/stories260K.gguf');
  if (path === undefined) return console.log('skipped: no models/stories260K.gguf in the shared data');
  const { config, tokenizer } = ggufModel(openGguf(path));
  expect(config).toMatchObject({
    architecture: 'llama',
    width: 64,
    layers: 5,
    heads: 8,
    kvHeads: 4,
    headDim: 8,
    vocab: 512,
  });
  expect(tokenizer.special).toMatchObject({ bos: 1, eos: 2, unknown: 0, padding: undefined });
});
