// Sessions that share what has been computed: the same numbers to the last bit, and nobody sees what is not theirs.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { draftModel, eagle, embeddedModelPath, loadModel, lookahead, nGram } from '../../lib/index.js';
import type { CacheType, GenerateOptions, GenerateResult, Model, Session, SessionOptions } from '../../lib/index.js';
import { dropIdlePages } from '../../lib/decode/prefix-cache.js';
import { Engine } from '../../lib/engine.js';
import { VivaceError } from '../../lib/errors.js';
import { FakeExecutor } from '../session/fake-executor.js';

const greedy: GenerateOptions = { temperature: 0, maxTokens: 1 };
const beside = (name: string): string => join(embeddedModelPath(), '..', name);

let sharing: Model;
let alone: Model;
beforeAll(async () => {
  sharing = await loadModel('default', { threads: 1 });
  alone = await loadModel('default', { threads: 1, prefixCache: false });
});
beforeEach(() => sharing.prefixCache.clear());
afterEach(() => {
  expect(sharing.memoryUsage().kv).toBe(0);
  sharing.prefixCache.clear();
  expect(sharing.prefixCache.statistics()).toMatchObject({ pages: 0, bytes: 0 });
});
afterAll(() => {
  sharing.dispose();
  alone.dispose();
});

/** Tokens that no other first number gives. */
const text = (length: number, first = 300): number[] =>
  Array.from({ length }, (_, index) => 300 + ((first + 37 * index) % 1600));

async function say(
  session: Session,
  prompt: ArrayLike<number>,
  options: GenerateOptions = {},
): Promise<GenerateResult> {
  const pieces = session.generate(prompt, { ...greedy, ...options });
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}

/** What a new session says, and the logits after the token behind it. */
async function once(model: Model, prompt: ArrayLike<number>, options?: GenerateOptions, of?: SessionOptions) {
  using session = model.createSession(of);
  const { usage, tokens, speculation } = await say(session, prompt, options);
  const logits = await session.forward([300]);
  return { usage, tokens: [...tokens], logits: Buffer.from(logits.buffer), speculation };
}

test.each<CacheType>(['f16', 'q8_0', 'q4_0', 'f32'])(
  'prompts at every border of pages give the same bits (%s)',
  async (type) => {
    const of = { cache: { keyType: type, valueType: type } };
    const document = text(130);
    await once(sharing, document, {}, of);
    for (const [length, shared] of [
      [1, 0],
      [32, 0], // the last token is always computed
      [33, 32],
      [64, 32],
      [65, 64],
      [97, 96],
      [130, 128],
    ]) {
      // The prompt as it was, and with another end.
      for (const end of length > 3 ? [[], [271, 272, 273]] : [[]]) {
        const prompt = [...document.slice(0, length - end.length), ...end];
        const own = Math.floor((length - end.length) / 32) * 32;
        const got = await once(sharing, prompt, {}, of);
        const wanted = await once(alone, prompt, {}, of);
        expect(got.usage).toMatchObject({ cachedTokens: end.length > 0 ? own : shared });
        expect(got.usage.sharedTokens).toBe(got.usage.cachedTokens);
        expect(got.tokens).toEqual(wanted.tokens);
        expect(got.logits.equals(wanted.logits)).toBe(true);
      }
    }
  },
);

test('answers are shared, too, and figures tell', async () => {
  const before = sharing.prefixCache.statistics();
  using first = sharing.createSession();
  const prompt = text(20);
  const answer = await say(first, prompt, { maxTokens: 30 });
  const again = [...prompt, ...answer.tokens, 300];
  const got = await once(sharing, again);
  expect(got.usage).toEqual({ promptTokens: again.length, cachedTokens: 32, sharedTokens: 32, completionTokens: 1 });
  expect(got.logits.equals((await once(alone, again)).logits)).toBe(true);
  const { requests, hits, promptTokens, savedTokens, pages } = sharing.prefixCache.statistics();
  expect([requests - before.requests, hits - before.hits]).toEqual([2, 1]);
  expect([promptTokens - before.promptTokens, savedTokens - before.savedTokens]).toEqual([20 + again.length, 32]);
  expect(pages).toBe(Math.floor((again.length + 2) / 32));
  expect((await once(alone, again)).usage.sharedTokens).toBe(0);
  expect(alone.prefixCache.statistics()).toMatchObject({ requests: 0, pages: 0, limit: 0 });
});

