// The gradient of distillation: the plain form against finite differences in float64, and native code against it.
import { distilLosses, distillation } from '../../../lib/decode/speculation/adapt/distillation.js';
import type { DistilLoss, DistilProblem } from '../../../lib/decode/speculation/adapt/distillation.js';
import { native } from '../../../lib/native.js';
import type { NativeDistilStep } from '../../../lib/native.js';
import { Generator } from '../../fixtures/random/generator.js';

const width = 7;
const rank = 3;
const vocab = 50;

interface Made {
  readonly problem: DistilProblem;
  readonly a: Float64Array;
  readonly b: Float64Array;
}

/** Rows with a law, a label, both or neither; some tokens are not mapped, and a law may know all tokens. */
function madeUp(loss: DistilLoss, seed: number): Made {
  const random = new Generator(seed, `distillation ${loss}`);
  const numbers = (count: number, scale: number): Float64Array =>
    Float64Array.from({ length: count }, () => Math.fround((scale * random.integer(-1000, 1000)) / 1000));
  const mapped = Float64Array.from({ length: vocab }, (_, v) => Number(v % 7 !== 3));
  const rows = Array.from({ length: 9 }, (_, i) => {
    const ids = Array.from({ length: vocab }, (_, v) => v).filter(
      (v) => mapped[v] !== 0 && (i === 4 || random.integer(0, 5) === 0),
    );
    const known = i % 3 === 2 ? [] : ids;
    const weights = known.map(() => random.integer(0, 20));
    const total = weights.reduce((sum, weight) => sum + weight, i === 4 ? 0 : 5);
    return {
      hidden: numbers(width, 1),
      logits: numbers(vocab, 2),
      ids: known,
      laws: weights.map((weight) => Math.fround(weight / total)),
      label: i % 2 === 0 ? random.integer(0, vocab - 1) : -1,
      weight: Math.fround(random.integer(1, 10) / 10),
    };
  });
  const problem = { rows, width, vocab, rank, mapped, loss, lambda: 0.2 };
  return { problem, a: numbers(rank * width, 0.5), b: numbers(vocab * rank, 0.5) };
}

const total = ({ problem, a, b }: Made): number => {
  const { law, label } = distillation(problem, a, b);
  return law + problem.lambda * label;
};

test.each(distilLosses)('the gradient is that of the loss: %s', (loss) => {
  for (let seed = 0; seed < 3; seed++) {
    const made = madeUp(loss, seed);
    const { gradientA, gradientB } = distillation(made.problem, made.a, made.b);
    for (const [values, gradient] of [
      [made.a, gradientA],
      [made.b, gradientB],
    ]) {
      const size = Math.sqrt(gradient.reduce((sum, slope) => sum + slope * slope, 0) / gradient.length);
      for (let i = 0; i < values.length; i++) {
        const h = 1e-5;
        const before = values[i];
        values[i] = before + h;
        const above = total(made);
        values[i] = before - h;
        const below = total(made);
        values[i] = before;
        expect(Math.abs((above - below) / (2 * h) - gradient[i])).toBeLessThan(1e-6 * size + 1e-10);
      }
    }
  }
});

/** The problem as native code reads it. */
function stepOf({ problem, a, b }: Made): NativeDistilStep {
  const { rows, loss, lambda, mapped } = problem;
  const starts = Int32Array.from({ length: rows.length + 1 }, (_, i) =>
    rows.slice(0, i).reduce((sum, { ids }) => sum + ids.length, 0),
  );
  return {
    rows: rows.length,
    width,
    vocab,
    rank,
    hidden: Float32Array.from(rows.flatMap(({ hidden }) => Array.from(hidden))),
    logits: Float32Array.from(rows.flatMap(({ logits }) => Array.from(logits))),
    mapped: Uint8Array.from(mapped),
    starts,
    ids: Int32Array.from(rows.flatMap(({ ids }) => ids)),
    laws: Float32Array.from(rows.flatMap(({ laws }) => laws)),
    labels: Int32Array.from(rows, ({ label }) => label),
    weights: Float32Array.from(rows, ({ weight }) => weight),
    loss: distilLosses.indexOf(loss),
    lambda,
    step: 1,
    rate: 0.01,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    decay: 0.1,
    clip: 1e-3,
    a: Float32Array.from(a),
    b: Float32Array.from(b),
    momentsA: new Float32Array(2 * a.length),
    momentsB: new Float32Array(2 * b.length),
    losses: new Float32Array(3).fill(NaN),
  };
}

