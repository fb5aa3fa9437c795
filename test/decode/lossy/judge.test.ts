// Judges: their training, their files, and sessions that verify with one; the package's own head: package-judge.test.ts.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  embeddedModelPath,
  judgeHeadOf,
  loadJudge,
  loadModel,
  mineJudge,
  saveJudge,
  trainJudge,
} from '../../../lib/index.js';
import type { GenerateOptions, GenerateResult, JudgeHead, JudgeVerifier, Model } from '../../../lib/index.js';
import type { Drafter } from '../../../lib/decode/speculation/drafter.js';
import { nGram } from '../../../lib/decode/speculation/drafters/policies.js';
import { fitLogistic } from '../../../lib/decode/speculation/judge/logistic.js';
import { areaUnderCurve, fold, scoresOf, split, thresholdsOf } from '../../../lib/decode/speculation/judge/train.js';
import type { JudgeExample } from '../../../lib/decode/speculation/judge/train.js';
import { Generator } from '../../fixtures/random/generator.js';

let model: Model;
let width: number;
beforeAll(async () => {
  model = await loadModel(embeddedModelPath(), { threads: 1 });
  width = model.hiddenWidth();
});
afterAll(() => model.dispose());
const folder = mkdtempSync(join(tmpdir(), 'judge-'));

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** The truth is that of the size, the examples are those of the seed. */
function planted(count: number, size: number, seed = 7): { examples: JudgeExample[]; truth: Float64Array } {
  const chances = new Generator(7, `planted ${size}`);
  const truth = Float64Array.from({ length: size }, () => (1.5 * chances.normal()) / Math.sqrt(size / 8));
  const random = new Generator(seed, `examples ${size}`);
  const examples = Array.from({ length: count }, (_, i) => {
    const hidden = Float32Array.from({ length: size }, (__, k) => (1 + (k % 5)) * random.normal() + (k % 3));
    const score = hidden.reduce((sum, x, k) => sum + (truth[k] * (x - (k % 3))) / (1 + (k % 5)), 0.3);
    return { group: Math.floor(i / 20), hidden, right: random.next() / 2 ** 32 < sigmoid(score) };
  });
  return { examples, truth };
}

// VIVACE_LARGE=1: the size of published heads' training sets, which takes minutes.
test('training finds a planted head, and its gradient is none where it stops', () => {
  const [count, size] = process.env['VIVACE_LARGE'] === '1' ? [30000, 512] : [8000, 64];
  const { examples, truth } = planted(count, size);
  const trained = trainJudge(examples);
  const { examples: others } = planted(8000, size, 8); // none that it was trained on
  const right = others.map((one) => one.right);
  const best = others.map(({ hidden }) =>
    hidden.reduce((sum, x, k) => sum + (truth[k] * (x - (k % 3))) / (1 + (k % 5)), 0),
  );
  const lost = areaUnderCurve(best, right) - areaUnderCurve(scoresOf(others, trained), right);
  expect(lost).toBeLessThan(0.005);
  expect(trained.thresholds).toHaveLength(27);
  const chosen = trained.thresholds.find(({ threshold }) => threshold === trained.threshold);
  expect(chosen!.recall).toBeGreaterThanOrEqual(0.9);
});

