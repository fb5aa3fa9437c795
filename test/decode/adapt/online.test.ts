// Drafters that learn while they are used: what they gain, that answers stay the target's, and that it is kept.
import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crossVocabulary, draftModel, embeddedModelPath, loadModel, onlineAdaptation } from '../../../lib/index.js';
import type {
  Drafter,
  GenerateOptions,
  GenerateResult,
  Model,
  OnlineAdaptation,
  OnlineAdaptationOptions,
} from '../../../lib/index.js';
import { openSafetensors } from '../../../lib/formats/safetensors.js';
import { writeShiftedModel } from './shifted-model.js';

const folder = mkdtempSync(join(tmpdir(), 'vivace-adapt-'));
const file = (name: string): string => join(folder, name);
let shifted: Model;
let same: Model;
let other: Model;
beforeAll(async () => {
  await writeShiftedModel(file('shifted.gguf'));
  const models = join(embeddedModelPath(), '..');
  const paths = [file('shifted.gguf'), join(models, 'vivace-tiny-draft.gguf'), join(models, 'vivace-tiny-other.gguf')];
  [shifted, same, other] = await Promise.all(paths.map((path) => loadModel(path, { threads: 1 })));
}, 60_000);
afterAll(() => {
  [shifted, same, other].forEach((model) => model.dispose());
  rmSync(folder, { recursive: true });
});

const lessons = [
  'Once upon a time',
  'Tim had a red ball. He',
  'The cat',
  '"Hello," said the',
  'In the forest there was',
];
const exams = [
  'One day, a little',
  'The wolf was',
  'Anna and her mother',
  'There was a king who',
  'A fox saw',
  'Rose ran to',
];

async function answer(prompt: string, options: GenerateOptions): Promise<GenerateResult> {
  using session = shifted.createSession();
  const pieces = session.generate(prompt, { maxTokens: 80, ...options });
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}
const speculation = (drafter: Drafter) => ({ drafter, adaptive: false, maxDraft: 4 });

/** Drafted tokens that are kept per round; every answer is the one without drafts. */
async function measure(drafter: Drafter): Promise<number> {
  let [accepted, rounds] = [0, 0];
  for (const [seed, prompt] of exams.entries()) {
    const sampling = { temperature: 0.5, seed };
    const plain = await answer(prompt, sampling);
    const drafted = await answer(prompt, { ...sampling, speculation: speculation(drafter) });
    expect(drafted.tokens).toEqual(plain.tokens);
    accepted += drafted.speculation!.accepted;
    rounds += drafted.speculation!.rounds;
  }
  return accepted / rounds;
}

async function learn(drafter: Drafter, adapt: OnlineAdaptation, answers: number): Promise<void> {
  for (let seed = 0; seed < answers; seed++) {
    const sampling = { temperature: 0.7, seed };
    await answer(lessons[seed % lessons.length], { ...sampling, maxTokens: 120, speculation: speculation(drafter) });
    await adapt.settle();
  }
}

// Answers that are learned from; builds with sanitizers look at memory only, for they are twenty times as slow.
const slow = (process.env['LD_PRELOAD'] ?? '').includes('asan');
const answers = slow ? 2 : 30;

test.each(['the same vocabulary', 'another vocabulary'])(
  'a drafter with %s learns what the target says',
  async (kind) => {
    using adapt = onlineAdaptation({ probeEvery: 0 });
    const make = (with_?: OnlineAdaptation): Drafter => {
      const options = { minProbability: 0, ...(with_ ? { adapt: with_ } : {}) };
      return kind === 'the same vocabulary'
        ? draftModel(same, { ...options, temperature: 0 })
        : crossVocabulary(other, options);
    };
    const drafter = make(adapt);
    if (slow) {
      await learn(drafter, adapt, answers);
      expect(adapt.report()!.steps).toBeGreaterThan(0);
      return;
    }
    const before = await measure(make());
    await learn(drafter, adapt, answers);
    const after = await measure(drafter);
    expect(adapt.report()).toMatchObject({ off: false });
    expect(adapt.report()!.steps).toBeGreaterThan(50);
    expect(before).toBeLessThan(1.2);
    expect(after).toBeGreaterThan(2 * before);
    await adapt.save(file(`${kind}.safetensors`));
    using kept = onlineAdaptation({ restore: file(`${kind}.safetensors`), rate: 0 });
    expect(await measure(make(kept))).toBeGreaterThan(2 * before);
    // The model itself is as it was.
    expect(await measure(make())).toBe(before);
  },
  120_000,
);

test('what was read before it learned is right afterwards: as if read anew, bit for bit', async () => {
  using adapt = onlineAdaptation({ probeEvery: 0, maxShare: 1 });
  const drafter = draftModel(same, { adapt, temperature: 0 });
  const text = same.tokenizer.encode('Once upon a time there was a little girl who had a red ball.');
  type Seat = ReturnType<typeof adapt.seat>;
  const read = async ({ rounds, kv, sequence }: Seat, tokens: Int32Array): Promise<Float32Array> => {
    const out = new Float32Array(same.info.vocabSize);
    await rounds.submit({ kv, sequence, tokens, logits: { firstRow: tokens.length - 1, out } }).done;
    return out;
  };
  const [early, plain] = [adapt.seat(), adapt.seat()];
  await read(early, text.slice(0, 8));
  const before = await read(plain, text);
  await learn(drafter, adapt, 2);
  const fresh = adapt.seat();
  const [went, anew] = [await read(early, text.slice(8)), await read(fresh, text)];
  expect(went).toEqual(anew);
  expect(anew).not.toEqual(before);
  for (const { rounds, kv, sequence } of [early, plain, fresh]) rounds.release(kv, sequence);
}, 120_000);

