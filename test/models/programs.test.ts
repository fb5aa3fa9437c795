// Programs of every architecture build from small configs; what does not fit is refused in words that name op and tensor.
import type { ModelConfig } from '../../lib/formats/model-config.js';
import { buildProgram, families, type WeightLookup } from '../../lib/models/registry.js';
import type { WeightInfo } from '../../lib/program/builder.js';
import type { OpName } from '../../lib/program/ops.js';
import type { OpCall, Program } from '../../lib/program/program.js';
import { randomModel, randomModels, type RandomModel } from '../fixtures/random-model.js';
import { tensorShapes } from '../fixtures/random/tensors.js';

type Weights = Map<string, WeightInfo>;

/** Vectors and routers. */
const isPlain = (name: string, shape: readonly number[]): boolean => shape.length === 1 || name.includes('ffn_gate_inp.');

const weightsOf = (model: RandomModel): Weights =>
  new Map(tensorShapes(model).map(([name, ...shape]) => [name, { dtype: isPlain(name, shape) ? 'F32' : 'Q4_K', shape }]));

const lookup =
  (weights: Weights): WeightLookup =>
  (tensor) =>
    weights.get(tensor);

function build(name: string, change: Partial<ModelConfig> = {}, contextLength = 64, weights = weightsOf(randomModel(name))): Program {
  return buildProgram({ ...randomModel(name).config, ...change }, lookup(weights), { contextLength });
}

const calls = (program: Program, op: OpName): OpCall[] => program.calls.filter((call) => call.op === op);

/** The value of each attribute called `window`, layer by layer: the last of `attention`. */
const windows = (program: Program): number[] => calls(program, 'attention').map(({ attributes }) => attributes[5]);

/** Sets one tensor, or removes it, then builds. */
function buildWith(name: string, tensor: string, info?: WeightInfo): () => Program {
  const weights = weightsOf(randomModel(name));
  if (info) weights.set(tensor, info);
  else weights.delete(tensor);
  return () => build(name, {}, 64, weights);
}

