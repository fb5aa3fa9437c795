// How much of a draft is worth verifying: what it would give in tokens, against what its rows cost.
import type { DraftedTokens } from './drafter.js';
import type { Costs } from './costs.js';

const SLOW = 0.1; // weight of the newest round in averages
/** Rounds without drafts, where drafting has been slower than none: doubled each time, up to this. */
const LONGEST_PAUSE = 128;
/** Drafts after which a model's plain rounds are measured, and how many of these. */
const UNMEASURED = 2;
const MEASURED = 4;
/** Drafts before a judgement. */
const TRIALS = 4;
/** Rounds without a draft after which a drafter that never helped may try again. */
const PROBE = 64;
/** A draft that takes so much of a plain round is no trifle. */
const TRIFLE = 0.05;

/**
 * How many of `scores`, the highest first, give the most tokens per millisecond; none is a choice. `costs[n]`: milliseconds
 * of a round of n rows, negative ones guessed; without costs all of them. cpp/decode/draft/draft_seat.cpp does the same for chains.
 */
export function paying(scores: ArrayLike<number>, costs: Float64Array, calibration: number): number {
  if (costs.length === 0) return scores.length;
  let best = 0;
  let tokens = 1;
  let rate = 1 / costs[1];
  for (let i = 0; i < Math.min(scores.length, costs.length - 2); i++) {
    tokens += Math.min(1, calibration * scores[i]);
    const own = tokens / Math.abs(costs[i + 2]);
    if (own <= rate) continue;
    rate = own;
    best = i + 1;
  }
  return best;
}

export class Planner {
  /** Kept tokens per sum of scores. */
  calibration: number;
  private idle = 0; // rounds since the last draft

  /** Rounds that the next rest takes. */
  pause = 1;
  private drafted = { tokens: 0, ms: 0, rounds: 0 }; // averages of rounds with a draft, and how many these were

  /** `calibration`: that of an earlier text. Hopes that it fulfilled are worth a try; that it was hostile says nothing. */
  constructor(
    readonly costs: Costs,
    calibration = 1,
  ) {
    this.calibration = Math.max(1, calibration);
  }

  /** How many rounds may be planned at once, with what is known now. */
  get horizon(): number {
    return this.costs.measuredAt(1) === undefined ? UNMEASURED : Infinity;
  }

  /** Should the next rounds go without a draft: to measure one, or because drafts have been slower? */
  rests(): boolean {
    const alone = this.costs.measuredAt(1);
    if (alone === undefined) {
      this.pause = MEASURED;
      return this.drafted.rounds >= UNMEASURED;
    }
    const { tokens, ms, rounds } = this.drafted;
    if (rounds < TRIALS || tokens / ms >= 1 / alone) {
      if (rounds >= TRIALS) this.pause = 4;
      return false;
    }
    this.pause = Math.min(LONGEST_PAUSE, Math.max(8, 2 * this.pause));
    this.drafted = { tokens: 0, ms: 0, rounds: TRIALS - 2 }; // two more drafts, then it is judged again
    return true;
  }

  /**
   * The nodes to keep, as an ascending list of indices: those with the highest scores, as many as give the most tokens per
   * second; none is a choice.
   */
  choose({ scores }: DraftedTokens): number[] {
    // Scores are at most their parents', so that a node never comes before its parent.
    const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a] || a - b);
    let best = Math.min(order.length, 4);
    if (this.idle < PROBE) {
      const costs = this.costs.table(order.length + 1);
      best = paying(
        order.map((node) => scores[node]),
        costs,
        this.calibration,
      );
    }
    return order.slice(0, best).sort((a, b) => a - b);
  }

  /**
   * A round of so many rows took `ms` and kept `kept` of its drafted tokens, whose scores sum to `hoped`. `draftMs`: what a
   * draft took besides, also one of which nothing was verified.
   */
  learn(rows: number, ms: number, hoped: number, kept: number, draftMs: number): void {
    this.costs.add(rows, ms);
    this.idle = rows > 1 ? 0 : this.idle + 1;
    if (rows > 1 || draftMs > TRIFLE * ms) {
      const { drafted } = this;
      const weight = drafted.tokens === 0 ? 1 : SLOW;
      drafted.tokens += weight * (1 + kept - drafted.tokens);
      drafted.ms += weight * (ms + draftMs - drafted.ms);
      drafted.rounds++;
    }
    if (hoped <= 0) return;
    const ratio = Math.min(4, kept / hoped);
    this.calibration = Math.min(2, Math.max(0.02, this.calibration + SLOW * (ratio - this.calibration)));
  }
}
