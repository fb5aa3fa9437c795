// Experts that come from a file give the bits of experts in memory, whatever is predicted, whatever stays, and however long it takes.
import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel, nGram, openModelFile, planExperts, type ExpertOptions, type Model } from '../../../lib/index.js';
import { writeGguf } from '../../../lib/formats/gguf-writer.js';
import { expertPolicyNames, placeExperts } from '../../../lib/experts/policies.js';
import { ggufMetadata } from '../../fixtures/random/gguf.js';
import { randomTensors } from '../../fixtures/random/tensors.js';
import { randomVocabulary } from '../../fixtures/random/vocabulary.js';
import { writeRandomHuggingFace, writeRandomGguf } from '../../fixtures/random-model.js';
import { mixture } from './mixture.js';

const folder = mkdtempSync(join(tmpdir(), 'vivace-'));
const file = join(folder, 'mixture.gguf');
let slotBytes = 0;
let tables = 0;
let plain: number[][];
const { count, used } = mixture.config.experts!;

/** Room for so many experts at once. */
const room = (slots: number): number => slots * slotBytes + tables;

beforeAll(async () => {
  writeRandomGguf(file, mixture, 'Q4_0');
  const plan = planExperts(openModelFile(file), { memory: 2 ** 20 })!;
  slotBytes = plan.slotBytes;
  tables = plan.bytes - plan.slots * slotBytes;
  plain = await tell(undefined);
});
afterAll(() => rmSync(folder, { recursive: true }));

const prompts = [Array.from({ length: 40 }, (_, i) => 5 + ((i * 37) % 300)), [3, 17, 5, 200, 42], [8, 90]];

async function say(model: Model, prompt: readonly number[], more: object = {}): Promise<number[]> {
  using session = model.createSession();
  const said: number[] = [];
  const options = { maxTokens: 8, temperature: 0, logprobs: true, ...more };
  for await (const { logprobs = [] } of session.generate(Int32Array.from(prompt), options))
    for (const { token, logprob } of logprobs) said.push(token, logprob);
  return said;
}

/** Tokens and their log probabilities, all sessions at once; what `look` sees at the end. */
async function tell(experts: ExpertOptions | undefined, look?: (model: Model) => void, from = file): Promise<number[][]> {
  const model = await loadModel(from, { device: 'cpu', threads: 2, contextLength: 64, prefixCache: false, experts });
  try {
    const all = await Promise.all(prompts.map((prompt) => say(model, prompt)));
    look?.(model);
    return all;
  } finally {
    model.dispose();
  }
}

describe.each(expertPolicyNames)('%s', (policy) => {
  test.each([
    ['what one row needs', used + 1, {}],
    ['and some that stay, however long copies take', 14, { delayUs: 300, chunkBytes: 4096 }],
    ['most of them', 40, { delayUs: 100, readers: 3, overfetch: 3, placement: 'uniform' }],
  ] as const)('with room for %s', async (_, slots, more) => {
    const memory = room(slots);
    const said = await tell({ memory, policy, ...more }, (model) => {
      const { plan } = model.experts;
      expect(plan).toMatchObject({ resident: false, slots, policy });
      expect(plan!.bytes).toBeLessThanOrEqual(memory);
      expect(model.memoryUsage().weights).toBeGreaterThanOrEqual(slots * slotBytes);
      const { runs, copies, bytesCopied, layers } = model.experts.statistics()!;
      expect(runs).toBeGreaterThan(7);
      expect(copies).toBeGreaterThan(0);
      expect(bytesCopied).toBeGreaterThan(0);
      for (const { needed, hits, predicted, missed } of layers) expect(hits + predicted + missed).toBe(needed);
      const foresees = policy === 'fate' || policy === 'activation-path';
      expect(layers.slice(1).every(({ accuracy }) => (accuracy !== undefined) === foresees)).toBe(true);
    });
    expect(said).toEqual(plain);
  });
});

test('a text with drafts, and what its result tells of experts', async () => {
  const experts = { memory: room(10) };
  const model = await loadModel(file, { device: 'cpu', threads: 2, contextLength: 64, experts });
  const drafted = await say(model, prompts[0], { speculation: { drafter: nGram() } });
  expect(drafted).toEqual(plain[0]);
  using session = model.createSession();
  const answer = session.generate(Int32Array.from(prompts[1]), { maxTokens: 8, temperature: 0 });
  let next = await answer.next();
  while (next.done !== true) next = await answer.next();
  const { tokens, experts: read } = next.value;
  expect(tokens).toEqual(plain[1].filter((_, index) => index % 2 === 0));
  const all = model.experts.statistics()!;
  expect(read!.runs).toBeGreaterThan(0);
  expect(read!.runs).toBeLessThan(all.runs);
  expect(read!.bytesCopied).toBeLessThan(all.bytesCopied);
  expect(read!.layers.map(({ block }) => block)).toEqual([0, 1, 2, 3]);
  model.dispose();
});

