// Experts of both formats become one config and stacked tensors; what cannot be is refused by name.
import { writeGguf, type GgufInput, type GgufTensorInput } from '../../lib/formats/gguf-writer.js';
import type { ModelConfig } from '../../lib/formats/model-config.js';
import type { ModelSource } from '../../lib/formats/model-source.js';
import { openModelFile } from '../../lib/formats/open.js';
import { WeightStore } from '../../lib/formats/weight-store.js';
import { estimateMemory } from '../../lib/models/memory.js';
import { writeSafetensors } from '../../lib/formats/safetensors-writer.js';
import { embeddingOnly, writeDirectory, type Shapes } from './hugging-face/directory.js';
import { scratch, thrown } from './scratch.js';

const place = scratch();

const sizes = {
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  max_position_embeddings: 512,
};
const directory = (type: string, fields: object, tensors: Shapes = embeddingOnly): ModelSource =>
  openModelFile(writeDirectory(place, 'tiny', { config: { model_type: type, ...sizes, ...fields }, tensors }));

const zeros = (name: string, ...shape: number[]): GgufTensorInput => ({
  name,
  dtype: 'F32',
  shape,
  data: new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)),
});

function gguf(architecture: string, keys: Record<string, GgufInput>, tensors: GgufTensorInput[] = []): ModelSource {
  const all: Record<string, GgufInput> = {
    context_length: 512,
    embedding_length: 64,
    block_count: 4,
    feed_forward_length: 96,
    'attention.head_count': 4,
    'attention.layer_norm_rms_epsilon': { type: 'f32', value: 1e-5 },
    ...keys,
  };
  const metadata = {
    'general.architecture': architecture,
    ...Object.fromEntries(Object.entries(all).map(([key, value]) => [`${architecture}.${key}`, value])),
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': ['<unk>', '<s>', '</s>', 'a', 'b'],
  };
  const embedding = zeros('token_embd.weight', 6, 64);
  return openModelFile(writeGguf(place.at('model.gguf'), { metadata, tensors: [embedding, ...tensors] })[0]);
}

const plain: NonNullable<ModelConfig['experts']> = {
  count: 8,
  used: 2,
  hidden: 96,
  sharedHidden: 0,
  sparse: [true, true, true, true],
  scoring: 'softmax',
  normalise: true,
  scale: 1,
  groups: 1,
  groupsUsed: 1,
  groupScore: 'max',
};

