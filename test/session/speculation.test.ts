// Speculative decoding of sessions: with lossless verifiers the same tokens as without, whatever drafts are like.
import type { GenerateOptions, GenerateResult, Model } from '../../lib/index.js';
import type { Drafter } from '../../lib/decode/speculation/drafter.js';
import { inputCopy, nGram, suffix } from '../../lib/decode/speculation/drafters/policies.js';
import { SuffixCache } from '../../lib/decode/speculation/drafters/suffix.js';
import { modelOn } from '../fixtures/model-on.js';
import { Generator } from '../fixtures/random/generator.js';
import { testDevices } from '../ops/executors.js';

/** Knows the answer; says something else for a share of its tokens. Trees have a wrong sibling beside each token. */
function oracle(answer: readonly number[], wrong: number, random = new Generator(1, `oracle ${wrong}`)): Drafter {
  return {
    name: 'oracle',
    start() {
      let length = -1; // of the answer so far; the prompt comes first
      return {
        accept: (tokens) => (length = length < 0 ? 0 : length + tokens.length),
        draft(maxTokens, maxNodes) {
          const tokens: number[] = [];
          const parents: number[] = [];
          for (let depth = 0, at = -1; depth < maxTokens && length + depth < answer.length; depth++) {
            const right = answer[length + depth];
            const other = (right + 1) % 200;
            const said = random.next() / 2 ** 32 < wrong ? other : right;
            const wide = maxNodes > maxTokens && tokens.length + 2 <= maxNodes;
            if (!wide && tokens.length === maxNodes) break;
            for (const token of wide ? [said === right ? other : right, said] : [said]) {
              tokens.push(token);
              parents.push(at);
            }
            at = tokens.length - 1;
          }
          return {
            tokens: Int32Array.from(tokens),
            parents: Int32Array.from(parents),
            scores: new Float32Array(tokens.length).fill(0.9),
          };
        },
        dispose: () => {},
      };
    },
  };
}

const prompts = ['Once upon a time', 'repeat: red blue red blue red', ''];
const sampling: [string, GenerateOptions][] = [
  ['greedy', { temperature: 0 }],
  ['sampled', { temperature: 0.9, seed: 7 }],
  ['sampled with penalties', { temperature: 0.7, seed: 8, repetitionPenalty: 1.2, presencePenalty: 0.4, topP: 0.8 }],
  ['greedy with penalties', { temperature: 0, frequencyPenalty: 0.3, logprobs: 2 }],
];

