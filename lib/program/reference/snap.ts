// SnapKV in float64, as plainly as its definition: votes, pooling, the largest, ascending.
import type { SnapPolicy } from '../kv-policy.js';

/** Votes for the first `candidates` cells: sums of rows of probabilities. */
export function votesOf(rows: readonly ArrayLike<number>[], candidates: number): Float64Array {
  return Float64Array.from({ length: candidates }, (_, j) => rows.reduce((sum, row) => sum + row[j], 0));
}

/** Votes of neighbours together: cells that do not exist count as nothing for the largest, and as 0 for the average. */
export function pooled(
  votes: ArrayLike<number>,
  { kernel, pooling }: Pick<SnapPolicy, 'kernel' | 'pooling'>,
): Float64Array {
  const half = Math.floor(kernel / 2);
  return Float64Array.from({ length: votes.length }, (_, j) => {
    if (pooling === 'none') return votes[j];
    const near = Array.from({ length: kernel }, (_, i) => votes[j - half + i]).filter((vote) => vote !== undefined);
    return pooling === 'max' ? Math.max(...near) : near.reduce((sum, vote) => sum + vote, 0) / kernel;
  });
}

/** Of several heads' votes, one list. */
export function aggregated(heads: readonly Float64Array[], how: SnapPolicy['aggregation']): Float64Array {
  return heads[0].map((_, j) => {
    const votes = heads.map((one) => one[j]);
    if (how === 'max') return Math.max(...votes);
    const sum = votes.reduce((total, vote) => total + vote, 0);
    return how === 'sum' ? sum : sum / heads.length;
  });
}

/** Places of the `count` largest, ascending; of equal ones the first. */
export function largest(values: ArrayLike<number>, count: number): number[] {
  return Array.from(values, (value, place) => ({ value, place }))
    .sort((a, b) => b.value - a.value || a.place - b.place)
    .slice(0, Math.max(0, count))
    .map(({ place }) => place)
    .sort((a, b) => a - b);
}

/** The candidates that stay for a group of heads with one selection, which have these votes. */
export function chosen(heads: readonly Float64Array[], policy: SnapPolicy): number[] {
  const { budget, window, keepFirst, poolBeforeGroup, aggregation } = policy;
  const scores = poolBeforeGroup
    ? aggregated(
        heads.map((votes) => pooled(votes, policy)),
        aggregation,
      )
    : pooled(aggregated(heads, aggregation), policy);
  return largest(
    scores.map((score, j) => (j < keepFirst ? Infinity : score)),
    budget - window,
  );
}
