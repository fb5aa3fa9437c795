// Sessions whose prompts are compressed: turns, drafts, forks, rolling back, what is refused, and memory.
import { loadModel, nGram, snapKv, type Model, type Session } from '../../../lib/index.js';

let model: Model;
beforeAll(async () => {
  model = await loadModel('default', { threads: 2 });
});
afterAll(() => model.dispose());

const cache = snapKv({ budget: 96, window: 16, pageSize: 16, keyType: 'f32', valueType: 'f32' });
const full = { pageSize: 16, keyType: 'f32', valueType: 'f32' } as const;
/** Long texts that repeat themselves here and there. */
const text = (length: number, from = 0): number[] =>
  Array.from({ length }, (_, i) => 10 + ((((i + from) % 61) * 37 + ((i + from) >> 5) * 11) % 900));

async function say(session: Session, prompt: readonly number[], maxTokens: number, options = {}): Promise<number[]> {
  for await (const _ of session.generate(prompt, { maxTokens, temperature: 0, ...options }));
  return [...(session.lastResult?.tokens ?? [])];
}

test('prompts that fit the budget say what the full cache says; of longer ones the first token', async () => {
  for (const [length, same] of [
    [90, 6],
    [700, 1],
  ]) {
    using whole = model.createSession({ cache: full });
    using kept = model.createSession({ cache });
    const wanted = await say(whole, text(length), 6);
    expect((await say(kept, text(length), 6)).slice(0, same)).toEqual(wanted.slice(0, same));
  }
});

test('turn after turn, memory stays that of the budget and what came since', async () => {
  const before = model.memoryUsage().kv;
  const pageBytes = model.estimateMemory({ keyType: 'f32', valueType: 'f32', contextLength: 16 }).kv;
  using session = model.createSession({ cache });
  for (let turn = 0; turn < 4; turn++) {
    await say(session, text(200 + turn, 100 * turn), 8);
    const pages = (model.memoryUsage().kv - before) / pageBytes;
    expect(pages).toBeGreaterThan(5.9);
    expect(pages).toBeLessThanOrEqual(7.1);
  }
  expect(session.length).toBeGreaterThan(800);
});

test('drafts are verified behind a compressed prompt, without changing a token', async () => {
  using plain = model.createSession({ cache });
  using drafted = model.createSession({ cache });
  for (const [length, from] of [
    [400, 0],
    [60, 400],
  ]) {
    const wanted = await say(plain, text(length, from), 40);
    expect(await say(drafted, text(length, from), 40, { speculation: { drafter: nGram(), adaptive: false } })).toEqual(
      wanted,
    );
  }
  expect(drafted.lastResult?.speculation?.accepted ?? 0).toBeGreaterThan(0);
});

test('forks go their own ways; answers are rolled back token by token, prompts as a whole', async () => {
  using session = model.createSession({ cache });
  const first = await say(session, text(400), 12);
  using fork = session.fork();
  const [one, two] = await Promise.all([say(session, text(200, 7), 8), say(fork, text(200, 7), 8)]);
  expect(two).toEqual(one);
  // Behind the prompt nothing is computed again, and says the same.
  using again = model.createSession({ cache });
  await say(again, text(400), 12);
  again.rollback(5);
  expect(await say(again, [], 5)).toEqual(first.slice(7));
  expect(again.lastResult?.usage.cachedTokens).toBe(400 + 7 - 1 + (again.length - 412));
  // Within it, all of it is, and compressed as if it were new.
  again.rollback(13);
  expect(await say(again, [text(400)[399]], 12)).toEqual(first);
  expect(again.lastResult?.usage.cachedTokens).toBe(0);
});

test('two prompts at the same time, and beside one that is not compressed', async () => {
  using alone = model.createSession({ cache });
  const wanted = await say(alone, text(500, 3), 10);
  const sessions = [500, 500, 80, 700].map((length) => ({ length, session: model.createSession({ cache }) }));
  const said = await Promise.all(sessions.map(({ length, session }) => say(session, text(length, 3), 10)));
  expect([said[0], said[1]]).toEqual([wanted, wanted]);
  for (const { session } of sessions) session.dispose();
});

test('an aborted prompt leaves the session usable, and pages go back', async () => {
  const before = model.memoryUsage().kv;
  const session = model.createSession({ cache });
  const abort = new AbortController();
  const run = say(session, text(900), 4, { signal: abort.signal });
  await new Promise((resolve) => setTimeout(resolve, 20));
  abort.abort();
  await run;
  using fresh = model.createSession({ cache });
  const wanted = await say(fresh, text(300, 5), 6);
  if (session.length > 0) session.rollback(session.length);
  expect(await say(session, text(300, 5), 6)).toEqual(wanted);
  session.dispose();
  fresh.dispose();
  expect(model.memoryUsage().kv).toBe(before);
});

test('a selection per query head takes as many times the memory as heads share keys', async () => {
  const each = snapKv({ budget: 96, window: 16, pageSize: 16, granularity: 'queryHead' });
  const one = snapKv({ budget: 96, window: 16, pageSize: 16 });
  const [shared, own] = [one, each].map((kind) => model.estimateMemory({ contextLength: 400, cache: kind }).kv);
  expect(own).toBe(2 * shared);
  const before = model.memoryUsage().kv;
  using session = model.createSession({ cache: each });
  using whole = model.createSession({ cache: { pageSize: 16 } });
  const wanted = await say(whole, text(400), 1);
  whole.dispose();
  expect((await say(session, text(400), 1))[0]).toBe(wanted[0]);
  expect(model.memoryUsage().kv - before).toBe(own);
});

test('what does not go together is refused with a reason', () => {
  for (const [options, message] of [
    [{ budget: 32, window: 32 }, /from 1 to 31 for `window`/],
    [{ kernel: 4 }, /an odd number/],
    [{ pooling: 'mean' }, /`pooling`/],
    [{ minPromptTokens: 5 }, /`minPromptTokens`/],
    [{ windowSize: 5 }, /Unknown option `windowSize`/],
  ] as const) {
    expect(() => snapKv(options as never)).toThrow(message);
  }
});
