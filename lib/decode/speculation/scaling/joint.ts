// Which drafted tokens of which sequences a round verifies: decided for all of them together, by what each token gives and
// what a round of that many rows takes.

/** What one sequence's draft offers. */
export interface Bid {
  /** [nodes]; estimated probability that the path to each is right, at most its parent's, which lies before it. */
  readonly scores: ArrayLike<number>;
  /** Kept tokens per sum of scores, as seen so far. */
  readonly calibration: number;
  /** So many of the best are taken whatever they cost. Default 0. */
  readonly least?: number;
}

export interface RoundTerms {
  /** Sequences of the round that draw; each gets one token besides. */
  readonly sequences: number;
  /**
   * [1 + n] milliseconds of a round of these sequences with n drafted rows, negative ones guessed. Empty: nothing is known, and
   * everything that finds room is verified. No more rows are taken than it knows.
   */
  readonly costs: ArrayLike<number>;
  /** Drafted rows that are in the round anyway, and kept tokens to be expected of them. */
  readonly fixed?: { readonly rows: number; readonly tokens: number };
  /** Rows that find room besides those. */
  readonly room?: number;
  /** Milliseconds of one more token of the longest draft, for drafts that are still to be made, which are chains. */
  readonly stepMs?: number;
}

/**
 * Per bid the nodes to verify, ascending: of all sets of nodes with their parents the one with the most tokens per millisecond,
 * (sequences + Σ min(1, calibration · score)) / cost; none is a choice. A node gives at most what its parent gives, so for every
 * number of rows the best nodes are the best set, and only the number is looked for. With `stepMs` only such sets are compared.
 * cpp/decode/draft/draft_seat.cpp does the same for chains.
 */
export function jointly(bids: readonly Bid[], terms: RoundTerms): number[][] {
  const { sequences, costs, fixed = { rows: 0, tokens: 0 }, room = Infinity, stepMs = 0 } = terms;
  const nodes = bids.flatMap(({ scores, calibration }, bid) =>
    Array.from({ length: scores.length }, (_, node) => {
      return { bid, node, score: scores[node], gain: Math.min(1, calibration * scores[node]) };
    }),
  );
  nodes.sort((a, b) => b.gain - a.gain || b.score - a.score || a.bid - b.bid || a.node - b.node);
  const taken: number[][] = bids.map(() => []);
  const wanted = new Set<(typeof nodes)[number]>();
  for (const one of nodes) {
    if (wanted.size >= room || taken[one.bid].length >= (bids[one.bid].least ?? 0)) continue;
    wanted.add(one);
    taken[one.bid].push(one.node);
  }
  const rest = nodes.filter((one) => !wanted.has(one));
  const begin = fixed.rows + wanted.size;
  let most = Math.max(0, Math.min(rest.length, room - wanted.size));
  let best = most;
  if (costs.length > 0) {
    most = Math.min(most, Math.max(0, costs.length - 2 - begin));
    best = 0;
    let tokens = sequences + fixed.tokens + [...wanted].reduce((sum, { gain }) => sum + gain, 0);
    let rate = tokens / Math.abs(costs[Math.min(1 + begin, costs.length - 1)]);
    const depths = bids.map(() => 0);
    let deepest = 0;
    for (let i = 0; i < most; i++) {
      tokens += rest[i].gain;
      deepest = Math.max(deepest, ++depths[rest[i].bid]);
      const own = tokens / (Math.abs(costs[2 + begin + i]) + stepMs * deepest);
      if (own <= rate) continue;
      rate = own;
      best = i + 1;
    }
  }
  for (const { bid, node } of rest.slice(0, best)) taken[bid].push(node);
  return taken.map((list) => list.sort((a, b) => a - b));
}
