// Sessions with a judge on every device: what it keeps, what its borders are, and what it may never say.
import { draftModel, nGram } from '../../../lib/index.js';
import type { GenerateOptions, GenerateResult, JudgeHead, JudgeVerifier, Model } from '../../../lib/index.js';
import type { Drafter } from '../../../lib/decode/speculation/drafter.js';
import { Generator } from '../../fixtures/random/generator.js';
import { modelOn } from '../../fixtures/model-on.js';
import { testDevices } from '../../ops/executors.js';
import { asking } from '../../session/speculation/setting.js';

/** Says the answer, but for one token in four. */
function drafterOf(answer: readonly number[], wide: boolean, vocab: number): Drafter {
  return {
    name: 'almost',
    start() {
      let length = -1;
      return {
        accept: (tokens) => (length = length < 0 ? 0 : length + tokens.length),
        draft(maxTokens) {
          const tokens: number[] = [];
          const parents: number[] = [];
          for (let depth = 0, at = -1; depth < Math.min(maxTokens, 4); depth++) {
            const right = answer[length + depth] ?? 5 + depth;
            const said = (length + depth) % 4 === 1 ? (right + 7) % vocab : right;
            for (const token of wide ? [said, (said + 3) % vocab] : [said]) {
              tokens.push(token);
              parents.push(at);
            }
            at = tokens.length - (wide ? 2 : 1);
          }
          const scores = Float32Array.from(tokens, () => 0.9);
          return { tokens: Int32Array.from(tokens), parents: Int32Array.from(parents), scores };
        },
        dispose: () => undefined,
      };
    },
  };
}