test('coefficients are those of another solver, at any penalty', () => {
  const random = new Generator(8, 'solver');
  const [count, size] = [300, 16];
  const features = Float64Array.from({ length: count * size }, () => random.normal());
  const labels = Array.from({ length: count }, (_, i) => Number(features[i * size] + random.normal() > 0.4));
  const weights = labels.map((label) => (label ? 1 : 2.5));
  for (const c of [0.01, 1, 50]) {
    const fitted = fitLogistic({ features, width: size, labels, weights }, c);
    expect(fitted.gradient).toBeLessThan(1e-5 * count);
    // Plain Newton with Gaussian elimination.
    let x = new Float64Array(size + 1);
    for (let step = 0; step < 40; step++) {
      const matrix = Array.from({ length: size + 1 }, () => new Float64Array(size + 2));
      for (let k = 0; k < size; k++) {
        matrix[k][k] = 1 / c;
        matrix[k][size + 1] = x[k] / c;
      }
      for (let i = 0; i < count; i++) {
        const row = [...features.subarray(i * size, (i + 1) * size), 1];
        const p = sigmoid(row.reduce((sum, value, k) => sum + value * x[k], 0));
        for (let a = 0; a <= size; a++) {
          matrix[a][size + 1] += weights[i] * (p - labels[i]) * row[a];
          for (let b = 0; b <= size; b++) matrix[a][b] += weights[i] * p * (1 - p) * row[a] * row[b];
        }
      }
      for (let a = 0; a <= size; a++) {
        for (let b = a + 1; b <= size; b++) {
          const factor = matrix[b][a] / matrix[a][a];
          for (let k = a; k <= size + 1; k++) matrix[b][k] -= factor * matrix[a][k];
        }
      }
      const change = new Float64Array(size + 1);
      for (let a = size; a >= 0; a--) {
        let rest = matrix[a][size + 1];
        for (let k = a + 1; k <= size; k++) rest -= matrix[a][k] * change[k];
        change[a] = rest / matrix[a][a];
      }
      x = x.map((value, k) => value - change[k]);
    }
    fitted.coefficients.forEach((value, k) => expect(Math.abs(value - x[k])).toBeLessThan(1e-5));
    expect(Math.abs(fitted.intercept - x[size])).toBeLessThan(1e-5);
  }
});

test('folding the scaler away changes no score; splits keep groups whole', () => {
  const random = new Generator(9, 'fold');
  const size = 16384;
  const coefficients = Float64Array.from({ length: size }, () => random.normal() / 100);
  const mean = Float64Array.from({ length: size }, () => random.normal());
  const scale = Float64Array.from({ length: size }, () => 0.5 + random.next() / 2 ** 32);
  const head = fold({ coefficients, intercept: 0.7 }, mean, scale);
  for (let trial = 0; trial < 5; trial++) {
    const hidden = Float32Array.from({ length: size }, () => random.normal());
    const plain = hidden.reduce((sum, x, k) => sum + (coefficients[k] * (x - mean[k])) / scale[k], 0.7);
    expect(Math.abs(scoresOf([{ hidden }], head)[0] - plain)).toBeLessThan(1e-4 * (1 + Math.abs(plain)));
  }
  const examples = Array.from({ length: 200 }, (_, i) => ({ group: i % 40 }));
  const [train, held] = split(examples, 0.9, 52);
  expect([train.length, held.length]).toEqual([180, 20]);
  const groups = new Set(train.map(({ group }) => group));
  expect(held.some(({ group }) => groups.has(group))).toBe(false);
  expect(areaUnderCurve([1, 2, 3, 3], [false, true, false, true])).toBe(0.625);
  const table = thresholdsOf([-1, 0, 1, 2], [false, true, false, true]);
  expect(table[0]).toEqual({ threshold: sigmoid(-1), recall: 0.5, precision: 1, accepted: 0.75 });
  expect(table[table.length - 1]).toEqual({ threshold: 1, recall: 1, precision: 0.5, accepted: 0 });
  expect(() => trainJudge([])).toThrow(/examples/);
  expect(() => trainJudge(planted(100, 4).examples.map((one) => ({ ...one, right: true })))).toThrow(/right and wrong/);
});

const headOf = (weights: Float32Array, bias = 0): JudgeHead => ({
  weights,
  bias,
  threshold: 0.5,
  thresholds: [],
  kind: 'judge',
  target: 'vivace-tiny',
  targetHash: model.fingerprint(),
});

