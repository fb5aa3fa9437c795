// The judge's head that is in the package: what it keeps of drafts of the small model, what it refuses, and what it must beat.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { areaUnderCurve, draftModel, embeddedModelPath, loadJudge, loadModel, mineJudge } from '../../../lib/index.js';
import type { GenerateOptions, GenerateResult, JudgeHead, Model } from '../../../lib/index.js';
import type { Drafter } from '../../../lib/decode/speculation/drafter.js';
import { scoresOf } from '../../../lib/decode/speculation/judge/train.js';
import { Generator } from '../../fixtures/random/generator.js';

const first = (text: string): string => text.split(/[\n;]/)[0].trim();
const prompts = ['copy: river lamp dog →', 'sort: 31 9 77 5 →', '31+16=', '44-21=', 'k11=v42; k23=v07; k11→'];
let model: Model;
let draft: Model;
let head: JudgeHead;
beforeAll(async () => {
  model = await loadModel(embeddedModelPath(), { threads: 1 });
  draft = await loadModel(join(embeddedModelPath(), '../vivace-tiny-draft.gguf'), { threads: 1 });
  head = await loadJudge(join(embeddedModelPath(), '../vivace-tiny-judge.safetensors'), model);
});
afterAll(() => {
  draft.dispose();
  model.dispose();
});

async function generate(prompt: string, options: GenerateOptions): Promise<GenerateResult> {
  using session = model.createSession();
  const pieces = session.generate(prompt, options);
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}

test('keeps more, and the answers', async () => {
  const [lossless, judged] = [0, 0].map(() => ({ rounds: 0, accepted: 0 }));
  for (const prompt of prompts) {
    const options = { temperature: 0, maxTokens: 24 };
    const shape = { drafter: draftModel(draft, { minProbability: 0 }), maxDraft: 8, adaptive: false };
    const plain = await generate(prompt, { ...options, speculation: shape });
    const other = await generate(prompt, {
      ...options,
      speculation: { ...shape, verifier: { name: 'judge', head } },
    });
    expect(first(other.text)).toBe(first(plain.text));
    for (const [sum, { speculation }] of [
      [lossless, plain],
      [judged, other],
    ] as const) {
      sum.rounds += speculation!.rounds;
      sum.accepted += speculation!.accepted;
    }
  }
  expect(judged.accepted / judged.rounds).toBeGreaterThan((1.5 * lossless.accepted) / lossless.rounds);
});

test('refuses a wrong word or digit in an answer', async () => {
  const random = new Generator(12, 'wrong words');
  const words = ['river', 'lamp', 'dog', 'cat', 'letter', 'garden', 'apple', 'window', 'mother', 'tiger'];
  let [wrong, kept] = [0, 0];
  for (let trial = 0; trial < 60; trial++) {
    const list = Array.from({ length: 5 }, () => words[random.integer(0, words.length - 1)]);
    const prompt = trial % 2 === 0 ? `copy: ${list.join(' ')} →` : `${20 + (trial % 29)}+${11 + (trial % 13)}=`;
    const [right] = (await generate(prompt, { temperature: 0, maxTokens: 1 })).tokens;
    const other =
      trial % 2 === 0 ? ` ${words[random.integer(0, words.length - 1)]}` : String(20 + random.integer(0, 70));
    const [token] = model.tokenizer.encode(other, { addSpecial: false });
    if (token === right) continue;
    const says: Drafter = {
      name: 'wrong',
      start: () => ({
        accept: () => undefined,
        draft: () => ({ tokens: Int32Array.of(token), parents: Int32Array.of(-1), scores: Float32Array.of(0.9) }),
        dispose: () => undefined,
      }),
    };
    const speculation = { drafter: says, adaptive: false, verifier: { name: 'judge', head } } as const;
    const { tokens } = await generate(prompt, { temperature: 0, maxTokens: 2, speculation });
    wrong++;
    kept += Number(tokens[0] === token);
  }
  expect(wrong).toBeGreaterThan(40);
  expect(kept / wrong).toBeLessThanOrEqual(0.05);
});

test('beats a bound on the divergence of the laws, on exercises that it was not trained on', async () => {
  const file = join(__dirname, '..', '..', '..', 'training', 'data', 'eval.jsonl');
  const cases = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string; prompt: string });
  const held = cases.filter(({ kind }, i) => kind !== 'needle' && i % 5 === 0).map(({ prompt }) => prompt);
  const same = (answer: string, other: string): boolean => first(answer) === first(other);
  // Where the drafter departs from the model, by itself or made to, and whether the answer is another one by that.
  const examples = await mineJudge({ target: model, draft, prompts: held, same, maxTokens: 16, others: 1 });
  const right = examples.map((one) => one.right);
  expect(right.filter((one) => !one).length).toBeGreaterThan(12);
  const heads = areaUnderCurve(scoresOf(examples, head), right);
  const divergences = areaUnderCurve(
    examples.map(({ divergence }) => -divergence),
    right,
  );
  expect(heads).toBeGreaterThan(0.97);
  expect(heads).toBeGreaterThan(divergences + 0.1);
  // The bound of each that refuses 90 % of what is wrong: the head keeps far more of what is right.
  const keptOf = (scores: readonly number[]): number => {
    const wrong = scores.filter((_, i) => !right[i]).sort((a, b) => b - a);
    const bound = wrong[Math.floor(0.1 * wrong.length)];
    return scores.filter((score, i) => right[i] && score > bound).length / right.filter(Boolean).length;
  };
  expect(keptOf(scoresOf(examples, head))).toBeGreaterThan(0.85);
  expect(keptOf(examples.map(({ divergence }) => -divergence))).toBeLessThan(0.7);
});
