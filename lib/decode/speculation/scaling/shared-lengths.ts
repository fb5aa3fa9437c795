// How long drafts may be whose tokens are drawn at random: they are verified whole, or the law would change, so the length is
// planned before they are drawn, for all sequences of a model together and by what earlier drafts kept.
import { DepthRates } from './depth-rates.js';
import { jointly } from './joint.js';

/** Rounds without a draft after which one token is drafted, to see whether drafts are better by now. */
const PROBE = 32;
const DEEPEST = 64;
const SLOW = 0.1;

/** The drafts of one generation. */
export class DrawnLength {
  private readonly rates: DepthRates;
  private step: number | undefined; // milliseconds per drafted token
  private without = 0; // rounds

  /** Joins the others of `shared`, until `leave`. */
  constructor(
    private readonly shared: Set<DrawnLength>,
    private readonly most: number,
  ) {
    // Before anything is known drafts are long: what they keep is soon known, and of short ones it would not be.
    this.rates = new DepthRates(
      Array.from({ length: Math.min(most, DEEPEST) }, () => 0.9),
      64,
      4,
    );
    shared.add(this);
  }

  leave(): void {
    this.shared.delete(this);
  }

  /** Tokens to ask for in a round of `sequences`, whose `costs` are those of `RoundTerms`; 0 is an answer for so many `rounds`. */
  ask(sequences: number, costs: ArrayLike<number>, rounds = 1): number {
    const members = [...this.shared];
    const bids = members.map(({ rates, most }) => ({ scores: rates.paths(most), calibration: 1 }));
    const lengths = jointly(bids, { sequences, costs, stepMs: this.step ?? 0 });
    const length = costs.length === 0 ? this.most : lengths[members.indexOf(this)].length;
    if (length === 0 && (this.without += rounds) <= PROBE) return 0;
    this.without = 0;
    return Math.max(1, length);
  }

  /** A draft of `drafted` tokens took `ms`, and `kept` of them stayed. */
  learn(drafted: number, kept: number, ms: number): void {
    if (drafted === 0) return;
    this.rates.learn(drafted, kept);
    const step = ms / drafted;
    this.step = this.step === undefined ? step : this.step + SLOW * (step - this.step);
  }
}
