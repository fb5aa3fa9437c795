// Trains a judge's head on examples: features standardised, classes weighed, the penalty chosen on questions held out.
import { expected, VivaceError } from '../../../errors.js';
import { Draws } from './draws.js';
import type { JudgeThreshold } from './head.js';
import { fitLogistic, type LogisticModel } from './logistic.js';

/** A drafted token and whether it is right. */
export interface JudgeExample {
  /** Which question it comes from: its examples are alike, so that all of them are trained on or none. */
  readonly group: number;
  /** The model's hidden state at the row whose input is the token. */
  readonly hidden: Float32Array;
  readonly right: boolean;
}

export interface JudgeTrainOptions {
  /** Share of the groups that are trained on. Default 0.9. */
  readonly share?: number;
  /** Default 52. */
  readonly seed?: number;
  /** Of the wrong tokens, the share that the chosen threshold refuses at least. Default 0.9. */
  readonly recall?: number;
}

export interface TrainedJudge {
  readonly weights: Float32Array;
  readonly bias: number;
  readonly threshold: number;
  readonly thresholds: readonly JudgeThreshold[];
  /** The penalty that was chosen, as scikit-learn counts it, and the area under the ROC curve on the groups held out. */
  readonly c: number;
  readonly auc: number;
}

/** Garipov et al. 2025 (AutoJudge, arXiv 2504.20039) choose among these. */
const GRID = [...Array.from({ length: 14 }, (_, i) => 10 ** (-(14 - i) / 2)), 1, 3, 10, 50, 100];

/** Throws INVALID_ARGUMENT: too few examples, or only right or wrong ones. */
export function trainJudge(examples: readonly JudgeExample[], options: JudgeTrainOptions = {}): TrainedJudge {
  const { share = 0.9, seed = 52, recall = 0.9 } = options;
  const width = examples[0]?.hidden.length ?? 0;
  if (width === 0 || examples.some(({ hidden }) => hidden.length !== width)) {
    throw expected('examples with hidden states of one width', 'examples', examples.length);
  }
  const [train, held] = split(examples, share, seed);
  for (const part of [train, held]) {
    if (part.some(({ right }) => right) && part.some(({ right }) => !right)) continue;
    throw new VivaceError('INVALID_ARGUMENT', 'A judge needs right and wrong examples, also among those held out', {
      remedy: 'Give it more questions.',
    });
  }
  const { mean, scale } = moments(train, width);
  const features = new Float64Array(train.length * width);
  train.forEach(({ hidden }, i) => hidden.forEach((x, k) => (features[i * width + k] = (x - mean[k]) / scale[k])));
  const labels = train.map(({ right }) => Number(right));
  const wrong = labels.filter((label) => label === 0).length;
  const weights = labels.map((label) => (label === 0 ? Math.max(1, (labels.length - wrong) / wrong) : 1));
  let best: { weights: Float32Array; bias: number; c: number; auc: number } | undefined;
  let last: LogisticModel | undefined;
  for (const c of GRID) {
    last = fitLogistic({ features, width, labels, weights }, c, last);
    const folded = fold(last, mean, scale);
    const auc = areaUnderCurve(
      scoresOf(held, folded),
      held.map(({ right }) => right),
    );
    if (!best || auc > best.auc) best = { ...folded, c, auc };
  }
  const chosen = best as NonNullable<typeof best>;
  const thresholds = thresholdsOf(
    scoresOf(held, chosen),
    held.map(({ right }) => right),
  );
  const strict = thresholds.filter((one) => one.recall >= recall);
  // The one that keeps most; keeping nothing always refuses everything.
  const threshold = strict.reduce((a, b) => (b.accepted > a.accepted ? b : a), thresholds[thresholds.length - 1]);
  return { ...chosen, threshold: threshold.threshold, thresholds };
}

/** Whole groups go to one side or the other. */
export function split<T extends { readonly group: number }>(
  examples: readonly T[],
  share: number,
  seed: number,
): [T[], T[]] {
  const groups = [...new Set(examples.map(({ group }) => group))].sort((a, b) => a - b);
  const draws = new Draws(seed);
  for (let i = groups.length - 1; i > 0; i--) {
    const other = draws.below(i + 1);
    [groups[i], groups[other]] = [groups[other], groups[i]];
  }
  const train = new Set(groups.slice(0, Math.min(groups.length - 1, Math.round(groups.length * share))));
  return [examples.filter(({ group }) => train.has(group)), examples.filter(({ group }) => !train.has(group))];
}

function moments(examples: readonly JudgeExample[], width: number): { mean: Float64Array; scale: Float64Array } {
  const mean = new Float64Array(width);
  const square = new Float64Array(width);
  for (const { hidden } of examples) hidden.forEach((x, k) => (mean[k] += x / examples.length));
  for (const { hidden } of examples) hidden.forEach((x, k) => (square[k] += (x - mean[k]) ** 2 / examples.length));
  return { mean, scale: square.map((variance) => Math.sqrt(variance) || 1) };
}

/** The head for features as they come: w / scale, and b − Σ w · mean / scale. */
export function fold(
  { coefficients, intercept }: Pick<LogisticModel, 'coefficients' | 'intercept'>,
  mean: Float64Array,
  scale: Float64Array,
): { weights: Float32Array; bias: number } {
  const weights = Float32Array.from(coefficients, (w, k) => w / scale[k]);
  // The bias answers to the weights as they were rounded.
  const bias = intercept - weights.reduce((sum, w, k) => sum + w * mean[k], 0);
  return { weights, bias: Math.fround(bias) };
}

/** weights · hidden + bias of each example. */
export const scoresOf = (
  examples: readonly Pick<JudgeExample, 'hidden'>[],
  { weights, bias }: { readonly weights: Float32Array; readonly bias: number },
): number[] => examples.map(({ hidden }) => hidden.reduce((sum, x, k) => sum + weights[k] * x, bias));

/** The probability that a right token has a higher score than a wrong one; equals count half. */
export function areaUnderCurve(scores: readonly number[], right: readonly boolean[]): number {
  const order = [...scores.keys()].sort((a, b) => scores[a] - scores[b]);
  let ranks = 0;
  for (let begin = 0, end; begin < order.length; begin = end) {
    for (end = begin; end < order.length && scores[order[end]] === scores[order[begin]];) end++;
    for (let i = begin; i < end; i++) if (right[order[i]]) ranks += (begin + end + 1) / 2;
  }
  const positive = right.filter(Boolean).length;
  const negative = right.length - positive;
  return positive * negative === 0 ? NaN : (ranks - (positive * (positive + 1)) / 2) / (positive * negative);
}

/** What 26 thresholds, at quantiles of the scores, and the one that keeps nothing would have done. */
export function thresholdsOf(scores: readonly number[], right: readonly boolean[]): JudgeThreshold[] {
  const sorted = [...scores].sort((a, b) => a - b);
  const wrong = right.filter((one) => !one).length;
  const at = (bound: number): JudgeThreshold => {
    const refused = scores.map((score) => !(score > bound));
    const count = refused.filter(Boolean).length;
    const caught = refused.filter((one, i) => one && !right[i]).length;
    return {
      threshold: 1 / (1 + Math.exp(-bound)),
      recall: wrong === 0 ? 1 : caught / wrong,
      precision: count === 0 ? 1 : caught / count,
      accepted: 1 - count / scores.length,
    };
  };
  const quantiles = Array.from({ length: 26 }, (_, i) => sorted[Math.round((i / 25) * (sorted.length - 1))]);
  return [...quantiles.map(at), at(Infinity)];
}
