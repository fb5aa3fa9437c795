// Trees drafted by a second model: lossless in text and in law, several sessions at once, and a cache that stays right.
import type { Drafter, GenerateOptions, GenerateResult, Model } from '../../../lib/index.js';
import type { DraftSeat } from '../../../lib/decode/speculation/drafters/draft-model.js';
import { draftModel } from '../../../lib/model/draft-model.js';
import { modelOn } from '../../fixtures/model-on.js';
import { testDevices } from '../../ops/executors.js';

const loose: GenerateOptions = { temperature: 1, topK: 0, topP: 1, minP: 0 };

describe.each(testDevices())('on %s', (device) => {
  let model: Model;
  let small: Model;
  const few = device !== 'cpu';
  beforeAll(async () => {
    [model, small] = await Promise.all([0, 1].map(() => modelOn(device)));
  });
  afterAll(() => [model, small].forEach((one) => one.dispose()));

  async function generate(prompt: string, options: GenerateOptions, contextLength?: number): Promise<GenerateResult> {
    using session = model.createSession(contextLength === undefined ? {} : { contextLength });
    const pieces = session.generate(prompt, options);
    for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
  }

  /** Drafts without what makes the target's law another one: often wrong. */
  const ignorant = (drafter: Drafter): Drafter => ({
    name: 'ignorant',
    start: (context) =>
      drafter.start({ ...context, sampler: { ...context.sampler, repetitionPenalty: 1, logitBias: new Map() } }),
  });
  const plainTree = { minProbability: 0, temperature: 0 };

  test.each([
    ['greedy', { temperature: 0 }],
    ['sampled', { ...loose, seed: 5 }],
    ['with penalties', { temperature: 0.8, seed: 6, repetitionPenalty: 1.3, presencePenalty: 0.5, topP: 0.9 }],
  ] as [string, GenerateOptions][])('the most probable tokens leave the text as it is: %s', async (name, options) => {
    const maxTokens = few ? 6 : 60;
    for (const [maxDraft, maxNodes, tree] of few
      ? [[2, 5, { topK: 2 }] as const]
      : ([
          [4, 10, { topK: 3 }],
          [6, 40, { topK: 8, width: 3 }],
          [1, 4, {}],
          [12, 24, { topK: 2, width: 5 }],
        ] as const)) {
      const plain = await generate('Once upon a time', { ...options, maxTokens });
      for (const drafter of [
        draftModel(small, { ...plainTree, tree }),
        ignorant(draftModel(small, { ...plainTree })),
      ]) {
        const speculation = { drafter, adaptive: false, maxDraft, maxNodes };
        const result = await generate('Once upon a time', { ...options, maxTokens, speculation });
        expect(result.tokens).toEqual(plain.tokens);
        const { drafted, draftedRounds, accepted } = result.speculation!;
        expect(drafted).toBeGreaterThan(draftedRounds * Math.min(maxDraft, 2));
        expect(accepted).toBeGreaterThan(0);
        // At temperature 0 the model is right about itself.
        if (name === 'greedy')
          expect(accepted).toBeGreaterThanOrEqual(((maxTokens - maxDraft) * maxDraft) / (maxDraft + 1));
      }
    }
  });

  if (few) return;

  test('drafts that are cut to what pays leave the text as it is', async () => {
    const options: GenerateOptions = { temperature: 0, maxTokens: 80, repetitionPenalty: 1.2 };
    const plain = await generate('Tom had a', options);
    const drafter = ignorant(draftModel(small, { temperature: 0 }));
    const { tokens } = await generate('Tom had a', { ...options, speculation: { drafter, maxDraft: 4, maxNodes: 16 } });
    expect(tokens).toEqual(plain.tokens);
  });

  test('after every draft the small model’s cache is that of a fresh run', async () => {
    const lend = small.lend.bind(small);
    let seat: DraftSeat | undefined;
    const spy = jest.spyOn(small, 'lend').mockImplementation(() => (seat = lend()));
    let compared = 0;
    const watched = (inner: Drafter): Drafter => ({
      name: 'watched',
      start(context) {
        const drafter = inner.start(context);
        const own = seat as DraftSeat;
        const text: number[] = [];
        const cells = (sequence: number): Buffer => {
          const out = new Uint8Array(own.kv.length(sequence) * own.kv.cellBytes);
          own.kv.readCells(sequence, 0, own.kv.length(sequence), out);
          return Buffer.from(out);
        };
        return {
          accept: (tokens) => {
            text.push(...tokens);
            drafter.accept(tokens);
          },
          draft: async (...sizes) => {
            const length = own.kv.length(own.sequence);
            expect(length).toBeLessThan(text.length);
            if (length > 0) {
              const fresh = own.kv.create();
              const tokens = Int32Array.from(text.slice(0, length));
              await own.rounds.submit({ kv: own.kv, sequence: fresh, tokens }).done;
              expect(Buffer.compare(cells(fresh), cells(own.sequence))).toBe(0);
              own.kv.release(fresh);
              compared++;
            }
            return drafter.draft(...sizes);
          },
          dispose: () => drafter.dispose(),
        };
      },
    });
    for (const options of [
      { temperature: 0, repetitionPenalty: 1.3 },
      { ...loose, seed: 3 },
    ]) {
      for (const temperature of [0, 1]) {
        const drafter = watched(ignorant(draftModel(small, { minProbability: 0, temperature })));
        const speculation = { drafter, adaptive: false, maxDraft: 4, maxNodes: 14 };
        await generate('Once upon a time', { ...options, maxTokens: 40, speculation });
      }
    }
    spy.mockRestore();
    expect(compared).toBeGreaterThan(30);
    expect(small.memoryUsage().kv).toBe(0);
  });

  test('drawn trees leave the law of sampled answers as it is, and keep more than matching them would', async () => {
    const count = 1500;
    const kept = { lossless: 0, match: 0 };
    const tally = async (verifier?: 'lossless' | 'match'): Promise<Map<string, number>> => {
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
              ...(verifier ? { speculation: { drafter, verifier, adaptive: false, maxDraft: 2, maxNodes: 7 } } : {}),
            });
          }),
        );
        for (const { tokens, speculation } of results) {
          found.set(tokens.join(), (found.get(tokens.join()) ?? 0) + 1);
          if (verifier) kept[verifier] += speculation!.accepted;
        }
      }
      return found;
    };
    const plain = await tally();
    for (const verifier of ['lossless', 'match'] as const) {
      const drafted = await tally(verifier);
      // χ² of two samples, rare answers together.
      const rest = [0, 0];
      let statistic = 0;
      let cells = 0;
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
    expect(kept.lossless).toBeGreaterThan(kept.match);
  });

  test('many at once, trees of all sizes beside chains, each as if alone', async () => {
    const job = (i: number): Promise<GenerateResult> =>
      generate(['Once', 'The cat', 'A', 'Tom and Ann went'][i % 4].repeat(1 + i), {
        ...(i % 2 === 0 ? { temperature: 0, repetitionPenalty: 1.2 } : { ...loose, seed: i }),
        maxTokens: 12 + i,
        speculation: {
          drafter: draftModel(small, { minProbability: 0.2, tree: { topK: 1 + (i % 4), width: 1 + (i % 3) } }),
          adaptive: false,
          maxDraft: 2 + (i % 3),
          maxNodes: 3 + 4 * (i % 4),
        },
      });
    const alone: number[][] = [];
    for (let i = 0; i < 8; i++) alone.push([...(await job(i)).tokens]);
    const together = await Promise.all(Array.from({ length: 8 }, (_, i) => job(i)));
    expect(together.map(({ tokens }) => tokens)).toEqual(alone);
    expect(small.memoryUsage().kv).toBe(0);
  });

  test('stop strings, limits and the end of the context inside of a tree', async () => {
    const speculation = (): GenerateOptions['speculation'] => {
      return { drafter: draftModel(small, plainTree), adaptive: false, maxDraft: 8, maxNodes: 20 };
    };
    const prompt = 'Once upon a time';
    const { text } = await generate(prompt, { temperature: 0, maxTokens: 40 });
    for (const at of [7, 20, 31]) {
      const options: GenerateOptions = { temperature: 0, maxTokens: 40, stop: [text.slice(at, at + 6)] };
      const plain = await generate(prompt, options);
      const drafted = await generate(prompt, { ...options, speculation: speculation() });
      expect(drafted.finishReason).toBe('stop');
      expect([drafted.text, drafted.tokens, drafted.stopString]).toEqual([plain.text, plain.tokens, plain.stopString]);
    }
    for (const maxTokens of [1, 2, 5, 13]) {
      const drafted = await generate(prompt, { temperature: 0, maxTokens, speculation: speculation() });
      expect(drafted.tokens).toEqual((await generate(prompt, { temperature: 0, maxTokens })).tokens);
    }
    for (const contextLength of [9, 12, 20]) {
      const drafted = await generate(prompt, { temperature: 0, speculation: speculation() }, contextLength);
      expect(drafted.finishReason).toBe('length');
      expect(drafted.tokens).toEqual((await generate(prompt, { temperature: 0 }, contextLength)).tokens);
    }
  });

  test('aborts give everything back; wrong options are named', async () => {
    const controller = new AbortController();
    using session = model.createSession();
    const drafter = draftModel(small, plainTree);
    const pieces = session.generate('Once', {
      signal: controller.signal,
      speculation: { drafter, maxDraft: 4, maxNodes: 12, adaptive: false },
    });
    for (let i = 0; i < 3; i++) await pieces.next();
    controller.abort();
    let next = await pieces.next();
    while (!next.done) next = await pieces.next();
    expect(next.value.finishReason).toBe('abort');
    expect(small.memoryUsage().kv).toBe(0);
    expect(() => draftModel(small, { tree: { topK: 0 } })).toThrow(/topK/);
    expect(() => draftModel(small, { tree: { width: 65 } })).toThrow(/width/);
    expect(() => draftModel(small, { tree: { height: 1 } as object })).toThrow(/height/);
  });
});
