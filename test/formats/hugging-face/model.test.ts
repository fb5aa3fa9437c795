// A Hugging Face directory becomes the same model as its GGUF file: tensors by canonical name, tokenizer, templates.
import * as fs from 'node:fs';
import { openModelFile } from '../../../lib/formats/open.js';
import type { ModelSource } from '../../../lib/formats/model-source.js';
import { writeSafetensors } from '../../../lib/formats/safetensors-writer.js';
import { scratch, thrown } from '../scratch.js';
import {
  embeddingOnly,
  tokenizerJson,
  vocabulary,
  writeDirectory,
  type DirectoryContents,
  type Shapes,
} from './directory.js';

const place = scratch();

const sizes = {
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
};
const open = (type: string, contents: Partial<DirectoryContents> = {}): ModelSource =>
  openModelFile(writeDirectory(place, 'tiny', { config: { model_type: type, head_dim: 16, ...sizes }, ...contents }));

const layer = (names: readonly string[], prefix = 'model.'): Shapes =>
  Object.fromEntries([
    ...names.map((name) => [`${prefix}layers.0.${name}`, [4]]),
    [`${prefix}embed_tokens.weight`, [6, 64]],
  ]);

describe('tensors', () => {
  const llama = ['input_layernorm', 'post_attention_layernorm', 'mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'];
  const attention = ['q', 'k', 'v', 'o'].map((name) => `self_attn.${name}_proj`);

  test('llama', () => {
    const shapes = {
      ...layer([...llama, ...attention].map((name) => `${name}.weight`)),
      'model.norm.weight': [4],
      'lm_head.weight': [6, 64],
    };
    const { tensors, files } = open('llama', { tensors: shapes, type: 'BF16' });
    expect(new Set(tensors.keys())).toEqual(
      new Set([
        'token_embd.weight',
        'output_norm.weight',
        'output.weight',
        ...['attn_norm', 'ffn_norm', 'ffn_gate', 'ffn_up', 'ffn_down', 'attn_q', 'attn_k', 'attn_v', 'attn_output'].map(
          (name) => `blk.0.${name}.weight`,
        ),
      ]),
    );
    expect(tensors.get('token_embd.weight')).toMatchObject({ dtype: 'BF16', shape: [6, 64], file: 0, bytes: 768 });
    expect(tensors.get('output_norm.weight')).not.toHaveProperty('add');
    expect(files).toEqual([place.at('tiny/model.safetensors')]);
  });

  test('qwen2 has biases', () => {
    const { tensors } = open('qwen2', { tensors: layer(['self_attn.q_proj.weight', 'self_attn.q_proj.bias']) });
    expect([...tensors.keys()]).toEqual(expect.arrayContaining(['blk.0.attn_q.weight', 'blk.0.attn_q.bias']));
  });

  test('qwen3 has norms of heads', () => {
    const { tensors } = open('qwen3', { tensors: layer(['self_attn.q_norm.weight', 'self_attn.k_norm.weight']) });
    expect([...tensors.keys()]).toEqual(
      expect.arrayContaining(['blk.0.attn_q_norm.weight', 'blk.0.attn_k_norm.weight']),
    );
  });

  test.each(['gemma2', 'gemma3_text'])('%s has four norms to which 1 is added', (type) => {
    const norms = {
      input_layernorm: 'attn_norm',
      post_attention_layernorm: 'post_attention_norm',
      pre_feedforward_layernorm: 'ffn_norm',
      post_feedforward_layernorm: 'post_ffw_norm',
      'self_attn.q_norm': 'attn_q_norm',
    };
    const { tensors } = open(type, {
      tensors: layer([...Object.keys(norms).map((name) => `${name}.weight`), 'mlp.up_proj.weight']),
    });
    for (const name of Object.values(norms))
      expect(tensors.get(`blk.0.${name}.weight`)).toMatchObject({ add: 1, shape: [4] });
    expect(tensors.get('blk.0.ffn_up.weight')).not.toHaveProperty('add');
    expect(tensors.get('token_embd.weight')).not.toHaveProperty('add');
  });

  test('phi3 has fused matrices', () => {
    const { tensors } = open('phi3', {
      tensors: layer(['self_attn.qkv_proj.weight', 'mlp.gate_up_proj.weight', 'mlp.down_proj.weight']),
    });
    expect([...tensors.keys()]).toEqual(
      expect.arrayContaining(['blk.0.attn_qkv.weight', 'blk.0.ffn_up.weight', 'blk.0.ffn_down.weight']),
    );
  });

  test.each(['language_model.model.', 'model.language_model.', ''])('prefix %j', (prefix) => {
    const shapes = {
      ...layer(['mlp.up_proj.weight'], prefix),
      'vision_tower.x.weight': [2],
      'multi_modal_projector.y': [2],
    };
    expect([...open('gemma3_text', { tensors: shapes }).tensors.keys()].sort()).toEqual([
      'blk.0.ffn_up.weight',
      'token_embd.weight',
    ]);
  });

  test('buffers of old files are left out', () => {
    const shapes = { ...embeddingOnly, 'model.layers.0.self_attn.rotary_emb.inv_freq': [4] };
    expect(open('llama', { tensors: shapes }).tensors.size).toBe(2);
  });

  test.each([
    'model.layers.0.mlp.experts.0.w1.weight',
    'model.layers.00.mlp.up_proj.weight',
    'model.layers.0.toString.weight',
    'x',
  ])('the unknown tensor %s is refused', (name) => {
    const error = thrown(() => open('llama', { tensors: { ...embeddingOnly, [name]: [2] } }));
    expect([error.code, error.message]).toEqual(['UNSUPPORTED_FEATURE', expect.stringContaining(name)]);
  });

  test('two spellings of one tensor are refused', () => {
    const shapes = { ...embeddingOnly, 'embed_tokens.weight': [6, 64] };
    expect(thrown(() => open('llama', { tensors: shapes })).code).toBe('FORMAT_INVALID');
  });

  test('types other than F32, F16 and BF16 are refused by name', () => {
    const error = thrown(() => open('llama', { type: 'I16' }));
    expect([error.code, error.message]).toEqual(['UNSUPPORTED_TENSOR_TYPE', expect.stringContaining('I16')]);
  });

  test('no embedding', () => {
    expect(thrown(() => open('llama', { tensors: { 'model.norm.weight': [4] } })).code).toBe('MISSING_TENSOR');
  });

  test('shards', () => {
    const directory = writeDirectory(place, 'shards', { config: { model_type: 'llama', ...sizes } });
    fs.rmSync(`${directory}/model.safetensors`);
    const tensors = Object.entries(embeddingOnly).map(([name, shape]) => ({
      name,
      type: 'F32' as const,
      shape,
      data: new Uint8Array(1536),
    }));
    const paths = writeSafetensors(`${directory}/model.safetensors`, { tensors, parts: 2 });
    const model = openModelFile(directory);
    expect(model.files).toEqual(paths.slice(0, 2));
    expect(new Set([...model.tensors.values()].map(({ file }) => file))).toEqual(new Set([0, 1]));
  });
});

