// quantizeModel: what is written opens again, as the same model; types follow the rules; an abort leaves nothing.
import * as fs from 'node:fs';
import type { ModelSource, TensorSource } from '../../lib/formats/model-source.js';
import { openModelFile } from '../../lib/formats/open.js';
import { createTokenizer } from '../../lib/formats/tokenizer/tokenizer.js';
import { WeightStore } from '../../lib/formats/weight-store.js';
import { native } from '../../lib/native.js';
import { dtypes, rowBytes, type DType } from '../../lib/program/dtype.js';
import { quantizeModel } from '../../lib/quantize/quantize.js';
import { quantizeTypes, targetOf, type QuantizeType } from '../../lib/quantize/types.js';
import { randomModel, writeRandomGguf, writeRandomHuggingFace, type RandomModel } from '../fixtures/random-model.js';
import { scratch } from '../formats/scratch.js';
import { ForcedRun } from '../models/forced-run.js';

const { at, directory } = scratch();
const steady = randomModel('llama-steady');
const prompt = [1, 17, 5, 200, 42];
const tokens = [7, 90, 3];

const stored = (source: ModelSource, name: string): Buffer => Buffer.from(new WeightStore(source, 1).bytes(name));

const floats = ({ dtype, shape }: TensorSource, bytes: Uint8Array): Float32Array => {
  const columns = shape.at(-1) as number;
  const rows = bytes.length / rowBytes(dtype, columns);
  const values = new Float32Array(rows * columns);
  native().dequantize(dtypes[dtype].id, bytes, rows, columns, values);
  return values;
};

async function logits(path: string): Promise<Float64Array> {
  const run = new ForcedRun(path, { device: 'cpu', contextLength: 64 });
  try {
    return Float64Array.from((await run.along(prompt, tokens)).flatMap((step) => Array.from(step)));
  } finally {
    run.dispose();
  }
}

function distance(found: ArrayLike<number>, wanted: ArrayLike<number>): number {
  let [error, size] = [0, 0];
  for (let i = 0; i < wanted.length; ++i) {
    error += (found[i] - wanted[i]) ** 2;
    size += wanted[i] ** 2;
  }
  return Math.sqrt(error / size);
}

describe('a GGUF file of floats', () => {
  const input = at('floats.gguf');
  writeRandomGguf(input, steady, 'F32');
  const source = openModelFile(input);
  const ggufTypes = quantizeTypes.filter((type) => targetOf(type).container === 'gguf');

  test.each(ggufTypes)('to %s: every tensor as its type rounds it, everything else as it was', async (type) => {
    const output = at(`${type}.gguf`);
    const seen: number[] = [];
    const { notes, path } = await quantizeModel(input, output, {
      type,
      threads: 2,
      onProgress: (fraction) => seen.push(fraction),
    });
    expect(notes).toEqual([]);
    expect(path).toBe(output);
    expect(seen[0]).toBe(0);
    expect(seen.at(-1)).toBeCloseTo(1, 2);
    const written = openModelFile(output);
    expect(written.config).toEqual(source.config);
    expect([...written.tensors.keys()]).toEqual([...source.tensors.keys()]);
    const target = targetOf(type);
    for (const [name, tensor] of written.tensors) {
      if (tensor.shape.length < 2) expect([name, tensor.dtype]).toEqual([name, 'F32']);
      const original = source.tensors.get(name) as TensorSource;
      const [rows, columns] = [tensor.shape.slice(0, -1).reduce((a, b) => a * b, 1), tensor.shape.at(-1) as number];
      const wanted = Buffer.alloc(rows * rowBytes(tensor.dtype, columns));
      native().quantize(dtypes[tensor.dtype].id, floats(original, stored(source, name)), rows, columns, wanted);
      expect([name, stored(written, name).equals(wanted)]).toEqual([name, true]);
    }
    const typeOf = (name: string): DType | undefined => written.tensors.get(name)?.dtype;
    expect(typeOf('blk.0.attn_q.weight')).toBe(target.dtype);
    const bits = (dtype: DType): number => dtypes[dtype].bytes / dtypes[dtype].block;
    expect(bits(typeOf('output.weight') as DType)).toBeGreaterThanOrEqual(Math.min(bits(target.dtype), bits('Q6_K')));
    // It runs, and says about the same; two bits are two bits.
    const lost = distance(await logits(output), await logits(input));
    expect(lost).toBeLessThan(type === 'Q2_K' ? 0.6 : type.startsWith('Q3') ? 0.35 : 0.2);
  });

  test('more bits lose less', async () => {
    const wanted = await logits(input);
    const order: QuantizeType[] = ['F32', 'Q8_0', 'Q6_K', 'Q5_K', 'Q4_K', 'Q3_K', 'Q2_K'];
    const losses: number[] = [];
    for (const type of order) losses.push(distance(await logits(at(`${type}.gguf`)), wanted));
    expect(losses).toEqual([...losses].sort((a, b) => a - b));
    expect(losses[0]).toBe(0);
  });

  test('a quantised file can be quantised again, and to its own type stays as it is', async () => {
    await quantizeModel(at('Q8_0.gguf'), at('again.gguf'), { type: 'Q4_K_M' });
    expect(openModelFile(at('again.gguf')).tensors.get('blk.0.ffn_up.weight')?.dtype).toBe('Q4_K');
    await quantizeModel(at('Q8_0.gguf'), at('same.gguf'), { type: 'Q8_0' });
    expect(fs.readFileSync(at('same.gguf')).equals(fs.readFileSync(at('Q8_0.gguf')))).toBe(true);
  });
});

