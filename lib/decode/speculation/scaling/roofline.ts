// What a round of verification takes by a card's or processor's two limits, and how many rows it may have for nothing.

export interface Machine {
  /** Bytes per second that weights and caches are read with. */
  readonly bandwidth: number;
  /** Operations per second, a multiplication and an addition counting as two. */
  readonly operations: number;
  /** Seconds of a round that do not depend on its size. */
  readonly overhead: number;
}

export interface Target {
  readonly parameters: number;
  readonly weightBytes: number;
  /** Bytes of keys and values per token. */
  readonly cacheBytes: number;
}

/**
 * Seconds for `batch` sequences of `context` tokens, `rows` rows each: max((W + B·S·k)/BW, 2·P·B·V/F) + o. Attention's own
 * operations are left out: where they count, measure (cost-table.ts).
 */
export function verifySeconds(
  { bandwidth, operations, overhead }: Machine,
  { parameters, weightBytes, cacheBytes }: Target,
  { batch, rows, context }: { batch: number; rows: number; context: number },
): number {
  const reading = (weightBytes + batch * context * cacheBytes) / bandwidth;
  return Math.max(reading, (2 * parameters * batch * rows) / operations) + overhead;
}

/** Rows per sequence at which computing takes as long as reading; fewer cost the same. */
export const kneeRows = (
  { bandwidth, operations }: Machine,
  { parameters, weightBytes, cacheBytes }: Target,
  { batch, context }: { batch: number; context: number },
): number => (operations * (weightBytes + batch * context * cacheBytes)) / (2 * parameters * batch * bandwidth);
