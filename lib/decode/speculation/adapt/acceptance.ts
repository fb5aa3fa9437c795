// How drafts went with what was learned and without, and what follows from it: to go back to weights that were better, or to
// do without.
import type { LowRankWeights } from './low-rank.js';

/** Drafts that an average is about. */
const WINDOW = 200;
/** A fall of the average, as a share of the best one, at which the best weights come back, if it is no noise: three errors. */
const FALL = 0.1;
/** Drafts without what was learned before it is judged as a whole, and the weight of the newest of them. */
const PROBES = 40;
const NEWEST_PROBE = 1 / PROBES;

/** So many drafts say as much as one that has nothing to do with the others. */
const ALIKE = 8;

/** Average of the newest shares, and of their squares. */
class Average {
  count = 0;
  mean = 0;
  private square = 0;

  constructor(private readonly newest: number) {}

  add(share: number): void {
    const weight = Math.max(this.newest, 1 / ++this.count);
    this.mean += weight * (share - this.mean);
    this.square += weight * (share * share - this.square);
  }

  /** Standard error, for as many shares as the weights come to; drafts of one answer resemble each other. */
  get error(): number {
    const effective = Math.min(this.count, 2 / this.newest - 1) / ALIKE;
    return Math.sqrt(Math.max(0, this.square - this.mean * this.mean) / Math.max(1, effective));
  }
}

export class Acceptance {
  private learned = new Average(1 / WINDOW);
  private readonly plain = new Average(NEWEST_PROBE);
  private since = 0; // drafts since the weights were put back
  private best: { mean: number; error: number; weights: LowRankWeights } | undefined;

  /** Share of a draft's tokens that was kept. */
  add(share: number, withLearned: boolean): void {
    if (!withLearned) return this.plain.add(share);
    this.learned.add(share);
    this.since++;
  }

  /** Averages; NaN before there are any. */
  get means(): { readonly learned: number; readonly plain: number } {
    const of = ({ count, mean }: Average): number => (count > 0 ? mean : NaN);
    return { learned: of(this.learned), plain: of(this.plain) };
  }

  /** Before other weights come: hears which ones the newest drafts were made with, and may ask for better ones. */
  judge(current: LowRankWeights | undefined): LowRankWeights | undefined {
    if (!current || this.since < WINDOW) return undefined;
    const { mean, error } = this.learned;
    if (!this.best || mean >= this.best.mean) {
      this.best = { mean, error, weights: current };
      return undefined;
    }
    const noise = 3 * Math.hypot(error, this.best.error);
    if (this.best.mean - mean < Math.max(FALL * this.best.mean, noise)) return undefined;
    const { weights } = this.best;
    this.since = 0;
    this.learned = new Average(1 / WINDOW);
    // What they reach now is measured anew: texts may have changed, and then they are not better.
    this.best = undefined;
    return weights;
  }

  /** Drafts without what was learned are better, by two standard errors. */
  get useless(): boolean {
    const { learned, plain } = this;
    if (plain.count < PROBES || learned.count < WINDOW) return false;
    return learned.mean + 2 * Math.hypot(learned.error, plain.error) < plain.mean;
  }
}