test('sessions of one round share, each its own part', async () => {
  const document = text(100);
  await once(sharing, document);
  const prompts = [0, 31, 40, 64, 99].map((length) => [...document.slice(0, length), ...text(45, length)]);
  const run = (model: Model) => Promise.all(prompts.map((prompt) => once(model, prompt, { maxTokens: 6 })));
  const [got, wanted] = [await run(sharing), await run(alone)];
  expect(got.map(({ usage }) => usage.sharedTokens)).toEqual([0, 0, 32, 64, 96]);
  expect(got.map(({ tokens }) => tokens)).toEqual(wanted.map(({ tokens }) => tokens));
  got.forEach(({ logits }, index) => expect(logits.equals(wanted[index].logits)).toBe(true));
});

test('a session takes what others have behind its own past, and may write into it without their knowing', async () => {
  const document = text(100);
  using first = sharing.createSession();
  await say(first, document.slice(0, 40));
  await once(sharing, document);
  using other = alone.createSession();
  await say(other, document.slice(0, 40));
  // 41 tokens are there, of which 32 fill a page.
  first.rollback(1);
  other.rollback(1);
  expect((await say(first, document.slice(40))).usage).toMatchObject({ cachedTokens: 96, sharedTokens: 56 });
  await say(other, document.slice(40));
  expect(await first.forward([300])).toEqual(await other.forward([300]));
  // Back into a page that is published, and on with something else; then the same as a fork.
  for (const session of [first, other]) session.rollback(session.length - 70);
  using fork = first.fork();
  using otherFork = other.fork();
  expect(await first.forward(text(40, 5))).toEqual(await other.forward(text(40, 5)));
  expect(await fork.forward(text(40, 6))).toEqual(await otherFork.forward(text(40, 6)));
  const got = await once(sharing, [...document, 280]);
  expect(got.usage.sharedTokens).toBe(96);
  expect(got.logits.equals((await once(alone, [...document, 280])).logits)).toBe(true);
});

test('drafts behind shared pages; heads that read every row of the prompt get them computed', async () => {
  using small = await loadModel(beside('vivace-tiny-draft.gguf'), { threads: 1 });
  const prompt = [...sharing.tokenizer.encode('Once upon a time there was a small boat. It was old. '.repeat(4))];
  const wanted = await once(alone, prompt, { maxTokens: 40 });
  await once(sharing, prompt, { maxTokens: 40 });
  const shared = Math.floor((prompt.length - 1) / 32) * 32;
  using head = eagle(sharing, beside('vivace-tiny-eagle'));
  for (const [drafter, options] of [
    [nGram(), {}],
    [draftModel(small), {}],
    [draftModel(small), { maxDraft: 3, maxNodes: 12 }],
    [lookahead(), { maxDraft: 4, maxNodes: 28 }],
    [head, {}],
  ] as const) {
    const got = await once(sharing, prompt, { maxTokens: 40, speculation: { drafter, adaptive: false, ...options } });
    expect(got.usage.sharedTokens).toBe(drafter === head ? 0 : shared);
    expect(got.tokens).toEqual(wanted.tokens);
    expect(got.logits.equals(wanted.logits)).toBe(true);
    expect(got.speculation?.drafted).toBeGreaterThan(0);
  }
  // The small model had the prompt, too, after the first of its generations.
  expect(small.prefixCache.statistics()).toMatchObject({ requests: 2, hits: 1, savedTokens: shared });
  expect(small.memoryUsage().kv).toBe(0);
  const { speculation, ...salted } = { speculation: { drafter: draftModel(small) }, prefixCache: { salt: 'a' } };
  await once(sharing, prompt, { speculation }, salted);
  await once(sharing, prompt, { speculation, prefixCache: false });
  expect(small.prefixCache.statistics()).toMatchObject({ requests: 3, hits: 1 });
  // What a round with drafts kept is what a round without computes.
  sharing.prefixCache.clear();
  const drafted = {
    maxTokens: 40,
    speculation: { drafter: draftModel(small), adaptive: false, maxNodes: 12, maxDraft: 3 },
  };
  await once(sharing, prompt, drafted);
  const whole = [...prompt, ...wanted.tokens];
  const got = await once(sharing, whole);
  expect(got.usage.sharedTokens).toBe(Math.floor((whole.length - 1) / 32) * 32);
  expect(got.logits.equals((await once(alone, whole)).logits)).toBe(true);
});

