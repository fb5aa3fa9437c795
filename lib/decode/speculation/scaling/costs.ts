// What rounds of a model take, by their rows, as measured while it decodes.

const SLOW = 0.1; // weight of the newest round in averages
const SHAPE_WEIGHT = 0.3; // of the newest generation
const SHAPE_TURNS = 32;

/**
 * Milliseconds of a round by its rows: averages of what was measured, in between and beyond a line. Of a round of several
 * sequences, of which each has one row at least, all of these count as one row.
 */
export class Costs {
  private readonly others = new Map<number, Costs>();
  private readonly measured = new Map<number, number>();
  private known: Float64Array | undefined; // the last table

  /** Those of rounds of so many sequences: of each number up to four, beyond that of each doubling. */
  of(sequences: number): Costs {
    const bucket = bucketOf(sequences);
    if (bucket === 1) return this;
    const costs = this.others.get(bucket) ?? new Costs();
    this.others.set(bucket, costs);
    return costs;
  }

  /** `tellers`: how many tell of the same round. */
  add(rows: number, ms: number, tellers = 1): void {
    const old = this.measured.get(rows);
    // A round that had to wait for something else says nothing about rows: averages follow it slowly, small ones at once.
    this.measured.set(rows, old === undefined || ms < old ? ms : old + (SLOW / tellers) * (ms - old));
    this.known = undefined;
  }

  measuredAt(rows: number): number | undefined {
    return this.measured.get(rows);
  }

  /**
   * [n] of n rows, for n = 1 to `most`; empty before anything is known. The caller does not change it. Kernels take rows in
   * groups of some size: powers of two that were never measured have the time of fewer rows, as a negative number, so that they
   * are tried once.
   */
  table(most: number): Float64Array {
    if (this.known && this.known.length > most) return this.known;
    const points = [...this.measured].sort(([a], [b]) => a - b);
    if (points.length === 0) return new Float64Array();
    this.known = new Float64Array(most + 1);
    let next = 0; // the first point that is not below
    for (let rows = 0; rows <= most; rows++) {
      while (next < points.length && points[next][0] < rows) next++;
      this.known[rows] = at(rows, points[next - 1], points[next]);
    }
    if (!this.measured.has(1)) return this.known;
    for (let rows = 4; rows <= most; rows *= 2) {
      if (!this.measured.has(rows)) this.known[rows] = -(points.filter(([count]) => count < rows).at(-1) as Point)[1];
    }
    return this.known;
  }
}

export const bucketOf = (sequences: number): number =>
  sequences <= 4 ? Math.max(1, sequences) : 2 ** Math.ceil(Math.log2(sequences));

type Point = readonly [number, number];

/** Between the last point with fewer rows and the first one with as many or more; one of them may be missing. */
function at(rows: number, below: Point | undefined, above: Point | undefined): number {
  if (above?.[0] === rows) return above[1];
  if (below && above) return below[1] + ((above[1] - below[1]) * (rows - below[0])) / (above[0] - below[0]);
  const [count, ms] = below ?? (above as Point);
  // Until more is known, a row more costs a twentieth of the first one.
  return Math.max(ms * 0.1, ms + ((rows - count) * ms) / 20 / (1 + (count - 1) / 20));
}

/** Whether a drafter's trees or its chains gave more tokens per millisecond, by whole generations. */
export class ShapeRates {
  private readonly rates = { tree: 0, chain: 0 };
  private readonly counts = { tree: 0, chain: 0 };
  private turn = 0;

  /** Two of each, for texts differ, then what was faster, and now and then the other one. */
  choose(): 'tree' | 'chain' {
    const { counts, rates } = this;
    const first = (['tree', 'chain', 'chain', 'tree'] as const)[counts.tree + counts.chain];
    if (first) return first;
    const again = ++this.turn % SHAPE_TURNS === 0;
    return rates.tree >= rates.chain !== again ? 'tree' : 'chain';
  }

  learn(shape: 'tree' | 'chain', rate: number): void {
    const { counts, rates } = this;
    counts[shape]++;
    rates[shape] += Math.max(SHAPE_WEIGHT, 1 / counts[shape]) * (rate - rates[shape]);
  }
}

/** Of one model: rounds whose drafts native code makes, and rounds that return to JavaScript for each draft. */
export interface ModelCosts {
  readonly goingOn: Costs;
  readonly returning: Costs;
  /** By the drafter's name: kept tokens per sum of scores at the end of the last generation. */
  readonly calibrations: Map<string, number>;
  /** Names of drafters of which hardly a token was kept in their last generation. */
  readonly poor: Set<string>;
  /** By the drafter's name. */
  readonly shapes: Map<string, ShapeRates>;
}

const known = new WeakMap<object, ModelCosts>();

/** What is known of a model's rounds so far, for all its generations; `executor` stands for the model. */
export function costsOf(executor: object): ModelCosts {
  const costs = known.get(executor) ?? {
    goingOn: new Costs(),
    returning: new Costs(),
    calibrations: new Map(),
    poor: new Set(),
    shapes: new Map(),
  };
  known.set(executor, costs);
  return costs;
}

/** What is known of trees and chains of a drafter with that name. */
export function shapeRatesOf(executor: object, drafter: string): ShapeRates {
  const { shapes } = costsOf(executor);
  const rates = shapes.get(drafter) ?? new ShapeRates();
  shapes.set(drafter, rates);
  return rates;
}
