// Whole generations with a drafter of another vocabulary: the text or its law stays as it is, whatever the models are.
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crossVocabulary } from '../../../../lib/index.js';
import type { CrossVocabularyOptions, GenerateOptions, GenerateResult, Model } from '../../../../lib/index.js';
import { Generator } from '../../../fixtures/random/generator.js';
import { testDevices } from '../../../ops/executors.js';
import { bpeModel } from './random-pairs.js';
import { story } from './vocabularies.js';

let folder: string;
let large: Model;
let small: Model;
let permuted: Model; // `large` with its tokens in another order
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vivace-vocabularies-'));
  large = await bpeModel(join(folder, 'large.gguf'), 90);
  small = await bpeModel(join(folder, 'small.gguf'), 15, { seed: 2, padding: 7 });
  const order = (count: number): number[] => Array.from({ length: count }, (_, i) => count - 1 - i);
  permuted = await bpeModel(join(folder, 'permuted.gguf'), 90, { order });
});
afterAll(() => {
  [large, small, permuted].forEach((model) => model?.dispose());
  rmSync(folder, { recursive: true, force: true });
});

async function generate(by: Model, prompt: string, options: GenerateOptions): Promise<GenerateResult> {
  using session = by.createSession();
  const pieces = session.generate(prompt, options);
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}

const random = new Generator(1, 'prompts');
const words = story.split(' ');
const prompts = Array.from({ length: 100 }, () =>
  Array.from({ length: random.integer(0, 12) }, () => words[random.integer(0, words.length - 1)]).join(' '),
);
const loose: GenerateOptions = { temperature: 1, topK: 0, topP: 1, minP: 0 };

test.each<[string, CrossVocabularyOptions]>([
  ['runs that are known from the begin', {}],
  ['runs that are learned', { warm: false }],
  ['no runs', { maxEntries: 0 }],
  ['one run, which is always another', { maxEntries: 1, evict: 'lfu', warm: false }],
  ['as the target cuts texts', { recut: true }],
  ['direct', { exactness: 'direct' }],
  ['the end of the text written anew', { resegmentTail: 16, warm: false }],
])('greedy: the target’s text, 200 prompts: %s', async (_, options) => {
  for (const [target, drafter] of [
    [large, small],
    [small, large],
  ]) {
    const speculation = { drafter: crossVocabulary(drafter, { minProbability: 0, ...options }), maxDraft: 4 };
    let drafted = 0;
    for (const [i, prompt] of prompts.entries()) {
      const plain = await generate(target, prompt, { temperature: 0, maxTokens: 10 });
      const adaptive = i % 3 === 0;
      const result = await generate(target, prompt, {
        temperature: 0,
        maxTokens: 10,
        speculation: { ...speculation, adaptive },
      });
      expect(result.tokens).toEqual(plain.tokens);
      drafted += result.speculation!.drafted;
    }
    expect(drafted).toBeGreaterThan(prompts.length);
  }
});

test('sampled and matched: the target’s text for every seed, with penalties and beside others', async () => {
  const drafter = crossVocabulary(small, { minProbability: 0, resegmentTail: 12 });
  const kinds: GenerateOptions[] = [
    loose,
    { temperature: 0.8, repetitionPenalty: 1.2, presencePenalty: 0.3, topP: 0.9 },
  ];
  const jobs = prompts
    .slice(0, 24)
    .map((prompt, i) => ({ prompt, options: { ...kinds[i % 2], seed: i, maxTokens: 12 } }));
  const plain = await Promise.all(jobs.map(({ prompt, options }) => generate(large, prompt, options)));
  const drafted = await Promise.all(
    jobs.map(({ prompt, options }, i) =>
      generate(large, prompt, { ...options, speculation: { drafter, adaptive: false, maxDraft: 2 + (i % 4) } }),
    ),
  );
  expect(drafted.map(({ tokens }) => tokens)).toEqual(plain.map(({ tokens }) => tokens));
  expect(small.memoryUsage().kv).toBe(0);
});

test.each(['match', 'direct', 'ngram-exact', 'paper'] as const)(
  'the same model with its tokens in another order is always right, and no run is needed: %s',
  async (exactness) => {
    for (const options of [{ temperature: 0 }, ...(exactness === 'match' ? [] : [{ ...loose, seed: 3 }])]) {
      const drafter = crossVocabulary(permuted, { exactness, minProbability: 0 });
      const shape = { drafter, adaptive: false, maxDraft: 4 };
      const { speculation } = await generate(large, 'Once upon a time', {
        ...options,
        maxTokens: 40,
        speculation: shape,
      });
      // Drawn, the target says its begin of text now and then, which no draft has.
      const share = speculation!.accepted / speculation!.drafted;
      if (options.temperature === 0) expect(share).toBe(1);
      else expect(share).toBeGreaterThan(0.9);
      expect(speculation!.drafted).toBeGreaterThan(20);
      const report = drafter.report(large.tokenizer)!;
      expect(report).toMatchObject({ runs: 0, evicted: 0, runShare: 0 });
      expect(report.mapped).toBe(report.drafterTokens - 1); // all but the begin of text
    }
  },
);

