// Logistic regression in float64: Newton's method whose steps are found by conjugate gradients. Small, and deterministic.

export interface LogisticData {
  /** [count, width] */
  readonly features: Float32Array | Float64Array;
  readonly width: number;
  /** [count], 0 or 1. */
  readonly labels: ArrayLike<number>;
  /** [count] */
  readonly weights: ArrayLike<number>;
}

export interface LogisticModel {
  readonly coefficients: Float64Array;
  readonly intercept: number;
  /** Length of the gradient where it stopped. */
  readonly gradient: number;
}

/** Minimises Σ weight · cross-entropy + |coefficients|² / (2 · c); the intercept is free. */
export function fitLogistic(data: LogisticData, c: number, start?: LogisticModel): LogisticModel {
  const { features, width, labels, weights } = data;
  const count = labels.length;
  const size = width + 1; // the last one is the intercept
  const x = new Float64Array(size);
  if (start) {
    x.set(start.coefficients);
    x[width] = start.intercept;
  }
  const times = (v: Float64Array): Float64Array => {
    const out = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      let sum = v[width];
      const row = i * width;
      for (let k = 0; k < width; k++) sum += v[k] * features[row + k];
      out[i] = sum;
    }
    return out;
  };
  const transposed = (v: Float64Array): Float64Array => {
    const out = new Float64Array(size);
    for (let i = 0; i < count; i++) {
      const own = v[i];
      if (own === 0) continue;
      const row = i * width;
      for (let k = 0; k < width; k++) out[k] += own * features[row + k];
      out[width] += own;
    }
    return out;
  };
  const penalise = (out: Float64Array, v: Float64Array): Float64Array => {
    for (let k = 0; k < width; k++) out[k] += v[k] / c;
    return out;
  };
  const loss = (scores: Float64Array, at: Float64Array): number => {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += weights[i] * softplus(labels[i] ? -scores[i] : scores[i]);
    for (let k = 0; k < width; k++) sum += at[k] ** 2 / (2 * c);
    return sum;
  };
  let scores = times(x);
  let value = loss(scores, x);
  let norm = Infinity;
  for (let step = 0; step < 60; step++) {
    const chances = scores.map((score) => 1 / (1 + Math.exp(-score)));
    const gradient = penalise(transposed(chances.map((p, i) => weights[i] * (p - labels[i]))), x);
    norm = Math.sqrt(dot(gradient, gradient));
    if (norm < 1e-7 * count) break;
    const curvature = chances.map((p, i) => weights[i] * p * (1 - p));
    const hessian = (v: Float64Array): Float64Array =>
      penalise(transposed(times(v).map((one, i) => one * curvature[i])), v);
    const direction = conjugateGradients(hessian, gradient, Math.min(0.1, Math.sqrt(norm / count)) * norm);
    let length = 1;
    for (; length > 1e-8; length /= 2) {
      const next = x.map((one, k) => one - length * direction[k]);
      const moved = times(next);
      const reached = loss(moved, next);
      if (reached > value) continue;
      x.set(next);
      [scores, value] = [moved, reached];
      break;
    }
    if (length <= 1e-8) break; // rounding allows no more
  }
  return { coefficients: x.slice(0, width), intercept: x[width], gradient: norm };
}

/** Solves matrix · x = right to a remainder of `enough`. */
function conjugateGradients(
  matrix: (v: Float64Array) => Float64Array,
  right: Float64Array,
  enough: number,
): Float64Array {
  const x = new Float64Array(right.length);
  const rest = right.slice();
  const direction = rest.slice();
  let size = dot(rest, rest);
  for (let step = 0; step < 250 && Math.sqrt(size) > enough; step++) {
    const image = matrix(direction);
    const length = size / Math.max(dot(direction, image), 1e-300);
    for (let i = 0; i < x.length; i++) {
      x[i] += length * direction[i];
      rest[i] -= length * image[i];
    }
    const next = dot(rest, rest);
    for (let i = 0; i < x.length; i++) direction[i] = rest[i] + (next / size) * direction[i];
    size = next;
  }
  return x;
}

const dot = (a: Float64Array, b: Float64Array): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
};

/** ln(1 + e^x) */
const softplus = (x: number): number => (x > 30 ? x : Math.log1p(Math.exp(x)));
