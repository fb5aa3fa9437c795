// Weighted linear least squares with what is needed to judge a fit: errors, intervals, tests.

export interface Fit {
  readonly coefficients: readonly number[];
  /** [coefficients][coefficients]. */
  readonly covariance: readonly (readonly number[])[];
  readonly r2: number;
  /** Σ weight · residual². */
  readonly squares: number;
  /** Measurements minus coefficients. */
  readonly degrees: number;
  /** Root of the mean square of what each measurement would be mispredicted by without itself. */
  readonly leaveOneOut: number;
}

/**
 * Minimises Σ weights[i] · (y[i] − x[i]·β)². `x`: [measurements][coefficients]. Undefined where the columns of `x` do not
 * determine β, or where there are not more measurements than coefficients.
 */
export function leastSquares(
  x: readonly (readonly number[])[],
  y: readonly number[],
  weights: readonly number[] = y.map(() => 1),
): Fit | undefined {
  const width = x[0]?.length ?? 0;
  const degrees = y.length - width;
  if (width === 0 || degrees < 1) return undefined;
  const columns = Array.from({ length: width }, (_, column) => column);
  const normal = columns.map((a) => columns.map((b) => sum(x, (row, i) => weights[i] * row[a] * row[b])));
  const inverse = invert(normal);
  if (inverse === undefined) return undefined;
  const moments = columns.map((a) => sum(x, (row, i) => weights[i] * row[a] * y[i]));
  const coefficients = inverse.map((row) => dot(row, moments));
  const residuals = y.map((value, i) => value - dot(x[i], coefficients));
  const squares = sum(residuals, (residual, i) => weights[i] * residual * residual);
  const total = sum(weights, (weight) => weight);
  const mean = sum(y, (value, i) => weights[i] * value) / total;
  const spread = sum(y, (value, i) => weights[i] * (value - mean) ** 2);
  const without = residuals.map((residual, i) => residual / (1 - weights[i] * quadratic(inverse, x[i])));
  return {
    coefficients,
    covariance: inverse.map((row) => row.map((value) => (value * squares) / degrees)),
    r2: spread > 0 ? 1 - squares / spread : NaN,
    squares,
    degrees,
    leaveOneOut: Math.sqrt(sum(without, (value) => value * value) / y.length),
  };
}

/** Value at `x` and the interval that a new measurement of weight `weight` lies in with probability `confidence`. */
export function predict(
  { coefficients, covariance, squares, degrees }: Fit,
  x: readonly number[],
  confidence = 0.95,
  weight = 1,
): { value: number; low: number; high: number } {
  const value = dot(x, coefficients);
  const half =
    tQuantile((1 + confidence) / 2, degrees) * Math.sqrt(quadratic(covariance, x) + squares / degrees / weight);
  return { value, low: value - half, high: value + half };
}

/** Probability of so great an improvement by the coefficients that `full` has more, if they were zero. */
export function improvementByChance(full: Fit, reduced: Fit): number {
  const more = reduced.degrees - full.degrees;
  const ratio = (reduced.squares - full.squares) / more / (full.squares / full.degrees);
  if (!(ratio > 0)) return 1;
  // Tail of the F distribution.
  return incompleteBeta(full.degrees / (full.degrees + more * ratio), full.degrees / 2, more / 2);
}

/** The t such that a t-distributed value of `degrees` degrees of freedom is below it with probability `p`, 0.5 ≤ p < 1. */
export function tQuantile(p: number, degrees: number): number {
  const below = (t: number): number => 1 - incompleteBeta(degrees / (degrees + t * t), degrees / 2, 0.5) / 2;
  let high = 1;
  while (below(high) < p) high *= 2;
  let low = 0;
  for (let step = 0; step < 200 && high - low > 1e-12 * high; step++) {
    const middle = (low + high) / 2;
    if (below(middle) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** Regularised incomplete beta function I_x(a, b) by its continued fraction (Abramowitz and Stegun, 26.5.8). */
export function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  // The fraction converges fast on this side only.
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(a * Math.log(x) + b * Math.log1p(-x) + logGamma(a + b) - logGamma(a) - logGamma(b)) / a;
  const TINY = 1e-300;
  let c = 1;
  let d = 1 / away(1 - ((a + b) * x) / (a + 1), TINY);
  let fraction = d;
  for (let m = 1; m <= 500; m++) {
    for (const term of [
      (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
      (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)),
    ]) {
      d = 1 / away(1 + term * d, TINY);
      c = away(1 + term / c, TINY);
      fraction *= d * c;
    }
    if (Math.abs(d * c - 1) < 1e-15) break;
  }
  return front * fraction;
}

const away = (value: number, least: number): number => (Math.abs(value) < least ? least : value);

/** ln Γ(x), x > 0: Stirling's series, above 12 good to 1e-15. */
function logGamma(x: number): number {
  let shift = 0;
  for (; x < 12; x++) shift += Math.log(x);
  const square = 1 / (x * x);
  const series = (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188)))) / x;
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series - shift;
}

/** Undefined for a singular matrix. Columns are scaled first, so that units do not matter. */
function invert(matrix: readonly (readonly number[])[]): number[][] | undefined {
  const size = matrix.length;
  const scale = matrix.map((row, i) => 1 / Math.sqrt(row[i]));
  const work = matrix.map((row, i) => [
    ...row.map((value, j) => value * scale[i] * scale[j]),
    ...Array.from({ length: size }, (_, j) => Number(i === j)),
  ]);
  for (let column = 0; column < size; column++) {
    let pivot = column;
    for (let row = column; row < size; row++) {
      if (Math.abs(work[row][column]) > Math.abs(work[pivot][column])) pivot = row;
    }
    [work[column], work[pivot]] = [work[pivot], work[column]];
    const head = work[column][column];
    if (!(Math.abs(head) > 1e-11)) return undefined;
    work[column] = work[column].map((value) => value / head);
    for (let row = 0; row < size; row++) {
      if (row === column) continue;
      const factor = work[row][column];
      work[row] = work[row].map((value, j) => value - factor * work[column][j]);
    }
  }
  return work.map((row, i) => row.slice(size).map((value, j) => value * scale[i] * scale[j]));
}

const sum = <T>(values: readonly T[], of: (value: T, index: number) => number): number =>
  values.reduce((total, value, index) => total + of(value, index), 0);
const dot = (a: readonly number[], b: readonly number[]): number => sum(a, (value, i) => value * b[i]);
const quadratic = (matrix: readonly (readonly number[])[], x: readonly number[]): number =>
  dot(
    matrix.map((row) => dot(row, x)),
    x,
  );