describe('programs', () => {
  test('every family has a random model, and every row says what it is', () => {
    expect(new Set(randomModels.map(({ config }) => config.architecture))).toEqual(
      new Set(families.map(({ architecture }) => architecture)),
    );
    for (const { models, description } of families) expect(`${models} ${description}`).not.toMatch(/\n|undefined/);
  });

  test.each(randomModels.map(({ name }) => name))('%s: inputs, logits of selected rows only, one cache layer per block', (name) => {
    const { config } = randomModel(name);
    const program = build(name);
    const inputs = program.values.filter(({ kind }) => kind === 'input');
    expect(inputs.map((value) => [value.name, value.dtype, value.rows])).toEqual([
      ['tokens', 'I32', 'rows'],
      ['positions', 'I32', 'rows'],
      ['output_rows', 'I32', 'outputs'],
    ]);
    expect(program.outputs.logits).toMatchObject({ rows: 'outputs', columns: config.vocab, dtype: 'F32' });
    expect(program.kv).toEqual({
      layers: config.layers,
      kvHeads: config.kvHeads,
      keyDim: config.headDim,
      valueDim: config.valueDim,
    });
    expect(calls(program, 'attention').map(({ attributes }) => attributes[0])).toEqual([...Array(config.layers).keys()]);
    expect(calls(program, 'row_select')).toHaveLength(1);
    // Every weight of the file is used, and nothing else.
    const used = new Set(program.values.flatMap(({ weight }) => (weight ? [weight.tensor] : [])));
    expect(used).toEqual(new Set(weightsOf(randomModel(name)).keys()));
  });

  test('angles are computed once for all layers that share frequencies', () => {
    expect(calls(build('llama'), 'rope_table')).toHaveLength(1);
    expect(calls(build('gemma2'), 'rope_table')).toHaveLength(1);
    expect(calls(build('gemma3'), 'rope_table')).toHaveLength(2);
  });

  test('windows apply to sliding layers, and to none when nothing lies outside them', () => {
    expect(windows(build('gemma2'))).toEqual([8, 0, 8, 0]);
    expect(windows(build('gemma3'))).toEqual([8, 8, 8, 8, 8, 0, 8]);
    expect(windows(build('gemma2', {}, 8))).toEqual([0, 0, 0, 0]);
    expect(windows(build('mistral', { slidingWindow: 16 }))).toEqual([16, 16]);
    expect(windows(build('mistral'))).toEqual([0, 0]);
  });

  test('the rotation reads q and k as the file keeps them', () => {
    const layouts = (program: Program): number[] => calls(program, 'rope').map(({ attributes }) => attributes[1]);
    expect(new Set(layouts(build('llama')))).toEqual(new Set([0]));
    expect(new Set(layouts(build('qwen3')))).toEqual(new Set([1]));
  });

  test('experts come after the router and what all rows share, in sparse layers only', () => {
    const order = (name: string): string[] =>
      build(name).calls.flatMap(({ op, inputs }) => {
        const weight = inputs[1]?.weight?.tensor ?? '';
        return /route|expert/.test(op) ? [op] : /shexp/.test(weight) ? [weight.replace(/^blk\.\d\.ffn_|\.weight$/g, '')] : [];
      });
    const layer = ['route', 'gate_shexp', 'up_shexp', 'down_shexp', 'gate_inp_shexp', 'expert_gate_up', 'expert_down'];
    expect(order('qwen2moe')).toEqual([...layer, ...layer]);
    expect(order('deepseek')).toEqual(layer.filter((name) => name !== 'gate_inp_shexp')); // the first layer is dense
    expect(order('mixtral')).toEqual(['route', 'expert_gate_up', 'expert_down', 'route', 'expert_gate_up', 'expert_down']);
    expect(calls(build('deepseek'), 'sigmoid_gate')).toHaveLength(0);
  });

  test('fused tensors are used as row ranges that follow each other', () => {
    const ranges = (tensor: string): unknown[] =>
      build('phi3').values.flatMap(({ weight, rows }) => (weight?.tensor === tensor ? [[weight.firstRow, rows]] : []));
    expect(ranges('blk.0.attn_qkv.weight')).toEqual([
      [0, 256],
      [256, 128],
      [384, 128],
    ]);
    expect(ranges('blk.1.ffn_up.weight')).toEqual([
      [0, 512],
      [512, 512],
    ]);
  });

  test("gemma's embedding scale is √width in bfloat16", () => {
    const scale = (width: number): number => {
      const model = { ...randomModel('gemma2'), config: { ...randomModel('gemma2').config, width } };
      return calls(build('gemma2', { width }, 64, weightsOf(model)), 'embedding')[0].attributes[0];
    };
    expect([2304, 3072, 3584].map(scale)).toEqual([48, 55.5, 59.75]);
  });

  test('the program of a served context chooses longrope factors by its length', () => {
    const frequency = (contextLength: number): number | undefined =>
      build('phi3-longrope', {}, contextLength).values.find(({ kind }) => kind === 'constant')?.data?.[4];
    const base = 10000 ** (-8 / 48);
    expect(frequency(256)).toBeCloseTo(base / (1 + 4 / 32), 6);
    expect(frequency(257)).toBeCloseTo(base / (1 + 4 / 2), 6);
  });
});