describe.each(testDevices())('on %s', (device) => {
  let model: Model;
  const few = device !== 'cpu';
  beforeAll(async () => {
    model = await modelOn(device, 1, { threads: 2 });
  });
  afterAll(() => model.dispose());

  async function generate(prompt: string, options: GenerateOptions): Promise<GenerateResult> {
    using session = model.createSession();
    const pieces = session.generate(prompt, options);
    for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
  }

  const shapes = [
    ['drafts as they come', { adaptive: false, maxDraft: few ? 3 : 5 }],
    ['a tree as it comes', { adaptive: false, maxDraft: few ? 3 : 4, maxNodes: few ? 6 : 12 }],
    ['a chain', {}],
    ['a tree', { maxNodes: 40, maxDraft: 8 }],
    ['block verification', { verifier: 'block' }],
  ] as const;
  describe.each(sampling)('%s', (_, options) => {
    test.each(few ? shapes.slice(0, 2) : shapes)('the text without drafts: %s', async (__, shape) => {
      for (const prompt of few ? prompts.slice(1, 2) : prompts) {
        const plain = await generate(prompt, { ...options, maxTokens: few ? 8 : 40 });
        const drafters = [
          nGram(),
          oracle(plain.tokens, 0.3),
          ...(few ? [] : [suffix(), inputCopy({ branches: 3 }), oracle(plain.tokens, 0), oracle(plain.tokens, 1)]),
        ];
        for (const drafter of drafters) {
          const result = await generate(prompt, {
            ...options,
            maxTokens: few ? 8 : 40,
            speculation: { drafter, ...shape },
          });
          expect({ drafter: drafter.name, tokens: result.tokens }).toEqual({
            drafter: drafter.name,
            tokens: plain.tokens,
          });
          expect(result.text).toBe(plain.text);
          expect(result.finishReason).toBe(plain.finishReason);
          const { rounds, accepted, tokensPerRound } = result.speculation!;
          expect(tokensPerRound).toBeCloseTo(1 + accepted / rounds, 9);
        }
      }
    });
  });

  test('a drafter that is always right gives its whole draft each round, one that never is gives nothing', async () => {
    const long = few ? 13 : 61;
    const plain = await generate(prompts[0], { temperature: 0, maxTokens: long });
    const run = (drafter: Drafter): Promise<GenerateResult> =>
      generate(prompts[0], {
        temperature: 0,
        maxTokens: long,
        speculation: { drafter, adaptive: false, maxDraft: 5 },
      });
    const right = (await run(oracle(plain.tokens, 0))).speculation!;
    expect(right).toMatchObject({ drafter: 'oracle', drafted: right.accepted, acceptanceByPosition: [1, 1, 1, 1, 1] });
    expect(right.rounds).toBe(Math.ceil(long / 6));
    const wrong = (await run(oracle(plain.tokens, 1))).speculation!;
    expect(wrong).toMatchObject({ accepted: 0, rounds: long, tokensPerRound: 1 });
  });

  test('many sessions with drafts of different lengths, others without: each as if alone', async () => {
    const random = new Generator(2, 'many');
    const jobs = Array.from({ length: few ? 4 : 8 }, (_, i) => {
      const prompt = prompts[i % prompts.length];
      const options: GenerateOptions = {
        maxTokens: random.integer(5, few ? 10 : 50),
        temperature: i % 2 === 0 ? 0 : 0.8,
        seed: i,
      };
      return { prompt, options, shape: i % 3 === 0 ? {} : { maxNodes: 20, maxDraft: 6 } };
    });
    const plain = await Promise.all(jobs.map(({ prompt, options }) => generate(prompt, options)));
    const drafted = await Promise.all(
      jobs.map(({ prompt, options, shape }, i) =>
        generate(prompt, {
          ...options,
          ...(i === 3 ? {} : { speculation: { drafter: oracle(plain[i].tokens, 0.2), ...shape } }),
        }),
      ),
    );
    expect(drafted.map(({ tokens }) => tokens)).toEqual(plain.map(({ tokens }) => tokens));
  });

  test('stop strings, limits and the end of a turn inside of accepted tokens; the session goes on as without drafts', async () => {
    const play = async (speculate: boolean) => {
      const whole = await generate(prompts[0], { temperature: 0, maxTokens: few ? 16 : 80 });
      const session = model.createSession();
      const said: unknown[] = [];
      for (const options of [
        { maxTokens: few ? 5 : 17 },
        { maxTokens: few ? 9 : 40, stop: few ? whole.text.slice(-4, -2) : whole.text.slice(120, 124) },
        { maxTokens: few ? 3 : 9 },
      ]) {
        const speculation = { drafter: oracle(whole.tokens.slice(session.length > 10 ? session.length - 5 : 0), 0) };
        const pieces = session.generate(session.length === 0 ? prompts[0] : '', {
          temperature: 0,
          ...options,
          ...(speculate ? { speculation: { ...speculation, maxDraft: few ? 3 : 7 } } : {}),
        });
        let next = await pieces.next();
        while (!next.done) next = await pieces.next();
        said.push([
          next.value.text,
          next.value.finishReason,
          next.value.stopString,
          session.length,
          [...session.tokens],
        ]);
      }
      const logits = await session.forward(Int32Array.of(5, 6));
      session.dispose();
      return { said, logits };
    };
    expect(await play(true)).toEqual(await play(false));
  });

  test('an abort, or leaving early, in the middle of drafts leaves what was shown', async () => {
    // On a card the last bits of 32 rows that are read at once are others than those of fewer.
    const whole = await generate(few ? '' : prompts[0], { temperature: 0, maxTokens: few ? 24 : 80 });
    const session = model.createSession();
    let seen = '';
    for await (const { text } of session.generate(few ? '' : prompts[0], {
      temperature: 0,
      speculation: { drafter: oracle(whole.tokens, 0), maxDraft: few ? 3 : 7 },
    })) {
      seen += text;
      if (seen.length > (few ? 10 : 30)) break;
    }
    expect(whole.text.startsWith(seen)).toBe(true);
    expect(session.lastResult).toMatchObject({ finishReason: 'abort', text: seen });
    const fresh = model.createSession();
    await fresh.forward(session.tokens);
    expect(await session.forward(Int32Array.of(3))).toEqual(await fresh.forward(Int32Array.of(3)));
    const controller = new AbortController();
    const pieces = session.generate('', {
      temperature: 0,
      signal: controller.signal,
      speculation: { drafter: nGram() },
    });
    await pieces.next();
    controller.abort();
    let next = await pieces.next();
    while (!next.done) next = await pieces.next();
    expect(next.value.finishReason).toBe('abort');
    fresh.dispose();
    session.dispose();
  });

  test('a fork in the middle of a kept draft has what was said, in its cache, too', async () => {
    const whole = await generate(prompts[0], { temperature: 0, maxTokens: few ? 8 : 40 });
    using session = model.createSession();
    const speculation = { drafter: oracle(whole.tokens, 0), adaptive: false, maxDraft: few ? 4 : 7 };
    const pieces = session.generate(prompts[0], { temperature: 0, maxTokens: few ? 8 : 40, speculation });
    for (let seen = 0; seen < 3; seen++) await pieces.next();
    using fork = session.fork();
    await pieces.return(undefined as never);
    using fresh = model.createSession();
    await fresh.forward(fork.tokens);
    expect(await fork.forward([5, 6])).toEqual(await fresh.forward([5, 6]));
  });

  test('lossy verifiers say more of the draft', async () => {
    const length = few ? 12 : 60;
    const draft = await generate(prompts[0], { temperature: 0, maxTokens: length });
    const run = async (verifier: NonNullable<GenerateOptions['speculation']>['verifier']) =>
      (
        await generate(prompts[0], {
          temperature: 1,
          topK: 0,
          topP: 1,
          minP: 0,
          seed: 3,
          maxTokens: length,
          speculation: {
            drafter: oracle(draft.tokens, 0),
            adaptive: false,
            maxDraft: few ? 3 : 16,
            ...(verifier ? { verifier } : {}),
          },
        })
      ).speculation!.accepted;
    const exact = await run('lossless');
    expect(await run({ name: 'typical', epsilon: 0.01 })).toBeGreaterThan(exact);
    expect(await run({ name: 'relaxed', top: 50, gap: 1 })).toBeGreaterThan(exact);
  });

  if (few) return; // what follows happens before and behind the device

  test('finished answers teach a suffix cache', async () => {
    const cache = new SuffixCache();
    const speculation = { drafter: suffix({ cache, minProb: 0 }), adaptive: false };
    const options = { temperature: 0, maxTokens: 60, speculation };
    const first = await generate(prompts[0], options);
    const second = await generate(prompts[0], options);
    expect(second.tokens).toEqual(first.tokens);
    expect(second.speculation!.tokensPerRound).toBeGreaterThan(first.speculation!.tokensPerRound);
    cache.dispose();
  });

  test.each<[string, object, RegExp]>([
    ['no drafter', {}, /drafter/],
    ['a name', { drafter: 'ngram' }, /drafter/],
    ['too long', { drafter: nGram(), maxDraft: 65 }, /maxDraft/],
    ['no verifier', { drafter: nGram(), verifier: 'lossy' }, /verifier/],
    ['a setting', { drafter: nGram(), verifier: { name: 'typical', epsilon: 2 } }, /epsilon/],
    ['a misspelling', { drafter: nGram(), maxdraft: 3 }, /maxdraft/],
  ])('bad options: %s', (_, speculation, message) => {
    const session = model.createSession();
    expect(() => session.generate('a', { speculation } as GenerateOptions)).toThrow(message);
    session.dispose();
  });

  test('a drafter that fails ends the generation with its error, and the session stays usable', async () => {
    const failing: Drafter = {
      name: 'failing',
      start: () => ({
        accept: () => {},
        draft: () => {
          throw new Error('no drafts today');
        },
        dispose: () => {},
      }),
    };
    const session = model.createSession();
    await expect(session.generate('a', { speculation: { drafter: failing } }).next()).rejects.toThrow(
      'no drafts today',
    );
    const again = await session.generate('a', { maxTokens: 3 }).next();
    expect(again.done).toBe(false);
    session.dispose();
  });

  test('a drafter that fails when all is said costs a warning, not the answer', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    let disposed = 0;
    const failing: Drafter = {
      name: 'failing',
      start: () => ({
        accept: () => {},
        draft: () => ({ tokens: new Int32Array(), parents: new Int32Array(), scores: new Float32Array() }),
        finish: () => {
          throw new Error('nothing learned');
        },
        dispose: () => disposed++,
      }),
    };
    const { tokens } = await generate('Once', { maxTokens: 4, speculation: { drafter: failing } });
    expect(tokens).toHaveLength(4);
    expect(warn).toHaveBeenCalledWith('The drafter failing could not learn from an answer: nothing learned');
    warn.mockRestore();
    expect(disposed).toBe(1);
  });
});
