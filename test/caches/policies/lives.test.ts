// Random lives of sessions under every cache policy: turns with drafts of every shape, forks, rollbacks, prompts that replace a
// text, saves and restores, aborts, shared and evicted pages, caches that are full, layers in a file. Each has a twin that does the plain thing in
// caches of its own; both say the same to the last bit, freed pages are NaN, and in the end no page is left. Of some lives the
// float64 reference says whether it was right.
import { join } from 'node:path';
import fc from 'fast-check';
import { draftTree, loadModel, nGram, suffix } from '../../../lib/index.js';
import type { CacheOptions, CacheType, Drafter, GenerateOptions, Model, Session } from '../../../lib/index.js';
import type { Executor } from '../../../lib/program/executor.js';
import { ReferenceExecutor, type LogitsSampler } from '../../../lib/program/reference/executor.js';
import { scratch } from '../../formats/scratch.js';
import { kinds, writeModel, type Kind } from './setting.js';

const { at } = scratch();
let one: Model; // shares pages, as far as policies let it
let other: Model; // of the twins
let small: Model;
let judge: Model; // the float64 reference

const executorOf = (model: Model): Executor => (model as unknown as { executor: Executor }).executor;

/** Every page that is not written is full of NaN, and all have room for so many tokens. */
function poisoned(model: Model, room: number): Model {
  const executor = executorOf(model);
  const make = executor.createKvCache.bind(executor);
  executor.createKvCache = (options) =>
    make({ ...options, poison: true, maxPages: Math.min(options.maxPages, room / (options.pageSize ?? 32)) });
  return model;
}

// What the reference says instead of its own choice, and by how much that is worse.
const dictated: number[] = [];
let worst = 0;
function obedient(model: Model): Model {
  const executor = executorOf(model);
  expect(executor).toBeInstanceOf(ReferenceExecutor);
  const make = executor.createSampler.bind(executor);
  executor.createSampler = (options) => {
    const sampler = make(options) as LogitsSampler;
    const { sample } = sampler;
    sampler.sample = (logits, mask) => {
      const own = sample.call(sampler, logits, mask);
      const [token = own.token] = dictated.splice(0, 1);
      worst = Math.max(worst, logits[own.token] - logits[token]);
      return { ...own, token };
    };
    return sampler;
  };
  return model;
}

beforeAll(async () => {
  writeModel(at('model.gguf'));
  one = poisoned(await loadModel(at('model.gguf'), { threads: 2, prefixCache: { bytes: 2 ** 21 } }), 4096);
  other = poisoned(await loadModel(at('model.gguf'), { threads: 1, prefixCache: false }), 2 ** 20);
  small = await loadModel(at('model.gguf'), { threads: 1 });
  judge = obedient(await loadModel(at('model.gguf'), { device: 'reference', prefixCache: false }));
});
afterAll(() => {
  for (const model of [one, other, small, judge]) model.dispose();
});

const types = ['f32', 'f16', 'q8_0', 'q4_0'] as const satisfies readonly CacheType[];

type Act =
  | { readonly kind: 'say' | 'replace'; readonly prompt: readonly number[]; readonly count: number }
  | { readonly kind: 'rollback'; readonly count: number }
  | { readonly kind: 'logits'; readonly prompt: readonly number[] };

/** A session, what was done with it, and its twin. */
interface Pair {
  readonly session: Session;
  readonly twin: Session;
  readonly past: Said[];
}

/** An act, and the tokens that came of it. */
type Said = Act & { readonly said: readonly number[] };

const banned = (model: Model) => new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));

/** What an act says: tokens, or the bytes of logits. `leave`: the caller stops after so many pieces. */
async function perform(session: Session, act: Act, options: GenerateOptions, leave = Infinity): Promise<unknown> {
  if (act.kind === 'rollback') return session.rollback(act.count);
  if (act.kind === 'logits') return Buffer.from((await session.forward(act.prompt)).buffer);
  const all = { temperature: 0, logitBias: banned(one), maxTokens: act.count, ...options };
  const pieces = act.kind === 'say' ? session.generate(act.prompt, all) : session.generateFrom(act.prompt, all);
  let seen = 0;
  for await (const _ of pieces) if (++seen >= leave) break;
  return [...(session.lastResult?.tokens ?? [])];
}

const pick = fc.nat();
const text = { which: fc.nat(1), length: fc.integer({ min: 1, max: 90 }), word: fc.nat(2) };
const step = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('begin'), pick, ...text, draft: fc.nat(4) }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom('say', 'replace'), pick, ...text, draft: fc.nat(4) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('fork', 'restore'), pick, ...text }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('logits', 'abort', 'together'), pick, ...text }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('rollback'), pick, length: fc.integer({ min: 0, max: 60 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('dispose', 'clear', 'relieve'), pick }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('full'), pick, ...text }) },
);
type Step = Readonly<{ kind: string; pick: number }> &
  Readonly<Partial<{ which: number; length: number; word: number; draft: number }>>;

