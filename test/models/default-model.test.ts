// The embedded model does what its scores say: exercises with known answers, made by training/exercises.py.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { embeddedModelPath, loadModel, type Model } from '../../lib/index.js';

const data = path.join(__dirname, '../../training/data');
const cases = fs
  .readFileSync(path.join(data, 'eval.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as { kind: string; prompt: string; answer: string });
const scores = JSON.parse(fs.readFileSync(path.join(data, 'scores.json'), 'utf8')) as { eval_jsonl: Record<string, number> };

let model: Model;
beforeAll(async () => {
  model = await loadModel('default', { threads: 1 });
});
afterAll(() => model.dispose());

/** Greedy text of as many tokens as the answer has. */
async function answer(prompt: string, expected: string): Promise<string> {
  using session = model.createSession();
  let text = '';
  const maxTokens = model.tokenizer.encode(expected, { addSpecial: false }).length;
  for await (const piece of session.generate(prompt, { maxTokens, temperature: 0 })) text += piece.text;
  return text;
}

test('it is at most 8 MB', () => {
  expect(fs.statSync(embeddedModelPath()).size).toBeLessThanOrEqual(8e6);
});

test.each([...new Set(cases.map(({ kind }) => kind))])('%s: as accurate as its recorded score', async (kind) => {
  const mine = cases.filter((one) => one.kind === kind);
  let right = 0;
  for (const { prompt, answer: expected } of mine) {
    if ((await answer(prompt, expected)) === expected) right++;
  }
  const accuracy = (100 * right) / mine.length;
  // Two cases in fifty may fall differently under another order of sums.
  expect(accuracy).toBeGreaterThanOrEqual(100 * scores.eval_jsonl[kind] - 4);
  if (kind === 'recall') expect(accuracy).toBeGreaterThanOrEqual(95);
});

test('recall over the whole context', async () => {
  const pairs = Array.from({ length: 100 }, (_, i) => [(i * 37 + 11) % 100, (i * 53 + 7) % 100]);
  const two = (value: number): string => String(value).padStart(2, '0');
  const text = pairs.map(([key, value]) => `k${two(key)}=v${two(value)}; `).join('');
  expect(model.tokenizer.encode(text).length).toBeGreaterThan(450);
  let right = 0;
  for (const [key, value] of pairs.filter((_, i) => i % 5 === 0)) {
    if ((await answer(`${text}k${two(key)}→`, `v${two(value)}`)) === `v${two(value)}`) right++;
  }
  expect(right).toBeGreaterThanOrEqual(19);
});