test('what was learned is kept in a file, and cleared when that is asked for', async () => {
  const cachePath = join(folder, 'runs.bin');
  const learn = { cachePath, warm: false, minProbability: 0 };
  const run = (drafter: ReturnType<typeof crossVocabulary>): Promise<GenerateResult> =>
    generate(large, story.slice(0, 40), { temperature: 0, maxTokens: 30, speculation: { drafter } });
  const first = crossVocabulary(small, learn);
  await run(first);
  const { runs } = first.report(large.tokenizer)!;
  expect(runs).toBeGreaterThan(2);
  const size = statSync(cachePath).size;
  const second = crossVocabulary(small, learn);
  expect(second.report(large.tokenizer)).toBeUndefined();
  await run(second);
  expect(second.report(large.tokenizer)!.runs).toBe(runs);
  expect(statSync(cachePath).size).toBe(size);
  second.clear();
  expect(second.report(large.tokenizer)!.runs).toBe(0);
  const refused = (drafter: ReturnType<typeof crossVocabulary>, by = large): Promise<unknown> =>
    generate(by, 'Once', { maxTokens: 2, speculation: { drafter } });
  await expect(refused(crossVocabulary(large, learn), small)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  writeFileSync(cachePath, readFileSync(cachePath).subarray(0, size - 9));
  await expect(refused(crossVocabulary(small, learn))).rejects.toMatchObject({ code: 'FORMAT_TRUNCATED' });
  expect(small.memoryUsage().kv).toBe(0);
});

const device = testDevices().find((one) => one !== 'cpu');
(device ? test : test.skip)('on a card: the target’s text, greedy and for a seed', async () => {
  const target = await bpeModel(join(folder, 'card.gguf'), 90, { device: device!, layers: 1 });
  const drafter = await bpeModel(join(folder, 'small-card.gguf'), 15, {
    seed: 2,
    padding: 7,
    device: device!,
    layers: 1,
  });
  for (const [options, exactness] of [
    [{ temperature: 0 }, 'match'],
    [{ ...loose, seed: 3 }, 'match'],
    [{ ...loose, seed: 4 }, 'ngram-exact'],
  ] as const) {
    const plain = await generate(target, prompts[1], { ...options, maxTokens: 6 });
    const shape = { drafter: crossVocabulary(drafter, { exactness, minProbability: 0 }), adaptive: false, maxDraft: 3 };
    const result = await generate(target, prompts[1], { ...options, maxTokens: 6, speculation: shape });
    if (exactness === 'match') expect(result.tokens).toEqual(plain.tokens);
    expect(result.speculation!.drafted).toBeGreaterThan(3);
  }
  expect(drafter.memoryUsage().kv).toBe(0);
  [target, drafter].forEach((model) => model.dispose());
});

test('mistakes are named', async () => {
  expect(() => crossVocabulary({} as Model)).toThrow(/model/);
  expect(() => crossVocabulary(small, { exactness: 'exact' as 'match' })).toThrow(/exactness/);
  expect(() => crossVocabulary(small, { maxN: 1 })).toThrow(/maxN/);
  expect(() => crossVocabulary(small, { resegmentTail: 65 })).toThrow(/resegmentTail/);
  expect(() => crossVocabulary(small, { maxEntires: 1 } as CrossVocabularyOptions)).toThrow(
    expect.objectContaining({ remedy: 'Did you mean `maxEntries`?' }),
  );
  expect(() => crossVocabulary(small, { pairs: { x: 1 } as Record<number, number> })).toThrow(/pairs/);
  const refused = (options: CrossVocabularyOptions): Promise<unknown> =>
    generate(large, 'Once', {
      maxTokens: 2,
      temperature: 1,
      speculation: { drafter: crossVocabulary(small, options) },
    });
  await expect(refused({ exactness: 'greedy' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(refused({ pairs: { 0: 100000 } })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  expect(small.memoryUsage().kv).toBe(0);
});

test('aborts leave nothing in the drafter', async () => {
  for (const exactness of ['match', 'ngram-exact'] as const) {
    const controller = new AbortController();
    using session = large.createSession();
    const drafter = crossVocabulary(small, { exactness, minProbability: 0 });
    const pieces = session.generate('Once', { ...loose, signal: controller.signal, speculation: { drafter } });
    await pieces.next();
    controller.abort();
    let next = await pieces.next();
    while (!next.done) next = await pieces.next();
    expect(next.value.finishReason).toBe('abort');
    expect(small.memoryUsage().kv).toBe(0);
  }
});

test('a drafter whose context is shorter than the text stops drafting', async () => {
  const long = Array.from({ length: 60 }, (_, i) => words[i % words.length])
    .join(' ')
    .slice(0, 230);
  const options: GenerateOptions = { temperature: 0, maxTokens: 30 };
  const plain = await generate(large, long, options);
  for (const exactness of ['match', 'direct'] as const) {
    const drafter = crossVocabulary(small, { exactness, minProbability: 0 });
    const result = await generate(large, long, { ...options, speculation: { drafter, adaptive: false } });
    expect(result.tokens).toEqual(plain.tokens);
  }
});