describe('heads', () => {
  const tied = (type: string, value: boolean | undefined, tensors: Shapes = embeddingOnly): [boolean, boolean] => {
    const model = open(type, { tensors, config: { model_type: type, ...sizes, tie_word_embeddings: value } });
    return [model.config.tiedEmbedding, model.tensors.has('output.weight')];
  };
  const { 'lm_head.weight': _, ...withoutHead } = embeddingOnly;

  test('a head is used unless the config ties it or there is none', () => {
    expect(tied('llama', undefined)).toEqual([false, true]);
    expect(tied('llama', true)).toEqual([true, false]);
    expect(tied('llama', false, withoutHead)).toEqual([true, false]);
    expect(tied('gemma2', undefined)).toEqual([true, false]);
    expect(tied('gemma2', false)).toEqual([false, true]);
  });

  test('gemma3 loses the rows that no token has', () => {
    const shapes = { 'model.embed_tokens.weight': [16, 64] };
    const padded = open('gemma3_text', { tensors: shapes });
    expect(padded.config.vocab).toBe(vocabulary.length + 1);
    expect(padded.tensors.get('token_embd.weight')).toMatchObject({ shape: [6, 64], bytes: 6 * 64 * 4 });
    expect(open('llama', { tensors: shapes }).config.vocab).toBe(16);
  });
});

