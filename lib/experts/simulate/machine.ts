// What things cost on a machine, in seconds: a layer without its experts, an expert, and a copy of one.
import type { Precision } from './prediction.js';

export interface Costs {
  /** Attention and router of a layer for so many rows. */
  dense(rows: number): number;
  /** What a layer computes between its router and its experts. */
  shared?(rows: number): number;
  /** Of a whole run, besides its layers. */
  rest?(rows: number): number;
  expert(rows: number): number;
  copy(precision: Precision): number;
  /** An expert computed where its weights lie, beside what the fast side computes; absent: that cannot be done. */
  there?(rows: number): number;
}

export interface Machine {
  readonly denseSeconds: number;
  /** More of it for every row after the first. */
  readonly denseSecondsPerRow?: number;
  /** Of the memory that experts are computed from. */
  readonly bytesPerSecond: number;
  readonly operationsPerSecond: number;
  /** Of the link, and the time before the first byte of a copy arrives. */
  readonly linkBytesPerSecond: number;
  readonly linkSeconds?: number;
  /** Of the side where the weights lie, if it can compute. */
  readonly there?: { readonly bytesPerSecond: number; readonly operationsPerSecond: number };
}

export interface ExpertShape {
  readonly width: number;
  readonly hidden: number;
  readonly bytes: number;
  /** Of the copy at low precision; default: as many. */
  readonly lowBytes?: number;
}

/** An expert of n rows takes as long as its bytes or its 6 · width · hidden · n operations, whichever is more. */
export function costsOf(machine: Machine, shape: ExpertShape): Costs {
  const compute = (side: { bytesPerSecond: number; operationsPerSecond: number }, rows: number): number =>
    Math.max(shape.bytes / side.bytesPerSecond, (6 * shape.width * shape.hidden * rows) / side.operationsPerSecond);
  const { there } = machine;
  return {
    dense: (rows) => machine.denseSeconds + (rows - 1) * (machine.denseSecondsPerRow ?? 0),
    expert: (rows) => compute(machine, rows),
    copy: (precision) =>
      (machine.linkSeconds ?? 0) +
      (precision === 'low' ? (shape.lowBytes ?? shape.bytes) : shape.bytes) / machine.linkBytesPerSecond,
    ...(there && { there: (rows) => compute(there, rows) }),
  };
}

/** The same for every number of rows: for traces that are worked out by hand. */
export const fixedCosts = (dense: number, expert: number, copy: number, low = copy, there?: number): Costs => ({
  dense: () => dense,
  expert: () => expert,
  copy: (precision) => (precision === 'low' ? low : copy),
  ...(there !== undefined && { there: () => there }),
});