test('only sessions of one salt share, and what shall not be shared is not', async () => {
  const prompt = text(70);
  const sharedBy = async (options: GenerateOptions, of?: SessionOptions): Promise<number> =>
    (await once(sharing, prompt, options, of)).usage.sharedTokens;
  expect(await sharedBy({}, { prefixCache: { salt: 'a' } })).toBe(0);
  expect(await sharedBy({}, { prefixCache: { salt: 'b' } })).toBe(0);
  expect(await sharedBy({}, { prefixCache: { salt: 'a' } })).toBe(64);
  expect(await sharedBy({ prefixCache: false }, { prefixCache: { salt: 'a' } })).toBe(0);
  expect(await sharedBy({ prefixCache: false })).toBe(0);
  expect(await sharedBy({}, { prefixCache: false })).toBe(0);
  expect(await sharedBy({})).toBe(0); // nobody of this salt has left anything
  expect(await sharedBy({})).toBe(64);
  // A request that keeps its text does so also when the session goes on.
  using session = sharing.createSession();
  const secret = text(70, 9);
  await say(session, secret, { prefixCache: false });
  await say(session, text(40));
  expect((await once(sharing, secret)).usage.sharedTokens).toBe(0);
  // Other pages and types are another cache.
  expect(await sharedBy({}, { cache: { pageSize: 16 } })).toBe(0);
  expect(await sharedBy({}, { cache: { pageSize: 16 } })).toBe(64);
  using salted = await loadModel('default', { threads: 1, prefixCache: { salt: 'c' } });
  await once(salted, prompt);
  expect((await once(salted, prompt)).usage.sharedTokens).toBe(64);
  expect((await once(salted, prompt, {}, { prefixCache: { salt: '' } })).usage.sharedTokens).toBe(0);
});

