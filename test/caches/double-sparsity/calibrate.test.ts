// Calibration ranks channels as a plain oracle over all tokens does, whatever the order of blocks and the layout of weights.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  channelKey,
  firstChannels,
  readChannels,
  type ChannelFile,
  type ChannelType,
} from '../../../lib/caches/channels.js';
import { loadModel, type Model } from '../../../lib/index.js';
import { calibrate, halvesOrder, Statistics } from '../../../lib/model/evaluation/calibrate.js';
import { randomModel, writeRandomGguf, writeRandomHuggingFace } from '../../fixtures/random-model.js';
import { random } from '../../ops/op-case.js';

const folder = mkdtempSync(join(tmpdir(), 'vivace-channels-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const text = Array.from({ length: 400 }, (_, i) => `word${(i * 7919) % 101} and ${i % 13}`).join(' ');
const model = randomModel('llama-llama3-rope');
const gguf = join(folder, 'model.gguf');
writeRandomGguf(gguf, model, 'F32');
const huggingFace = join(folder, 'model');
writeRandomHuggingFace(huggingFace, model, 'F32');

/** A name of the test's own, so that nobody thinks of the file's. */
const ranks = (file: ChannelFile, layer: number, type: ChannelType): readonly (readonly number[])[] =>
  file[channelKey(layer, type)];

/** Means of |q|, |k| and |q·k| over all tokens, from a run per block. */
async function oracle(loaded: Model, blocks: number, length: number): Promise<Record<ChannelType, number[][]>> {
  const { executor, config } = loaded.base();
  const { heads, kvHeads, headDim } = config;
  const tokens = loaded.tokenizer.encode(text, { addSpecial: false });
  const all: Record<string, number[][]> = { q: [], k: [], unrotatedQ: [], unrotatedK: [] };
  for (let block = blocks - 1; block >= 0; --block) {
    const kv = executor.createKvCache({ maxPages: 99 });
    const names = { q: 'query.1', k: 'key.1', unrotatedQ: 'query.unrotated.1', unrotatedK: 'key.unrotated.1' };
    const taps = Object.fromEntries(
      Object.values(names).map((name) => [name, new Float32Array(length * executor.taps[name])]),
    );
    await executor.run(kv, {
      tokens: tokens.slice(block * length, (block + 1) * length),
      positions: Int32Array.from({ length }, (_, i) => i),
      sequences: new Int32Array(length).fill(kv.create()),
      outputs: Int32Array.of(length - 1),
      taps,
    });
    for (const [short, name] of Object.entries(names)) {
      const width = executor.taps[name];
      for (let row = 0; row < length; ++row)
        all[short].push(Array.from(taps[name].subarray(row * width, (row + 1) * width)));
    }
    kv.dispose();
  }
  const means = (count: number, valueOf: (token: number, head: number, channel: number) => number): number[][] =>
    Array.from({ length: count }, (_, head) =>
      Array.from({ length: headDim }, (__, channel) => {
        let sum = 0;
        for (let token = 0; token < blocks * length; ++token) sum += Math.abs(valueOf(token, head, channel));
        return sum / (blocks * length);
      }),
    );
  const group = heads / kvHeads;
  const product = (token: number, head: number, channel: number): number =>
    all['q'][token][head * headDim + channel] * all['k'][token][Math.floor(head / group) * headDim + channel];
  // The file's weights have pairs side by side.
  const from = (channel: number): number => ((2 * channel) % headDim) + Math.floor((2 * channel) / headDim);
  return {
    q: means(heads, (token, head, channel) => all['unrotatedQ'][token][head * headDim + from(channel)]),
    k: means(kvHeads, (token, head, channel) => all['unrotatedK'][token][head * headDim + from(channel)]),
    qk: means(heads, product),
    qkGroup: means(kvHeads, (token, head, channel) => {
      let sum = 0;
      for (let n = 0; n < group; ++n) sum += Math.abs(product(token, head * group + n, channel));
      return sum;
    }),
  };
}

const sorted = (means: number[]): number[] => Array.from(means.keys()).sort((a, b) => means[b] - means[a]);

test('channels of a model are those of an oracle, and the same from either layout of weights', async () => {
  const [adjacent, halves] = await Promise.all([gguf, huggingFace].map((path) => loadModel(path, { threads: 1 })));
  const [length, blocks] = [150, 3];
  const wanted = await oracle(adjacent, blocks, length);
  const found = await calibrate(adjacent, text, { blockLength: length, blocks });
  for (const type of ['q', 'k', 'qk', 'qkGroup'] as const) {
    expect(ranks(found, 1, type)).toEqual(wanted[type].map(sorted));
  }
  expect(await calibrate(halves, text, { blockLength: length, blocks })).toEqual(found);
  adjacent.dispose();
  halves.dispose();
});

describe('statistics', () => {
  const shape = { layers: 1, kvHeads: 2, keyDim: 128, valueDim: 128 };
  const taps = { 'query.0': 512, 'key.0': 256, 'query.unrotated.0': 512, 'key.unrotated.0': 256 };
  const outliers = [3, 17, 40, 41, 77, 90, 101, 127];

  /** Values of variance 1, but 50 in the given channels. */
  function block(label: string, channels: readonly number[]): Record<string, Float32Array> {
    const rows = 64;
    return Object.fromEntries(
      Object.entries(taps).map(([name, width]) => [
        name,
        random(`${label} ${name}`, rows * width).map(
          (value, i) => value * (channels.includes(i % 128) ? Math.sqrt(50) : 1),
        ),
      ]),
    );
  }
  const rankedOf = (...blocks: Record<string, Float32Array>[]): ChannelFile => {
    const statistics = new Statistics({ kvShape: shape, taps });
    for (const one of blocks) {
      statistics.add(one, 64);
      statistics.endBlock();
    }
    return statistics.ranked();
  };

  test('planted outliers come first', () => {
    const file = rankedOf(block('a', outliers), block('b', outliers));
    for (const type of ['q', 'k', 'qk', 'qkGroup'] as const) {
      for (const head of ranks(file, 0, type)) {
        expect(head.slice(0, 8).toSorted((a, b) => a - b)).toEqual(outliers);
        expect(head.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 128 }, (_, i) => i));
      }
    }
  });

  test('every block counts, in any order', () => {
    const blocks = [block('a', outliers.slice(0, 4)), block('b', outliers.slice(4)), block('c', []), block('d', [])];
    const file = rankedOf(...blocks);
    for (const head of ranks(file, 0, 'qk')) expect(head.slice(0, 8).toSorted((a, b) => a - b)).toEqual(outliers);
    for (const order of [
      [3, 1, 0, 2],
      [2, 3, 1, 0],
    ]) {
      expect(rankedOf(...order.map((index) => blocks[index]))).toEqual(file);
    }
  });
});