test('mixtures keep attn_v and ffn_down better in the first and last eighth of the layers, and every third between', async () => {
  const deep: RandomModel = {
    ...steady,
    name: 'deep',
    config: { ...steady.config, layers: 16, width: 256, hidden: 256 },
  };
  writeRandomGguf(at('deep.gguf'), deep, 'F16');
  await quantizeModel(at('deep.gguf'), at('deep-q4.gguf'), { type: 'Q4_K_M' });
  const { tensors } = openModelFile(at('deep-q4.gguf'));
  const better = [0, 1, 4, 7, 10, 13, 14, 15];
  for (let layer = 0; layer < 16; ++layer) {
    const wanted = better.includes(layer) ? 'Q6_K' : 'Q4_K';
    expect([layer, tensors.get(`blk.${layer}.attn_v.weight`)?.dtype]).toEqual([layer, wanted]);
    expect([layer, tensors.get(`blk.${layer}.ffn_down.weight`)?.dtype]).toEqual([layer, wanted]);
    expect(tensors.get(`blk.${layer}.ffn_gate.weight`)?.dtype).toBe('Q4_K');
  }
  expect(tensors.get('output.weight')?.dtype).toBe('Q6_K');
});

test('rows that are no multiple of 256 fall back, and one line says so', async () => {
  const narrow: RandomModel = {
    ...steady,
    name: 'narrow',
    config: { ...steady.config, width: 192, heads: 3, kvHeads: 1 },
  };
  writeRandomGguf(at('narrow.gguf'), narrow, 'F32');
  const { notes } = await quantizeModel(at('narrow.gguf'), at('narrow-q4.gguf'), { type: 'Q4_K' });
  expect(notes).toEqual([
    '13 tensors are Q5_0 instead of Q4_K, which needs wider rows',
    '1 tensor is Q8_0 instead of Q6_K, which needs wider rows',
  ]);
  const { tensors } = openModelFile(at('narrow-q4.gguf'));
  expect(tensors.get('blk.0.attn_q.weight')?.dtype).toBe('Q5_0');
  expect(tensors.get('blk.0.ffn_down.weight')?.dtype).toBe('Q4_K'); // 512 columns
});

describe('models with experts', () => {
  test.each(['mixtral', 'qwen2moe', 'deepseek'])(
    '%s: the same bits as floats, and routers are never rounded',
    async (name) => {
      const model = randomModel(name);
      writeRandomHuggingFace(at(name), model, 'BF16');
      await quantizeModel(at(name), at(`${name}.gguf`), { type: 'BF16' });
      expect(await logits(at(`${name}.gguf`))).toEqual(await logits(at(name)));
      const { experts } = openModelFile(at(name)).config;
      expect(openModelFile(at(`${name}.gguf`)).config.experts).toEqual(experts);
      await quantizeModel(at(`${name}.gguf`), at(`${name}-q4.gguf`), { type: 'Q4_K_M' });
      const types = [...openModelFile(at(`${name}-q4.gguf`)).tensors.values()].map((tensor) => [
        tensor.name,
        tensor.dtype,
      ]);
      const typeOf = new Map(types as [string, DType][]);
      expect(typeOf.get('blk.1.ffn_gate_inp.weight')).toBe('F32');
      expect(typeOf.get('blk.1.ffn_gate_exps.weight')).toBe('Q4_K');
      expect(typeOf.get('blk.1.ffn_down_exps.weight')).toBe('Q6_K'); // the last layer
    },
  );

  test('are not written as safetensors', async () => {
    writeRandomHuggingFace(at('some'), randomModel('mixtral'), 'F16');
    await expect(quantizeModel(at('some'), at('some-w8'), { type: 'W8A8' })).rejects.toMatchObject({
      code: 'UNSUPPORTED_FEATURE',
      message: expect.stringContaining('experts'),
    });
  });
});