test('files: what was saved comes back; heads of other models and broken files are refused', async () => {
  const random = new Generator(10, 'files');
  const weights = Float32Array.from({ length: width }, () => random.normal());
  const trained = {
    weights,
    bias: 0.25,
    threshold: 0.75,
    thresholds: thresholdsOf([0, 1], [true, false]),
    c: 1,
    auc: 1,
  };
  const head = await judgeHeadOf(model, trained, 'autojudge', 'vivace-tiny');
  const file = join(folder, 'judge.safetensors');
  saveJudge(file, head);
  expect(await loadJudge(file, model)).toEqual(head);
  const cases: [JudgeHead, string, RegExp][] = [
    [{ ...head, weights: weights.slice(1) }, 'SHAPE_MISMATCH', /weights/],
    [{ ...head, targetHash: 'other' }, 'INVALID_ARGUMENT', /another model/],
    [
      { ...head, probe: { ...head.probe!, scores: head.probe!.scores.map((one) => one + 5) } },
      'INVALID_ARGUMENT',
      /otherwise/,
    ],
    [{ ...head, threshold: 2 }, 'FORMAT_INVALID', /threshold/],
    [{ ...head, weights: weights.map(() => NaN) }, 'FORMAT_INVALID', /numbers/],
    [{ ...head, kind: 'jury' as never }, 'FORMAT_INVALID', /kind/],
  ];
  for (const [wrong, code, message] of cases) {
    saveJudge(file, wrong);
    await expect(loadJudge(file, model)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
  }
  saveJudge(file, { ...head, targetHash: 'other' });
  await expect(loadJudge(file, model, { force: true })).resolves.toMatchObject({ targetHash: 'other' });
  writeFileSync(file, 'nothing of the kind');
  await expect(loadJudge(file, model)).rejects.toMatchObject({ code: expect.stringMatching(/^FORMAT/) as string });
});

async function generate(prompt: string, options: GenerateOptions): Promise<GenerateResult & { judged: unknown[] }> {
  using session = model.createSession();
  const pieces = session.generate(prompt, options);
  const judged: unknown[] = [];
  let next = await pieces.next();
  for (; !next.done; next = await pieces.next())
    judged.push(...(next.value.logprobs ?? []).filter((one) => one.judged));
  return { ...next.value, judged };
}

/** Says the answer, but for some tokens, and after a while only nonsense. */
function drafterOf(answer: readonly number[], wide: boolean): Drafter {
  return {
    name: 'almost',
    start() {
      let length = -1;
      return {
        accept: (tokens) => (length = length < 0 ? 0 : length + tokens.length),
        draft(maxTokens) {
          const tokens: number[] = [];
          const parents: number[] = [];
          for (let depth = 0, at = -1; depth < Math.min(maxTokens, 5); depth++) {
            const right = answer[length + depth] ?? 30 + depth;
            const said = (length + depth) % 4 === 1 ? 40 + ((right + 7) % 150) : right;
            for (const token of wide ? [said, 40 + ((said + 11) % 150)] : [said]) {
              tokens.push(token);
              parents.push(at);
            }
            at = tokens.length - (wide ? 2 : 1);
          }
          const scores = Float32Array.from(tokens, () => 0.9);
          return { tokens: Int32Array.from(tokens), parents: Int32Array.from(parents), scores };
        },
        dispose: () => undefined,
      };
    },
  };
}

test.each([
  ['greedy', { temperature: 0 }],
  ['sampled', { temperature: 0.8, seed: 3, topK: 0, topP: 1, minP: 0 }],
] as const)(
  '%s: threshold 1 is the base rule, 0 keeps all that is not protected',
  async (_, sampling) => {
    // Nonsense ends soon, if it may.
    const logitBias = Object.fromEntries([...model.tokenizer.endOfGeneration].map((id) => [id, -Infinity]));
    const options = { ...sampling, maxTokens: 60, logprobs: true, logitBias } as const;
    const plain = await generate('Once upon a time', options);
    const random = new Generator(11, 'thresholds');
    const head = headOf(Float32Array.from({ length: width }, () => random.normal() / 4));
    for (const wide of [false, true]) {
      const drafter = drafterOf(plain.tokens, wide);
      const shape = { drafter, maxDraft: 5, maxNodes: wide ? 10 : 5, adaptive: false };
      const run = (verifier: Omit<JudgeVerifier, 'name' | 'head'>): ReturnType<typeof generate> =>
        generate('Once upon a time', {
          ...options,
          speculation: { ...shape, verifier: { name: 'judge', head, ...verifier } },
        });
      const never = await run({ threshold: 1 });
      expect(never.tokens).toEqual(plain.tokens);
      expect(never.speculation).toMatchObject({ judged: 0 });
      const all = await run({ threshold: 0 });
      const kept = [never, all].map(({ speculation }) => speculation!.tokensPerRound);
      // Where tokens are drawn, the judge goes to the child that it likes best, which may be a leaf.
      if (!wide || sampling.temperature === 0) expect(kept[1]).toBeGreaterThan(kept[0]);
      expect(all.speculation!.judged).toBeGreaterThan(8);
      expect(all.judged).toHaveLength(all.speculation!.judged!);
      if (sampling.temperature === 0) {
        expect(all.speculation!.acceptanceByPosition.every((share) => share === 1)).toBe(true);
        const short = await run({ threshold: 0, maxJudgedRun: 1 });
        expect(short.speculation!.judged!).toBeLessThanOrEqual(short.speculation!.accepted);
        const every = Array.from({ length: model.tokenizer.vocabSize }, (__, id) => id);
        expect((await run({ threshold: 0, protect: every })).tokens).toEqual(plain.tokens);
      }
    }
  },
  60_000,
);

test('what ends an answer is said by the model alone: ends of turns, and what completes a stop string', async () => {
  const [end] = model.tokenizer.endOfGeneration;
  const head = headOf(new Float32Array(width), 1);
  const say = (tokens: readonly number[]): Drafter => ({
    name: 'fixed',
    start: () => ({
      accept: () => undefined,
      draft: () => ({
        tokens: Int32Array.from(tokens),
        parents: Int32Array.from(tokens, (_, node) => node - 1),
        scores: new Float32Array(tokens.length).fill(0.9),
      }),
      dispose: () => undefined,
    }),
  });
  const words = [...model.tokenizer.encode(' lamp END', { addSpecial: false })];
  const run = (tokens: readonly number[], stop: string[]): ReturnType<typeof generate> => {
    const verifier = { name: 'judge', head, threshold: 0 } as const;
    const speculation = { drafter: say(tokens), verifier, adaptive: false };
    return generate('Once upon a time', { temperature: 0, maxTokens: 24, stop, speculation });
  };
  expect((await run([words[0], end, words[0]], [])).finishReason).toBe('length');
  const stopped = await run(words, ['END']);
  expect(stopped.stopString).toBeUndefined();
  expect(stopped.speculation!.judged).toBeGreaterThan(0);
  expect((await run(words, [])).text).toContain('END');
});

test('mining: what its checker says of the answer that a token leads to', async () => {
  expect(await mineJudge({ target: model, draft: model, prompts: ['copy: dog cat →'], same: () => true })).toEqual([]);
  const other = await loadModel(join(embeddedModelPath(), '../vivace-tiny-draft.gguf'), { threads: 1 });
  const essence = (text: string): string => text.split('\n')[0];
  let asked = 0;
  const verdicts: boolean[] = [];
  const examples = await mineJudge({
    target: model,
    draft: other,
    prompts: ['21+26=', 'copy: dog cat river →', '7-2='],
    maxTokens: 16,
    same: (answer, first, prompt) => {
      asked++;
      const equal = essence(answer) === essence(first);
      verdicts.push(equal);
      if (equal) expect(prompt).toMatch(/=|copy/);
      return equal;
    },
  });
  expect(asked).toBe(examples.length); // a generation each
  expect(examples.map(({ right }) => right)).toEqual(verdicts);
  expect(new Set(verdicts).size).toBe(2);
  expect(examples.every(({ divergence, hidden }) => divergence > 0 && hidden.length === width)).toBe(true);
  other.dispose();
});

test('mistakes are named', async () => {
  const head = headOf(new Float32Array(width));
  const play = (verifier: Record<string, unknown>): Promise<unknown> =>
    generate('a', {
      maxTokens: 2,
      speculation: { drafter: nGram(), verifier: { name: 'judge', head, ...verifier } as never },
    });
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ head: undefined }, /head/],
    [{ threshold: 1.5 }, /threshold/],
    [{ threshold: NaN }, /threshold/],
    [{ protect: ['a'] }, /protect/],
    [{ maxJudgedRun: 65 }, /maxJudgedRun/],
    [{ rule: 'block' }, /rule/],
    [{ treshold: 0.5 }, /treshold/],
    [{ head: headOf(new Float32Array(3)) }, /3 weights/],
  ];
  for (const [change, message] of wrong) await expect(play(change)).rejects.toThrow(message);
  await expect(play({})).resolves.toBeDefined();
});