const word = (index: number): number => 261 + (index % 90);
const texts = [17, 23].map((stride) => Array.from({ length: 90 }, (_, index) => word(index * stride)));

/** Sessions that take all pages there are. */
async function crowd(cache: CacheOptions): Promise<Session[]> {
  const sessions: Session[] = [];
  for (let length = 180; length > 0;) {
    const session = one.createSession({ cache });
    sessions.push(session);
    try {
      // What is out of sight goes with the next run only.
      await session.forward([...texts[0], ...texts[1]].slice(0, length));
    } catch (error) {
      expect(error).toMatchObject({ code: 'OUT_OF_MEMORY' });
      length = Math.floor(length / 3);
    }
  }
  return sessions;
}

/** Logits of a probe behind what the reference makes of the same acts, if it is told what to say. */
async function judged(cache: CacheOptions, past: readonly Said[], probe: readonly number[]): Promise<Float32Array> {
  using session = judge.createSession({ cache });
  for (const act of past) {
    dictated.splice(0, Infinity, ...act.said);
    await perform(session, act, {});
  }
  return await session.forward(probe); // before the session is disposed of
}

async function live(
  { cache, plainly = cache, most, plain }: Kind,
  steps: readonly Step[],
  name: string,
  near?: number,
): Promise<void> {
  const pairs: Pair[] = [];
  const drafters: (Drafter | undefined)[] = [
    undefined,
    nGram(),
    suffix(),
    draftTree(small, { tree: [-1, -1, 0, 0, 2], temperature: 0 }),
    undefined,
  ];
  const replayed = async (session: Session, past: readonly Said[]): Promise<void> => {
    const twin = other.createSession({ cache: plainly });
    for (const act of past) await perform(twin, act, {});
    expect([...twin.tokens]).toEqual([...session.tokens]);
    pairs.push({ session, twin, past: [...past] });
  };
  const act = async ({ session, twin, past }: Pair, what: Act, options: GenerateOptions = {}, leave?: number) => {
    const said = await perform(session, what, options, leave);
    const tokens = [...(session.lastResult?.tokens ?? [])];
    const speaks = what.kind === 'say' || what.kind === 'replace';
    const same = speaks ? { ...what, count: tokens.length } : what;
    past.push({ ...same, said: speaks ? tokens : [] });
    expect(said).toEqual(await perform(twin, same, {}));
    expect([...session.tokens]).toEqual([...twin.tokens]);
  };
  const check = async ({ session }: Pair): Promise<void> => {
    const probe = [word(5)];
    using fork = session.fork();
    const logits = Buffer.from((await fork.forward(probe)).buffer);
    const [pair] = pairs.filter((own) => own.session === session);
    using twin = pair.twin.fork();
    expect(logits.equals(Buffer.from((await twin.forward(probe)).buffer))).toBe(true);
    if (!plain) return;
    using reader = other.createSession({ cache: plainly });
    const all = Buffer.from((await reader.forward([...session.tokens, ...probe])).buffer);
    expect(logits.equals(all.subarray(all.length - logits.length))).toBe(true);
  };
  for (const [index, { kind, pick: who, which = 0, length = 0, word: last = 0, draft = 0 }] of steps.entries()) {
    const prompt = [...texts[which].slice(0, length), word(last)];
    if (kind === 'clear') one.prefixCache.clear();
    else if (kind === 'relieve') one.prefixCache.dropIdle();
    else if (kind === 'begin' && pairs.length < 6) {
      const pair = { session: one.createSession({ cache }), twin: other.createSession({ cache: plainly }), past: [] };
      pairs.push(pair);
      await act(pair, { kind: 'say', prompt, count: 6 });
    }
    if (pairs.length === 0 || ['clear', 'relieve', 'begin'].includes(kind)) continue;
    const pair = pairs[who % pairs.length];
    const { session, twin, past } = pair;
    const drafter = draft === 3 && session.length > 150 ? undefined : drafters[draft];
    const speculation = drafter && { speculation: { drafter, adaptive: false, maxDraft: 5, maxNodes: 8 } };
    const options = { prefixCache: draft !== 4, ...speculation };
    const fits = session.length + prompt.length + 40 <= most;
    if (kind === 'replace') await act(pair, { kind, prompt, count: 1 + (who % 30) }, options);
    else if (kind === 'say' && fits) {
      await act(pair, { kind, prompt, count: 1 + (who % 30) }, options, who % 4 === 0 ? 3 : Infinity);
    } else if (kind === 'logits' && fits) await act(pair, { kind, prompt });
    else if (kind === 'rollback') await act(pair, { kind, count: Math.min(length, session.length) });
    else if (kind === 'fork' && pairs.length < 6) await replayed(session.fork(), past);
    else if (kind === 'restore') {
      await session.save(at(`${name}-${index}`));
      await replayed(await one.restoreSession(at(`${name}-${index}`)), past);
    } else if (kind === 'abort' && fits) {
      await perform(session, { kind: 'say', prompt, count: 5 }, { signal: AbortSignal.abort() });
      expect([...session.tokens]).toEqual([...twin.tokens]);
    } else if (kind === 'together') {
      const able = pairs.filter((own) => own.session.length + prompt.length + 40 <= most);
      await Promise.all(able.map((own, i) => act(own, { kind: 'say', prompt: prompt.slice(i), count: 8 })));
    } else if (kind === 'full' && fits) {
      const others = await crowd(cache);
      const what: Act = which === 0 ? { kind: 'say', prompt, count: 12 } : { kind: 'logits', prompt };
      const before = session.lastResult;
      try {
        await act(pair, what);
      } catch (error) {
        expect(error).toMatchObject({ code: 'OUT_OF_MEMORY' });
        ++refusals;
        const { lastResult } = session;
        // What it had said before the pages were all stays.
        if (what.kind === 'say' && lastResult !== before && (lastResult?.tokens.length ?? 0) > 0) {
          const said = [...(lastResult?.tokens ?? [])];
          const same = { ...what, count: said.length };
          past.push({ ...same, said });
          expect(await perform(twin, same, {})).toEqual(said);
        }
        expect([...session.tokens]).toEqual([...twin.tokens]);
      }
      for (const gone of others) gone.dispose();
      if (session.length + prompt.length + 40 <= most) await act(pair, what);
      await check(pair);
    } else if (kind === 'dispose') {
      for (const gone of [session, twin]) gone.dispose();
      pairs.splice(pairs.indexOf(pair), 1);
    }
    if (pairs.includes(pair) && index % 3 === 0) await check(pair);
  }
  for (const [index, pair] of pairs.entries()) {
    await check(pair);
    if (near !== undefined && index === 0) {
      const probe = [word(5)];
      worst = 0;
      const wanted = await judged(plainly, pair.past, probe);
      const found = await pair.session.forward(probe);
      expect(Math.max(...found.map((logit, at) => Math.abs(logit - wanted[at])))).toBeLessThan(near);
      expect(worst).toBeLessThan(near);
    }
    for (const gone of [pair.session, pair.twin]) gone.dispose();
  }
  expect([one, other, small].map((model) => model.memoryUsage().kv)).toEqual([0, 0, 0]);
}

