// What rounds cost on one machine with one model, measured on a grid: read, checked, and looked up between its points.
import { VivaceError } from '../../../errors.js';

export interface CostTable {
  readonly device: string;
  /** Fingerprint of the model that was measured. */
  readonly model: string;
  /** Ascending; powers of two make straight lines of what doubles. */
  readonly batch: readonly number[];
  /** Rows per sequence, the root's included. Only these are planned: cost goes up in stairs, which are not smoothed. */
  readonly rows: readonly number[];
  /** Tokens per sequence. */
  readonly context: readonly number[];
  /** [batch][rows][context], milliseconds of a round of the target; medians. */
  readonly verify: readonly (readonly (readonly number[])[])[];
  /** Nodes of a level of a draft: ascending. */
  readonly width: readonly number[];
  /** [batch][width], milliseconds of a step of the drafter. */
  readonly step: readonly (readonly number[])[];
}

/** Throws INVALID_ARGUMENT with what is wrong. */
export function checkCostTable(given: unknown): CostTable {
  const table = given as CostTable;
  const fail = (what: string): never => {
    throw new VivaceError('INVALID_ARGUMENT', `The cost table ${what}`, {
      remedy: 'Measure it again on this machine.',
    });
  };
  if (typeof given !== 'object' || given === null) fail('is no object');
  for (const name of ['batch', 'rows', 'context', 'width'] as const) {
    const axis: unknown = table[name];
    const ascends =
      Array.isArray(axis) &&
      axis.length > 0 &&
      axis.every((value, i) => Number.isInteger(value) && value > 0 && (i === 0 || value > axis[i - 1]));
    if (!ascends) fail(`needs ascending whole numbers in \`${name}\``);
  }
  const { batch, rows, context, width, verify, step } = table;
  const times = (values: unknown, count: number): boolean =>
    Array.isArray(values) &&
    values.length === count &&
    values.every((ms) => typeof ms === 'number' && ms > 0 && ms < 1e9);
  const cube = Array.isArray(verify) && verify.length === batch.length;
  if (
    !cube ||
    !verify.every(
      (plane) =>
        Array.isArray(plane) && plane.length === rows.length && plane.every((line) => times(line, context.length)),
    )
  ) {
    fail('needs a positive time for every batch, number of rows and context in `verify`');
  }
  if (!Array.isArray(step) || step.length !== batch.length || !step.every((line) => times(line, width.length))) {
    fail('needs a positive time for every batch and width in `step`');
  }
  return table;
}

/** Between the points of batch and context in straight lines over the logarithms; beyond them as at the last point. */
export function verifyMs(
  { batch, rows, context, verify }: CostTable,
  at: { batch: number; rows: number; context: number },
): number {
  const row = rows.findIndex((count) => count >= at.rows); // the stair that holds them
  const plane = row < 0 ? rows.length - 1 : row;
  return between(batch, at.batch, (b) => between(context, at.context, (c) => verify[b][plane][c]));
}

export const stepMs = ({ batch, width, step }: CostTable, at: { batch: number; width: number }): number =>
  between(batch, at.batch, (b) => between(width, at.width, (w) => step[b][w]));

function between(axis: readonly number[], value: number, of: (index: number) => number): number {
  const above = axis.findIndex((point) => point >= value);
  if (above === 0) return of(0);
  if (above < 0) return of(axis.length - 1);
  const part = Math.log2(value / axis[above - 1]) / Math.log2(axis[above] / axis[above - 1]);
  const low = of(above - 1);
  return low + part * (of(above) - low);
}
