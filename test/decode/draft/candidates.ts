// The plain definition of a draft made of weighted continuations: equal beginnings are one node, the best nodes are kept.
import type { Node } from './texts.js';

export interface Candidate {
  readonly tokens: readonly number[];
  /** What each of the tokens adds to its node's score. */
  readonly weights: readonly number[];
}

export function merged(candidates: readonly Candidate[], maxTokens: number, maxNodes: number): Node[] {
  const nodes = new Map<string, { token: number; parent: string; score: number; order: number }>();
  for (const { tokens, weights } of candidates) {
    let path = '';
    tokens.forEach((token, depth) => {
      const parent = path;
      path += `${token} `;
      const node = nodes.get(path) ?? { token, parent, score: 0, order: nodes.size };
      node.score += weights[depth];
      nodes.set(path, node);
    });
  }
  const sorted = [...nodes].sort(([, a], [, b]) => b.score - a.score || a.order - b.order);
  const kept: [string, (typeof sorted)[number][1]][] = [];
  if (maxNodes <= maxTokens) {
    for (let path = ''; kept.length < maxNodes;) {
      const best = sorted.find(([, { parent }]) => parent === path);
      if (best === undefined) break;
      kept.push(best);
      [path] = best;
    }
  } else {
    kept.push(...sorted.slice(0, maxNodes));
  }
  const paths = kept.map(([path]) => path);
  return kept.map(([, { token, parent, score }]) => ({ token, parent: paths.indexOf(parent), score }));
}
