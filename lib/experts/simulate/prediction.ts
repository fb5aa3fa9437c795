// Predictions of what a layer needs: which precision each is copied at, and the activation path of a sequence.
import type { Popularity, TraceStep } from './trace.js';

export type Precision = 'full' | 'low';

/**
 * The precision of each predicted expert: walking from the least popular one up, those that together hold at most `lowShare` of
 * all popularity are copied at low precision. For one row with five predictions and 0.3 this is exactly the last one.
 */
export function precisions(predicted: Popularity, lowShare: number): Map<number, Precision> {
  const total = predicted.reduce((sum, [, rows]) => sum + rows, 0);
  const result = new Map<number, Precision>();
  let walked = 0;
  for (const [id, rows] of [...predicted].reverse()) {
    walked += rows;
    result.set(id, walked <= lowShare * total ? 'low' : 'full');
  }
  return result;
}

/** How often each expert of each layer was used: [layers][experts]. */
type Activation = Float64Array[];

/**
 * Predictions from whole sequences (MoE-Infinity): the stored sequence whose use of experts is most like that of the current one, as far as
 * it went, says what comes. With nothing stored, the current sequence itself does.
 */
export class ActivationPaths {
  private readonly stored: Activation[] = [];
  private current: Activation;

  constructor(
    private readonly layers: number,
    private readonly experts: number,
    private readonly most = 32,
  ) {
    this.current = this.empty();
  }

  private empty(): Activation {
    return Array.from({ length: this.layers }, () => new Float64Array(this.experts));
  }

  observe(layer: number, needed: Popularity): void {
    for (const [id, rows] of needed) this.current[layer][id] += rows;
  }

  /** The sequence is over: it is stored, in place of the oldest one if there are too many. */
  endSequence(): void {
    this.stored.push(this.current);
    if (this.stored.length > this.most) this.stored.shift();
    this.current = this.empty();
  }

  /** The `count` experts of a layer that the most similar sequence used most, the most used first; fewer if it used fewer. */
  predict(layer: number, count: number): Popularity {
    let like = this.current;
    let closest = -1;
    for (const other of this.stored) {
      const cosine = similarity(this.current, other);
      if (cosine > closest) [like, closest] = [other, cosine];
    }
    return [...like[layer].entries()]
      .filter(([, uses]) => uses > 0)
      .sort(([a, m], [b, n]) => n - m || a - b)
      .slice(0, count);
  }
}

function similarity(a: Activation, b: Activation): number {
  let dot = 0;
  let first = 0;
  let second = 0;
  a.forEach((row, layer) => {
    row.forEach((value, id) => {
      dot += value * b[layer][id];
      first += value * value;
      second += b[layer][id] ** 2;
    });
  });
  return first === 0 || second === 0 ? 0 : dot / Math.sqrt(first * second);
}

/** Per layer all experts, the ones that `steps` used most first; of equal ones the lower number first. */
export function popularOrder(steps: readonly TraceStep[], layers: number, experts: number): number[][] {
  return Array.from({ length: layers }, (_, layer) => {
    const uses = new Float64Array(experts);
    for (const step of steps) for (const [id, rows] of step.layers[layer].needed) uses[id] += rows;
    return [...uses.keys()].sort((a, b) => uses[b] - uses[a] || a - b);
  });
}
