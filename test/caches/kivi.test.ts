// Sessions whose keys are quantised by channel: the same text in any parts, after forks and rollbacks, and from shared pages.
import { resolveCache } from '../../lib/caches/resolve.js';
import {
  loadModel,
  lookahead,
  nGram,
  window,
  type GenerateOptions,
  type Model,
  type Session,
} from '../../lib/index.js';

const options: GenerateOptions = { maxTokens: 20, seed: 5, temperature: 0.8 };
const story = 'Once upon a time there was a small boat. It was old and the children of the village loved it. '.repeat(
  3,
);
const cache = { keyType: 'kivi', valueType: 'q4_0' } as const;

async function say(
  session: Session,
  text: string | ArrayLike<number>,
  more: GenerateOptions = options,
): Promise<number[]> {
  const iterator = session.generate(text, more);
  for (let next = await iterator.next(); ; next = await iterator.next()) if (next.done) return [...next.value.tokens];
}

let model: Model;
let expected: number[];
beforeAll(async () => {
  model = await loadModel('default', { threads: 2, device: 'cpu' });
  using session = model.createSession({ cache, prefixCache: false });
  expected = await say(session, story);
});
afterAll(() => model.dispose());

test('in parts, after a rollback into full pages, in a fork, beside others', async () => {
  using session = model.createSession({ cache, prefixCache: false });
  const tokens = [...model.tokenizer.encode(story)];
  await session.forward(tokens.slice(0, 40));
  await session.forward(tokens.slice(40, 70));
  await session.forward(model.tokenizer.encode(story.repeat(2)));
  session.rollback(session.length - 45);
  const fork = session.fork();
  expect(await Promise.all([say(session, tokens.slice(45)), say(fork, tokens.slice(45))])).toEqual([
    expected,
    expected,
  ]);
  session.rollback(options.maxTokens as number);
  expect(await say(session, [])).toEqual(expected);
  fork.dispose();
});

test('pages that others computed hold what would be computed', async () => {
  using first = model.createSession({ cache });
  expect(await say(first, story)).toEqual(expected);
  using second = model.createSession({ cache });
  expect(await say(second, story)).toEqual(expected);
  expect(second.lastResult?.usage.sharedTokens).toBeGreaterThan(31);
});

test.each([
  ['n-grams', nGram()],
  ['lookahead', lookahead()],
] as const)('drafts by %s change nothing, across the ends of pages', async (_, drafter) => {
  const logitBias = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
  for (const more of [{ temperature: 0 }, { temperature: 0.8, seed: 5 }]) {
    const asked = { maxTokens: 75, logitBias, ...more };
    using plain = model.createSession({ cache, prefixCache: false });
    const wanted = await say(plain, story, asked);
    for (const sizes of [{ maxDraft: 9 }, { maxDraft: 4, maxNodes: 40 }]) {
      using session = model.createSession({ cache, prefixCache: false });
      const speculation = { drafter, adaptive: false, ...sizes };
      expect(await say(session, story, { ...asked, speculation })).toEqual(wanted);
      expect(session.lastResult?.speculation?.drafted).toBeGreaterThan(20);
      // Draws are numbered from where an answer begins.
      const back = more.temperature > 0 ? 75 : 40;
      session.rollback(back);
      expect(await say(session, [], { ...asked, maxTokens: back, speculation })).toEqual(wanted.slice(-back));
    }
  }
});

test('what does not go together is refused with a reason', async () => {
  const refused = expect.objectContaining({ code: 'UNSUPPORTED_FEATURE', remedy: expect.any(String) as string });
  const policy = window({ sinks: 4, recent: 64, keyType: 'kivi' });
  expect(() => model.createSession({ cache: policy })).toThrow(refused);
  expect(() => model.createSession({ cache: { keyType: 'kivi', pageSize: 16 } })).toThrow(refused);
  using session = model.createSession({ cache });
  const reflective = { drafter: nGram(), verifier: { name: 'reflective' } } as const;
  await expect(say(session, 'A', { ...options, speculation: reflective })).rejects.toThrow(refused);
  await expect(session.save('/nowhere')).rejects.toThrow(refused);
  const card = { name: 'cuda', contextLength: 100 } as never;
  expect(() => resolveCache({ keyType: 'kivi' }, card)).toThrow(refused);
  expect(resolveCache({ keyType: 'q4_0', valueType: 'q4_0' }, card)).toMatchObject({ keyType: 'Q4_0' });
  expect(() => resolveCache({ valueType: 'kivi' as never }, card)).toThrow(/valueType/);
});
