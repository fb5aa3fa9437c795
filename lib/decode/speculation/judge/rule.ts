// What a judge keeps of a draft, in the plainest form: the oracle of cpp/decode/verify/judge.cpp and judged_tree.cpp.
import type { DraftRows } from '../rules.js';

/** A judge's view of one draft. */
export interface Judgement {
  /** Per row of the draft: the head's value at that row, whose input is the drafted token. */
  readonly scores: ArrayLike<number>;
  /** Greater ones are right. */
  readonly bound: number;
  /** Per row: not 0 where only the base rule may keep it. */
  readonly guarded: ArrayLike<number>;
  /** So many tokens in a row that only the judge kept, at most; 0: any number. */
  readonly longest: number;
}

/** Whether a token may follow a row at all: not banned, and not cut away by truncation. */
export type Allows = (row: number, path: readonly number[], token: number) => boolean;

const keeps = ({ scores, bound, guarded, longest }: Judgement, row: number, run: number): boolean =>
  (longest === 0 || run < longest) && !guarded[row] && scores[row] > bound;

/** The child that the judge likes best among those it keeps, or −1. `run`: how many before it only the judge kept. */
export function bestJudged(
  { tokens, parents }: DraftRows,
  judge: Judgement,
  row: number,
  path: readonly number[],
  run: number,
  allows: Allows,
): number {
  let best = -1;
  for (let child = row + 1; child < tokens.length; child++) {
    if (parents[child] !== row || !keeps(judge, child, run)) continue;
    if (best >= 0 && judge.scores[child] <= judge.scores[best]) continue;
    if (allows(row, path, tokens[child])) best = child;
  }
  return best;
}

interface Path {
  readonly rows: readonly number[];
  readonly plain: number;
  readonly doubt: number;
}

/**
 * Greedy trees: of all paths whose tokens the model says itself or the judge keeps the longest; of these the one with more
 * tokens that the model says, then with the greater sum of min(score, 0), then with lower rows. `said`: the model's token.
 */
export function bestPath(
  draft: DraftRows,
  judge: Judgement,
  said: (row: number, path: readonly number[]) => number,
  allows: Allows,
): readonly number[] {
  const { tokens, parents } = draft;
  const search = (row: number, path: readonly number[], run: number): Path => {
    let best: Path = { rows: [], plain: 0, doubt: 0 };
    const own = said(row, path);
    for (let child = row + 1; child < tokens.length; child++) {
      if (parents[child] !== row) continue;
      const plain = tokens[child] === own;
      if (!plain && !(keeps(judge, child, run) && allows(row, path, tokens[child]))) continue;
      const rest = search(child, [...path, tokens[child]], plain ? 0 : run + 1);
      const found = {
        rows: [child, ...rest.rows],
        plain: rest.plain + Number(plain),
        doubt: rest.doubt + Math.min(judge.scores[child], 0),
      };
      const order = found.rows.length - best.rows.length || found.plain - best.plain || found.doubt - best.doubt;
      if (order > 0) best = found;
    }
    return best;
  };
  return search(0, [], 0).rows;
}
