// Rows that choose by labels, an oracle for them, and tables of channels.
import type { KvLabels } from '../../../../lib/program/kv-policy.js';
import { chooseCells } from '../../../../lib/program/reference/labels.js';
import { Generator } from '../../../fixtures/random/generator.js';
import { oracle, rounded, type Row, type Shape } from '../attention-runs.js';

/** Labels of the one layer that attention-runs.ts writes, on channels drawn by chance unless given. */
export function labelsOf(
  { heads, kvHeads, keyDim }: Shape,
  options: Partial<Omit<KvLabels, 'table' | 'sparse'>> & { perHead?: boolean; channelsOf?: (set: number) => number[] },
): KvLabels {
  const { channels = 8, perHead = false, channelsOf, ...rest } = options;
  const sets = perHead ? heads : kvHeads;
  const drawn = (set: number): number[] => {
    const generator = new Generator(set, 'channels');
    const left = Array.from({ length: keyDim }, (_, channel) => channel);
    return Array.from({ length: channels }, () => left.splice(generator.integer(0, left.length - 1), 1)[0]);
  };
  const table = [0, 1, 2].flatMap((layer) =>
    Array.from({ length: sets }, (_, set) =>
      channelsOf && layer === 1 ? channelsOf(set) : drawn(7 * layer + set),
    ).flat(),
  );
  return {
    channels,
    bits: 4,
    sets,
    table: Int32Array.from(table),
    sparse: Uint8Array.of(1, 1, 0),
    tokens: 16,
    share: 0,
    threshold: 0,
    recent: 0,
    sinks: 0,
    grouped: false,
    ...rest,
  };
}

/** A head of a row's key, as the cache keeps it. */
export const storedKey = ({ keyDim, keyType = 'F16' }: Shape, { k }: Row, head: number): Float64Array =>
  rounded(k, head, keyDim, keyType);

/** Per query head, which of the cells, given by their rows, a row chooses; `numbers`: of the cells, if not 0, 1, 2 … */
export function chosen(shape: Shape, row: Row, cells: readonly Row[]): number[][] {
  const { heads, kvHeads, keyDim, window = 0, labels } = shape;
  if (!labels) throw new Error('the shape has no labels');
  const from = window > 0 ? Math.max(0, cells.length - window) : 0;
  const group = heads / kvHeads;
  return Array.from({ length: kvHeads }, (_, kvHead) => {
    const queries = Array.from({ length: group }, (__, n) => {
      const head = kvHead * group + n;
      return row.q.subarray(head * keyDim, (head + 1) * keyDim);
    });
    const seen = cells.slice(from).map((cell, index) => ({ key: storedKey(shape, cell, kvHead), cell: from + index }));
    return chooseCells(labels, 1, kvHead, kvHeads, queries, seen).map((list) => list.map((index) => from + index));
  }).flat();
}

/** Exact attention over what each query head chooses. */
export function sparseOracle(shape: Shape, row: Row, cells: readonly Row[]): Float64Array {
  const { heads, keyDim, valueDim = keyDim } = shape;
  const lists = chosen(shape, row, cells);
  const y = new Float64Array(heads * valueDim);
  const known = new Map<string, Float64Array>();
  lists.forEach((list, head) => {
    const name = list.join();
    const all =
      known.get(name) ??
      oracle(
        { ...shape, window: 0 },
        row,
        list.map((index) => cells[index]),
      );
    known.set(name, all);
    y.set(all.subarray(head * valueDim, (head + 1) * valueDim), head * valueDim);
  });
  return y;
}
