// Random lives of sessions that share against the same lives of sessions that do not: the same answers to the last bit, while
// pages are published, taken over, written behind, forgotten and driven out.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { draftModel, embeddedModelPath, loadModel, nGram } from '../../lib/index.js';
import type { Drafter, GenerateOptions, Model, Session } from '../../lib/index.js';

let sharing: Model;
let alone: Model;
let small: Model;
let folder: string;
beforeAll(async () => {
  alone = await loadModel('default', { threads: 1, prefixCache: false });
  const pageBytes = 32 * alone.estimateMemory({}).kvPerToken;
  sharing = await loadModel('default', { threads: 1, prefixCache: { bytes: 12 * pageBytes } });
  small = await loadModel(join(embeddedModelPath(), '..', 'vivace-tiny-draft.gguf'), { threads: 1 });
  folder = mkdtempSync(join(tmpdir(), 'vivace-lives-'));
});
afterAll(() => {
  for (const model of [sharing, alone, small]) model.dispose();
  rmSync(folder, { recursive: true });
});

/** The same session of both models. */
type Pair = readonly [Session, Session];

async function say(session: Session, prompt: readonly number[], from: boolean, options: GenerateOptions) {
  const pieces = from ? session.generateFrom(prompt, options) : session.generate(prompt, options);
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return [...next.value.tokens];
}

/** Beginnings of two long texts, and a word. */
const text = fc.record({ which: fc.nat(1), length: fc.integer({ min: 1, max: 110 }), word: fc.nat(2) });
type Text = Readonly<{ which: number; length: number; word: number }>;
const texts = [
  'Once upon a time there was a small boat in the garden, and he said that it was old. ',
  'The cat went to the sea with Tom and Ann. Why is the sky blue, said the little dog. ',
].map((sentence) => sentence.repeat(6));
const pick = fc.nat();
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('begin'), text }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('say', 'replace'), pick, text, draft: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('together'), text }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('fork', 'restore', 'logits', 'abort'), pick, text }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('rollback'), pick, part: fc.nat(100) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('dispose'), pick }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('clear', 'relieve') }) },
);
type Step = { readonly kind: string } & Readonly<Partial<{ pick: number; text: Text; draft: number; part: number }>>;

async function live(steps: readonly Step[]): Promise<void> {
  const drafters: (Drafter | undefined)[] = [undefined, nGram(), draftModel(small), undefined];
  const pairs: Pair[] = [];
  const begin = (): Pair => [sharing.createSession(), alone.createSession()];
  const both = async <T>(pair: Pair, body: (session: Session) => Promise<T>): Promise<void> => {
    const [got, wanted] = [await body(pair[0]), await body(pair[1])];
    expect(got).toEqual(wanted);
    expect([...pair[0].tokens]).toEqual([...pair[1].tokens]);
  };
  for (const [index, action] of steps.entries()) {
    const { kind, text: { which, length, word } = { which: 0, length: 0, word: 0 }, draft = 0 } = action;
    const at = pairs.length === 0 ? 0 : (action.pick ?? 0) % pairs.length;
    const tokens = [...alone.tokenizer.encode(texts[which]).subarray(0, length), 300 + word];
    const drafter = drafters[draft];
    const speculation = drafter && { speculation: { drafter, adaptive: false, maxNodes: 12, maxDraft: 4 } };
    const options = { temperature: 0, maxTokens: 20, prefixCache: draft < 3, ...speculation };
    if (kind === 'clear') sharing.prefixCache.clear();
    else if (kind === 'relieve') sharing.prefixCache.dropIdle();
    else if (kind === 'begin') {
      pairs.push(begin());
      await both(pairs[pairs.length - 1], (session) => say(session, tokens, true, options));
    } else if (kind === 'together') {
      const some = [begin(), begin(), begin()];
      const prompts = some.map((_, own) => [...tokens, ...Array<number>(own).fill(300)]);
      const run = (side: 0 | 1) => Promise.all(some.map((pair, own) => say(pair[side], prompts[own], true, options)));
      expect(await run(0)).toEqual(await run(1));
      pairs.push(...some);
    } else if (pairs.length > 0) {
      const pair = pairs[at];
      if (pair[0].length + tokens.length > 900) continue;
      if (kind === 'say' || kind === 'replace') {
        await both(pair, (session) => say(session, tokens, kind === 'replace', options));
      } else if (kind === 'fork') pairs.push([pair[0].fork(), pair[1].fork()]);
      else if (kind === 'logits')
        await both(pair, async (session) => Buffer.from((await session.forward(tokens)).buffer));
      else if (kind === 'rollback') {
        const count = Math.floor((pair[0].length * (action.part ?? 0)) / 100);
        for (const session of pair) session.rollback(count);
      } else if (kind === 'restore') {
        const file = join(folder, `${index}`);
        await pair[0].save(file);
        pairs.push([await sharing.restoreSession(file), pair[1].fork()]);
      } else if (kind === 'abort') {
        const signal = AbortSignal.abort();
        await both(pair, (session) => say(session, tokens, false, { ...options, signal }));
      } else {
        for (const session of pair) session.dispose();
        pairs.splice(at, 1);
      }
    }
    const { bytes, limit } = sharing.prefixCache.statistics();
    expect(bytes).toBeLessThanOrEqual(limit);
  }
  for (const pair of pairs) {
    if (pair[0].length < 1000) await both(pair, async (session) => Buffer.from((await session.forward([300])).buffer));
    for (const session of pair) session.dispose();
  }
  expect([sharing, alone, small].map((model) => model.memoryUsage().kv)).toEqual([0, 0, 0]);
}

test('lives of sessions that share are those of sessions that do not', async () => {
  await fc.assert(fc.asyncProperty(fc.array<Step>(step, { minLength: 10, maxLength: 30, size: 'max' }), live), {
    numRuns: 4,
    endOnFailure: true,
  });
  expect(sharing.prefixCache.statistics().savedTokens).toBeGreaterThan(100);
  expect(sharing.prefixCache.statistics().evictions).toBeGreaterThan(0);
  sharing.prefixCache.clear();
  expect(sharing.memoryUsage()).toMatchObject({ kv: 0, prefixCache: 0 });
});
