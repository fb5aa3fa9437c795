// Which shape of drafts gives the most tokens per second for so many sequences of such a length (Yan et al. 2025, theorem 1.3,
// with measured costs in place of a formula). No draft at all is one of the shapes.
import { allocateNodes, type ChildRates } from './allocate.js';
import { stepMs, verifyMs, type CostTable } from './cost-table.js';

export interface Shape {
  /** Steps of the drafter; 0: no draft. */
  readonly depth: number;
  /** Children of a node at most; 1: a chain. */
  readonly width: number;
  /** Rows per sequence in the target's round, the root's included; 1: no draft. */
  readonly rows: number;
}

export interface Plan extends Shape {
  /** Tokens per sequence and round. */
  readonly expected: number;
  readonly roundMs: number;
  readonly tokensPerSecond: number;
}

export interface PlanOptions {
  readonly batch: number;
  readonly context: number;
  /** Default 16. */
  readonly maxDepth?: number;
  /** A round and its draft may take so long. */
  readonly latencyMs?: number;
}

/**
 * The best of all shapes whose rows and widths the table has. `rates`: per depth and rank, falling in rank, from verified
 * drafts. A shape that is not faster than none by more than rounding is not taken.
 */
export function planShape(costs: CostTable, rates: ChildRates, options: PlanOptions): Plan {
  const { maxDepth = 16, latencyMs = Infinity } = options;
  let best = priced(costs, rates, none, options);
  for (let depth = 1; depth <= Math.min(maxDepth, rates.length); depth++) {
    for (const width of costs.width) {
      for (const rows of costs.rows) {
        if (rows < 2) continue;
        const plan = priced(costs, rates, { depth, width, rows }, options);
        if (plan.roundMs <= latencyMs && plan.tokensPerSecond > best.tokensPerSecond * (1 + 1e-9)) best = plan;
      }
    }
  }
  return best;
}

export const none: Shape = { depth: 0, width: 1, rows: 1 };

/** What a shape gives and costs. */
export function priced(costs: CostTable, rates: ChildRates, shape: Shape, { batch, context }: PlanOptions): Plan {
  const { depth, width, rows } = shape;
  const { expected } = allocateNodes([{ rates, depth, width }], rows - 1);
  const draftMs = depth * (depth > 0 ? stepMs(costs, { batch, width }) : 0);
  const roundMs = verifyMs(costs, { batch, rows, context }) + draftMs;
  return { ...shape, expected, roundMs, tokensPerSecond: (batch * expected * 1000) / roundMs };
}