test.each(distilLosses)('native code computes the same: %s', (loss) => {
  for (let seed = 0; seed < 5; seed++) {
    const made = madeUp(loss, seed);
    const step = stepOf(made);
    const gradientA = new Float32Array(made.a.length).fill(NaN);
    const gradientB = new Float32Array(made.b.length).fill(NaN);
    native().distilGradient({ ...step, gradientA, gradientB });
    const wanted = distillation(made.problem, made.a, made.b);
    const off = (found: Float32Array, exact: Float64Array): number =>
      Math.max(...exact.map((value, i) => Math.abs(value - found[i]))) / Math.max(...exact.map(Math.abs));
    expect(off(gradientA, wanted.gradientA)).toBeLessThan(2e-5);
    expect(off(gradientB, wanted.gradientB)).toBeLessThan(2e-5);
    expect(step.losses[0]).toBeCloseTo(wanted.law, 4);
    expect(step.losses[1]).toBeCloseTo(wanted.label, 4);
  }
});

test('a step is one of AdamW, with the gradient cut to its length', async () => {
  const made = madeUp('reverse-kl', 1);
  const step = stepOf(made);
  const gradientA = new Float32Array(made.a.length);
  const gradientB = new Float32Array(made.b.length);
  native().distilGradient({ ...step, gradientA, gradientB });
  const norm = Math.hypot(...gradientA, ...gradientB);
  const means = made.b.map(() => 0);
  const squares = made.b.map(() => 0);
  let b = made.b;
  for (let t = 1; t <= 2; t++) {
    await native().distil({ ...step, step: t }, new Int32Array(2));
    expect(step.losses[2]).toBeGreaterThan(1e-3);
    if (t === 1) expect(step.losses[2]).toBeCloseTo(norm, 5);
    if (t === 1) {
      b = b.map((value, i) => {
        const slope = (gradientB[i] * 1e-3) / norm;
        means[i] = 0.1 * slope;
        squares[i] = 0.05 * slope * slope;
        return value - 0.01 * (slope / (Math.abs(slope) + 1e-8) + 0.1 * value);
      });
      expect(Math.max(...b.map((value, i) => Math.abs(value - step.b[i])))).toBeLessThan(1e-6);
      expect(step.momentsB[3]).toBeCloseTo(means[3], 8);
    }
  }
});

test.each([0, 0.2])('runs are learned by their share of the loss alone: λ = %f', async (lambda) => {
  // A context per hidden value: a law over a mapped token, and a run of the target that begins with one that is not mapped.
  const { problem, a } = madeUp('reverse-kl', 1);
  const rows = Array.from({ length: 2 * width }, (_, i) => {
    const [runs, context] = [i >= width, i % width];
    return {
      hidden: Float64Array.from({ length: width }, (_, j) => Number(j === context)),
      logits: new Float64Array(vocab),
      ids: runs ? [] : [1 + 7 * (context % 3)],
      laws: runs ? [] : [0.9],
      label: runs ? 3 + 7 * (context % 2) : -1,
      weight: 1,
    };
  });
  const made = { problem: { ...problem, rows, lambda }, a, b: new Float64Array(vocab * rank) };
  const step = { ...stepOf(made), rate: 0.02, decay: 0, clip: 1 };
  const before = distillation(made.problem, a, made.b);
  for (let t = 1; t <= 300; t++) await native().distil({ ...step, step: t }, new Int32Array(2));
  const after = distillation(made.problem, Float64Array.from(step.a), Float64Array.from(step.b));
  expect(after.law).toBeLessThan(0.1 * before.law);
  if (lambda === 0) expect(after.label).toBeGreaterThan(before.label);
  else expect(after.label).toBeLessThan(0.1 * before.label);
});

test('what is no number, and what was given up, changes nothing', async () => {
  const step = stepOf(madeUp('kl', 2));
  const before = [step.a.slice(), step.b.slice(), step.momentsB.slice()];
  await native().distil({ ...step, logits: step.logits.map(() => NaN) }, new Int32Array(2));
  expect([step.a, step.b, step.momentsB]).toEqual(before);
  await expect(native().distil(step, Int32Array.of(0, 1))).rejects.toMatchObject({ code: 'ABORTED' });
  expect([step.a, step.b, step.momentsB]).toEqual(before);
  expect(() => native().distil({ ...step, ids: step.ids.map(() => vocab) }, new Int32Array(2))).toThrow('beyond');
  expect(() => native().distil({ ...step, b: step.b.subarray(1) }, new Int32Array(2))).toThrow('`b`');
});