describe('tokenizers', () => {
  const special = (files: Record<string, unknown>, config: Record<string, unknown> = {}): unknown =>
    open('llama', { files, config: { model_type: 'llama', ...sizes, ...config } }).tokenizer.special;

  test('the parsed tokenizer.json and tokenizer_config.json', () => {
    const { tokenizer } = open('llama', {
      files: { 'tokenizer_config.json': { clean_up_tokenization_spaces: false } },
    });
    expect(tokenizer).toMatchObject({
      kind: 'hugging-face',
      json: tokenizerJson(vocabulary),
      config: { clean_up_tokenization_spaces: false },
    });
  });

  test('special tokens by text, as a string or an object, in either file', () => {
    const files = {
      'tokenizer_config.json': {
        bos_token: { content: '<s>' },
        eos_token: '<end>',
        add_bos_token: true,
        add_eos_token: false,
      },
      'special_tokens_map.json': { eos_token: '</s>', unk_token: '<unk>', pad_token: { content: 'b' } },
    };
    expect(special(files)).toEqual({
      bos: 1,
      eos: 5,
      unknown: 0,
      padding: 4,
      addBos: true,
      addEos: false,
      endOfGeneration: [],
    });
  });

  test('special tokens by id, and every end of generation', () => {
    const files = { 'generation_config.json': { eos_token_id: [2, 5] } };
    expect(special(files, { bos_token_id: 1, eos_token_id: 3, pad_token_id: -1 })).toEqual({
      bos: 1,
      eos: 2,
      endOfGeneration: [2, 5, 3],
    });
  });

  test('ids of the outer config of a nested model', () => {
    const config = {
      model_type: 'gemma3',
      eos_token_id: [1, 106],
      text_config: { model_type: 'gemma3_text', ...sizes },
    };
    expect(open('gemma3', { config }).tokenizer.special).toMatchObject({ eos: 1, endOfGeneration: [1, 106] });
  });

  test('unigram vocabularies are lists', () => {
    const json = {
      model: {
        type: 'Unigram',
        vocab: [
          ['<unk>', 0],
          ['x', -1],
        ],
      },
    };
    expect(
      special({ 'tokenizer.json': json, 'tokenizer_config.json': { unk_token: '<unk>', bos_token: 'x' } }),
    ).toMatchObject({ unknown: 0, bos: 1 });
  });

  test.each<[string, string, Record<string, unknown>]>([
    ['none', 'UNSUPPORTED_TOKENIZER', { 'tokenizer.json': undefined }],
    ['no model', 'FORMAT_INVALID', { 'tokenizer.json': {} }],
    ['no vocabulary', 'FORMAT_INVALID', { 'tokenizer.json': { model: {} } }],
    ['an id that is a string', 'FORMAT_INVALID', { 'tokenizer.json': { model: { vocab: { a: '0' } } } }],
    ['added tokens that are none', 'FORMAT_INVALID', { 'tokenizer.json': { model: { vocab: {} }, added_tokens: {} } }],
    ['broken JSON', 'FORMAT_INVALID', { 'tokenizer_config.json': '{"a":}' }],
  ])('%s: %s', (_, code, files) => {
    expect(thrown(() => open('llama', { files })).code).toBe(code);
  });
});

describe('chat templates', () => {
  const templates = (files: Record<string, unknown>): unknown => open('llama', { files }).chatTemplates;

  test('a string, a list, a file', () => {
    expect(templates({})).toEqual({});
    expect(templates({ 'tokenizer_config.json': { chat_template: 'A' } })).toEqual({ default: 'A' });
    const list = [{ name: 'default', template: 'A' }, { name: 'tool_use', template: 'B' }, { name: 3 }];
    expect(templates({ 'tokenizer_config.json': { chat_template: list } })).toEqual({ default: 'A', tool_use: 'B' });
    expect(templates({ 'tokenizer_config.json': { chat_template: list }, 'chat_template.jinja': 'C' })).toEqual({
      default: 'C',
      tool_use: 'B',
    });
    expect(templates({ 'chat_template.json': { chat_template: 'D' } })).toEqual({ default: 'D' });
    expect(templates({ 'additional_chat_templates/rag.jinja': 'E' })).toEqual({ rag: 'E' });
  });

  test('a template of more than 1 MB is refused', () => {
    expect(thrown(() => templates({ 'chat_template.jinja': 'x'.repeat(2 ** 20 + 1) })).code).toBe('FORMAT_LIMIT');
  });
});

test('metadata for inspection is printable', () => {
  const { metadata, config } = open('llama');
  expect(metadata.get('hidden_size')).toBe(64);
  expect(() => JSON.stringify([...metadata])).not.toThrow();
  expect(config.name).toBe('tiny');
});