describe('a Hugging Face directory', () => {
  const architectures = ['llama', 'llama-biases-tied', 'llama-llama3-rope', 'llama-linear-rope', 'qwen2', 'qwen3-yarn', 'phi3-longrope', 'gemma2', 'gemma3']; // prettier-ignore

  test.each(architectures)('%s becomes the GGUF file that converters write', async (name) => {
    const random = randomModel(name);
    writeRandomHuggingFace(at(name), random, 'F32');
    writeRandomGguf(at(`${name}-wanted.gguf`), random, 'F32');
    await quantizeModel(at(name), at(`${name}.gguf`), { type: 'F32' });
    const [found, wanted, original] = [at(`${name}.gguf`), at(`${name}-wanted.gguf`), at(name)].map(openModelFile);
    const config = ({ name: _, ...rest }: ModelSource['config']): unknown => rest;
    expect(config(found.config)).toEqual(config(wanted.config));
    expect([...found.tensors.keys()].sort()).toEqual([...wanted.tensors.keys()].sort());
    for (const tensor of wanted.tensors.keys()) {
      expect([tensor, stored(found, tensor).equals(stored(wanted, tensor))]).toEqual([tensor, true]);
    }
    const texts = ['Hello, World! 123', '  two  spaces\n\nand lines', 'naïve 你好 🙂'];
    const [tokenizer, other] = [found, original].map((source) => createTokenizer(source.tokenizer));
    for (const text of texts) expect(Array.from(tokenizer.encode(text))).toEqual(Array.from(other.encode(text)));
  });

  test.each([
    ['W4A16', 0.16],
    ['W8A8', 0.03],
  ] as const)('to %s: a directory that opens, and the same twice over', async (type, most) => {
    const input = at('hf');
    writeRandomHuggingFace(input, steady, 'BF16');
    const output = at(`hf-${type}`);
    const { notes } = await quantizeModel(input, output, { type });
    expect(notes).toEqual([]);
    const written = openModelFile(output);
    expect([...written.tensors.values()].filter(({ packed }) => packed).map(({ dtype }) => dtype)).toEqual(
      Array(14).fill(targetOf(type).dtype),
    );
    expect(written.tensors.get('token_embd.weight')?.dtype).toBe('BF16');
    // What native code rounds to is what the file says.
    const source = openModelFile(input);
    const name = 'blk.1.ffn_down.weight';
    const [rows, columns] = written.tensors.get(name)?.shape as [number, number];
    const values = floats(source.tensors.get(name) as TensorSource, stored(source, name));
    const wanted = Buffer.alloc(rows * rowBytes(targetOf(type).dtype, columns));
    native().quantize(dtypes[targetOf(type).dtype].id, values, rows, columns, wanted);
    expect(stored(written, name).equals(wanted)).toBe(true);
    expect(distance(await logits(output), await logits(input))).toBeLessThan(most);
    // From there to GGUF: the weights as they now are.
    await quantizeModel(output, at(`hf-${type}.gguf`), { type: 'F32' });
    expect(distance(await logits(at(`hf-${type}.gguf`)), await logits(output))).toBeLessThan(0.03);
  });
});

describe('refused', () => {
  const input = at('refused.gguf');
  writeRandomGguf(input, steady, 'F32');

  test.each<[string, () => Promise<unknown>, string]>([
    [
      'a type that is none',
      () => quantizeModel(input, at('x.gguf'), { type: 'Q9_9' as QuantizeType }),
      'INVALID_ARGUMENT',
    ],
    ['the input as output', () => quantizeModel(input, input, { type: 'Q8_0' }), 'INVALID_ARGUMENT'],
    ['a GGUF file to a directory', () => quantizeModel(input, at('x'), { type: 'W4A16' }), 'UNSUPPORTED_FEATURE'],
    [
      'a model that is not there',
      () => quantizeModel(at('none.gguf'), at('x.gguf'), { type: 'Q8_0' }),
      'FILE_NOT_FOUND',
    ],
    ['a folder that is not there', () => quantizeModel(input, at('none/x.gguf'), { type: 'Q8_0' }), 'FILE_NOT_FOUND'],
  ])('%s', async (_, action, code) => {
    await expect(action()).rejects.toMatchObject({ code });
    expect(fs.readdirSync(directory).filter((name) => name.startsWith('x'))).toEqual([]);
  });

  test('an abort leaves nothing behind', async () => {
    for (const [from, output, type] of [
      [input, 'aborted.gguf', 'Q4_K'],
      [at('hf'), 'aborted', 'W4A16'],
    ] as const) {
      const controller = new AbortController();
      const work = quantizeModel(from, at(output), {
        type,
        signal: controller.signal,
        onProgress: (fraction) => fraction > 0.3 && controller.abort(),
      });
      await expect(work).rejects.toMatchObject({ code: 'ABORTED' });
      expect(fs.readdirSync(directory).filter((name) => name.startsWith('aborted'))).toEqual([]);
    }
  });

  test('weights that are no numbers, by tensor', async () => {
    const bytes = fs.readFileSync(input);
    const tensor = openModelFile(input).tensors.get('blk.1.ffn_up.weight') as TensorSource;
    bytes.writeFloatLE(NaN, tensor.offset + 40);
    fs.writeFileSync(at('nan.gguf'), bytes);
    await expect(quantizeModel(at('nan.gguf'), at('x.gguf'), { type: 'Q8_0' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('blk.1.ffn_up.weight'),
    });
  });
});
