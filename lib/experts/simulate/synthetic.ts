// Traces without a model: Zipf-distributed experts, some of them used again by the next token, predictions of a given accuracy.
import type { Popularity, RoutingTrace, TraceStep } from './trace.js';

const { imul } = Math; // looked up once: test runners make every look-up of a global slow

export interface SyntheticOptions {
  readonly layers: number;
  readonly experts: number;
  readonly used: number;
  readonly tokens: number;
  /** An expert's popularity falls with this power of its rank, which is another order in every layer. */
  readonly zipf: number;
  /** The probability that an expert is one of the token before. */
  readonly reuse: number;
  /** The probability that a needed expert is predicted; one prediction per layer is always too many. */
  readonly accuracy: number;
  readonly seed: number;
}

/** Deterministic. */
export function syntheticTrace(options: SyntheticOptions): RoutingTrace {
  const { layers, experts, used, tokens, accuracy } = options;
  const random = mulberry32(options.seed);
  const orders = Array.from({ length: layers }, () => shuffled(experts, random));
  const weights = Array.from({ length: experts }, (_, rank) => (rank + 1) ** -options.zipf);
  const steps: TraceStep[] = [];
  for (let token = 0; token < tokens; token++) {
    const previous = steps[token - 1];
    const step = orders.map((order, layer) => {
      const before = previous?.layers[layer].needed.map(([id]) => id) ?? [];
      const needed = choose(order, weights, used, before, options.reuse, random);
      const predicted: number[] = [];
      for (const id of needed) {
        predicted.push(random() < accuracy ? id : other(experts, [...needed, ...predicted], random));
      }
      predicted.push(other(experts, [...needed, ...predicted], random));
      const list = (ids: readonly number[]): Popularity => ids.map((id) => [id, 1]);
      return { needed: list(needed), predicted: layer === 0 ? [] : list(predicted) };
    });
    steps.push({ rows: 1, layers: step });
  }
  return { experts, used, overfetch: 1, steps };
}

function choose(
  order: readonly number[],
  weights: readonly number[],
  used: number,
  before: readonly number[],
  reuse: number,
  random: () => number,
): number[] {
  const chosen: number[] = [];
  while (chosen.length < used) {
    const again = before.filter((id) => !chosen.includes(id));
    if (again.length > 0 && random() < reuse) {
      chosen.push(again[Math.floor(random() * again.length)]);
      continue;
    }
    const free = order.flatMap((id, rank) => (chosen.includes(id) ? [] : [{ id, weight: weights[rank] }]));
    let at = random() * free.reduce((sum, { weight }) => sum + weight, 0);
    const found = free.find(({ weight }) => (at -= weight) < 0) ?? free[free.length - 1];
    chosen.push(found.id);
  }
  return chosen;
}

function other(experts: number, taken: readonly number[], random: () => number): number {
  for (;;) {
    const id = Math.floor(random() * experts);
    if (!taken.includes(id)) return id;
  }
}

function shuffled(count: number, random: () => number): number[] {
  const ids = Array.from({ length: count }, (_, id) => id);
  for (let at = count - 1; at > 0; at--) {
    const with_ = Math.floor(random() * (at + 1));
    [ids[at], ids[with_]] = [ids[with_], ids[at]];
  }
  return ids;
}

/** A generator of numbers in [0, 1) of 32 bits of state. */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = imul(state ^ (state >>> 15), state | 1);
    t ^= t + imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
