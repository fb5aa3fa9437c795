// How long the drafts of a generation are whose text depends on them: planned by what its own drafts kept, and by costs that
// are assumed. No clock and no other sequence has a say, so that a seed gives the same text whatever else a model is doing.
import { DepthRates } from './depth-rates.js';
import { jointly } from './joint.js';

/** In rounds without a draft. */
export interface AssumedCosts {
  /** What a drafted row adds to a round. */
  readonly row: number;
  /** What a token of a draft takes to draft. */
  readonly step: number;
}

/** Bytes of weights that are taken to stay in a processor's caches. */
const IN_CACHES = 32 << 20;

/** What rows cost on machines as they are: little where weights come from memory, half a round where they do not. */
export const assumedCosts = (weightBytes: number): AssumedCosts =>
  weightBytes > IN_CACHES ? { row: 0.05, step: 0.03 } : { row: 0.5, step: 0.25 };

// Rounds for which a decision stands: of the first drafts, of drafts that pay, of rests, and of trials after these.
const TRIAL = 4;
const GOING = 16;
const FIRST_REST = 16;
const LONGEST_REST = 256;
const RETRIAL = 2;
/** First drafts may cost so many rounds more than none, each. */
const FIRST = 0.5;

const DEEPEST = 64;
const HALF_LIFE = 64; // drafts
const HOPE = { rate: 0.9, weight: 0.5 }; // before anything was kept or not

/**
 * Decides at rounds that are counted, not where somebody asks: who shares rounds with others asks at other places of the text.
 */
export class SteadyPlan {
  private readonly rates: DepthRates;
  private length: number;
  private left = TRIAL;
  private rest = FIRST_REST;
  private nodes = 0; // of the last draft

  /** Drafts of at most `most` tokens in depth; `whole`: of no less, as trees are, whose nodes cost a row each. */
  constructor(
    private readonly most: number,
    private readonly costs: AssumedCosts,
    private readonly whole = false,
  ) {
    const hopes = Array.from({ length: Math.min(most, DEEPEST) }, () => HOPE.rate);
    this.rates = new DepthRates(hopes, HALF_LIFE, HOPE.weight);
    this.length = this.atMost(Math.ceil(FIRST / (costs.row + costs.step)));
  }

  /** Tokens that the next draft may have; none is an answer. */
  get tokens(): number {
    return this.length;
  }

  /** Rounds for which it stands, the next one included. */
  get rounds(): number {
    return this.left;
  }

  /** A round is over: its draft had `nodes` tokens, the deepest one at `depth`, from 1, and `kept` of them stayed. */
  learn(nodes: number, depth: number, kept: number): void {
    if (nodes > 0) {
      this.rates.learn(depth, kept);
      this.nodes = nodes;
    }
    if (--this.left > 0) return;
    const best = this.best();
    if (best > 0) {
      this.length = best;
      this.left = GOING;
      this.rest = FIRST_REST;
    } else if (this.length === 0) {
      // What was seen before speaks against drafts, but texts change.
      this.length = this.atMost(1);
      this.left = RETRIAL;
    } else {
      this.length = 0;
      this.left = this.rest;
      this.rest = Math.min(LONGEST_REST, 2 * this.rest);
    }
  }

  private atMost(tokens: number): number {
    return this.whole ? this.most : Math.min(this.most, tokens);
  }

  /** The length that gives the most tokens per cost. */
  private best(): number {
    const { most, costs, whole, nodes } = this;
    const scores = this.rates.paths(most);
    const { row, step } = costs;
    if (whole) {
      const tokens = scores.reduce((sum, score) => sum + score, 0);
      return tokens > row * Math.max(nodes, most) + step * most ? most : 0;
    }
    const rounds = Float64Array.from({ length: most + 2 }, (_, rows) => 1 + row * (rows - 1));
    return jointly([{ scores, calibration: 1 }], { sequences: 1, costs: rounds, stepMs: step })[0].length;
  }
}