test('files of what was learned are checked', async () => {
  using adapt = onlineAdaptation();
  await expect(adapt.save(file('nothing'))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  const drafter = crossVocabulary(other, { adapt });
  await expect(adapt.save(file('nothing'))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await learn(drafter, adapt, 1);
  await adapt.save(file('a.safetensors'));
  const use = (options: OnlineAdaptationOptions, of = other): Promise<unknown> => {
    const restored = onlineAdaptation({ restore: file('a.safetensors'), ...options });
    const drafts = of === other ? crossVocabulary(of, { adapt: restored }) : draftModel(of, { adapt: restored });
    return answer(exams[0], { speculation: speculation(drafts) }).finally(() => restored.dispose());
  };
  await use({});
  await expect(use({}, same)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(use({ rank: 8 })).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' });
  await expect(use({ restore: file('missing') })).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
  truncateSync(file('a.safetensors'), 5000);
  await expect(use({})).rejects.toMatchObject({ code: expect.stringMatching(/^FORMAT_/) as string });
}, 120_000);

test.each([() => same, () => other])("drafts learn where to end, and answers stay the target's (%#)", async (model) => {
  const make = (adapt: OnlineAdaptation): Drafter =>
    model() === same ? draftModel(same, { adapt }) : crossVocabulary(other, { adapt });
  const adapt = onlineAdaptation({ stopThreshold: 0.7, maxShare: 1 });
  const drafter = make(adapt);
  for (const [seed, prompt] of [...lessons, ...exams].entries()) {
    const options = { seed, temperature: 0.5 };
    const drafted = await answer(prompt, { ...options, speculation: { ...speculation(drafter), verifier: 'match' } });
    expect(drafted.text).toBe((await answer(prompt, options)).text);
  }
  await adapt.save(file('stop.safetensors'));
  adapt.dispose();
  const [steps, rows] = (openSafetensors(file('stop.safetensors')).metadata.get('stop') ?? '').split(' ').map(Number);
  expect(steps).toBeGreaterThan(10);
  expect(rows).toBeGreaterThan(512); // so it was in use
});

test('it rests in between, so that it takes no more than its share, and makes up for it when asked', async () => {
  using adapt = onlineAdaptation({ maxShare: 0.01 });
  const drafter = draftModel(same, { adapt, minProbability: 0 });
  for (let seed = 0; seed < 8; seed++) {
    await answer(lessons[seed % lessons.length], { seed, speculation: speculation(drafter) });
  }
  const before = adapt.report()!;
  await adapt.settle();
  const after = adapt.report()!;
  expect(after.rows).toBeGreaterThan(300);
  expect(before.rows).toBeLessThan(0.7 * after.rows);
  expect(after.steps).toBeGreaterThanOrEqual(Math.floor(after.rows / 32));
}, 120_000);

test('several generations at once, aborts and an end in the middle of learning', async () => {
  const adapt = onlineAdaptation({ probeEvery: 3, maxShare: 1, stopThreshold: 0.7 });
  const drafter = crossVocabulary(other, { adapt });
  const plain = await Promise.all(exams.map((prompt) => answer(prompt, { temperature: 0 })));
  for (let turn = 0; turn < 4; turn++) {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 5);
    const aborted = answer(lessons[0], { signal: controller.signal, speculation: speculation(drafter) });
    const all = await Promise.all(
      exams.map((prompt) => answer(prompt, { temperature: 0, speculation: speculation(drafter) })),
    );
    expect(all.map(({ tokens }) => tokens)).toEqual(plain.map(({ tokens }) => tokens));
    await aborted;
  }
  expect(adapt.report()!.rows).toBeGreaterThan(0);
  adapt.dispose();
  await expect(answer(exams[0], { speculation: speculation(drafter) })).rejects.toMatchObject({ code: 'DISPOSED' });
  expect(() => crossVocabulary(other, { adapt })).toThrow('disposed');
}, 120_000);

test('wrong options are named', () => {
  expect(() => onlineAdaptation({ rank: 0 })).toThrow('rank');
  expect(() => onlineAdaptation({ stopThreshold: 2 })).toThrow('stopThreshold');
  expect(() => onlineAdaptation({ loss: 'mse' as 'kl' })).toThrow('loss');
  expect(() => onlineAdaptation({ restore: '' })).toThrow('restore');
  expect(() => crossVocabulary(other, { adapt: {} as OnlineAdaptation })).toThrow('an adaptation');
  using adapt = onlineAdaptation();
  crossVocabulary(other, { adapt });
  expect(() => draftModel(same, { adapt })).toThrow('another model');
});
