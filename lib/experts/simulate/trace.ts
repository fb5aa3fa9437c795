// What a model's routers chose, run by run and layer by layer, and what was predicted before: what a simulation replays.
import type { RoutingRecord } from '../trace.js';

const { isNaN } = Number; // looked up once: test runners make every look-up of a global slow

/** An expert and how many rows chose it, the most popular first; of equally popular ones mostly the lower number first. */
export type Popularity = readonly (readonly [id: number, rows: number])[];

export interface TraceLayer {
  readonly needed: Popularity;
  /** Empty in the first layer, which nothing predicts. */
  readonly predicted: Popularity;
}

export interface TraceStep {
  readonly rows: number;
  /** One per layer with experts. */
  readonly layers: readonly TraceLayer[];
}

export interface RoutingTrace {
  readonly experts: number;
  readonly used: number;
  /** Predicted beyond `used`, per row. */
  readonly overfetch: number;
  readonly steps: readonly TraceStep[];
}

/** [rows][chosen] → experts by popularity. */
export function popularity(choices: Iterable<Iterable<number>>): Popularity {
  const counts = new Map<number, number>();
  for (const row of choices) for (const id of row) counts.set(id, (counts.get(id) ?? 0) + 1);
  return [...counts].sort(([a, m], [b, n]) => n - m || a - b);
}

/** The same of predictions, `columns` per row: of equally popular experts the one that is likelier by any row comes first. */
function foreseen(ids: Int32Array, columns: number): Popularity {
  const ranks = new Map<number, number>();
  ids.forEach((id, at) => ranks.set(id, Math.min(ranks.get(id) ?? Infinity, at % columns)));
  const rank = (id: number): number => ranks.get(id) ?? 0;
  return [...popularity([ids])].sort(([a, m], [b, n]) => n - m || rank(a) - rank(b) || a - b);
}

/** What was recorded, counted. In a prompt's part without logits nobody needs anything of the last layer. */
export function traceOf({ experts, used, predicted, runs }: RoutingRecord): RoutingTrace {
  const steps = runs.map(({ rows, layers }) => ({
    rows,
    layers: layers.map((layer) => ({
      needed: popularity([layer.chosen]),
      predicted: layer.predicted ? foreseen(layer.predicted, predicted) : [],
    })),
  }));
  return { experts, used, overfetch: predicted - used, steps };
}

/** The best `count` of a row of scores, best first; of equal ones the lower number, and NaN last. */
export function best(scores: ArrayLike<number>, count: number): number[] {
  const found: number[] = [];
  const taken = new Uint8Array(scores.length);
  while (found.length < count && found.length < scores.length) {
    let next = -1;
    for (let id = 0; id < scores.length; id++) {
      if (taken[id]) continue;
      if (next < 0 || scores[id] > scores[next] || (isNaN(scores[next]) && !isNaN(scores[id]))) next = id;
    }
    taken[next] = 1;
    found.push(next);
  }
  return found;
}

export interface LayerAccuracy {
  /** Of what was needed, the share that was predicted; each expert counts as often as rows chose it. */
  readonly accuracy: number;
  /** Of what was needed, the share that the run before needed, too. */
  readonly reuse: number;
}

/** Per layer with experts. The first layer's accuracy is 0: nobody predicts it. */
export function traceAccuracy({ steps }: RoutingTrace): LayerAccuracy[] {
  return (steps[0]?.layers ?? []).map((_, layer) => {
    let all = 0;
    let predicted = 0;
    let again = 0;
    let possible = 0;
    steps.forEach((step, at) => {
      const { needed, predicted: guess } = step.layers[layer];
      const guessed = new Set(guess.map(([id]) => id));
      const before = at > 0 ? new Set(steps[at - 1].layers[layer].needed.map(([id]) => id)) : undefined;
      for (const [id, rows] of needed) {
        all += rows;
        if (guessed.has(id)) predicted += rows;
        if (before) possible += rows;
        if (before?.has(id)) again += rows;
      }
    });
    return { accuracy: predicted / all, reuse: possible === 0 ? 0 : again / possible };
  });
}
