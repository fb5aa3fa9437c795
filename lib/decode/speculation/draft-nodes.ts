// Nodes of a draft: how deep they are, and a part of them.
import type { Draft } from './drafter.js';

export const none: Draft = { tokens: new Int32Array(), parents: new Int32Array(), scores: new Float32Array() };

/** Tokens on its longest path. */
export function depthOf({ tokens, parents }: Partial<Draft> = {}): number {
  if (!parents) return tokens?.length ?? 0;
  const depths: number[] = [];
  for (const parent of parents) depths.push(parent < 0 ? 1 : depths[parent] + 1);
  return Math.max(0, ...depths);
}

/** These nodes of a draft, with their parents, in ascending order. */
export function nodesOf(draft: Draft, kept: readonly number[]): Draft {
  if (kept.length === draft.tokens.length) return draft;
  const places = new Map(kept.map((node, place) => [node, place]));
  return {
    tokens: Int32Array.from(kept, (node) => draft.tokens[node]),
    parents: Int32Array.from(kept, (node) =>
      draft.parents[node] < 0 ? -1 : (places.get(draft.parents[node]) as number),
    ),
    scores: Float32Array.from(kept, (node) => draft.scores[node]),
  };
}
