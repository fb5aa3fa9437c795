// Trees of one shape by a second model: lossless, and as many tokens as the shape promises.
import { AcceptanceProfile, draftTree } from '../../../lib/index.js';
import type { GenerateOptions, GenerateResult, Model } from '../../../lib/index.js';
import { modelOn } from '../../fixtures/model-on.js';
import { testDevices } from '../../ops/executors.js';
import { asking } from './setting.js';

describe.each(testDevices())('on %s', (device) => {
  const few = device !== 'cpu';
  let model: Model;
  let small: Model;
  beforeAll(async () => {
    [model, small] = await Promise.all([0, 1].map(() => modelOn(device)));
  });
  afterAll(() => [model, small].forEach((one) => one.dispose()));

  async function generate(prompt: string, options: GenerateOptions): Promise<GenerateResult> {
    using session = model.createSession();
    const pieces = session.generate(prompt, options);
    for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
  }

  test('given trees and learned ones leave the text as it is', async () => {
    const profile = new AcceptanceProfile();
    for (const options of [
      { temperature: 0, maxTokens: few ? 8 : 40 },
      { temperature: 1, topK: 0, topP: 1, minP: 0, seed: 3, maxTokens: few ? 8 : 40 },
    ]) {
      const plain = await generate('Once upon a time', options);
      for (const drafter of [
        draftTree(small, { tree: few ? [-1, -1, 0, 2] : [-1, -1, 0, 0, 1, 2], temperature: 0 }),
        draftTree(small, { profile, temperature: 0 }),
      ]) {
        for (const adaptive of few ? [false] : [true, false]) {
          const speculation = { drafter, adaptive, maxDraft: few ? 2 : 3, maxNodes: few ? 5 : 9 };
          const { tokens } = await generate('Once upon a time', { ...options, speculation });
          expect(tokens).toEqual(plain.tokens);
        }
      }
    }
    expect(profile.cycles).toBeGreaterThan(few ? 3 : 20);
  });

  test('rounds go on without JavaScript: the same texts, and the profile knows as much', async () => {
    const taught = new AcceptanceProfile('made up');
    for (let i = 0; i < 63; i++) {
      const rank = [0, 1, 0, 2, 0, 1, 3][i % 7];
      taught.record([0, 1, 2].map((depth) => ({ depth, children: 4, rank })));
    }
    const penalties = { temperature: 0.8, seed: 6, repetitionPenalty: 1.3, topP: 0.9 };
    for (const options of few ? [penalties] : [{ temperature: 0 }, { temperature: 1, seed: 5 }, penalties]) {
      const results = [];
      const asked = [0, 0];
      for (const isNative of [true, false]) {
        const profile = new AcceptanceProfile('made up', taught.toJSON());
        const say = async (prompt: string, maxTokens: number): Promise<GenerateResult> => {
          const drafter = asking(draftTree(small, { profile }), isNative, () => asked[isNative ? 0 : 1]++);
          const speculation = { drafter, adaptive: false, maxDraft: 3, maxNodes: few ? 6 : 9 };
          return generate(prompt, { ...options, maxTokens, speculation });
        };
        // The second one with trees by what the first one has taught, the others together.
        const texts = [await say('Once upon a time', few ? 16 : 120), await say('Tom', few ? 8 : 40)];
        if (!few) texts.push(...(await Promise.all(['One day', 'sort: 5 3 9'].map((prompt) => say(prompt, 50)))));
        results.push({
          tokens: texts.map(({ tokens }) => tokens),
          rounds: texts.map(({ speculation: books }) => [books!.rounds, books!.drafted, books!.accepted]),
          profile: profile.toJSON(),
        });
      }
      const [own, other] = results.map(({ profile: { a, n, cycles }, ...rest }) => ({
        ...rest,
        cycles,
        n,
        a: a.map((row) => row.map((rate) => Number(rate.toFixed(9)))), // sums of shares, in the order of ends
      }));
      expect(own).toEqual(other);
      expect(own.cycles).toBeGreaterThan(taught.cycles);
      const rounds = own.rounds.reduce((sum, [count]) => sum + count, 0);
      expect(asked[0]).toBeLessThan(rounds / 2);
      expect(asked[1]).toBeGreaterThan(rounds / 2);
    }
  });

  test('a profile that never saw a token kept drafts no trees', async () => {
    const hopeless = new AcceptanceProfile('made up');
    for (let i = 0; i < 64; i++) hopeless.record([{ depth: 0, children: 4, rank: -1 }]);
    const plain = await generate('Tom', { temperature: 0, maxTokens: 9 });
    const drafter = draftTree(small, { profile: hopeless });
    const speculation = { drafter, adaptive: false, maxDraft: 2, maxNodes: 4 };
    const { tokens, speculation: books } = await generate('Tom', { temperature: 0, maxTokens: 9, speculation });
    expect(tokens).toEqual(plain.tokens);
    expect(books!.rounds).toBeGreaterThan(6);
    expect(books!.drafted).toBeLessThan(3); // a chain, of the last three tokens
  });

  if (few) return; // what follows is of profiles and options, whatever computes

  test('a drafter that is always right is given a chain; one that draws gets as much as its profile says', async () => {
    const right = new AcceptanceProfile();
    const drafter = draftTree(small, { profile: right });
    const say = (options: GenerateOptions): Promise<GenerateResult> =>
      generate('Once upon a time', {
        maxTokens: 240,
        ...options,
        speculation: { drafter, adaptive: false, maxDraft: 4, maxNodes: 8 },
      });
    for (let i = 0; i < 20 && right.cycles < 64; i++) await say({ temperature: 0 });
    const { speculation } = await say({ temperature: 0 });
    expect(right.acceptance()).toEqual([
      [1, 0],
      [1, 0],
      [1, 0],
      [1, 0],
    ]);
    expect([...right.shape(4, 8).parents]).toEqual([-1, 0, 1, 2]);
    expect(speculation!.tokensPerRound).toBeGreaterThan(4.8);

    const profile = new AcceptanceProfile();
    const drawing = draftTree(small, { profile, temperature: 1.6, timed: true });
    let tokens = 0;
    for (let seed = 0; seed < 8; seed++) {
      const options = { temperature: 1, topK: 0, topP: 1, minP: 0, seed, maxTokens: 120 };
      const shape = { drafter: drawing, adaptive: false, maxDraft: 3, maxNodes: 10 };
      const result = await generate('Tom', { ...options, speculation: shape });
      tokens += result.speculation!.tokensPerRound / 8;
    }
    const { a, c, level } = profile.toJSON();
    expect(a[0][0]).toBeGreaterThan(0.2);
    expect(c.some((ms) => ms !== null && ms > 0)).toBe(true);
    expect(level).toBeGreaterThan(0);
    expect(tokens).toBeGreaterThan(1 + a[0][0]);
  });

  test('wrong options are named', () => {
    expect(() => draftTree(small, { tree: [0] })).toThrow(/parent/);
    expect(() => draftTree(small, { profile: {} as AcceptanceProfile })).toThrow(/profile/);
    expect(() => draftTree(small, { profile: '/nowhere/profile.json' })).toThrow(/nowhere/);
    expect(() => draftTree({} as Model)).toThrow(/model/);
  });
});
