// Answers under a constraint: every drafter and verifier says what plain decoding says under it, in sessions that are forked, rolled
// back and left, and on the emulated card; what is said is allowed; and errors of a constraint are its caller's.
import { embeddedModelPath, loadModel, tokenMask, VivaceError } from '../../../lib/index.js';
import type { Constraint, GenerateOptions, Verifier } from '../../../lib/index.js';
import { answer, prompts, setUp, smallModelPath, type Setting } from './setting.js';

let setting: Setting;
beforeAll(async () => {
  setting = await setUp(embeddedModelPath(), smallModelPath, prompts(2));
});
afterAll(() => setting.dispose());

/** Every second token, which ones depends on all tokens so far; the answer may never end. */
const alternating = (vocab: number): Constraint<number> => {
  const masks = [0, 1].map((rest) =>
    tokenMask(
      vocab,
      Array.from({ length: vocab }, (_, token) => token).filter((token) => token % 3 !== rest),
    ),
  );
  return { start: 0, allowed: (sum) => masks[sum % 2], advance: (sum, token) => sum + token };
};

function follows(constraint: Constraint<number>, tokens: readonly number[]): boolean {
  let state = constraint.start;
  return tokens.every((token) => {
    const mask = constraint.allowed(state);
    state = constraint.advance(state, token);
    return !mask || ((mask[token >> 5] >>> (token & 31)) & 1) === 1;
  });
}

const verifiers: readonly Verifier[] = ['lossless', 'block'];
const sampled: GenerateOptions = { temperature: 0.9, seed: 5 };

test('drafts of every kind say what is said without them', async () => {
  const { model, names } = setting;
  const constraint = alternating(model.info.vocabSize);
  for (const options of [{ temperature: 0, repetitionPenalty: 1.2 }, sampled]) {
    using plain = model.createSession();
    const asked = { ...options, constraint, maxTokens: 24, logprobs: true };
    const expected = await answer(plain, 'red blue red blue red', asked);
    expect(follows(constraint, expected.tokens)).toBe(true);
    using free = model.createSession();
    const { tokens: unlimited } = await answer(free, 'red blue red blue red', { ...asked, constraint: undefined! });
    expect(unlimited).not.toEqual(expected.tokens);
    let accepted = 0;
    for (const name of names) {
      for (const verifier of verifiers) {
        using session = model.createSession();
        const speculation = { drafter: setting.make(name), verifier, maxDraft: 4, maxNodes: 8, adaptive: false };
        const result = await answer(session, 'red blue red blue red', { ...asked, speculation });
        const exact = options.temperature === 0 || !setting.draws(name);
        if (exact)
          expect({ name, verifier, tokens: result.tokens }).toEqual({ name, verifier, tokens: expected.tokens });
        else expect(follows(constraint, result.tokens)).toBe(true);
        accepted += result.speculation!.accepted;
      }
    }
    expect(accepted).toBeGreaterThan(20);
  }
  expect(setting.isEmpty()).toBe(true);
});

test('lossy verifiers keep nothing that is forbidden', async () => {
  const { model } = setting;
  const constraint = alternating(model.info.vocabSize);
  const head = {
    weights: new Float32Array(256),
    bias: 9, // it likes everything
    threshold: 0.5,
    thresholds: [],
    kind: 'judge' as const,
    target: '',
    targetHash: '',
  };
  for (const verifier of [
    { name: 'judge', head },
    { name: 'reflective', autoSkip: false, rule: { name: 'judge', head } },
    { name: 'typical', epsilon: 0.01 },
    { name: 'relaxed', top: 50, gap: 1 },
  ] as const) {
    using session = model.createSession();
    const speculation = { drafter: setting.make('draft-model'), verifier, maxDraft: 5, adaptive: false };
    const { tokens } = await answer(session, 'Once upon', { ...sampled, constraint, maxTokens: 30, speculation });
    expect({ verifier, follows: follows(constraint, tokens) }).toEqual({ verifier, follows: true });
  }
});

test('rolled back, forked and left in the middle, an answer goes on as a plain one does', async () => {
  const { model } = setting;
  const constraint = alternating(model.info.vocabSize);
  using plain = model.createSession();
  using drafted = model.createSession();
  const options = { temperature: 0, constraint, maxTokens: 12 };
  const speculation = { drafter: setting.make('draft-model'), adaptive: false };
  const both = async (text: string): Promise<void> => {
    const [a, b] = [await answer(plain, text, options), await answer(drafted, text, { ...options, speculation })];
    expect(b.tokens).toEqual(a.tokens);
  };
  await both('Once upon a time');
  for (const session of [plain, drafted]) session.rollback(5);
  await both('');
  const pieces = drafted.generate(' and', { ...options, maxTokens: 40, speculation });
  await pieces.next();
  using forked = drafted.fork();
  await pieces.return(undefined as never);
  const rest = { temperature: 0, constraint, maxTokens: 8 };
  using other = model.createSession();
  await other.forward(forked.tokens);
  const expected = await answer(other, '', rest);
  expect((await answer(forked, '', { ...rest, speculation })).tokens).toEqual(expected.tokens);
});