describe('what does not fit is refused', () => {
  const error = (code: string, ...words: string[]): Error =>
    expect.objectContaining({ code, message: expect.stringMatching(words.join('.*')) });

  test('a tensor that is missing', () => {
    expect(buildWith('llama', 'blk.1.ffn_gate.weight')).toThrow(error('MISSING_TENSOR', 'llama', 'blk.1.ffn_gate.weight'));
    expect(buildWith('qwen2', 'blk.0.attn_k.bias')).toThrow(error('MISSING_TENSOR', 'qwen2', 'blk.0.attn_k.bias'));
    expect(buildWith('qwen3', 'blk.0.attn_k_norm.weight')).toThrow(error('MISSING_TENSOR', 'attn_k_norm'));
    expect(buildWith('gemma2', 'blk.3.post_ffw_norm.weight')).toThrow(error('MISSING_TENSOR', 'blk.3.post_ffw_norm'));
    expect(buildWith('llama', 'output.weight')).toThrow(error('MISSING_TENSOR', 'output.weight'));
  });

  test('a tensor of another shape than the config implies', () => {
    const wrong = (...shape: number[]): WeightInfo => ({ dtype: 'Q4_K', shape });
    expect(buildWith('llama', 'blk.0.attn_k.weight', wrong(256, 256))).toThrow(
      error('SHAPE_MISMATCH', 'blk.0.attn_k.weight', '256, 256', '128, 256'),
    );
    expect(buildWith('phi3', 'blk.0.attn_qkv.weight', wrong(640, 256))).toThrow(
      error('SHAPE_MISMATCH', 'linear', 'blk.0.attn_qkv.weight', '640', '512'),
    );
    expect(buildWith('llama', 'token_embd.weight', wrong(500, 256))).toThrow(error('SHAPE_MISMATCH', 'token_embd.weight'));
  });

  test('a tensor of a type that its op cannot use', () => {
    expect(buildWith('llama', 'blk.0.attn_v.weight', { dtype: 'I32', shape: [128, 256] })).toThrow(
      error('SHAPE_MISMATCH', 'linear', 'blk.0.attn_v.weight', 'I32'),
    );
    expect(buildWith('llama', 'blk.0.attn_norm.weight', { dtype: 'F16', shape: [256] })).toThrow(
      error('DTYPE_MISMATCH', 'blk.0.attn_norm.weight', 'F16'),
    );
  });

  test('a router that was quantised, experts of a type without kernels, and of two types', () => {
    expect(buildWith('mixtral', 'blk.1.ffn_gate_inp.weight', { dtype: 'Q8_0', shape: [4, 256] })).toThrow(
      error('UNSUPPORTED_TENSOR_TYPE', 'blk.1.ffn_gate_inp', 'Q8_0'),
    );
    const experts = 'blk.0.ffn_up_exps.weight';
    expect(buildWith('mixtral', experts, { dtype: 'W8A8', shape: [4, 256, 256] })).toThrow(
      error('SHAPE_MISMATCH', 'expert_gate_up', experts, 'W8A8'),
    );
    expect(buildWith('mixtral', experts, { dtype: 'Q6_K', shape: [4, 256, 256] })).toThrow(
      error('SHAPE_MISMATCH', 'expert_gate_up', experts, "gate's type"),
    );
    expect(buildWith('mixtral', experts, { dtype: 'Q4_K', shape: [3, 256, 256] })).toThrow(
      error('SHAPE_MISMATCH', experts, '3, 256, 256', '4, 256, 256'),
    );
    expect(buildWith('qwen2moe', 'blk.0.ffn_gate_inp_shexp.weight')).toThrow(error('MISSING_TENSOR', 'gate_inp_shexp'));
  });

  test('a rotation wider than the heads, and a bias of a fused tensor', () => {
    expect(buildWith('phi3', 'blk.0.attn_qkv.bias', { dtype: 'F32', shape: [512] })).toThrow(
      error('UNSUPPORTED_FEATURE', 'linear', 'attn_qkv'),
    );
    expect(() => build('llama', { rope: { ...randomModel('llama').config.rope, dimensions: 66 } })).toThrow(
      error('SHAPE_MISMATCH', 'rope', 'table'),
    );
  });

  test('an unknown architecture, and a context of no length', () => {
    expect(() => build('llama', { architecture: 'rwkv' as ModelConfig['architecture'] })).toThrow(
      error('UNSUPPORTED_ARCHITECTURE', 'rwkv'),
    );
    expect(() => build('llama', {}, 0)).toThrow(error('INVALID_ARGUMENT', 'contextLength'));
  });

  test('frequency factors in a tensor that nobody reads', () => {
    expect(buildWith('llama', 'rope_freqs.weight', { dtype: 'F32', shape: [32] })).toThrow(
      error('INVALID_ARGUMENT', 'rope_freqs.weight'),
    );
  });
});