/** In other types. */
const stored = (
  { cache, plainly = cache, ...kind }: Kind,
  types: { keyType: CacheType; valueType: CacheType },
): Kind => ({
  ...kind,
  cache: { ...cache, ...types },
  plainly: { ...plainly, ...types },
});

const lives = (most: number) => fc.array<Step>(step, { minLength: 8, maxLength: most, size: 'max' });
let refusals = 0;

test.each(kinds)('%s', async (name, kind) => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...types), fc.constantFrom(...types), lives(25), (keyType, valueType, steps) =>
      live(stored(kind, { keyType, valueType }), steps, join('.', name)),
    ),
    { numRuns: Number(process.env['LIVES'] ?? 4), endOnFailure: true },
  );
  one.prefixCache.clear();
  expect(one.memoryUsage()).toMatchObject({ kv: 0, prefixCache: 0 });
});

// One seed: choices among cells that are next to equal may fall otherwise in float64, which is no mistake.
test.each(kinds)('%s: as the float64 reference', async (name, kind) => {
  await fc.assert(
    fc.asyncProperty(lives(12), (steps) =>
      live(stored(kind, { keyType: 'f32', valueType: 'f32' }), steps, join('.', `${name}-judged`), 1e-3),
    ),
    { numRuns: 2, seed: 5, endOnFailure: true },
  );
  one.prefixCache.clear();
});

test.each(kinds)('%s: in a cache that is full', async (name, kind) => {
  const before = refusals;
  // The last prompt is longer than all that a session may give back of what its next run no longer sees.
  const act = { pick: 1, which: 0, length: 10, word: 1, draft: 0 };
  const steps = [
    { ...act, kind: 'begin' },
    { ...act, kind: 'full' },
    { ...act, kind: 'full', which: 1, length: 90 },
  ];
  await live(kind, steps, join('.', `${name}-full`));
  expect(refusals - before).toBe(2);
});