test('pairs side by side go to halves; what is not rotated stays', () => {
  expect(Array.from(halvesOrder(10, 8))).toEqual([0, 4, 1, 5, 2, 6, 3, 7, 8, 9]);
});

test('files of channels: other keys are not looked at, missing ones are said', () => {
  const key = channelKey(0, 'qk');
  expect(key).toBe('model.layers.0.self_attn.qk_proj');
  const file = { [key]: [[2, 0, 1]], 'model.layers.0.mlp.down_proj': 'anything' } as unknown as ChannelFile;
  expect(firstChannels(file, 'qk', 2)).toEqual([[[2, 0]]]);
  expect(firstChannels(file, 'k', 2)).toBeUndefined();
  expect(() => firstChannels(file, 'qk', 4)).toThrow(/3 channels, 4 are wanted/);
  expect(() => firstChannels({ [key]: [[1, 1]] }, 'qk', 2)).toThrow(/twice/);
  expect(() => firstChannels({ [key]: [[-1, 1]] }, 'qk', 2)).toThrow(/no list of channels/);
  expect(() => readChannels(join(folder, 'none.json'))).toThrow(expect.objectContaining({ code: 'FILE_NOT_FOUND' }));
  expect(() => readChannels(gguf)).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }));
  expect(() => readChannels(3)).toThrow(/vivace calibrate|path or an object/);
});
