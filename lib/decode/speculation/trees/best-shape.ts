// Which fixed tree gives the most tokens, where it is known how often the first, second, … child of a node is kept.
import type { FixedShape } from '../../../program/executor.js';

/**
 * [depth][rank]: the probability that of a node's children the one of this rank is kept, when the node is; index 0 are the
 * root and its most probable child. Deeper nodes have the last row's.
 */
export type Acceptance = readonly (readonly number[])[];

/** Largest tree that is searched for. */
export const mostNodes = 128;

/** The best trees of every size up to some number of nodes, none deeper than some depth. */
export class BestShapes {
  // best[d][b][m]: the most tokens that children b, b + 1, … of a node at depth d and what is below them give with m nodes.
  private readonly best: Float64Array[][];
  private readonly spent: Int32Array[][]; // nodes for child b and what is below it; 0: children end before it

  /**
   * Dynamic programming over depth, rank and nodes, O(depth · ranks · nodes²): Sequoia (Chen et al. 2024, section 3.1), with
   * rates per depth.
   */
  constructor(
    private readonly acceptance: Acceptance,
    private readonly depth: number,
    nodes: number,
  ) {
    this.best = [];
    this.spent = [];
    const nothing = new Float64Array(nodes + 1);
    for (let d = depth - 1; d >= 0; d--) {
      const rates = this.ratesAt(d);
      this.best[d] = [];
      this.spent[d] = [];
      for (let b = rates.length - 1; b >= 0; b--) {
        const own = new Float64Array(nodes + 1);
        const spent = new Int32Array(nodes + 1);
        const below = this.best[d + 1]?.[0] ?? nothing;
        const beside = this.best[d][b + 1] ?? nothing;
        for (let m = 1; m <= nodes; m++) {
          for (let some = 1; some <= m; some++) {
            const tokens = rates[b] * (1 + below[some - 1]) + beside[m - some];
            if (tokens <= own[m]) continue;
            own[m] = tokens;
            spent[m] = some;
          }
        }
        this.best[d][b] = own;
        this.spent[d][b] = spent;
      }
    }
  }

  private ratesAt(depth: number): readonly number[] {
    return this.acceptance[Math.min(depth, this.acceptance.length - 1)] ?? [];
  }

  /** Tokens per round, the one that every round gives included. */
  tokens(nodes: number): number {
    return 1 + (this.best[0]?.[0]?.[nodes] ?? 0);
  }

  /** Level by level, children in the order of their ranks; at most so many nodes. */
  shape(nodes: number): Required<FixedShape> {
    const parents: number[] = [];
    const scores: number[] = [];
    let level = [{ node: -1, score: 1, nodes }];
    for (let d = 0; d < this.depth && level.length > 0; d++) {
      const next: typeof level = [];
      const rates = this.ratesAt(d);
      for (const { node, score, nodes: given } of level) {
        let left = given;
        for (let b = 0; b < rates.length && left > 0; b++) {
          const some = this.spent[d][b][left];
          if (some === 0) break;
          next.push({ node: parents.length, score: score * rates[b], nodes: some - 1 });
          parents.push(node);
          scores.push(score * rates[b]);
          left -= some;
        }
      }
      level = next;
    }
    return { parents: Int32Array.from(parents), scores: Float32Array.from(scores) };
  }
}

/** The part of a shape, level by level, that is no deeper than `depth` and has at most so many nodes. */
export function clipShape({ parents, scores }: FixedShape, depth: number, nodes: number): FixedShape {
  const depths: number[] = [];
  parents.forEach((parent) => depths.push(parent < 0 ? 1 : depths[parent] + 1));
  const kept = [...depths.keys()].filter((node) => depths[node] <= depth).slice(0, nodes);
  if (kept.length === parents.length) return scores ? { parents, scores } : { parents };
  const places = new Map(kept.map((node, place) => [node, place]));
  return {
    parents: Int32Array.from(kept, (node) => places.get(parents[node]) ?? -1),
    ...(scores ? { scores: Float32Array.from(kept, (node) => scores[node]) } : {}),
  };
}
