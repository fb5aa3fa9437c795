// `vivace evaluate perplexity`: losses by hand, parts and rotations, and what a ceiling of distances is for.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { evaluatePerplexity, lmInfinite, loadModel, type Model, type PerplexityReport } from '../../lib/index.js';
import { embedded, vivace, vivaceJson } from './command.js';

let folder: string;
let model: Model;
let file: string;
const text = readFileSync(join(__dirname, '..', '..', 'docs', 'architecture.md'), 'utf8').slice(0, 9000);
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vivace-perplexity-'));
  file = join(folder, 'text');
  writeFileSync(file, text);
  model = await loadModel(embedded, { threads: 1 });
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** The mean of −ln p over [begin, end) of a text that is read at once. */
async function byHand(tokens: Int32Array, begin: number, end: number): Promise<number> {
  using session = model.createSession();
  const vocab = model.info.vocabSize;
  const start = model.tokenizer.encode('');
  const logits = await session.forward([...start, ...tokens]);
  let sum = 0;
  for (let at = begin; at < end; ++at) {
    const row = [...logits.subarray((at + start.length - 1) * vocab, (at + start.length) * vocab)];
    sum += Math.log(row.reduce((all, logit) => all + Math.exp(logit), 0)) - row[tokens[at]];
  }
  return sum / (end - begin);
}

test('perplexity of each part is that of its tokens, of all rotations', async () => {
  const tokens = model.tokenizer.encode(text, { addSpecial: false }).slice(0, 210);
  const once = await evaluatePerplexity({ model, text, length: 210, parts: 3 });
  expect(once.parts.map(({ begin, end }) => [begin, end])).toEqual([
    [0, 70],
    [70, 140],
    [140, 210],
  ]);
  const losses = [await byHand(tokens, 0, 70), await byHand(tokens, 70, 140), await byHand(tokens, 140, 210)];
  once.parts.forEach(({ perplexity }, part) => expect(Math.log(perplexity)).toBeCloseTo(losses[part], 4));
  expect(Math.log(once.perplexity)).toBeCloseTo((losses[0] + losses[1] + losses[2]) / 3, 4);
  const all = await evaluatePerplexity({ model, text, length: 210, parts: 3, rotations: 3 });
  const rotated = [0, 70, 140].map((from) => Int32Array.from([...tokens.slice(from), ...tokens.slice(0, from)]));
  const last = await Promise.all(rotated.map((one) => byHand(one, 140, 210)));
  expect(Math.log(all.parts[2].perplexity)).toBeCloseTo((last[0] + last[1] + last[2]) / 3, 4);
});

test('beyond what it was trained on the full cache fails, LM-Infinite does not', async () => {
  // What the model itself says to beginnings that it knows.
  const stories: string[] = [];
  for (let seed = 1; seed <= 20; ++seed) {
    using session = model.createSession();
    for await (const { text: said } of session.generate('It was', { seed, maxTokens: 160 })) stories.push(said);
    stories.push(' ');
  }
  const own = stories.join('');
  using wide = await loadModel(embedded, { threads: 1, contextLength: 8192 });
  const length = Math.min(6144, 6 * Math.floor(model.tokenizer.encode(own.repeat(4)).length / 6));
  const read = (cache?: ReturnType<typeof lmInfinite>): Promise<PerplexityReport> =>
    evaluatePerplexity({
      ...{ model: wide, text: own.repeat(4), length, parts: 6 },
      session: cache ? { cache } : {},
    });
  const [full, infinite] = [await read(), await read(lmInfinite())];
  expect(infinite.parts[0].perplexity).toBeCloseTo(full.parts[0].perplexity, 10); // it fits the window
  expect(full.parts[5].perplexity).toBeGreaterThan(1.1 * infinite.parts[5].perplexity);
  expect(infinite.parts[5].kv).toBeLessThan(1.1 * infinite.parts[1].kv);
});

test('the command prints what the function says', async () => {
  const quick = ['--threads', '1', '--text', file, '--length', '200', '--parts', '4', '--rotations', '2'];
  const wanted = await evaluatePerplexity({ model, text, length: 200, parts: 4, rotations: 2 });
  const report = await vivaceJson<PerplexityReport>(['eval', 'perplexity', embedded, ...quick]);
  expect(report).toMatchObject({ tokens: 200, rotations: 2, perplexity: wanted.perplexity, aborted: false });
  expect(report.parts.map(({ perplexity }) => perplexity)).toEqual(wanted.parts.map(({ perplexity }) => perplexity));
  const { code, stdout } = await vivace(['evaluate', 'perplexity', ...quick, '--cache', 'window']);
  expect(code).toBe(0);
  expect(stdout).toMatch(
    /^200 tokens, read 2 times, each part at another place:\n +tokens +perplexity +ms per token +keys and values\n/,
  );
  expect(stdout).toMatch(/^ *150–200 +\d+\.\d\d /m);
});

test('mistakes', async () => {
  await expect(evaluatePerplexity({ model, text, length: 2000 })).rejects.toMatchObject({ code: 'CONTEXT_FULL' });
  await expect(evaluatePerplexity({ model, text: 'short', length: 200 })).rejects.toThrow(/for `length`/);
  await expect(evaluatePerplexity({ model, text, parts: 3, rotations: 4 })).rejects.toThrow(/for `rotations`/);
  const aborted = await evaluatePerplexity({ model, text, length: 200, signal: AbortSignal.abort() });
  expect(aborted).toMatchObject({ parts: [], aborted: true });
});
