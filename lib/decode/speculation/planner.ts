// How much of a draft is worth verifying: what it would give in tokens, against what its rows cost.
import type { DraftedTokens } from './drafter.js';

const SLOW = 0.1; // weight of the newest round in averages
/** Rounds without drafts, where drafting has been slower than none: doubled each time, up to this. */
const LONGEST_PAUSE = 128;
/** Drafts before a judgement. */
const TRIALS = 4;
/** Rounds without a draft after which a drafter that never helped may try again. */
const PROBE = 64;

/** Milliseconds of a round by its rows: averages of what was measured, in between and beyond a line. */
class Cost {
  private readonly measured = new Map<number, number>();

  add(rows: number, ms: number): void {
    const old = this.measured.get(rows);
    // A round that had to wait for something else says nothing about rows: averages follow it slowly, small ones at once.
    this.measured.set(rows, old === undefined || ms < old ? ms : old + SLOW * (ms - old));
  }

  measuredAt(rows: number): number | undefined {
    return this.measured.get(rows);
  }

  /** Undefined before anything is known. */
  of(rows: number): number | undefined {
    const known = this.measured.get(rows);
    if (known !== undefined) return known;
    const points = [...this.measured].sort(([a], [b]) => a - b);
    if (points.length === 0) return undefined;
    const below = points.filter(([count]) => count < rows).at(-1);
    const above = points.find(([count]) => count > rows);
    if (below && above) return below[1] + ((above[1] - below[1]) * (rows - below[0])) / (above[0] - below[0]);
    const [count, ms] = below ?? (above as [number, number]);
    // Until more is known, a row more costs a twentieth of the first one.
    return Math.max(ms * 0.1, ms + ((rows - count) * ms) / 20 / (1 + (count - 1) / 20));
  }
}

export class Planner {
  private readonly cost = new Cost();
  private calibration = 1; // kept tokens per sum of scores
  private idle = 0; // rounds since the last draft

  /** Rounds that the next rest takes. */
  pause = 1;
  private drafted = { tokens: 0, ms: 0, rounds: 0 }; // averages of rounds with a draft, and how many these were

  /** Should the next rounds go without a draft: to measure one, or because drafts have been slower? */
  rests(draftedRounds: number): boolean {
    const alone = this.cost.measuredAt(1);
    if (alone === undefined) {
      this.pause = 1;
      return draftedRounds >= 2;
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
    const alone = this.cost.of(1);
    let best = 0;
    if (alone === undefined) best = order.length;
    else if (order.length > 0 && this.idle >= PROBE) best = Math.min(order.length, 4);
    else {
      let tokens = 1;
      let rate = 1 / alone;
      order.forEach((node, index) => {
        tokens += Math.min(1, this.calibration * scores[node]);
        const own = tokens / (this.cost.of(index + 2) as number);
        if (own <= rate) return;
        rate = own;
        best = index + 1;
      });
    }
    this.idle = best === 0 ? this.idle + 1 : 0;
    return order.slice(0, best).sort((a, b) => a - b);
  }

  /** A round of so many rows took `ms` and kept `kept` of its drafted tokens, whose scores sum to `hoped`. */
  learn(rows: number, ms: number, hoped: number, kept: number, draftMs: number): void {
    this.cost.add(rows, ms);
    if (rows > 1) {
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
