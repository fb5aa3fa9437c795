// Scaling laws of drafters: how many tokens a round gives, by the tokens a drafter was trained on and by its size (Yan et al.
// 2025, "Scaling laws for speculative decoding", theorems 1.1 and 1.2). Coefficients are always fitted, never assumed.
import { VivaceError } from '../../../errors.js';
import { improvementByChance, leastSquares, predict, type Fit } from './least-squares.js';
import { fitSaturation, type Saturation } from './saturation.js';

/** One drafter, measured. */
export interface Measurement {
  /** Tokens that it was trained on. */
  readonly tokens?: number;
  /** Its parameters without embeddings, or its layers. */
  readonly parameters?: number;
  /** What is fitted: tokens per round, or tokens accepted per round, or a share of accepted tokens. */
  readonly accepted: number;
  /** The same, of groups of prompts: how far to trust `accepted`. Used where every measurement has at least five. */
  readonly groups?: readonly number[];
  /** Prompts, temperature, shape of drafts, target, template: measurements of different settings are not fitted together. */
  readonly setting?: Readonly<Record<string, string | number>>;
}

export type LawName = 'data' | 'capacity' | 'joint';

/** A = Σ coefficient · term, with terms 1, log10 D, log10 N and log10 D · log10 N. */
export interface Law {
  readonly law: LawName;
  readonly terms: readonly string[];
  readonly coefficients: readonly number[];
  readonly standardErrors: readonly number[];
  readonly covariance: readonly (readonly number[])[];
  readonly r2: number;
  readonly leaveOneOut: number;
  readonly count: number;
  readonly weighted: boolean;
  /** Of tokens and parameters: least and most that were measured. */
  readonly range: Readonly<Partial<Record<Axis, readonly [number, number]>>>;
  /** Laws of one axis: a power law that ends at a limit, A = limit − k · x^−β, and whether it explains more (AICc). */
  readonly saturation?: Saturation & { readonly wins: boolean };
  /** Laws of one axis: probability of so much curvature by chance, if the law were a line. */
  readonly curvature?: number;
  readonly warnings: readonly string[];
}

type Axis = 'tokens' | 'parameters';
const axesOf: Readonly<Record<LawName, readonly Axis[]>> = {
  data: ['tokens'],
  capacity: ['parameters'],
  joint: ['tokens', 'parameters'],
};

/** The law of what differs among the measurements. */
export function variedIn(measurements: readonly Measurement[]): LawName {
  const varied = (name: Axis): boolean => new Set(measurements.map((one) => one[name])).size > 1;
  if (varied('tokens') && varied('parameters')) return 'joint';
  return varied('parameters') ? 'capacity' : 'data';
}

/** A fit and what it was made of; `predictLaw` needs both. */
export interface FittedLaw extends Law {
  readonly fit: Fit;
}

/**
 * Throws INVALID_ARGUMENT for fewer than three measurements (joint: five), values that are not positive numbers, settings that
 * differ, and where all measurements are at one place.
 */
export function fitLaw(law: LawName, measurements: readonly Measurement[]): FittedLaw {
  const axes = axesOf[law];
  check(law, axes, measurements);
  const logs = measurements.map((one) => axes.map((axis) => Math.log10(one[axis] as number)));
  const y = measurements.map(({ accepted }) => accepted);
  const weights = weightsOf(measurements);
  const design = (interaction: boolean): number[][] =>
    logs.map((x) => [1, ...x, ...(interaction ? [x.reduce((product, value) => product * value, 1)] : [])]);
  const plain = leastSquares(design(false), y, weights);
  if (plain === undefined) throw bad('All measurements are at one place', 'Measure drafters of different sizes.');
  let fit = plain;
  let terms = ['1', ...axes.map((axis) => `log10 ${axis}`)];
  // Two lines that are not parallel: only where that is not by chance.
  const crossed = axes.length > 1 ? leastSquares(design(true), y, weights) : undefined;
  if (crossed && improvementByChance(crossed, plain) < 0.05) {
    fit = crossed;
    terms = [...terms, 'log10 tokens · log10 parameters'];
  }
  const x = logs.map(([first]) => first);
  const saturation = axes.length === 1 ? fitSaturation(x, y, weights) : undefined;
  const wins = saturation !== undefined && saturation.aicc < aicc(fit, y.length);
  const curved = leastSquares(
    x.map((value) => [1, value, value * value]),
    y,
    weights,
  );
  const curvature = axes.length === 1 && curved ? improvementByChance(curved, fit) : undefined;
  return {
    law,
    terms,
    coefficients: fit.coefficients,
    standardErrors: fit.covariance.map((row, i) => Math.sqrt(row[i])),
    covariance: fit.covariance,
    r2: fit.r2,
    leaveOneOut: fit.leaveOneOut,
    count: y.length,
    weighted: weights !== undefined,
    range: Object.fromEntries(axes.map((axis, i) => [axis, rangeOf(logs.map((row) => 10 ** row[i]))])),
    ...(saturation ? { saturation: { ...saturation, wins } } : {}),
    ...(curvature === undefined ? {} : { curvature }),
    warnings: [
      ...(wins
        ? [`A power law towards ${saturation.limit.toPrecision(3)} explains more than a line: it levels off`]
        : []),
      ...(curvature !== undefined && curvature < 0.05
        ? ['The points bend: a line holds for a part of them at most']
        : []),
    ],
    fit,
  };
}

