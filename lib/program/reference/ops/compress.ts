// SnapKV in one layer: which cells its heads will see of a prompt.
import { VivaceError } from '../../../errors.js';
import type { ReferenceKv } from '../kv-cells.js';
import { chosen, votesOf } from '../snap.js';

interface Prompt {
  readonly cache: ReferenceKv;
  readonly sequence: number;
  readonly layer: number;
  /** Query heads. */
  readonly heads: number;
  /** Its tokens, and those before it. */
  readonly end: number;
  /** Of the layer; 0: none. */
  readonly window: number;
}

/** `rowsOf`: what the voters of a query head give the cells that they see. */
export function compressLayer(
  { cache, sequence, layer, heads, end, window }: Prompt,
  rowsOf: (head: number) => Float64Array[],
): void {
  const { snap } = cache.policy;
  if (!snap) throw new VivaceError('INTERNAL', 'a cache without a policy compresses no prompts');
  const size = snap.granularity === 'queryHead' ? 1 : heads / cache.shape.kvHeads;
  for (let first = 0; first < heads; first += size) {
    const own = Array.from({ length: size }, (_, index) => first + index);
    const cells = Array.from({ length: end }, (_, cell) => cell).filter((cell) =>
      cache.sees(sequence, layer, first, cell),
    );
    const candidates = cells.length - snap.window;
    // A sliding window sees the last cells only, which therefore stay.
    const places =
      window > 0
        ? Array.from({ length: snap.budget - snap.window }, (_, i) => cells.length - snap.budget + i)
        : chosen(
            own.map((head) => votesOf(rowsOf(head), candidates)),
            snap,
          );
    const kept = [...places.map((place) => cells[place]), ...cells.slice(candidates)];
    for (const head of own) cache.choose(sequence, end, layer, head, kept);
  }
}
