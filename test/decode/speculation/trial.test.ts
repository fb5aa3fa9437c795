// Drafters that save: a model reads the end of a prompt, and all of it when something was kept, a head the end. Answers are the
// plain ones.
import { dirname, join } from 'node:path';
import { draftModel, eagle, embeddedModelPath, loadModel } from '../../../lib/index.js';
import type { Drafter, GenerateOptions, Model } from '../../../lib/index.js';
import type { GenerationDrafter } from '../../../lib/decode/speculation/drafter.js';
import { TrialDrafter } from '../../../lib/decode/speculation/drafters/trial-drafter.js';
import { answer, smallModelPath } from '../../session/speculation/setting.js';

/** Knows what it was told. */
class Told implements GenerationDrafter {
  readonly texts: number[][] = [];
  isDisposed = false;
  accept(tokens: Int32Array): void {
    this.texts.push([...tokens]);
  }
  draft(): never {
    throw new Error('nobody drafts');
  }
  dispose(): void {
    this.isDisposed = true;
  }
}

const prompt = Int32Array.from({ length: 100 }, (_, i) => i);
const begun = (isLong: boolean): { trial: TrialDrafter; told: Told[] } => {
  const told = [new Told()];
  const trial = new TrialDrafter(
    told[0],
    () => {
      told.push(new Told());
      return told[told.length - 1];
    },
    () => isLong,
  );
  return { trial, told };
};

test('without a reason to save, and of a short prompt, all is read', () => {
  for (const isLong of [true, false]) {
    const { trial, told } = begun(isLong);
    if (!isLong) trial.saves();
    trial.accept(prompt);
    expect(told.map(({ texts }) => texts)).toEqual([[[...prompt]]]);
    expect(trial.horizon).toBe(Infinity);
  }
});

test('the end of the prompt, until something is kept: then all of the text, by another drafter', () => {
  const { trial, told } = begun(true);
  trial.saves();
  trial.accept(prompt);
  expect(told[0].texts).toEqual([[...prompt.subarray(-16)]]);
  const kept = [0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0];
  const said = [...prompt];
  kept.forEach((count, round) => {
    expect(trial.horizon).toBe((round < 4 ? 4 : 12) - round);
    expect(trial.ready()).toBeUndefined();
    const tokens = Int32Array.from({ length: 1 + count }, (_, i) => 200 + 10 * round + i);
    trial.hearRound(tokens, count);
    said.push(...tokens);
    expect(told.length).toBe(1);
  });
  trial.ready();
  expect(told.length).toBe(2);
  expect(told[0].isDisposed).toBe(true);
  expect(told[1].texts).toEqual([said]);
  expect(trial.horizon).toBe(Infinity);
  trial.hearRound(Int32Array.of(301), 1);
  trial.ready();
  expect(told.length).toBe(2);
});

describe('with models', () => {
  let model: Model;
  let small: Model;
  beforeAll(async () => {
    model = await loadModel(embeddedModelPath(), { threads: 1, prefixCache: false });
    small = await loadModel(smallModelPath, { threads: 1 });
  });
  afterAll(() => [model, small].forEach((one) => one.dispose()));

  /** Its drafts are on trial from the start; what it reads is counted. */
  const saving = (begun: GenerationDrafter[], own = draftModel(small)): Drafter => {
    return {
      ...own,
      start(context) {
        const drafter = own.start(context);
        expect(drafter.native).toBeDefined();
        drafter.saves?.();
        begun.push(drafter);
        return drafter;
      },
    };
  };

  const text = 'Once upon a time there was a little girl. She had a red ball. '.repeat(12);

  test.each([
    ['chains', 6, 6],
    ['trees', 4, 16],
  ])(
    '%s: greedy answers to a long prompt are the plain ones, drafts of both kinds are kept',
    async (_, maxDraft, maxNodes) => {
      const asked: GenerateOptions = { temperature: 0, maxTokens: 100 };
      using plain = model.createSession();
      const expected = await answer(plain, text, asked);
      const begun: GenerationDrafter[] = [];
      using session = model.createSession();
      const speculation = { drafter: saving(begun), adaptive: false, maxDraft, maxNodes };
      const result = await answer(session, text, { ...asked, speculation });
      expect(result.tokens).toEqual(expected.tokens);
      expect(result.speculation!.accepted).toBeGreaterThan(20);
      expect(begun[0].horizon).toBe(Infinity); // it has passed
      expect(small.memoryUsage().kv).toBe(0);
    },
  );

  test('a head hears the end of the prompt alone', async () => {
    const asked: GenerateOptions = { temperature: 0, maxTokens: 100 };
    using head = eagle(model, join(dirname(embeddedModelPath()), 'vivace-tiny-eagle'));
    using plain = model.createSession();
    const expected = await answer(plain, text, asked);
    const kept: number[] = [];
    for (const drafter of [head, saving([], head)]) {
      using session = model.createSession();
      const result = await answer(session, text, { ...asked, speculation: { drafter, adaptive: false, maxDraft: 6 } });
      expect(result.tokens).toEqual(expected.tokens);
      kept.push(result.speculation!.accepted);
      // A second prompt, of whose text the target has the most in its cache already.
      const more = await answer(session, text, { ...asked, speculation: { drafter, adaptive: false, maxDraft: 6 } });
      expect(more.speculation!.accepted).toBeGreaterThan(20);
    }
    expect(kept[1]).toBeGreaterThan(0.7 * kept[0]); // features of other rows would foretell nothing
  });

  test('where nothing is kept, the prompt is not read', async () => {
    const begun: GenerationDrafter[] = [];
    const random = Int32Array.from({ length: 200 }, (_, i) => 300 + ((i * i * 7) % 40));
    const asked: GenerateOptions = { temperature: 50, topK: 0, topP: 1, minP: 0, seed: 3, maxTokens: 30 };
    using plain = model.createSession();
    const expected = await answer(plain, random, asked);
    using session = model.createSession();
    const result = await answer(session, random, {
      ...asked,
      speculation: { drafter: saving(begun), adaptive: false, verifier: 'match', maxDraft: 2 },
    });
    expect(result.tokens).toEqual(expected.tokens);
    expect(begun[0].horizon).toBeLessThan(Infinity); // it is still on trial
    expect(small.memoryUsage().kv).toBe(0);
  });

  test('several sessions at once', async () => {
    const asked: GenerateOptions = { temperature: 0, maxTokens: 60 };
    const texts = [text, `${text} Ben`, `Tom. ${text}`];
    const answers = await Promise.all(
      texts.map(async (one) => {
        using session = model.createSession();
        const speculation = { drafter: saving([]), adaptive: false, maxDraft: 6 };
        return await answer(session, one, { ...asked, speculation });
      }),
    );
    for (const [i, one] of texts.entries()) {
      using plain = model.createSession();
      expect(answers[i].tokens).toEqual((await answer(plain, one, asked)).tokens);
    }
    expect(small.memoryUsage().kv).toBe(0);
  });
});
