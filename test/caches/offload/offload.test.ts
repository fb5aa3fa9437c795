// Sessions whose layers lie in a file say the same, bit for bit, as those in memory, whatever is guessed, late or too much for the
// memory that there is; what they read and take is told.
import { calibrate, doubleSparsity, loadModel, nGram } from '../../../lib/index.js';
import type { CacheOptions, ChannelFile, GenerateResult, Model, OffloadOptions } from '../../../lib/index.js';
import { parseCache } from '../../../lib/caches/parse.js';
import { randomModel, writeRandomGguf } from '../../fixtures/random-model.js';
import { scratch } from '../../formats/scratch.js';

const { at } = scratch();
const layers = 5;
let model: Model;
let still: Model; // layers add nothing
let channels: ChannelFile;

async function made(name: string, block: number): Promise<Model> {
  const base = randomModel('llama');
  const sizes = {
    width: 64,
    hidden: 128,
    heads: 4,
    kvHeads: 2,
    headDim: 32,
    valueDim: 32,
    layers,
    contextLength: 1024,
  };
  const config = { ...base.config, ...sizes, rope: { ...base.config.rope, dimensions: 32 } };
  writeRandomGguf(at(name), { ...base, gains: { ...base.gains, block }, config }, 'F32');
  return await loadModel(at(name), { threads: 2, prefixCache: false });
}

beforeAll(async () => {
  model = await made('model.gguf', 1.5);
  still = await made('still.gguf', 0);
  channels = await calibrate(model, 'The old cat sat on the mat, and the mat was old. '.repeat(40), {
    blockLength: 64,
  });
});
afterAll(() => {
  for (const one of [model, still]) one.dispose();
});

const chosen = 40;
const few = (offload?: OffloadOptions | string, more: object = {}): CacheOptions =>
  doubleSparsity({
    ...{ channels, heavyChannels: 8, tokens: chosen, sparsity: 0, sparseThreshold: 0, denseLayers: [0], pageSize: 8 },
    ...(offload === undefined ? {} : { offload }),
    ...more,
  });
const text = Array.from({ length: 400 }, (_, i) => 261 + ((i * 17) % 90));

async function said(of: Model, cache: CacheOptions, prompt: readonly number[] = text, more: object = {}) {
  using session = of.createSession({ cache });
  const logprobs: number[] = [];
  const logitBias = new Map([...of.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
  const options = { maxTokens: 24, temperature: 0, logprobs: true, logitBias, ...more } as const;
  for await (const part of session.generate(prompt, options)) {
    logprobs.push(...(part.logprobs ?? []).map(({ logprob }) => logprob));
  }
  const result = session.lastResult as GenerateResult;
  return { tokens: [...result.tokens], logprobs, result };
}

/** The least that the cache takes for two threads: rows of F16 for two threads, and 52 pages of 2048 bytes. */
const least = 2 * 64 * 2048;

const ways: readonly (readonly [string, OffloadOptions | string])[] = [
  ['much memory', '64MiB'],
  ['little memory', { memory: least }],
  ['no guesses', { memory: least, ahead: false }],
  ['late reads', { memory: '1MiB', delayUs: 2000 }],
  ['a slow link', { memory: '1MiB', bytesPerSecond: 3e7 }],
];

test.each(ways)('%s: the bits of a cache in memory', async (_, offload) => {
  for (const more of [
    {},
    { tokens: 100 },
    { keyType: 'q8_0', valueType: 'q4_0' },
    { groupSelect: true, labelBits: 8 },
  ]) {
    const [wanted, found] = [await said(model, few(undefined, more)), await said(model, few(offload, more))];
    expect(found.tokens).toEqual(wanted.tokens);
    expect(found.logprobs).toEqual(wanted.logprobs);
    expect(wanted.result.offload).toBeUndefined();
    expect(found.result.offload?.rows).toBeGreaterThan(0);
  }
});

test('drafts, and sessions that share rounds', async () => {
  const speculation = { drafter: nGram(), adaptive: false, maxDraft: 6 };
  const prompts = [text, text.slice(0, 150), text.slice(100)];
  const wanted = await Promise.all(prompts.map((prompt) => said(model, few(), prompt)));
  for (const more of [{}, { speculation }]) {
    const found = await Promise.all(prompts.map((prompt) => said(model, few('2MiB'), prompt, more)));
    expect(found.map(({ tokens }) => tokens)).toEqual(wanted.map(({ tokens }) => tokens));
    if (!('speculation' in more))
      expect(found.map(({ logprobs }) => logprobs)).toEqual(wanted.map((one) => one.logprobs));
  }
});

test('rows are counted: those that are chosen, once each', async () => {
  const { result } = await said(model, few({ memory: least }));
  const {
    rows,
    resident,
    kept,
    foreseen,
    guessed = 0,
    bytesRead,
  } = result.offload as NonNullable<typeof result.offload>;
  // The prompt's last row and all that follow but the last, in four layers of four query heads.
  expect(rows).toBe(24 * 4 * 4 * chosen);
  for (const share of [resident, kept, foreseen, guessed]) {
    expect(share).toBeGreaterThanOrEqual(0);
    expect(share).toBeLessThanOrEqual(1);
  }
  expect(bytesRead).toBeGreaterThan(0);
});

test('a guess is right where layers add nothing to what they read', async () => {
  const moving = await said(model, few({ memory: least }));
  const { result } = await said(still, few({ memory: least }));
  // But for rows whose page leaves memory between the guess and the layer: nobody looked for them.
  expect(result.offload?.guessed).toBeGreaterThan(0.9);
  expect(moving.result.offload?.guessed).toBeLessThan(0.9);
  expect((await said(model, few({ memory: least, ahead: false }))).result.offload?.guessed).toBeUndefined();
});

test('memory is what was allowed, and less of the text', async () => {
  const used: number[] = [];
  for (const cache of [few(), few('256KiB')]) {
    using session = model.createSession({ cache });
    await session.forward(text);
    used.push(model.memoryUsage().kv);
    expect(model.estimateMemory({ contextLength: text.length, cache }).kv).toBe(used[used.length - 1]);
  }
  // 50 pages of 2048 bytes in four layers are in the file.
  expect(used[1]).toBe(used[0] - 50 * 4 * 2048 + 2 ** 18);
  expect(model.memoryUsage().kv).toBe(0);
});

test('command lines say it in a word', () => {
  const parsed = parseCache(
    'double-sparsity',
    `channels=${at('c.json')},offload=256MiB`.replace(at('c.json'), written()),
  );
  expect(parsed?.policy).toMatchObject({ offload: { memory: 2 ** 28 } });
});

function written(): string {
  const { writeFileSync } = require('node:fs') as typeof import('node:fs');
  writeFileSync(at('c.json'), JSON.stringify(channels));
  return at('c.json');
}
