// How much of a draft is worth verifying: what it would give in tokens, against what its rows cost.
import type { DraftedTokens } from './drafter.js';
import { bucketOf, type Costs } from './scaling/costs.js';
import type { RoundLoad } from '../rounds.js';
import { jointly, type Bid } from './scaling/joint.js';

const SLOW = 0.1; // weight of the newest round in averages
/** Rounds without drafts, where drafting has been slower than none: doubled each time, up to this. */
const LONGEST_PAUSE = 128;
/** What drafting may lose of the time of rounds: a rest is so long that its drafts' loss is no more, up to this many rounds. */
const LOSS = 0.03;
const LONGEST_PENANCE = 512;
/** Plain rounds that a round or a draft loses at most: what took longer waited for something else. */
const WORST = 4;
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
 * How many of `scores`, the highest first, give the most tokens per millisecond, where a sequence is alone; none is a choice.
 * `costs[n]`: milliseconds of a round of n rows, negative ones guessed; without costs all of them.
 */
export function paying(scores: ArrayLike<number>, costs: Float64Array, calibration: number): number {
  return jointly([{ scores, calibration }], { sequences: 1, costs })[0].length;
}

/** How drafts went in rounds of some load. */
interface Trials {
  /** Rounds that the next rest takes. */
  pause: number;
  /** Averages of rounds with a draft, and how many these were. */
  drafted: { tokens: number; ms: number; rounds: number };
  /** Milliseconds that drafts have lost since the last rest. */
  lost: number;
}

export class Planner {
  /** Kept tokens per sum of scores. */
  calibration: number;
  private idle = 0; // rounds since the last draft

  /** Sequences in the last round. */
  private sequences = 1;
  private readonly trials = new Map<number, Trials>();

  /** `calibration`: that of an earlier text. Hopes that it fulfilled are worth a try; that it was hostile says nothing. */
  constructor(
    private readonly all: Costs,
    calibration = 1,
  ) {
    this.calibration = Math.max(1, calibration);
  }

  /** What the next round costs, if it has as many sequences as the last one. */
  get costs(): Costs {
    return this.all.of(this.sequences);
  }

  /** [1 + n] of n drafted rows in rounds of so many sequences, for n up to `most`. */
  costsFor(sequences: number, most: number): Float64Array {
    return this.all.of(sequences).table(1 + most);
  }

  /** Rounds that the next rest takes. */
  get pause(): number {
    return this.trial.pause;
  }

  private get trial(): Trials {
    const bucket = bucketOf(this.sequences);
    const trial = this.trials.get(bucket) ?? { pause: 1, drafted: { tokens: 0, ms: 0, rounds: 0 }, lost: 0 };
    this.trials.set(bucket, trial);
    return trial;
  }

  /** How many rounds may be planned at once, with what is known now. */
  get horizon(): number {
    return this.costs.measuredAt(1) === undefined ? UNMEASURED : Infinity;
  }

  /** The next draft is tried whatever it promises. */
  get insists(): boolean {
    return this.idle >= PROBE;
  }

  /** Should the next rounds go without a draft: to measure one, or because drafts have been slower? */
  rests(): boolean {
    const { trial } = this;
    const alone = this.costs.measuredAt(1);
    if (alone === undefined) {
      trial.pause = MEASURED;
      return trial.drafted.rounds >= UNMEASURED;
    }
    const { tokens, ms, rounds } = trial.drafted;
    if (rounds < TRIALS || tokens / ms >= 1 / alone) {
      if (rounds >= TRIALS) trial.pause = 4;
      return false;
    }
    const penance = Math.min(LONGEST_PENANCE, Math.ceil(trial.lost / (LOSS * alone)));
    trial.pause = Math.max(8, penance, Math.min(LONGEST_PAUSE, 2 * trial.pause));
    trial.lost = 0;
    trial.drafted = { tokens: 0, ms: 0, rounds: TRIALS - 2 }; // two more drafts, then it is judged again
    return true;
  }

  /** What a draft of these scores offers to a round of several sequences. */
  bid({ scores }: DraftedTokens): Bid {
    return { scores, calibration: this.calibration, least: this.insists ? Math.min(scores.length, 4) : 0 };
  }

  /**
   * The nodes to keep where the sequence is alone, as an ascending list of indices: those with the highest scores, as many as
   * give the most tokens per second; none is a choice.
   */
  choose(draft: DraftedTokens): number[] {
    return jointly([this.bid(draft)], { sequences: 1, costs: this.costsFor(1, draft.scores.length) })[0];
  }

  /**
   * A round of so many rows took `ms` and kept `kept` of its drafted tokens, whose scores sum to `hoped`. `draftMs`: what a
   * draft took besides, also one of which nothing was verified; `load`: of a round with other sequences, all of it.
   */
  learn(rows: number, ms: number, hoped: number, kept: number, draftMs: number, load?: RoundLoad): void {
    this.sequences = load?.sequences ?? 1;
    this.costs.add(load ? 1 + load.rows - load.sequences : rows, ms, this.sequences);
    this.idle = rows > 1 ? 0 : this.idle + 1;
    if (rows > 1 || draftMs > TRIFLE * ms) {
      const { trial } = this;
      const { drafted } = trial;
      // Others waited for this one's rows, and it for theirs: a round is judged as a whole.
      const tokens = load ? load.tokens / load.sequences : 1 + kept;
      const weight = drafted.tokens === 0 ? 1 : SLOW;
      drafted.tokens += weight * (tokens - drafted.tokens);
      drafted.ms += weight * (ms + draftMs - drafted.ms);
      drafted.rounds++;
      const alone = this.costs.measuredAt(1) ?? ms;
      const spent = Math.min(ms, WORST * alone) + Math.min(draftMs, WORST * alone);
      trial.lost = Math.max(0, trial.lost + spent - tokens * alone);
    }
    if (hoped <= 0) return;
    const ratio = Math.min(4, kept / hoped);
    this.calibration = Math.min(2, Math.max(0.02, this.calibration + SLOW * (ratio - this.calibration)));
  }
}
