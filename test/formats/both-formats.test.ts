// One model written as a GGUF file and as a Hugging Face directory is opened as one model: config, tensors, values.
import * as fs from 'node:fs';
import type { ModelConfig } from '../../lib/formats/model-config.js';
import type { ModelSource, TensorSource } from '../../lib/formats/model-source.js';
import { openModelFile } from '../../lib/formats/open.js';
import { randomModel, writeRandomGguf, writeRandomHuggingFace, type RandomModel } from '../fixtures/random-model.js';
import { scratch } from './scratch.js';

const { at } = scratch();

/** A GGUF file keeps llama3 scaling and the factors of longrope in tensors. */
function withoutFactors({ config }: RandomModel): ModelConfig['rope']['scaling'] {
  const { scaling } = config.rope;
  if (scaling.type === 'llama3') return { type: 'none' };
  if (scaling.type !== 'longrope') return scaling;
  const { shortFactors: _, longFactors: __, ...rest } = scaling;
  return rest;
}

const attentionFactorApart = ({ rope, name: _, ...config }: ModelConfig): unknown => {
  const { attentionFactor: __, ...scaling } = { attentionFactor: undefined, ...rope.scaling };
  return { ...config, rope: { ...rope, scaling } };
};

/** A model with the bytes of its only file. */
interface Opened extends ModelSource {
  readonly bytes: Uint8Array;
}

function open(path: string): Opened {
  const model = openModelFile(path);
  return { ...model, bytes: fs.readFileSync(model.files[0]) };
}

const valuesOf = (model: Opened, { offset, bytes, add }: TensorSource): Float32Array => {
  const values = new Float32Array(new Uint8Array(model.bytes.subarray(offset, offset + bytes)).buffer);
  return add === undefined ? values : values.map((value) => value + add);
};

/** Converters put the halves of each head of llama's q and k next to each other: row 2j from j, row 2j + 1 from j + d/2. */
function adjacentRows(values: Float32Array, headDim: number, columns: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let row = 0; row < values.length / columns; row++) {
    const head = Math.floor(row / headDim) * headDim;
    const within = row % headDim;
    const from = head + (within >> 1) + (within % 2) * (headDim / 2);
    result.set(values.subarray(from * columns, (from + 1) * columns), row * columns);
  }
  return result;
}

// One for every architecture and every scaling of positions; the others differ in numbers only.
const names = [
  'llama-biases-tied',
  'llama-llama3-rope',
  'mistral',
  'qwen2',
  'qwen3-yarn',
  'phi3-longrope',
  'gemma2',
  'gemma3',
];

describe.each(names)('%s', (name) => {
  const random = randomModel(name);
  const file = at(`${name}.gguf`);
  const folder = at(name);
  writeRandomGguf(file, random, 'F32');
  writeRandomHuggingFace(folder, random, 'F32');
  const gguf = open(file);
  const huggingFace = open(folder);

  test('config', () => {
    const expected = { ...random.config, rope: { ...random.config.rope, scaling: withoutFactors(random) } };
    expect(attentionFactorApart(gguf.config)).toEqual(attentionFactorApart(expected));
    const halves = { ...random.config, rope: { ...random.config.rope, layout: 'halves' as const } };
    expect(attentionFactorApart(huggingFace.config)).toEqual(attentionFactorApart(halves));
  });

  test('tensors and their values', () => {
    const shapes = ({ tensors }: ModelSource): unknown =>
      Object.fromEntries(
        [...tensors].filter(([key]) => !key.startsWith('rope_')).map(([key, { shape }]) => [key, shape]),
      );
    expect(shapes(huggingFace)).toEqual(shapes(gguf));
    for (const [key, tensor] of huggingFace.tensors) {
      const stored = valuesOf(huggingFace, tensor);
      const permuted = random.config.architecture === 'llama' && /attn_[qk]\.(weight|bias)$/.test(key);
      const columns = tensor.shape[1] ?? 1;
      const values = permuted ? adjacentRows(stored, random.config.headDim, columns) : stored;
      const other = valuesOf(gguf, gguf.tensors.get(key) as TensorSource);
      expect([key, Buffer.from(values.buffer).equals(Buffer.from(other.buffer))]).toEqual([key, true]);
    }
  });

  test('vocabulary size', () => {
    expect(gguf.config.vocab).toBe(huggingFace.config.vocab);
  });
});
