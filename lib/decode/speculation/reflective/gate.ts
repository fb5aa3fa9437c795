// Whether drafts are read a second time: only while that gives more tokens per millisecond than reading them once.

const SLOW = 0.1; // weight of the newest round in averages
/** Rounds of each kind before they are compared. */
const TRIALS = 2;

/** Averages of the rounds of one kind. */
interface Rounds {
  count: number;
  tokens: number;
  ms: number;
}

export class Gate {
  readonly twice: Rounds = { count: 0, tokens: 0, ms: 0 };
  readonly once: Rounds = { count: 0, tokens: 0, ms: 0 };
  private drafts = 0;

  /** Every `probeEvery`th draft is read in the way that is slower by what is known, to keep that up to date. */
  constructor(private readonly probeEvery: number) {}

  /** Of the next draft. */
  get reads(): boolean {
    const { twice, once } = this;
    if (twice.count < TRIALS) return true;
    if (once.count < TRIALS) return false;
    const better = twice.tokens / twice.ms > once.tokens / once.ms;
    return this.drafts % this.probeEvery === this.probeEvery - 1 ? !better : better;
  }

  /** A draft was verified: tokens of its round, the one that follows the draft included, and its time with the drafter's. */
  learn(readTwice: boolean, tokens: number, ms: number): void {
    this.drafts++;
    const rounds = readTwice ? this.twice : this.once;
    const weight = Math.max(SLOW, 1 / ++rounds.count);
    rounds.tokens += weight * (tokens - rounds.tokens);
    rounds.ms += weight * (ms - rounds.ms);
  }
}
