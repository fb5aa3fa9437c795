// Sessions under Double Sparsity: those of the reference and of native code agree, drafts change nothing, forks go on alike, who
// reads all has the full cache's bits; options are checked against the model.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { labelsFor } from '../../../lib/caches/double-sparsity.js';
import type { ChannelFile } from '../../../lib/caches/channels.js';
import { parseCache } from '../../../lib/caches/parse.js';
import { calibrate, doubleSparsity, loadModel, nGram, type CacheOptions, type Model } from '../../../lib/index.js';
import { bpeModel } from '../../decode/speculation/cross-vocabulary/random-pairs.js';

const folder = mkdtempSync(join(tmpdir(), 'vivace-sparse-'));
const file = join(folder, 'model.gguf');
const text = 'once there was a little house and in the house there was a cat and the cat was old ';
let model: Model;
let channels: ChannelFile;
let few: CacheOptions; // rows attend to a few tokens from the 17th on

beforeAll(async () => {
  model = await bpeModel(file, 30, { layers: 3, threads: 1 });
  channels = await calibrate(model, text.repeat(8), { blockLength: 40 });
  few = doubleSparsity({ channels, heavyChannels: 8, tokens: 16, sparsity: 0, sparseThreshold: 0, denseLayers: [0] });
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

async function said(
  of: Model,
  cache?: CacheOptions,
  more: object = {},
): Promise<{ tokens: number[]; logprobs: number[] }> {
  using session = of.createSession(cache ? { cache } : {});
  const [tokens, logprobs]: [number[], number[]] = [[], []];
  for await (const part of session.generate(text, { maxTokens: 60, temperature: 0, logprobs: true, ...more })) {
    tokens.push(...part.tokens);
    logprobs.push(...(part.logprobs ?? []).map(({ logprob }) => logprob));
  }
  return { tokens, logprobs };
}

test('the reference says the same', async () => {
  const reference = await loadModel(file, { device: 'reference' });
  const [native, wanted] = [await said(model, few), await said(reference, few)];
  expect(native.tokens).toEqual(wanted.tokens);
  native.logprobs.forEach((logprob, i) => expect(Math.abs(logprob - wanted.logprobs[i])).toBeLessThan(1e-3));
  const all = await said(model);
  expect(native.logprobs).not.toEqual(all.logprobs);
  reference.dispose();
});

test('who reads all has the bits of the full cache', async () => {
  const all = await said(model);
  for (const options of [
    { tokens: 256 },
    { tokens: 16, sparseThreshold: 256 },
    { denseLayers: [0, 1, 2], sparseThreshold: 0 },
  ]) {
    expect(await said(model, doubleSparsity({ channels, heavyChannels: 8, sparsity: 0, ...options }))).toEqual(all);
  }
});

test('drafts change nothing: every row of a draft chooses for itself', async () => {
  const plain = await said(model, few);
  for (const more of [{}, { adaptive: false, maxDraft: 12 }]) {
    expect(await said(model, few, { speculation: { drafter: nGram(), ...more } })).toEqual(plain);
  }
});

test('a fork goes on as its origin does', async () => {
  using session = model.createSession({ cache: few });
  for await (const _ of session.generate(text, { maxTokens: 30, temperature: 0 }));
  using fork = session.fork();
  const texts: string[] = [];
  for (const one of [session, fork]) {
    let own = '';
    for await (const part of one.generate('and then', { maxTokens: 30, temperature: 0 })) own += part.text;
    texts.push(own);
  }
  expect(texts[1]).toBe(texts[0]);
});

test('labels are part of the memory that is reported', async () => {
  const bytes: number[] = [];
  for (const cache of [undefined, few]) {
    const before = model.memoryUsage().kv;
    using session = model.createSession(cache ? { cache } : {});
    for await (const _ of session.generate(text, { maxTokens: 2, prefixCache: false }));
    bytes.push(model.memoryUsage().kv - before);
  }
  // Pages of 32 tokens, two sparse layers: 32 tokens of 4 · 8 bits and two halves each.
  const pages = Math.ceil(bytes[0] / (3 * 32 * 2 * 64));
  expect(bytes[1] - bytes[0]).toBe(pages * 2 * 32 * (4 + 4));
});

describe('options', () => {
  const shape = { layers: 2, kvHeads: 2, keyDim: 16, valueDim: 16 };
  const list = (heads: number): number[][] =>
    Array.from({ length: heads }, () => Array.from({ length: 16 }, (_, i) => i));
  const own: ChannelFile = Object.fromEntries(
    [0, 1].flatMap((layer) => [
      [`model.layers.${layer}.self_attn.qk_proj`, list(8)],
      [`model.layers.${layer}.self_attn.k_proj`, list(2)],
      [`model.layers.${layer}.self_attn.o_proj`, []],
    ]),
  );
  const derived = (options: object, heads = 8, contextLength = 4096) => {
    const { policy } = doubleSparsity({ channels: own, heavyChannels: 8, ...options });
    return labelsFor(policy as never, { kvShape: shape, contextLength }, heads);
  };

  test('defaults follow the model', () => {
    expect(derived({})).toEqual({
      channels: 8,
      bits: 4,
      sets: 8,
      table: Int32Array.from(Array.from({ length: 16 }, () => [0, 1, 2, 3, 4, 5, 6, 7]).flat()),
      sparse: Uint8Array.of(1, 1),
      tokens: 512,
      share: 16,
      threshold: 4096,
      recent: 0,
      sinks: 0,
      grouped: true,
    });
    expect(derived({ channelType: 'k', groupSelect: false, denseLayers: [1] })).toMatchObject({
      sets: 2,
      tokens: 256,
      grouped: false,
      sparse: Uint8Array.of(1, 0),
    });
  });

  test('command lines name the file of channels', () => {
    const path = join(folder, 'channels.json');
    writeFileSync(path, JSON.stringify(own));
    const parsed = parseCache('double-sparsity', `channels=${path},heavyChannels=8,labelBits=2,denseLayers=0/1`);
    expect(parsed).toEqual(doubleSparsity({ channels: own, heavyChannels: 8, labelBits: 2, denseLayers: [0, 1] }));
  });

  test.each([
    [{ channelType: 'qkGroup' }, /not of type qkGroup/],
    [{ heavyChannels: 12 }, /multiple of 8/],
    [{ heavyChannels: 24 }, /16 channels, 24 are wanted/],
    [{ labelBits: 3 }, /2, 4, 8 or 16/],
    [{ tokens: 20, recent: 20 }, /from 21/],
    [{ token: 20 }, /Unknown option `token`/],
  ])('%j', (options, message) => {
    expect(() => doubleSparsity({ channels: own, heavyChannels: 8, ...options } as never)).toThrow(message);
  });

  test('channels of another model are refused', () => {
    expect(() => derived({}, 4)).toThrow(/channels of type qk for 2 layers of 4 heads/);
  });

  test('few tokens are warned of', () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    derived({});
    expect(warn).not.toHaveBeenCalled();
    derived({ tokens: 32, sparseThreshold: 0 });
    derived({ tokens: 100, sparsity: 0 }, 8, 100_000);
    expect(warn.mock.calls.map(([text_]) => text_)).toEqual([
      expect.stringMatching(/32 tokens; fewer than 64/),
      expect.stringMatching(/one of 1000; beyond one of 32/),
    ]);
    warn.mockRestore();
  });
});