test('sessions with and without constraints share rounds', async () => {
  const { model } = setting;
  const constraint = alternating(model.info.vocabSize);
  const asked = (limited: boolean): GenerateOptions => ({
    ...sampled,
    maxTokens: 15,
    ...(limited ? { constraint } : {}),
  });
  const alone = await Promise.all([true, false].map((limited) => answerOnce('Ben said', asked(limited))));
  const together = await Promise.all([true, false, true].map((limited) => answerOnce('Ben said', asked(limited))));
  expect(together).toEqual([alone[0], alone[1], alone[0]]);
  async function answerOnce(prompt: string, options: GenerateOptions): Promise<readonly number[]> {
    using session = model.createSession();
    return (await answer(session, prompt, options)).tokens;
  }
});

test('a constraint that ends an answer, one that leaves nothing, and ones that are wrong', async () => {
  const { model } = setting;
  const size = model.info.vocabSize;
  const [end] = model.tokenizer.endOfGeneration;
  const counting: Constraint<number> = {
    start: 0,
    allowed: (count) => (count < 3 ? undefined : tokenMask(size, [end])),
    advance: (count) => count + 1,
  };
  const speculation = { drafter: setting.make('draft-model'), adaptive: false };
  for (const more of [{}, { speculation }]) {
    using session = model.createSession();
    const result = await answer(session, 'Once', { temperature: 0, constraint: counting, ...more });
    expect([result.finishReason, result.tokens.length]).toEqual(['stop', 3]);
    const wrong: [unknown, RegExp][] = [
      [{ ...counting, allowed: () => new Uint32Array(Math.ceil(size / 32)) }, /constraint bans every token/],
      [{ ...counting, allowed: () => new Uint32Array(1) }, /a Uint32Array of at least/],
      [{ ...counting, allowed: () => [1] }, /a Uint32Array of at least/],
      [{ ...counting, advance: () => fail('no such state') }, /no such state/],
    ];
    for (const [constraint, message] of wrong) {
      const asked = { temperature: 0, maxTokens: 8, constraint: constraint as Constraint, ...more };
      await expect(answer(session, ' upon', asked)).rejects.toThrow(message);
    }
    expect((await answer(session, '', { temperature: 0, maxTokens: 2 })).tokens).toHaveLength(2);
    expect(() => session.generate('a', { constraint: { start: 0 } as never })).toThrow(VivaceError);
  }
});

const fail = (message: string): never => {
  throw new Error(message);
};

test('every piece says where its tokens come from', async () => {
  using session = setting.model.createSession();
  const speculation = { drafter: setting.make('draft-model'), adaptive: false };
  const origins: string[] = [];
  const pieces = session.generate('Once upon a time', { temperature: 0, maxTokens: 40, speculation });
  let tokens = 0;
  for (let next = await pieces.next(); ; next = await pieces.next()) {
    if (next.done) {
      const { accepted, rounds } = next.value.speculation!;
      const count = (origin: string): number => origins.filter((one) => one === origin).length;
      expect(origins).toHaveLength(tokens);
      expect(count('judge')).toBe(0);
      expect(count('draft')).toBeGreaterThan(10);
      expect([count('draft') <= accepted, count('model') <= rounds]).toEqual([true, true]);
      break;
    }
    origins.push(...next.value.origins!);
    tokens += next.value.tokens.length;
  }
  const plain = session.generate(' and', { maxTokens: 2 });
  expect((await plain.next()).value).not.toHaveProperty('origins');
  await plain.return(undefined as never);
});

test('on the emulated card, too', async () => {
  const card = await loadModel(embeddedModelPath(), { device: 'cuda-emulated' });
  try {
    const constraint = alternating(card.info.vocabSize);
    for (const options of [{ temperature: 0 }, sampled]) {
      const asked = { ...options, constraint, maxTokens: 4 };
      using plain = card.createSession();
      const expected = await answer(plain, 'red blue red', asked);
      expect(follows(constraint, expected.tokens)).toBe(true);
      using session = card.createSession();
      const speculation = { drafter: setting.make('n-gram'), adaptive: false, maxDraft: 3 };
      const { tokens } = await answer(session, 'red blue red', { ...asked, speculation });
      expect(tokens).toEqual(expected.tokens);
    }
  } finally {
    card.dispose();
  }
}, 120_000);