describe('configurations', () => {
  test('Mixtral', () => {
    expect(directory('mixtral', { num_key_value_heads: 4 }).config).toMatchObject({
      architecture: 'llama',
      experts: plain,
    });
    expect(gguf('llama', { expert_count: 8, expert_used_count: 2 }).config.experts).toEqual(plain);
    expect(gguf('llama', {}).config).not.toHaveProperty('experts');
  });

  test('Qwen2-MoE: a shared expert, dense layers by list and by step', () => {
    const fields = {
      num_experts: 6,
      num_experts_per_tok: 3,
      moe_intermediate_size: 32,
      shared_expert_intermediate_size: 128,
    };
    const wanted = { ...plain, count: 6, used: 3, hidden: 32, sharedHidden: 128, normalise: false };
    expect(directory('qwen2_moe', { ...fields, num_key_value_heads: 4 }).config.experts).toEqual(wanted);
    const some = { ...fields, num_key_value_heads: 4, decoder_sparse_step: 2, mlp_only_layers: [1] };
    expect(directory('qwen2_moe', some).config.experts?.sparse).toEqual([false, false, false, true]);
    const keys = { expert_count: 6, expert_used_count: 3, expert_shared_feed_forward_length: 128 };
    expect(gguf('qwen2moe', keys).config.experts).toEqual(wanted); // 96 / 3
    const dense = gguf('qwen2moe', keys, [zeros('blk.2.ffn_gate.weight', 96, 64)]);
    expect(dense.config.experts?.sparse).toEqual([true, true, false, true]);
  });

  test('Qwen3-MoE', () => {
    const fields = { num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 96, norm_topk_prob: true };
    expect(directory('qwen3_moe', fields).config.experts).toEqual(plain);
    const keys = { expert_count: 8, expert_used_count: 2, expert_feed_forward_length: 96 };
    expect(gguf('qwen3moe', keys).config.experts).toEqual(plain);
  });

  test('DeepSeek-MoE: the first layer dense, shared experts as one, and the rules of its successors', () => {
    const wanted = { ...plain, hidden: 32, sharedHidden: 64, normalise: false, sparse: [false, true, true, true] };
    const fields = {
      n_routed_experts: 8,
      n_shared_experts: 2,
      num_experts_per_tok: 2,
      moe_intermediate_size: 32,
      first_k_dense_replace: 1,
    };
    expect(directory('deepseek', fields).config.experts).toEqual(wanted);
    const keys = {
      expert_count: 8,
      expert_used_count: 2,
      expert_feed_forward_length: 32,
      expert_shared_count: 2,
      leading_dense_block_count: 1,
    };
    expect(gguf('deepseek', keys).config).toMatchObject({ rope: { layout: 'adjacent' }, experts: wanted });
    const later = {
      scoring_func: 'sigmoid',
      topk_method: 'noaux_tc',
      n_group: 4,
      topk_group: 2,
      norm_topk_prob: true,
      routed_scaling_factor: 2.5,
    };
    const rule = { scoring: 'sigmoid', normalise: true, scale: 2.5, groups: 4, groupsUsed: 2, groupScore: 'top2' };
    expect(directory('deepseek', { ...fields, ...later }).config.experts).toMatchObject(rule);
    const laterKeys = {
      expert_gating_func: 2,
      expert_weights_norm: true,
      expert_weights_scale: { type: 'f32', value: 2.5 },
      expert_group_count: 4,
      expert_group_used_count: 2,
    } satisfies Record<string, GgufInput>;
    expect(gguf('deepseek', { ...keys, ...laterKeys }).config.experts).toMatchObject(rule);
  });

  test('what does not fit together is named', () => {
    const keys = { expert_count: 8, expert_used_count: 2 };
    const refused: [() => unknown, string, RegExp][] = [
      [() => gguf('gemma2', keys), 'UNSUPPORTED_ARCHITECTURE', /mixture of 8 experts/],
      [() => gguf('qwen3moe', {}), 'FORMAT_INVALID', /expert_count/],
      [() => gguf('qwen3moe', keys), 'FORMAT_INVALID', /expert_feed_forward_length/],
      [() => gguf('llama', { expert_count: 8 }), 'FORMAT_INVALID', /expert_used_count/],
      [() => gguf('llama', { ...keys, expert_used_count: 9 }), 'FORMAT_INVALID', /experts of a row is 9/],
      [() => gguf('llama', { ...keys, expert_count: 2000 }), 'FORMAT_INVALID', /number of experts is 2000/],
      [() => gguf('llama', { ...keys, expert_group_count: 3 }), 'FORMAT_INVALID', /groups of experts is 3/],
      [() => gguf('llama', { ...keys, expert_gating_func: 3 }), 'UNSUPPORTED_FEATURE', /expert_gating_func/],
      [() => directory('deepseek', {}), 'FORMAT_INVALID', /n_routed_experts/],
      [() => directory('qwen3_moe', { scoring_func: 'tanh' }), 'UNSUPPORTED_FEATURE', /scoring_func/],
    ];
    for (const [open, code, words] of refused) {
      const error = thrown(open);
      expect([error.code, error.message]).toEqual([code, expect.stringMatching(words)]);
    }
  });
});

