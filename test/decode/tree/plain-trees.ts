// Trees that a model drafts, in their plainest form: the oracle of native ones.
import type { GrownShape } from '../../../lib/program/executor.js';

export interface PlainTree {
  readonly tokens: number[];
  readonly parents: number[];
  readonly scores: number[];
  /** Paths whose rows were computed, the root's apart. */
  readonly computed: number[][];
}

type LogitsAt = (path: readonly number[]) => ArrayLike<number> | Promise<ArrayLike<number>>;

interface Node {
  readonly path: number[];
  readonly parent: number;
  readonly score: number; // ln
}

/** Most probable tokens first, of equals the lower one, with their log-probabilities. */
export function ranked(logits: ArrayLike<number>): (readonly [number, number])[] {
  const values = Array.from(logits);
  const peak = Math.max(...values);
  const total = peak + Math.log(values.reduce((sum, value) => sum + Math.exp(value - peak), 0));
  return values
    .map((value, token) => [token, value - total] as const)
    .filter(([, value]) => value > -Infinity)
    .sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

/** EAGLE-2 (Li et al. 2024, section 4): grows by the best of each level, then keeps the best of all. */
export async function grownTree(logitsAt: LogitsAt, shape: GrownShape): Promise<PlainTree> {
  const { depth, nodes: most, topK, width, least } = shape;
  const nodes: Node[] = [];
  const computed: number[][] = [];
  const best = (list: number[]): number[] => [...list].sort((a, b) => nodes[b].score - nodes[a].score || a - b);
  let level = [-1];
  for (let d = 0; d < depth && level.length > 0; d++) {
    const begin = nodes.length;
    for (const parent of level) {
      const { path, score } = nodes[parent] ?? { path: [], score: 0 };
      if (parent >= 0) computed.push(path);
      for (const [token, own] of ranked(await logitsAt(path)).slice(0, topK)) {
        nodes.push({ path: [...path, token], parent, score: score + own });
      }
    }
    const fresh = Array.from({ length: nodes.length - begin }, (_, i) => begin + i);
    level = best(fresh)
      .slice(0, width)
      .sort((a, b) => a - b);
    if (level.reduce((sum, node) => sum + Math.exp(nodes[node].score), 0) < least) level = [];
  }
  const kept = best([...nodes.keys()])
    .slice(0, most)
    .sort((a, b) => a - b);
  return {
    tokens: kept.map((node) => nodes[node].path.at(-1) as number),
    parents: kept.map((node) => (nodes[node].parent < 0 ? -1 : kept.indexOf(nodes[node].parent))),
    scores: kept.map((node) => Math.exp(nodes[node].score)),
    computed,
  };
}

/** The tokens from the root to each node. */
export function pathsOf({ tokens, parents }: { tokens: ArrayLike<number>; parents: ArrayLike<number> }): number[][] {
  const paths: number[][] = [];
  for (let node = 0; node < tokens.length; node++) paths.push([...(paths[parents[node]] ?? []), tokens[node]]);
  return paths;
}