test('a saved session takes, and leaves nothing that a file said', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vivace-prefix-'));
  try {
    const file = join(folder, 'session');
    const document = text(100);
    {
      using session = alone.createSession();
      await say(session, document.slice(0, 69));
      await session.save(file);
    }
    {
      using restored = await sharing.restoreSession(file);
      await say(restored, text(40));
    }
    expect(sharing.prefixCache.statistics().pages).toBe(0);
    await once(sharing, document);
    using restored = await sharing.restoreSession(file);
    restored.rollback(1);
    const { usage } = await say(restored, document.slice(69));
    expect(usage).toMatchObject({ cachedTokens: 96, sharedTokens: 27 });
    expect(Buffer.from((await restored.forward([300])).buffer).equals((await once(alone, document)).logits)).toBe(true);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('what an aborted prompt, or a session that is disposed of in flight, has computed is not lost', async () => {
  const prompt = text(1000);
  const pageBytes = 32 * sharing.estimateMemory({}).kvPerToken;
  const controller = new AbortController();
  {
    using session = sharing.createSession();
    const pieces = session.generate(prompt, { ...greedy, signal: controller.signal });
    const ended = pieces.next();
    // Until the second part of the prompt has its memory.
    while (sharing.memoryUsage().kv <= 2 * pageBytes) await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    expect(await ended).toMatchObject({ done: true, value: { finishReason: 'abort' } });
    expect(session.length).toBe(0);
  }
  const { pages, bytes } = sharing.prefixCache.statistics();
  expect(pages).toBeGreaterThan(1);
  expect(bytes).toBe(pages * pageBytes);
  const other = text(100, 4);
  const session = sharing.createSession();
  const pieces = session.generate(other, { ...greedy, maxTokens: 500 });
  await pieces.next();
  session.dispose();
  await expect(pieces.next()).rejects.toMatchObject({ code: 'DISPOSED' });
  const got = await once(sharing, other);
  expect(got.usage.sharedTokens).toBe(96);
  expect(got.logits.equals((await once(alone, other)).logits)).toBe(true);
  const again = await once(sharing, prompt.slice(0, 200));
  expect(again.usage.sharedTokens).toBe(Math.min(192, 32 * pages));
  expect(again.logits.equals((await once(alone, prompt.slice(0, 200))).logits)).toBe(true);
});

test('memory that no session has stays within its limit, of which caches get even shares', async () => {
  const pageBytes = 32 * sharing.estimateMemory({}).kvPerToken;
  using model = await loadModel('default', { threads: 1, prefixCache: { bytes: 6 * pageBytes } });
  for (let first = 0; first < 4; first++) await once(model, text(100, first));
  const { bytes, limit, evictions } = model.prefixCache.statistics();
  expect([bytes, limit, evictions]).toEqual([6 * pageBytes, 6 * pageBytes, 4 * 3 - 6]);
  expect(model.memoryUsage()).toMatchObject({ kv: 0, prefixCache: bytes });
  expect((await once(model, text(100, 3))).usage.sharedTokens).toBe(96);
  expect((await once(model, text(100, 0))).usage.sharedTokens).toBe(0);
  await once(model, text(100), {}, { cache: { keyType: 'f32', valueType: 'f32' } });
  expect(model.prefixCache.statistics().bytes).toBeLessThanOrEqual(limit);
  model.prefixCache.clear();
  expect(model.memoryUsage()).toMatchObject({ kv: 0, prefixCache: 0 });
});

test('memory that one model lacks, the pages of others that nobody has give back', async () => {
  using other = await loadModel('default', { threads: 1 });
  for (const model of [sharing, other]) await once(model, text(70));
  using session = other.createSession();
  await say(session, text(70));
  expect(dropIdlePages()).toBe(true);
  expect(sharing.prefixCache.statistics()).toMatchObject({ pages: 0, bytes: 0 });
  expect(other.prefixCache.statistics()).toMatchObject({ pages: 2, bytes: 0 });
  expect(dropIdlePages()).toBe(false);
  expect((await once(other, text(70))).usage.sharedTokens).toBe(64);
});

test('a round that lacks memory is run again once what nobody needs is gone', async () => {
  let [left, relieved] = [3, 0];
  const executor = new FakeExecutor({
    vocab: 64,
    watch: () => {
      if (left-- > 0) throw new VivaceError('OUT_OF_MEMORY', 'none left');
    },
  });
  const engine = new Engine(executor, 64, { relieve: () => ++relieved < 4 });
  const kv = executor.createKvCache();
  const job = (sequence: number) => engine.submit({ kv, sequence, tokens: Int32Array.of(1, 2) }).done;
  expect(await job(kv.create())).toMatchObject({ token: -1 });
  expect(relieved).toBe(3);
  left = 1;
  await expect(job(kv.create())).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
});

test('mistakes are named', async () => {
  const code = 'INVALID_ARGUMENT';
  await expect(loadModel('default', { prefixCache: { bytes: 0 } })).rejects.toMatchObject({ code });
  await expect(loadModel('default', { prefixCache: { byte: 1 } as never })).rejects.toMatchObject({ code });
  await expect(loadModel('default', { prefixCache: 1 as never })).rejects.toMatchObject({ code });
  expect(() => sharing.createSession({ prefixCache: { salt: 1 as never } })).toThrow(expect.objectContaining({ code }));
  using session = sharing.createSession();
  expect(() => session.generate('a', { prefixCache: 'no' as never })).toThrow(expect.objectContaining({ code }));
});