describe('tensors', () => {
  const mixtral = { num_local_experts: 3, num_key_value_heads: 4 };
  const each = (experts: number, name: (e: number) => string, shape: number[]): Shapes =>
    Object.fromEntries(Array.from({ length: experts }, (_, e) => [name(e), shape]));

  test('of single experts are stacked, routers and shared experts have their places', () => {
    const old = (e: number): string => `model.layers.1.block_sparse_moe.experts.${e}.w2.weight`;
    const { tensors } = directory('mixtral', mixtral, {
      ...embeddingOnly,
      ...each(3, old, [4, 8]),
      'model.layers.1.block_sparse_moe.gate.weight': [3, 4],
    });
    expect(tensors.get('blk.1.ffn_down_exps.weight')).toMatchObject({ shape: [3, 4, 8], bytes: 3 * 4 * 8 * 4 });
    expect(tensors.has('blk.1.ffn_gate_inp.weight')).toBe(true);
    const mlp = 'model.layers.0.mlp';
    const qwen = directory(
      'qwen2_moe',
      { num_key_value_heads: 4 },
      {
        ...embeddingOnly,
        [`${mlp}.gate.weight`]: [3, 4],
        [`${mlp}.shared_expert_gate.weight`]: [1, 64],
        [`${mlp}.shared_expert.up_proj.weight`]: [8, 4],
        [`${mlp}.experts.gate_up_proj`]: [3, 8, 64],
        [`${mlp}.experts.down_proj`]: [3, 64, 4],
      },
    ).tensors;
    expect(Object.fromEntries([...qwen].map(([name, { shape }]) => [name, shape]))).toEqual({
      'token_embd.weight': [6, 64],
      'output.weight': [6, 64],
      'blk.0.ffn_gate_inp.weight': [3, 4],
      'blk.0.ffn_gate_inp_shexp.weight': [64],
      'blk.0.ffn_up_shexp.weight': [8, 4],
      'blk.0.ffn_gate_exps.weight': [3, 4, 64],
      'blk.0.ffn_up_exps.weight': [3, 4, 64],
      'blk.0.ffn_down_exps.weight': [3, 64, 4],
    });
    const v3 = directory(
      'deepseek',
      { n_routed_experts: 3, num_experts_per_tok: 2 },
      {
        ...embeddingOnly,
        [`${mlp}.gate.e_score_correction_bias`]: [3],
        [`${mlp}.shared_experts.up_proj.weight`]: [8, 4],
      },
    ).tensors;
    expect([...v3.keys()]).toEqual(expect.arrayContaining(['blk.0.exp_probs_b.bias', 'blk.0.ffn_up_shexp.weight']));
  });

  test('pieces are put together in the order of experts, and what follows itself in the file needs no copy', () => {
    const path = writeDirectory(place, 'tiny', { config: { model_type: 'mixtral', ...sizes, ...mixtral } });
    const bytes = (value: number): Uint8Array => new Uint8Array(Float32Array.of(value, value).buffer);
    const name = (e: number, which: string): string => `model.layers.0.block_sparse_moe.experts.${e}.${which}.weight`;
    // Experts of w1 one after the other, those of w3 among others.
    const order = [name(0, 'w1'), name(1, 'w1'), name(2, 'w1'), name(2, 'w3'), name(0, 'w3'), name(1, 'w3')];
    writeSafetensors(`${path}/model.safetensors`, {
      tensors: [
        ...order.map((tensor, i) => ({ name: tensor, type: 'F32' as const, shape: [1, 2], data: bytes(i) })),
        ...Object.keys(embeddingOnly).map((tensor) => ({
          name: tensor,
          type: 'F32' as const,
          shape: [6, 64],
          data: new Uint8Array(1536),
        })),
      ],
    });
    const source = openModelFile(path);
    const store = new WeightStore(source);
    const values = (tensor: string): number[] => [...new Float32Array(store.bytes(tensor).buffer)];
    expect(values('blk.0.ffn_gate_exps.weight')).toEqual([0, 0, 1, 1, 2, 2]);
    expect(values('blk.0.ffn_up_exps.weight')).toEqual([4, 4, 5, 5, 3, 3]);
    expect(source.tensors.get('blk.0.ffn_gate_exps.weight')).not.toHaveProperty('parts');
    expect(source.tensors.get('blk.0.ffn_up_exps.weight')).toHaveProperty('parts');
    expect([...store.conversions()]).toEqual([1]);
    expect(estimateMemory(source).weights).toBe(24);
    store.close();
  });

  test('a GGUF file may keep gate and up of a layer as one tensor', () => {
    const fused: GgufTensorInput = {
      name: 'blk.0.ffn_gate_up_exps.weight',
      dtype: 'F32',
      shape: [2, 4, 1],
      data: new Uint8Array(Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7).buffer),
    };
    const source = gguf('llama', { expert_count: 2, expert_used_count: 2 }, [fused]);
    const store = new WeightStore(source);
    const values = (side: string): number[] => [
      ...new Float32Array(store.bytes(`blk.0.ffn_${side}_exps.weight`).buffer),
    ];
    expect([values('gate'), values('up')]).toEqual([
      [0, 1, 4, 5],
      [2, 3, 6, 7],
    ]);
    expect(store.info('blk.0.ffn_up_exps.weight')).toMatchObject({ dtype: 'F32', shape: [2, 2, 1] });
    store.close();
  });

  test('experts that are missing, differ, or come twice are refused', () => {
    const name = (e: number): string => `model.layers.1.block_sparse_moe.experts.${e}.w2.weight`;
    const open = (tensors: Shapes) => () => directory('mixtral', mixtral, { ...embeddingOnly, ...tensors });
    const cases: [() => unknown, string, RegExp][] = [
      [open({ [name(0)]: [4, 8], [name(2)]: [4, 8] }), 'MISSING_TENSOR', /expert 1/],
      [open({ [name(1)]: [4, 8] }), 'MISSING_TENSOR', /expert 0/],
      [open({ [name(0)]: [4, 8], [name(1)]: [8, 4] }), 'SHAPE_MISMATCH', /differ.*8, 4/],
      [open({ [name(0)]: [4, 8], [name(0).replace('model.', '')]: [4, 8] }), 'FORMAT_INVALID', /expert 0/],
      [open({ 'model.layers.1.mlp.experts.gate_up_proj': [3, 7, 64] }), 'SHAPE_MISMATCH', /gate_up/],
    ];
    for (const [open, code, words] of cases) {
      const error = thrown(open);
      expect([error.code, error.message]).toEqual([code, expect.stringMatching(words)]);
    }
  });
});
