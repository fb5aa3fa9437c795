// What rounds of a model take, by their rows, as measured while it decodes.

const SLOW = 0.1; // weight of the newest round in averages

/** Milliseconds of a round by its rows: averages of what was measured, in between and beyond a line. */
export class Costs {
  private readonly measured = new Map<number, number>();
  private known: Float64Array | undefined; // the last table

  add(rows: number, ms: number): void {
    const old = this.measured.get(rows);
    // A round that had to wait for something else says nothing about rows: averages follow it slowly, small ones at once.
    this.measured.set(rows, old === undefined || ms < old ? ms : old + SLOW * (ms - old));
    this.known = undefined;
  }

  measuredAt(rows: number): number | undefined {
    return this.measured.get(rows);
  }

  /** [n] of n rows, for n = 1 to `most`; empty before anything is known. The caller does not change it. */
  table(most: number): Float64Array {
    if (this.known && this.known.length > most) return this.known;
    const points = [...this.measured].sort(([a], [b]) => a - b);
    if (points.length === 0) return new Float64Array();
    this.known = Float64Array.from({ length: most + 1 }, (_, rows) => at(points, rows));
    return this.known;
  }
}

function at(points: readonly [number, number][], rows: number): number {
  const known = points.find(([count]) => count === rows);
  if (known) return known[1];
  const below = points.filter(([count]) => count < rows).at(-1);
  const above = points.find(([count]) => count > rows);
  if (below && above) return below[1] + ((above[1] - below[1]) * (rows - below[0])) / (above[0] - below[0]);
  const [count, ms] = below ?? (above as [number, number]);
  // Until more is known, a row more costs a twentieth of the first one.
  return Math.max(ms * 0.1, ms + ((rows - count) * ms) / 20 / (1 + (count - 1) / 20));
}

/** Of one model: rounds whose drafts native code makes, and rounds that return to JavaScript for each draft. */
export interface ModelCosts {
  readonly goingOn: Costs;
  readonly returning: Costs;
  /** By the drafter's name: kept tokens per sum of scores at the end of the last generation. */
  readonly calibrations: Map<string, number>;
}

const known = new WeakMap<object, ModelCosts>();

/** What is known of a model's rounds so far, for all its generations; `executor` stands for the model. */
export function costsOf(executor: object): ModelCosts {
  const costs = known.get(executor) ?? { goingOn: new Costs(), returning: new Costs(), calibrations: new Map() };
  known.set(executor, costs);
  return costs;
}
