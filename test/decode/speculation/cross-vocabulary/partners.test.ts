// A drafter with another vocabulary for the embedded model: what it is worth beside one with the same vocabulary, and the law
// of answers.
import { join } from 'node:path';
import { crossVocabulary, draftModel, embeddedModelPath, loadModel } from '../../../../lib/index.js';
import type { CrossVocabularyOptions, Drafter, GenerateOptions, GenerateResult, Model } from '../../../../lib/index.js';

let model: Model;
let same: Model;
let other: Model;
beforeAll(async () => {
  const files = ['vivace-tiny.gguf', 'vivace-tiny-draft.gguf', 'vivace-tiny-other.gguf'];
  [model, same, other] = await Promise.all(
    files.map((file) => loadModel(join(embeddedModelPath(), '..', file), { threads: 1 })),
  );
});
afterAll(() => [model, same, other].forEach((one) => one.dispose()));

async function generate(prompt: string, options: GenerateOptions): Promise<GenerateResult> {
  using session = model.createSession();
  const pieces = session.generate(prompt, options);
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}

test.each<[string, GenerateOptions, number]>([
  ['temperature 0', { temperature: 0 }, 2],
  ['temperature 1', { temperature: 1, topK: 0, topP: 1, minP: 0 }, 1],
  ['default sampling', {}, 1.2],
])('of what the drafter with the same vocabulary keeps, at least 70 %%: %s', async (_, sampling, least) => {
  const prompts = [
    'Once upon a time',
    'Tim had a red ball. He',
    '"Hello," said the',
    'The cat',
    'In the forest there was',
  ];
  const measure = async (drafter: Drafter): Promise<number> => {
    let accepted = 0;
    let rounds = 0;
    const seeds = sampling.temperature === 0 ? [0] : [1, 2, 3, 4];
    for (const [prompt, seed] of prompts.flatMap((one) => seeds.map((number) => [one, number] as const))) {
      const speculation = { drafter, adaptive: false, maxDraft: 4 };
      const result = (await generate(prompt, { ...sampling, seed, maxTokens: 100, speculation })).speculation!;
      accepted += result.accepted;
      rounds += result.rounds;
    }
    return accepted / rounds;
  };
  const own = await measure(draftModel(same, { minProbability: 0 }));
  const cross = await measure(crossVocabulary(other, { exactness: 'ngram-exact', minProbability: 0 }));
  expect(own).toBeGreaterThan(least);
  expect(cross / own).toBeGreaterThan(0.7);
});

test('a drafter that is the target itself, as if it were another model: all is kept, and nothing needs a run', async () => {
  const twin = await loadModel(embeddedModelPath(), { threads: 1 });
  for (const exactness of ['match', 'direct', 'ngram-exact'] as const) {
    const drafter = crossVocabulary(twin, { exactness, minProbability: 0 });
    const sampling = exactness === 'match' ? { temperature: 0 } : { temperature: 0.8, topP: 1, seed: 2 };
    const speculation = { drafter, adaptive: false, maxDraft: 4 };
    const { speculation: went } = await generate('Once upon a time', { ...sampling, maxTokens: 60, speculation });
    expect(drafter.report(model.tokenizer)).toMatchObject({ runs: 0, runShare: 0 });
    expect(went!.rounds).toBeLessThanOrEqual(14);
    expect(went!.accepted / went!.drafted).toBeGreaterThan(0.95);
  }
  twin.dispose();
});

test('the law of sampled answers is the one without drafts', async () => {
  const count = 2500;
  const sampling = { temperature: 0.9, topK: 8, topP: 1, minP: 0 };
  const tally = async (options?: CrossVocabularyOptions): Promise<Map<string, number>> => {
    const found = new Map<string, number>();
    const drafter = options && crossVocabulary(other, { minProbability: 0, ...options });
    for (let begin = 0; begin < count; begin += 50) {
      const results = await Promise.all(
        Array.from({ length: 50 }, (_, i) =>
          generate('One day, a little', {
            ...sampling,
            seed: begin + i + (options ? 1e6 : 0),
            maxTokens: 2,
            ...(drafter ? { speculation: { drafter, adaptive: false, maxDraft: 2 } } : {}),
          }),
        ),
      );
      for (const { tokens } of results) found.set(tokens.join(), (found.get(tokens.join()) ?? 0) + 1);
    }
    return found;
  };
  const plain = await tally();
  for (const exactness of ['direct', 'ngram-exact'] as const) {
    const drafted = await tally({ exactness });
    let statistic = 0;
    let cells = 0;
    const rest = [0, 0];
    const add = (a: number, b: number): void => {
      statistic += (a - b) ** 2 / (a + b);
      cells++;
    };
    for (const answer of new Set([...plain.keys(), ...drafted.keys()])) {
      const [a, b] = [plain.get(answer) ?? 0, drafted.get(answer) ?? 0];
      if (a + b >= 16) add(a, b);
      else [rest[0], rest[1]] = [rest[0] + a, rest[1] + b];
    }
    if (rest[0] + rest[1] > 0) add(rest[0], rest[1]);
    expect(cells).toBeGreaterThan(8);
    // Mean cells − 1, deviation √(2 · that); four deviations.
    expect(statistic).toBeLessThan(cells - 1 + 4 * Math.sqrt(2 * (cells - 1)));
  }
}, 600_000);

test('direct drafts have no runs, whose law is another one', async () => {
  for (const [exactness, runs] of [
    ['direct', false],
    ['ngram-exact', true],
  ] as const) {
    const drafter = crossVocabulary(other, { exactness, minProbability: 0 });
    const speculation = { drafter, adaptive: false, maxDraft: 4 };
    await generate('Once upon a time', {
      temperature: 1,
      topK: 0,
      topP: 1,
      minP: 0,
      seed: 3,
      maxTokens: 80,
      speculation,
    });
    expect(drafter.report(model.tokenizer)!.runShare > 0).toBe(runs);
  }
});