/**
 * What a drafter would accept, with the interval that a measurement would lie in with probability 0.95. `most`: tokens that a
 * round can give, γ + 1; predictions are cut to 1 (or 0 for shares: `least`) … `most`. Throws INVALID_ARGUMENT more than a
 * decade beyond what was measured, unless `force`.
 */
export function predictLaw(
  { law, fit, terms, range }: FittedLaw,
  at: Partial<Record<Axis, number>>,
  options: { most?: number; least?: number; force?: boolean } = {},
): { value: number; low: number; high: number; clipped: boolean } {
  const { most = Infinity, least = 0, force = false } = options;
  const logs = axesOf[law].map((axis) => {
    const value = at[axis];
    if (value === undefined || !(value > 0) || !Number.isFinite(value)) {
      throw bad(`A prediction of the law of ${law} needs ${axis}`, `Give a positive number of ${axis}.`);
    }
    const [low, high] = range[axis] as readonly [number, number];
    if (!force && (value < low / 10.001 || value > high * 10.001)) {
      throw bad(
        `${value} ${axis} are more than a decade beyond what was measured (${low} to ${high})`,
        'Measure nearer to it, or force the prediction.',
      );
    }
    return Math.log10(value);
  });
  const product = logs.reduce((all, value) => all * value, 1);
  const x = [1, ...logs, ...(terms.length > 1 + logs.length ? [product] : [])];
  const { value, low, high } = predict(fit, x);
  const cut = (one: number): number => Math.min(most, Math.max(least, one));
  return { value: cut(value), low: cut(low), high: cut(high), clipped: cut(value) !== value };
}

/** Akaike's criterion for small samples; the scale of errors is a parameter, too. */
export function aicc({ squares, coefficients }: Pick<Fit, 'squares' | 'coefficients'>, count: number): number {
  const parameters = coefficients.length + 1;
  if (count <= parameters + 1) return Infinity;
  // Numbers in a file have some digits: a fit is never better than that.
  const rest = Math.max(squares / count, 1e-24);
  return count * Math.log(rest) + 2 * parameters + (2 * parameters * (parameters + 1)) / (count - parameters - 1);
}

function check(law: LawName, axes: readonly Axis[], measurements: readonly Measurement[]): void {
  const least = law === 'joint' ? 5 : 3;
  if (measurements.length < least) {
    throw bad(`${measurements.length} measurements are too few for the law of ${law}`, `Give at least ${least}.`);
  }
  measurements.forEach((one, index) => {
    for (const name of [...axes, 'accepted'] as const) {
      const value = one[name];
      if (typeof value === 'number' && Number.isFinite(value) && value > 0) continue;
      throw bad(`Measurement ${index + 1} has no positive number \`${name}\``, 'Correct or remove it.');
    }
  });
  const [first, ...others] = measurements.map(({ setting = {} }) => JSON.stringify(Object.entries(setting).sort()));
  if (measurements.every(({ accepted }) => accepted === measurements[0].accepted)) {
    throw bad(
      'All drafters accept the same: there is no law to fit',
      'Measure drafters that differ more, or longer answers.',
    );
  }
  const odd = others.findIndex((setting) => setting !== first);
  if (odd >= 0) {
    throw bad(
      `Measurement ${odd + 2} was made in another setting than the first: ${others[odd]}, not ${first}`,
      'Fit measurements of the same prompts, temperature, drafts, target and template.',
    );
  }
}

/** 1 / variance of the mean of each measurement's groups, or undefined. */
function weightsOf(measurements: readonly Measurement[]): number[] | undefined {
  const variances = measurements.map(({ groups = [] }) => {
    if (groups.length < 5) return NaN;
    const mean = groups.reduce((sum, value) => sum + value, 0) / groups.length;
    const squares = groups.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    return squares / (groups.length - 1) / groups.length;
  });
  return variances.every((variance) => variance > 0) ? variances.map((variance) => 1 / variance) : undefined;
}

const rangeOf = (values: readonly number[]): readonly [number, number] => [Math.min(...values), Math.max(...values)];
const bad = (message: string, remedy: string): VivaceError => new VivaceError('INVALID_ARGUMENT', message, { remedy });
