// Where in an answer a lossy verifier is in use: by the marks of thinking, or by what a caller says of the text.
import { Whereabouts } from '../../../lib/decode/speculation/where.js';
import { embeddedModelPath, loadModel, nGram } from '../../../lib/index.js';
import type { Drafter, GenerateOptions, GenerateResult, Model, Where } from '../../../lib/index.js';

let model: Model;
beforeAll(async () => {
  model = await loadModel(embeddedModelPath(), { threads: 1 });
});
afterAll(() => model.dispose());

test('marks of thinking are found wherever tokens end, in prompts too', () => {
  const texts = ['A <think>so', ' it may be', '</think> yes', ' <thi', 'nk>again', '</', 'think', '>', ' end <think'];
  const inside = [true, true, false, false, true, true, true, false, false];
  for (const where of ['thinking', 'text', 'all'] as const) {
    const whereabouts = new Whereabouts(where, model.tokenizer);
    texts.forEach((text, i) => {
      whereabouts.accept(model.tokenizer.encode(text, { addSpecial: false }));
      expect([where, text, whereabouts.inside]).toEqual([
        where,
        text,
        where === 'all' || inside[i] === (where !== 'text'),
      ]);
    });
  }
  const heard: string[] = [];
  const asked = new Whereabouts((answer) => heard.push(answer) > 2, model.tokenizer);
  const say = (text: string): void => asked.accept(model.tokenizer.encode(text, { addSpecial: false }));
  say('the prompt');
  expect([asked.inside, (say(' one'), asked.inside), (say(' two'), asked.inside)]).toEqual([false, false, true]);
  expect(heard).toEqual(['', ' one', ' one two']);
});

async function generate(prompt: string, options: GenerateOptions): Promise<GenerateResult> {
  using session = model.createSession();
  const pieces = session.generate(prompt, options);
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}

test('second readings are made there alone', async () => {
  const lists = 'red dog red dog red dog red dog red dog';
  const read = async (prompt: string, reflectIn: Where): Promise<number> => {
    const verifier = { name: 'reflective', reflectIn, autoSkip: false, alpha: 0.1 } as const;
    const speculation = { drafter: nGram(), verifier, adaptive: false };
    const { speculation: went } = await generate(prompt, { temperature: 0, maxTokens: 60, speculation });
    expect(went!.draftedRounds).toBeGreaterThan(0);
    return went!.reflection!.rounds / went!.draftedRounds;
  };
  // Near the end of an answer a reading has no room.
  expect(await read(lists, 'all')).toBeGreaterThan(0.3);
  expect(await read(lists, 'thinking')).toBe(0);
  expect(await read(`<think> ${lists}`, 'thinking')).toBeGreaterThan(0.3);
  expect(await read(`<think> ${lists}`, 'text')).toBe(0);
  expect(await read(lists, (answer) => answer.length > 120)).toBeLessThan(await read(lists, 'all'));
  expect(await read(lists, () => false)).toBe(0);
});

test('relaxed within thinking: elsewhere the law is the model’s, seed for seed', async () => {
  const sampling = { temperature: 1, topK: 0, topP: 1, minP: 0, seed: 4, maxTokens: 40 } as const;
  /** Drafts what is often the second choice. */
  const drafter: Drafter = {
    name: 'commas',
    start: () => ({
      accept: () => undefined,
      draft: () => ({
        tokens: model.tokenizer.encode(', and', { addSpecial: false }).slice(0, 2),
        parents: Int32Array.of(-1, 0),
        scores: Float32Array.of(0.5, 0.4),
      }),
      dispose: () => undefined,
    }),
  };
  const run = async (prompt: string, within?: Where): Promise<number[]> => {
    const verifier = { name: 'relaxed', top: 200, gap: 1, ...(within ? { within } : {}) } as const;
    const result = await generate(prompt, { ...sampling, speculation: { drafter, verifier, adaptive: false } });
    return [...result.tokens];
  };
  const prompt = 'Once upon a time';
  const plain = [...(await generate(prompt, sampling)).tokens];
  expect(await run(prompt, 'thinking')).toEqual(plain);
  expect(await run(prompt, 'text')).toEqual(await run(prompt));
  expect(await run(prompt)).not.toEqual(plain);
  await expect(run(prompt, 'outside' as 'text')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('runs go on by themselves until a mark may change the rule', async () => {
  const lists = 'red dog red dog red dog red dog red dog';
  const marks = [...model.tokenizer.encode('</think>', { addSpecial: false })];
  const drafts = { native: 0, asked: 0 };
  const run = async (kind: 'native' | 'asked', within: Where, prompt: string, say: boolean): Promise<object> => {
    const watched: Drafter = {
      name: 'watched',
      start(context) {
        const own = nGram().start(context);
        return {
          ...(kind === 'native' ? { native: own.native } : {}),
          accept: (tokens) => own.accept(tokens),
          draft(...most) {
            drafts[kind]++;
            return own.draft(...most);
          },
          dispose: () => own.dispose(),
        };
      },
    };
    const verifier = { name: 'relaxed', top: 200, gap: 1, within } as const;
    // The marks are drawn now and then, so that the rule changes within an answer.
    const logitBias = say ? Object.fromEntries(marks.map((token) => [token, 6])) : {};
    const options = { temperature: 1, topK: 0, topP: 1, minP: 0, seed: 9, maxTokens: 80, logitBias };
    const speculation = { drafter: watched, verifier, adaptive: false, maxDraft: 4 };
    const { tokens, speculation: went } = await generate(prompt, { ...options, speculation });
    return { tokens, accepted: went!.accepted };
  };
  for (const within of ['thinking', 'text'] as const)
    for (const say of [false, true])
      for (const prompt of [lists, `<think> ${lists}`]) {
        const own = await run('native', within, prompt, say);
        expect(own).toEqual(await run('asked', within, prompt, say));
      }
  expect(drafts.native).toBeLessThan(drafts.asked);
  // A function is asked before every draft.
  drafts.native = 0;
  await run('native', () => true, lists, false);
  expect(drafts.native).toBeGreaterThan(10);
});
