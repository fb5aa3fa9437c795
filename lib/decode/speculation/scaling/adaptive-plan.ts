// A plan that follows its load: acceptance as it comes, sequences as they join and leave, and no flutter between shapes.
import type { ChildRates } from './allocate.js';
import type { CostTable } from './cost-table.js';
import { DepthRates } from './depth-rates.js';
import { planShape, priced, type Plan, type PlanOptions, type Shape } from './plan.js';

export interface AdaptiveOptions {
  /** Rounds after which a measurement counts half. Default 256. */
  readonly halfLife?: number;
  /** A shape is left only for one that should be faster by this share. Default 0.05. */
  readonly hysteresis?: number;
  /** … and not before so many rounds in it. Default 32. */
  readonly dwell?: number;
  /** Planned again when the rate of a depth has moved by this share. Default 0.1. */
  readonly moved?: number;
  /** Without drafts, every so many rounds a draft of one token is made, to see whether they are better by now. Default 32. */
  readonly probe?: number;
  readonly maxDepth?: number;
  readonly latencyMs?: number;
}

export class AdaptivePlan {
  private readonly base: ChildRates;
  private readonly seen: DepthRates;
  private planned: readonly number[]; // corrections that the shape in use was planned with
  private current: Plan | undefined;
  private place: { batch: number; context: number } | undefined;
  private rounds = Infinity; // in this shape

  /** `rates`: measured before, for instance in a profile; they are rescaled per depth by what is seen. */
  constructor(
    private readonly costs: CostTable,
    rates: ChildRates,
    private readonly options: AdaptiveOptions = {},
  ) {
    this.base = rates;
    // What was measured before counts as much as a few rounds.
    this.seen = new DepthRates(
      rates.map((line) => Math.min(1, sum(line))),
      options.halfLife,
    );
    this.planned = rates.map(() => 1);
  }

  /** The shape for the next round. */
  shape(load: { batch: number; context: number }): Shape {
    const plan = this.plan(load);
    const { probe = 32 } = this.options;
    return plan.depth === 0 && this.base.length > 0 && this.rounds % probe === probe - 1 ? shortest : plan;
  }

  private plan(load: { batch: number; context: number }): Plan {
    const { hysteresis = 0.05, dwell = 32, moved = 0.1 } = this.options;
    const bucket = bucketOf(load);
    const corrections = this.seen.corrections();
    const shifted = corrections.some((value, depth) => Math.abs(value / this.planned[depth] - 1) > moved);
    const elsewhere =
      this.place === undefined || bucket.batch !== this.place.batch || bucket.context !== this.place.context;
    this.rounds++;
    if (this.current !== undefined && !((shifted || elsewhere) && this.rounds > dwell)) return this.current;
    const rates = this.base.map((line, depth) => line.map((rate) => Math.min(1, rate * corrections[depth])));
    const options: PlanOptions = { ...this.options, ...bucket };
    const best = planShape(this.costs, rates, options);
    const now = this.current && priced(this.costs, rates, this.current, options);
    this.planned = corrections;
    this.place = bucket;
    const late = now !== undefined && now.roundMs > (this.options.latencyMs ?? Infinity);
    if (now === undefined || late || best.tokensPerSecond > now.tokensPerSecond * (1 + hysteresis)) {
      if (now === undefined || best.rows !== now.rows || best.depth !== now.depth || best.width !== now.width)
        this.rounds = 0;
      this.current = best;
    }
    return this.current as Plan;
  }

  /** A draft of `depth` tokens was verified, and `kept` of them stayed. */
  learn(depth: number, kept: number): void {
    this.seen.learn(depth, kept);
  }
}

const shortest: Shape = { depth: 1, width: 1, rows: 2 };
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
/** Powers of two, rounded up: loads between them are one. */
const bucketOf = ({ batch, context }: { batch: number; context: number }): { batch: number; context: number } => ({
  batch: 2 ** Math.ceil(Math.log2(Math.max(1, batch))),
  context: 2 ** Math.ceil(Math.log2(Math.max(1, context))),
});
