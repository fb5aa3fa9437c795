// Lookahead drafts: the target's text as it is without, and a window whose guesses are what the target says.
import { lookahead } from '../../../lib/index.js';
import type { Drafter, GenerateOptions, GenerateResult, Model, Prompt } from '../../../lib/index.js';
import { LookaheadDrafter } from '../../../lib/decode/speculation/drafters/lookahead.js';
import type { DraftProbe } from '../../../lib/decode/speculation/drafter.js';
import { modelOn } from '../../fixtures/model-on.js';
import { testDevices } from '../../ops/executors.js';

describe.each(testDevices())('on %s', (device) => {
  const few = device !== 'cpu';
  let model: Model;
  beforeAll(async () => {
    model = await modelOn(device, 1, { threads: 2 });
  });
  afterAll(() => model.dispose());

  async function generate(prompt: Prompt, options: GenerateOptions): Promise<GenerateResult> {
    using session = model.createSession();
    const pieces = session.generate(prompt, options);
    for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
  }

  const prompts = ['Once upon a time', 'Tim had a red ball. He', '"Hello," said the', 'red blue red blue red', ''];
  const sampling: [string, GenerateOptions][] = [
    ['greedy', { temperature: 0 }],
    ['sampled', { temperature: 0.8, seed: 7 }],
    ['greedy with penalties', { temperature: 0, repetitionPenalty: 1.2, frequencyPenalty: 0.2 }],
  ];

  test.each(sampling)('the text without drafts: %s', async (_, options) => {
    let accepted = 0;
    const maxTokens = few ? 6 : 30;
    for (const prompt of few ? prompts.slice(3, 4) : prompts) {
      const plain = await generate(prompt, { ...options, maxTokens });
      const shapes = [
        [
          { adaptive: false, maxDraft: 4 },
          { n: 3, window: 3, candidates: 2 },
        ],
        [{ adaptive: false, maxDraft: 4, maxNodes: 28 }, {}],
        [
          { adaptive: false, maxDraft: 6, maxNodes: 40 },
          { n: 7, window: 12, seed: false },
        ],
        [
          { adaptive: false, maxDraft: 1 },
          { n: 2, window: 1, candidates: 1 },
        ],
        [{ maxNodes: 30 }, {}],
      ] as const;
      for (const [shape, own] of few ? shapes.slice(0, 1) : shapes) {
        const speculation = { drafter: lookahead(own), ...shape };
        const result = await generate(prompt, { ...options, maxTokens, speculation });
        expect(result.tokens).toEqual(plain.tokens);
        accepted += result.speculation!.accepted;
      }
    }
    if (!few) expect(accepted).toBeGreaterThan(5);
    expect(model.memoryUsage().kv).toBe(0);
  });

  test('after each row of the window’s last level: what the target says to the tokens that this row sees', async () => {
    const rounds: { text: number[]; probe: DraftProbe; said: Int32Array }[] = [];
    const watching: Drafter = {
      name: 'watching',
      start() {
        const own = new LookaheadDrafter({ n: 4, window: 4 });
        const text: number[] = [];
        let probe: DraftProbe | undefined;
        return {
          accept(tokens) {
            text.push(...tokens);
            own.accept(tokens);
          },
          draft(most, nodes) {
            const draft = own.draft(most, nodes);
            probe = draft.probe;
            return draft;
          },
          probed(said) {
            rounds.push({ text: [...text], probe: probe as DraftProbe, said });
            own.probed(said);
          },
          dispose: () => own.dispose(),
        };
      },
    };
    const speculation = { drafter: watching, adaptive: false, maxDraft: 3, maxNodes: 9 };
    await generate('Once upon a time', { temperature: 0, maxTokens: few ? 8 : 24, speculation });
    expect(rounds.length).toBeGreaterThan(few ? 2 : 6);
    for (const { text, probe, said } of rounds) {
      expect(said).toHaveLength(4);
      for (const [column, output] of probe.outputs.entries()) {
        const path: number[] = [];
        for (let row = output; row >= 0; row = probe.parents[row]) path.unshift(probe.tokens[row]);
        const plain = await generate(Int32Array.from([...text, ...path]), { temperature: 0, maxTokens: 1 });
        // An end of the answer is not among its tokens.
        if (plain.tokens.length > 0) expect(said[column]).toBe(plain.tokens[0]);
      }
    }
  });

  test('runs go on by themselves with drafts and probes, and these are those of rounds that JavaScript asks for', async () => {
    const drafts: number[] = [];
    const watched = (asks: boolean): Drafter => ({
      name: 'watched',
      start() {
        const own = new LookaheadDrafter({ n: 3, window: 3 });
        const draft = jest.spyOn(own, 'draft');
        return {
          ...(asks ? {} : { native: own.native, probeRows: own.probeRows }),
          accept: (tokens) => own.accept(tokens),
          draft: (most, nodes) => own.draft(most, nodes),
          probed: (tokens) => own.probed(tokens),
          dispose() {
            drafts.push(draft.mock.calls.length);
            own.dispose();
          },
        };
      },
    });
    const job = async (asks: boolean, prompt: string, seed: number): Promise<object> => {
      const speculation = { drafter: watched(asks), adaptive: false, maxDraft: 3, maxNodes: 6 };
      const { tokens, speculation: went } = await generate(prompt, { seed, maxTokens: few ? 12 : 60, speculation });
      const { rounds, drafted, accepted, acceptanceByPosition } = went!;
      return { tokens, rounds, drafted, accepted, acceptanceByPosition };
    };
    for (const prompt of few ? prompts.slice(3, 4) : prompts) {
      drafts.length = 0;
      const [asked, own] = [await job(true, prompt, 5), await job(false, prompt, 5)];
      expect(own).toEqual(asked);
      // Once for each run, and not for each round.
      expect(drafts[1]).toBeLessThan(few ? 4 : 6);
      expect(drafts[0]).toBeGreaterThan(drafts[1]);
    }
    // Sequences in one run, whose probes lie between their rows.
    const together = (asks: boolean): Promise<object[]> =>
      Promise.all(prompts.slice(1, few ? 3 : 4).map((prompt, i) => job(asks, prompt, i)));
    const tokensOf = (results: object[]): unknown[] => results.map((one) => (one as GenerateResult).tokens);
    expect(tokensOf(await together(false))).toEqual(tokensOf(await together(true)));
    expect(model.memoryUsage().kv).toBe(0);
  });

  if (few) return;

  test('many at once, some without: each as if alone', async () => {
    const job = (i: number): Promise<GenerateResult> =>
      generate(prompts[i % prompts.length], {
        ...sampling[i % 2][1],
        maxTokens: 15 + i,
        ...(i % 3 === 0
          ? {}
          : { speculation: { drafter: lookahead(), adaptive: false, maxDraft: 4, maxNodes: 12 + i } }),
      });
    const alone: (readonly number[])[] = [];
    for (let i = 0; i < 8; i++) alone.push((await job(i)).tokens);
    const together = await Promise.all(Array.from({ length: 8 }, (_, i) => job(i)));
    expect(together.map(({ tokens }) => tokens)).toEqual(alone);
  });
});