describe.each(testDevices())('on %s', (device) => {
  let model: Model;
  let width: number;
  beforeAll(async () => {
    model = await modelOn(device);
    width = model.hiddenWidth();
  });
  afterAll(() => model.dispose());

  const headOf = (weights: Float32Array, bias = 0): JudgeHead => ({
    weights,
    bias,
    threshold: 0.5,
    thresholds: [],
    kind: 'judge',
    target: 'a model',
    targetHash: model.fingerprint(),
  });

  async function generate(prompt: string, options: GenerateOptions): Promise<GenerateResult & { judged: number }> {
    using session = model.createSession();
    const pieces = session.generate(prompt, options);
    let judged = 0;
    let next = await pieces.next();
    for (; !next.done; next = await pieces.next())
      judged += (next.value.logprobs ?? []).filter((one) => one.judged).length;
    return { ...next.value, judged };
  }

  test.each([
    ['greedy', { temperature: 0, repetitionPenalty: 1.1 }],
    ['sampled', { temperature: 0.8, seed: 3, topK: 0, topP: 1, minP: 0 }],
  ] as const)('%s: threshold 1 is the base rule, 0 keeps all that is not protected', async (_, sampling) => {
    const logitBias = Object.fromEntries([...model.tokenizer.endOfGeneration].map((id) => [id, -Infinity]));
    const options = { ...sampling, maxTokens: 12, logprobs: true, logitBias } as const;
    const plain = await generate('a b a b', options);
    const random = new Generator(11, 'thresholds');
    const head = headOf(Float32Array.from({ length: width }, () => random.normal() / 4));
    for (const wide of [false, true]) {
      const drafter = drafterOf(plain.tokens, wide, model.info.vocabSize);
      const shape = { drafter, maxDraft: 4, maxNodes: wide ? 8 : 4, adaptive: false };
      const run = (verifier: Omit<JudgeVerifier, 'name' | 'head'>): ReturnType<typeof generate> =>
        generate('a b a b', { ...options, speculation: { ...shape, verifier: { name: 'judge', head, ...verifier } } });
      const never = await run({ threshold: 1 });
      expect(never.tokens).toEqual(plain.tokens);
      expect(never.speculation).toMatchObject({ judged: 0 });
      const all = await run({ threshold: 0 });
      expect(all.speculation!.judged).toBeGreaterThan(1);
      expect(all.judged).toBe(all.speculation!.judged);
      const every = Array.from({ length: model.tokenizer.vocabSize }, (__, id) => id);
      expect((await run({ threshold: 0, protect: every })).tokens).toEqual(plain.tokens);
      if (sampling.temperature !== 0) continue;
      expect(all.speculation!.acceptanceByPosition.every((share) => share === 1)).toBe(true);
      const short = await run({ threshold: 0, maxJudgedRun: 1 });
      expect(short.speculation!.judged).toBeGreaterThan(0);
      expect(short.speculation!.accepted).toBeLessThanOrEqual(all.speculation!.accepted);
    }
  });

  test('drafts are judged inside of runs, too: the same tokens of the same judge', async () => {
    const few = device !== 'cpu';
    const logitBias = Object.fromEntries([...model.tokenizer.endOfGeneration].map((id) => [id, -Infinity]));
    const random = new Generator(12, 'runs');
    const head = headOf(Float32Array.from({ length: width }, () => random.normal() / 4));
    const loose = { temperature: 1, seed: 3, topK: 0, topP: 1, minP: 0 };
    const drafters = (): [Drafter, GenerateOptions, number, number][] => [
      [nGram({ branches: 3 }), { temperature: 0 }, 3, 8],
      [draftModel(model, { temperature: 1.5, minProbability: 0 }), loose, 3, 3],
      [draftModel(model, { temperature: 1.5, minProbability: 0 }), { ...loose, repetitionPenalty: 1.2 }, 3, 7],
    ];
    const verifier = { name: 'judge', head, threshold: 0.5, maxJudgedRun: 2, protect: [3, 5, 7] } as const;
    let judged = 0;
    for (let kind = 0; kind < drafters().length; kind++) {
      const results = [];
      const asked = [0, 0];
      const stopped = [0, 0]; // the same with stop strings
      for (const isNative of [true, false]) {
        const say = (prompt: string, stop?: string[]): ReturnType<typeof generate> => {
          const [own, options, maxDraft, maxNodes] = drafters()[kind];
          const drafter = asking(own, isNative, () => asked[isNative ? 0 : 1]++);
          const speculation = { drafter, verifier, adaptive: false, maxDraft, maxNodes };
          const all = { ...options, logprobs: true, logitBias, maxTokens: few ? 12 : 60, ...(stop ? { stop } : {}) };
          return generate(prompt, { ...all, speculation });
        };
        const told = [await say('a b a b a b')];
        // What may complete a stop string is known beforehand; others share rounds.
        const before = asked[isNative ? 0 : 1];
        told.push(await say('a b', ['zzz']));
        stopped[isNative ? 0 : 1] = asked[isNative ? 0 : 1] - before;
        if (!few) told.push(...(await Promise.all([say('one two one'), say('a a a')])));
        results.push(
          told.map(({ tokens, judged: marked, speculation: books }) => {
            return { tokens, marked, judged: books!.judged, accepted: books!.accepted, drafted: books!.drafted };
          }),
        );
      }
      expect(results[0]).toEqual(results[1]);
      for (const one of results[0]) expect(one.marked).toBe(one.judged);
      judged += results[0].reduce((sum, one) => sum + one.judged!, 0);
      if (kind > 0) expect(asked[0]).toBeLessThan(asked[1]);
      if (kind > 0) expect(stopped[0]).toBeLessThan(stopped[1]);
    }
    expect(judged).toBeGreaterThan(few ? 2 : 20);
  });

  test('what ends an answer is said by the model alone', async () => {
    const [end] = model.tokenizer.endOfGeneration;
    const head = headOf(new Float32Array(width), 1);
    const say: Drafter = {
      name: 'fixed',
      start: () => ({
        accept: () => undefined,
        draft: () => ({
          tokens: Int32Array.of(5, end, 5),
          parents: Int32Array.of(-1, 0, 1),
          scores: new Float32Array(3).fill(0.9),
        }),
        dispose: () => undefined,
      }),
    };
    const speculation = { drafter: say, verifier: { name: 'judge', head, threshold: 0 }, adaptive: false } as const;
    const logitBias = { [end]: -20 };
    const result = await generate('a b', { temperature: 0, maxTokens: 8, logitBias, speculation });
    expect(result.finishReason).toBe('length');
    expect(result.speculation!.judged).toBeGreaterThan(0);
  });
});
