// What scale-probe and selfcheck measure: acceptance by groups of prompts, and drafters that are told wrong things in answers.
import { embeddedModelPath, measureAcceptance, selfCheck } from '../../../lib/index.js';
import type { Drafter } from '../../../lib/index.js';
import { answer, prompts, setUp, smallModelPath, type Setting } from './setting.js';

let setting: Setting;
beforeAll(async () => {
  setting = await setUp(embeddedModelPath(), smallModelPath, prompts(1));
});
afterAll(() => setting.dispose());
const few = prompts(6);

test('tokens per round are those of the answers, and of groups of them', async () => {
  const { model, make } = setting;
  const drafter = make('greedy draft-model');
  const got = await measureAcceptance({ model, drafter, prompts: few, maxTokens: 20, maxDraft: 3 });
  const each: number[] = [];
  let [rounds, accepted] = [0, 0];
  for (const prompt of few) {
    using session = model.createSession();
    const speculation = { drafter, maxDraft: 3, adaptive: false };
    const { speculation: went } = await answer(session, prompt, { temperature: 0, maxTokens: 20, speculation });
    each.push(1 + went!.accepted / went!.rounds);
    rounds += went!.rounds;
    accepted += went!.accepted;
  }
  expect(got.groups).toEqual(each);
  expect(got.accepted).toBe(1 + accepted / rounds);
  expect(got.accepted).toBeGreaterThan(1.5);
  // A setting tells measurements apart that must not be mixed.
  const other = await measureAcceptance({ model, drafter, prompts: few.slice(1), maxTokens: 20, maxDraft: 3 });
  expect(other.setting).not.toEqual(got.setting);
  await expect(measureAcceptance({ model, drafter, prompts: [] })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(measureAcceptance({ model, drafter, prompts: few, maxDraft: 0 })).rejects.toThrow(/maxDraft/);
});

test.each(['n-gram', 'draft-model', 'greedy draft-model', 'eagle', 'eagle-3', 'medusa'])(
  '%s drafts in the middle of an answer what it would draft anew',
  async (name) => {
    const { model, make } = setting;
    const result = await selfCheck({ model, drafter: make(name), prompts: few, maxTokens: 24, maxDraft: 4 });
    expect(result).toMatchObject({ differ: 0, agree: true });
    expect(result.places).toBeGreaterThan(12);
    expect(result.served).toBe(result.fresh);
    if (name !== 'n-gram') expect(result.served).toBeGreaterThan(0.2);
  },
);

test.each(['what was kept', 'the order of tokens'])('a drafter that is not told %s is found out', async (lost) => {
  const { model, make } = setting;
  const sound = make('greedy draft-model');
  const broken: Drafter = {
    name: 'broken',
    start(context) {
      const own = sound.start(context);
      let begun = false;
      return {
        accept(tokens) {
          if (!begun) own.accept(tokens);
          else own.accept(lost === 'what was kept' ? tokens.slice(-1) : tokens.slice().reverse());
          begun = true;
        },
        draft: (...sizes) => own.draft(...sizes),
        dispose: () => own.dispose(),
      };
    },
  };
  const result = await selfCheck({ model, drafter: broken, prompts: prompts(12), maxTokens: 32, maxDraft: 4 });
  expect(result.agree).toBe(false);
  expect(result.served).toBeLessThan(result.fresh - 0.05);
});