test('auto takes one of two placements, after some tokens that leave nothing behind', async () => {
  const auto: ExpertOptions = { memory: room(20), placement: 'auto', bytesPerSecond: 200_000_000 };
  const said = await tell(auto, ({ experts }) => {
    expect(['uniform', 'shallow']).toContain(experts.plan!.placement);
    expect(() => experts.routing()).toThrow(expect.objectContaining({ code: 'UNSUPPORTED_FEATURE' }));
  });
  expect(said).toEqual(plain);
  expect(await tell({ ...auto, memory: '1GiB' })).toEqual(plain);
});

test('Hugging Face directories, whose experts lie apart', async () => {
  const directory = join(folder, 'directory');
  writeRandomHuggingFace(directory, mixture, 'F16');
  const whole = await tell(undefined, undefined, directory);
  const { slotBytes: bytes } = planExperts(openModelFile(directory), { memory: 2 ** 24 })!;
  const few = await tell(
    { memory: 9 * bytes + tables },
    (model) => expect(model.experts.plan).toMatchObject({ resident: false, slots: 9 }),
    directory,
  );
  expect(few).toEqual(whole);
});

test('too little memory is an error with figures, enough for all is the usual way', async () => {
  await expect(loadModel(file, { experts: { memory: room(used) } })).rejects.toMatchObject({
    code: 'OUT_OF_MEMORY',
    message: expect.stringContaining(`needs ${used + 1} at a time`),
    remedy: expect.stringContaining(String(room(used + 1))),
  });
  await expect(loadModel(file, { experts: { memory: '2 parsecs' } })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(loadModel(file, { experts: { policy: 'best' as never } })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  const said = await tell({ memory: '1GiB' }, (model) => {
    expect(model.experts.plan).toMatchObject({ resident: true });
    expect(model.experts.statistics()).toBeUndefined();
  });
  expect(said).toEqual(plain);
});

test('a file that is cut off meanwhile is an error, and the model can still be disposed of', async () => {
  const cut = join(folder, 'cut.gguf');
  const tensors = randomTensors(mixture, 'Q4_0');
  const isExpert = ({ name }: { name: string }): boolean => name.endsWith('_exps.weight');
  // Only experts are cut: the rest is mapped.
  writeGguf(cut, {
    metadata: { ...ggufMetadata(mixture, 'Q4_0'), ...randomVocabulary(mixture.vocabulary).gguf },
    tensors: [...tensors.filter((tensor) => !isExpert(tensor)), ...tensors.filter(isExpert)],
  });
  const first = Math.min(...[...openModelFile(cut).tensors.values()].filter(isExpert).map(({ offset }) => offset));
  const model = await loadModel(cut, { device: 'cpu', repack: 'load', contextLength: 64, experts: { memory: room(5) } });
  await say(model, prompts[2], { maxTokens: 1 });
  truncateSync(cut, first + 4096);
  await expect(
    (async () => {
      for (let i = 0; i < 20; i++) await say(model, [11 + i, 90, 4 + i, 100 + i], { maxTokens: 4 });
    })(),
  ).rejects.toMatchObject({ code: 'FORMAT_TRUNCATED' });
  model.dispose();
});

test('an abort ends a slow text soon', async () => {
  const experts = { memory: room(5), bytesPerSecond: 20_000_000 };
  const model = await loadModel(file, { device: 'cpu', contextLength: 64, experts });
  const said = await say(model, prompts[2], { maxTokens: 50, signal: AbortSignal.timeout(100) });
  expect(said.length / 2).toBeLessThan(50); // all of them would take 3 seconds
  expect(await say(model, prompts[2], { maxTokens: 3 })).toEqual(plain[2].slice(0, 6));
  model.dispose();
});

test('placements share out what there is', () => {
  expect(placeExperts('uniform', 3, 8, 10)).toEqual([4, 3, 3]);
  expect(placeExperts('layers', 3, 8, 10)).toEqual([8, 2, 0]);
  expect(placeExperts('shallow', 6, 8, 40)).toEqual([8, 8, 8, 8, 4, 4]);
  expect(placeExperts('shallow', 6, 8, 20)).toEqual([8, 8, 4, 0, 0, 0]);
  expect(placeExperts('uniform', 2, count, 1000)).toEqual([count, count]);
  expect(placeExperts('none', 2, count, 1000)).toEqual([0, 0]);
});
