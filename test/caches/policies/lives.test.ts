// Random lives of sessions under every cache policy: turns with drafts of every shape, forks, rollbacks, prompts that replace a
// text, saves and restores, aborts, shared and evicted pages. Each has a twin that does the plain thing in caches of its own; both
// say the same to the last bit, freed pages are NaN, and in the end no page is left.
import { join } from 'node:path';
import fc from 'fast-check';
import { draftTree, loadModel, nGram, suffix } from '../../../lib/index.js';
import type { CacheType, Drafter, GenerateOptions, Model, Session } from '../../../lib/index.js';
import type { Executor } from '../../../lib/program/executor.js';
import { scratch } from '../../formats/scratch.js';
import { kinds, writeModel, type Kind } from './setting.js';

const { at } = scratch();
let one: Model; // shares pages, as far as policies let it
let other: Model; // of the twins
let small: Model;

/** Every page that is not written is full of NaN. */
function poisoned(model: Model): Model {
  const { executor } = model as unknown as { executor: Executor };
  const make = executor.createKvCache.bind(executor);
  executor.createKvCache = (options) => make({ ...options, poison: true });
  return model;
}

beforeAll(async () => {
  writeModel(at('model.gguf'));
  one = poisoned(await loadModel(at('model.gguf'), { threads: 2, prefixCache: { bytes: 2 ** 21 } }));
  other = poisoned(await loadModel(at('model.gguf'), { threads: 1, prefixCache: false }));
  small = await loadModel(at('model.gguf'), { threads: 1 });
});
afterAll(() => {
  for (const model of [one, other, small]) model.dispose();
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
  readonly past: Act[];
}

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
);
type Step = Readonly<{ kind: string; pick: number }> &
  Readonly<Partial<{ which: number; length: number; word: number; draft: number }>>;

const word = (index: number): number => 261 + (index % 90);
const texts = [17, 23].map((stride) => Array.from({ length: 90 }, (_, index) => word(index * stride)));

async function live({ cache, most, plain }: Kind, steps: readonly Step[], name: string): Promise<void> {
  const pairs: Pair[] = [];
  const drafters: (Drafter | undefined)[] = [
    undefined,
    nGram(),
    suffix(),
    draftTree(small, { tree: [-1, -1, 0, 0, 2], temperature: 0 }),
    undefined,
  ];
  const replayed = async (session: Session, past: readonly Act[]): Promise<void> => {
    const twin = other.createSession({ cache });
    for (const act of past) await perform(twin, act, {});
    expect([...twin.tokens]).toEqual([...session.tokens]);
    pairs.push({ session, twin, past: [...past] });
  };
  const act = async ({ session, twin, past }: Pair, what: Act, options: GenerateOptions = {}, leave?: number) => {
    const said = await perform(session, what, options, leave);
    const count = session.lastResult?.tokens.length ?? 0;
    const same = what.kind === 'say' || what.kind === 'replace' ? { ...what, count } : what;
    past.push(same);
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
    using reader = other.createSession({ cache });
    const all = Buffer.from((await reader.forward([...session.tokens, ...probe])).buffer);
    expect(logits.equals(all.subarray(all.length - logits.length))).toBe(true);
  };
  for (const [index, { kind, pick: who, which = 0, length = 0, word: last = 0, draft = 0 }] of steps.entries()) {
    const prompt = [...texts[which].slice(0, length), word(last)];
    if (kind === 'clear') one.prefixCache.clear();
    else if (kind === 'relieve') one.prefixCache.dropIdle();
    else if (kind === 'begin') {
      const pair = { session: one.createSession({ cache }), twin: other.createSession({ cache }), past: [] };
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
    else if (kind === 'fork') await replayed(session.fork(), past);
    else if (kind === 'restore') {
      await session.save(at(`${name}-${index}`));
      await replayed(await one.restoreSession(at(`${name}-${index}`)), past);
    } else if (kind === 'abort' && fits) {
      await perform(session, { kind: 'say', prompt, count: 5 }, { signal: AbortSignal.abort() });
      expect([...session.tokens]).toEqual([...twin.tokens]);
    } else if (kind === 'together') {
      const able = pairs.filter((own) => own.session.length + prompt.length + 40 <= most);
      await Promise.all(able.map((own, i) => act(own, { kind: 'say', prompt: prompt.slice(i), count: 8 })));
    } else if (kind === 'dispose') {
      for (const gone of [session, twin]) gone.dispose();
      pairs.splice(pairs.indexOf(pair), 1);
    }
    if (pairs.includes(pair) && index % 3 === 0) await check(pair);
  }
  for (const pair of pairs) {
    await check(pair);
    for (const gone of [pair.session, pair.twin]) gone.dispose();
  }
  expect([one, other, small].map((model) => model.memoryUsage().kv)).toEqual([0, 0, 0]);
}

test.each(kinds)('%s', async (name, kind) => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...types),
      fc.constantFrom(...types),
      fc.array<Step>(step, { minLength: 8, maxLength: 25, size: 'max' }),
      (keyType, valueType, steps) =>
        live({ ...kind, cache: { ...kind.cache, keyType, valueType } }, steps, join('.', name)),
    ),
    { numRuns: Number(process.env['LIVES'] ?? 4), endOnFailure: true },
  );
  one.prefixCache.clear();
  expect(one.memoryUsage()).toMatchObject({ kv: 0, prefixCache: 0 });
});
