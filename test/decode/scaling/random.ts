// Seeded random numbers for tests of statistics.

/** Uniform in [0, 1): mulberry32. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal. */
export const gaussian = (next: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());

/** Gamma of shape `shape` < 1 and scale 1 (Ahrens and Dieter 1974). */
export function gamma(next: () => number, shape: number): number {
  for (;;) {
    const bound = (Math.E + shape) / Math.E;
    const p = bound * next();
    if (p <= 1) {
      const value = p ** (1 / shape);
      if (next() <= Math.exp(-value)) return value;
    } else {
      const value = -Math.log((bound - p) / shape);
      if (next() <= value ** (shape - 1)) return value;
    }
  }
}
