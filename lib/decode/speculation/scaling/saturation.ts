// A power law with a limit, A = limit − k · x^−β: what acceptance must become in the end, for it is bounded.
import { leastSquares } from './least-squares.js';

export interface Saturation {
  readonly limit: number;
  readonly k: number;
  readonly beta: number;
  readonly squares: number;
  readonly aicc: number;
}

/**
 * `logs`: log10 of x. For a given β the rest is linear, so that only β is searched for: first on a grid, then by thirds around
 * its best point. Undefined for too few points, and where no limit above the points is better than none (k ≤ 0).
 */
export function fitSaturation(
  logs: readonly number[],
  y: readonly number[],
  weights?: readonly number[],
): Saturation | undefined {
  const origin = Math.min(...logs);
  const at = (beta: number): { squares: number; limit: number; slope: number } => {
    const fit = leastSquares(
      logs.map((value) => [1, 10 ** (-beta * (value - origin))]),
      y,
      weights,
    );
    return {
      squares: fit?.squares ?? Infinity,
      limit: fit?.coefficients[0] ?? NaN,
      slope: fit?.coefficients[1] ?? NaN,
    };
  };
  const grid = Array.from({ length: 61 }, (_, i) => 0.01 * 10 ** ((2.5 * i) / 60)); // 0.01 … 3.2
  const best = grid.reduce((a, b) => (at(b).squares < at(a).squares ? b : a));
  const place = grid.indexOf(best);
  let low = grid[Math.max(0, place - 1)];
  let high = grid[Math.min(grid.length - 1, place + 1)];
  for (let step = 0; step < 60; step++) {
    const [a, b] = [low + (high - low) / 3, high - (high - low) / 3];
    if (at(a).squares < at(b).squares) high = b;
    else low = a;
  }
  const beta = (low + high) / 2;
  const { squares, limit, slope } = at(beta);
  const parameters = 4; // limit, k, β, and the scale of errors
  if (!(slope < 0) || y.length <= parameters + 1) return undefined;
  const rest = Math.max(squares / y.length, 1e-24);
  return {
    limit,
    k: -slope * 10 ** (beta * origin),
    beta,
    squares,
    aicc:
      y.length * Math.log(rest) + 2 * parameters + (2 * parameters * (parameters + 1)) / (y.length - parameters - 1),
  };
}
