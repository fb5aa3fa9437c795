// Drafts by a second model: lossless in text and in law, with books that stay right.
import { loadModel } from '../../lib/index.js';
import type { Drafter, GenerateOptions, GenerateResult, Model } from '../../lib/index.js';
import { draftModel } from '../../lib/model/draft-model.js';
import { modelOn } from '../fixtures/model-on.js';
import { testDevices } from '../ops/executors.js';

const loose: GenerateOptions = { temperature: 1, topK: 0, topP: 1, minP: 0 };

describe.each(testDevices())('on %s', (device) => {
  let model: Model;
  let small: Model;
  const few = device !== 'cpu';
  beforeAll(async () => {
    [model, small] = await Promise.all([0, 1].map(() => modelOn(device)));
  });
  afterAll(() => [model, small].forEach((one) => one.dispose()));

  async function generate(prompt: string, options: GenerateOptions): Promise<GenerateResult> {
    using session = model.createSession();
    const pieces = session.generate(prompt, options);
    for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
  }

  const kinds: [string, GenerateOptions][] = [
    ['greedy', { temperature: 0 }],
    ['sampled', { ...loose, seed: 5 }],
    ['sampled with penalties', { temperature: 0.8, seed: 6, repetitionPenalty: 1.3, presencePenalty: 0.5, topP: 0.9 }],
  ];
  test.each(few ? kinds.slice(1) : kinds)('a model that drafts for itself is always right: %s', async (_, options) => {
    const prompt = 'Once upon a time';
    const maxTokens = few ? 6 : 50;
    const drafter = draftModel(small, { minProbability: 0 });
    const shape = { drafter, adaptive: false, maxDraft: few ? 2 : 4 };
    const { tokens, speculation } = await generate(prompt, { ...options, maxTokens, speculation: shape });
    expect(speculation).toMatchObject({ drafter: 'draft-model', drafted: speculation!.accepted });
    expect(speculation!.drafted).toBeGreaterThan(maxTokens / 2);
    if (options.temperature === 0) expect(tokens).toEqual((await generate(prompt, { ...options, maxTokens })).tokens);
    // Drawn drafts use random numbers of their own; the same seed gives the same text all the same.
    expect((await generate(prompt, { ...options, maxTokens, speculation: shape })).tokens).toEqual(tokens);
  });

  if (few) return;

  test.each([0, 1, 2])('a draft that is cut to %i tokens, and right: the text stays, and the books', async (length) => {
    const whole = draftModel(small, { minProbability: 0 });
    const cut: Drafter = {
      name: 'cut',
      start(context) {
        const drafter = whole.start(context);
        return {
          accept: (tokens) => drafter.accept(tokens),
          draft: async (most, nodes, cycle) => {
            const { tokens, parents, scores } = await drafter.draft(most, nodes, cycle);
            const end = Math.min(length, tokens.length);
            return { tokens: tokens.slice(0, end), parents: parents.slice(0, end), scores: scores.slice(0, end) };
          },
          dispose: () => drafter.dispose(),
        };
      },
    };
    const options: GenerateOptions = { temperature: 0, maxTokens: 40 };
    const plain = await generate('Once upon a time', options);
    const speculation = { drafter: cut, adaptive: false, maxDraft: 5 };
    const drafted = await generate('Once upon a time', { ...options, speculation });
    expect(drafted.tokens).toEqual(plain.tokens);
    expect(drafted.speculation!.accepted).toBe(drafted.speculation!.drafted);
  });

  test('another law than the target’s: greedy text stays, and blocks keep at least what ratios keep', async () => {
    const plain = await generate('Once upon a time', { temperature: 0, maxTokens: 60 });
    for (const adaptive of [true, false]) {
      const drafter = draftModel(small, { temperature: 1.2, minProbability: 0 });
      const { tokens } = await generate('Once upon a time', {
        temperature: 0,
        maxTokens: 60,
        speculation: { drafter, adaptive },
      });
      expect(tokens).toEqual(plain.tokens);
    }
    const kept = { lossless: 0, match: 0, block: 0 };
    for (const verifier of ['lossless', 'match', 'block'] as const) {
      for (let seed = 0; seed < 12; seed++) {
        const drafter = draftModel(small, { temperature: 1.6, minProbability: 0 });
        const speculation = { drafter, verifier, adaptive: false, maxDraft: 5 };
        const result = await generate('Once', { ...loose, seed, maxTokens: 60, speculation });
        kept[verifier] += result.speculation!.tokensPerRound / 12;
      }
    }
    expect(kept.lossless).toBeGreaterThan(kept.match);
    expect(kept.block).toBeGreaterThan(0.95 * kept.lossless);
  });

  test('the law of sampled answers is the one without drafts', async () => {
    const count = 1500;
    const tally = async (verifier?: 'lossless' | 'block'): Promise<Map<string, number>> => {
      const found = new Map<string, number>();
      for (let begin = 0; begin < count; begin += 50) {
        const results = await Promise.all(
          Array.from({ length: 50 }, (_, i) => {
            const drafter = draftModel(small, { temperature: 2, minProbability: 0 });
            return generate('Tom', {
              temperature: 0.7,
              topK: 6,
              topP: 1,
              minP: 0,
              seed: begin + i + (verifier ? 1e6 : 0),
              maxTokens: 3,
              ...(verifier ? { speculation: { drafter, verifier, adaptive: false, maxDraft: 2 } } : {}),
            });
          }),
        );
        for (const { tokens } of results) found.set(tokens.join(), (found.get(tokens.join()) ?? 0) + 1);
      }
      return found;
    };
    const plain = await tally();
    for (const verifier of ['lossless', 'block'] as const) {
      const drafted = await tally(verifier);
      // χ² of two samples, rare answers together.
      let statistic = 0;
      let cells = 0;
      const rest = [0, 0];
      for (const answer of new Set([...plain.keys(), ...drafted.keys()])) {
        const [a, b] = [plain.get(answer) ?? 0, drafted.get(answer) ?? 0];
        if (a + b < 16) {
          rest[0] += a;
          rest[1] += b;
          continue;
        }
        statistic += (a - b) ** 2 / (a + b);
        cells++;
      }
      if (rest[0] + rest[1] > 0) {
        statistic += (rest[0] - rest[1]) ** 2 / (rest[0] + rest[1]);
        cells++;
      }
      expect(cells).toBeGreaterThan(8);
      // Mean cells − 1, deviation √(2 · that); four deviations.
      expect(statistic).toBeLessThan(cells - 1 + 4 * Math.sqrt(2 * (cells - 1)));
    }
  });

  test('many at once, each as if alone; nothing is left in the small model', async () => {
    const job = (i: number): Promise<GenerateResult> =>
      generate(['Once', 'The cat', 'A', 'Tom and Ann went'][i % 4].repeat(1 + i), {
        ...(i % 2 === 0 ? { temperature: 0 } : { ...loose, seed: i }),
        maxTokens: 12 + i,
        speculation: { drafter: draftModel(small, { minProbability: 0.2 }), adaptive: false, maxDraft: 3 + (i % 3) },
      });
    const alone: number[][] = [];
    for (let i = 0; i < 6; i++) alone.push([...(await job(i)).tokens]);
    const together = await Promise.all(Array.from({ length: 6 }, (_, i) => job(i)));
    expect(together.map(({ tokens }) => tokens)).toEqual(alone);
    expect(small.memoryUsage().kv).toBe(0);
  });

  test('where drafts decide what is said, a seed says the same alone and among others, though they are planned', async () => {
    const verifiers = ['lossless', 'block', { name: 'typical', epsilon: 0.3 }, 'match'] as const;
    const job = (i: number): Promise<GenerateResult> =>
      generate(['Once', 'The cat', 'A', 'Tom and Ann went'][i % 4].repeat(1 + i), {
        ...(i % 5 === 4 ? { temperature: 0 } : { temperature: 0.6, topK: 3, topP: 1, minP: 0, seed: i }),
        maxTokens: 60 + 20 * i,
        speculation: {
          drafter: draftModel(small, { minProbability: 0.1 }),
          verifier: verifiers[i % 4],
          maxDraft: 2 + (i % 7),
          ...(i === 6 ? { maxNodes: 9 } : {}),
        },
      });
    const together = await Promise.all(Array.from({ length: 9 }, (_, i) => job(i)));
    let drafted = 0;
    for (const [i, { tokens, speculation }] of together.entries()) {
      expect([i, [...tokens]]).toEqual([i, [...(await job(i)).tokens]]);
      drafted += speculation!.drafted;
    }
    expect(drafted).toBeGreaterThan(200);
  });

  test('aborts, a disposed draft model and wrong arguments', async () => {
    const controller = new AbortController();
    using session = model.createSession();
    const pieces = session.generate('Once', { signal: controller.signal, speculation: { drafter: draftModel(small) } });
    await pieces.next();
    controller.abort();
    let next = await pieces.next();
    while (!next.done) next = await pieces.next();
    expect(next.value.finishReason).toBe('abort');
    expect(small.memoryUsage().kv).toBe(0);
    const gone = await loadModel('default', { threads: 1 });
    const drafter = draftModel(gone);
    gone.dispose();
    await expect(session.generate('', { speculation: { drafter } }).next()).rejects.toMatchObject({ code: 'DISPOSED' });
    expect(() => draftModel({} as Model)).toThrow(/model/);
    expect(() => draftModel(small, { minProbability: 2 })).toThrow(/minProbability/);
    const again = await session.generate('', { maxTokens: 2 }).next();
    expect(again.done).toBe(false);
  });
});