test('the window: levels fill, columns move with the text, and n-grams come out', () => {
  const drafter = new LookaheadDrafter({ n: 3, window: 3, candidates: 2, seed: false });
  drafter.accept(Int32Array.of(1, 2, 3));
  const first = drafter.draft(2, 8);
  expect(first.tokens).toHaveLength(0);
  expect(first.probe).toEqual({
    tokens: Int32Array.of(1, 2, 3),
    parents: Int32Array.of(-1, 0, 1),
    outputs: Int32Array.of(0, 1, 2),
  });
  drafter.probed(Int32Array.of(11, 12, 13));
  drafter.accept(Int32Array.of(2)); // one token: the first column is over
  expect(drafter.draft(2, 8).probe).toEqual({
    tokens: Int32Array.of(2, 3, 3, 12, 13, 3),
    parents: Int32Array.of(-1, 0, 1, 0, 1, 2),
    outputs: Int32Array.of(3, 4, 5),
  });
  drafter.probed(Int32Array.of(22, 23, 24));
  drafter.accept(Int32Array.of(2)); // n-grams 2 12 22, 3 13 23 and 3 3 24 come out; level 0 goes, so columns stay
  const draft = drafter.draft(2, 8);
  expect([...draft.tokens]).toEqual([12, 22]);
  expect(draft.probe!.tokens).toEqual(Int32Array.of(12, 13, 3, 22, 23, 24));
  drafter.probed(Int32Array.of(-1, 0, 0)); // something failed: nothing is learned from it
  drafter.accept(Int32Array.of(12, 22, 3));
  const wide = drafter.draft(2, 8);
  expect([...wide.tokens]).toEqual([3, 24, 13, 23]); // the newest first
  expect([...wide.parents]).toEqual([-1, 0, -1, 2]);
  expect([...drafter.draft(2, 2).tokens]).toEqual([3, 24]);
  expect(wide.scores.every((score, i) => i % 2 === 0 || score <= wide.scores[i - 1])).toBe(true);
});

test('options', () => {
  expect(() => lookahead({ n: 1 })).toThrow(/`n`/);
  expect(() => lookahead({ window: 65 })).toThrow(/window/);
  expect(() => lookahead({ windows: 7 } as object)).toThrow(
    expect.objectContaining({ remedy: 'Did you mean `window`?' }),
  );
});
