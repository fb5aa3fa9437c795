// The rows of one run: which cell each row fills and which cells it sees.
import { VivaceError } from '../../errors.js';
import type { ReferenceKv } from './kv-cells.js';

/** As `RunRequest` in lib/program/executor.ts, with the cache that the rows belong to. */
export interface ReferenceBatch {
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  readonly sequences: Int32Array;
  readonly parents?: Int32Array;
  readonly outputRows: Int32Array;
  readonly compress?: ReadonlyMap<number, number> | undefined;
  readonly kv: ReferenceKv;
}

export interface RunRow {
  readonly sequence: number;
  readonly position: number;
  readonly cell: number;
  /** Cells that the row sees, ascending, its own the last. */
  readonly visible: readonly number[];
  /** Its logits are wanted. */
  readonly output: boolean;
}

/** Makes room in the cache for every row; chain rows count once `commitRows` is called. */
export function reserveRows(batch: ReferenceBatch): RunRow[] {
  const { positions, sequences, parents, kv } = batch;
  const rows: RunRow[] = [];
  const added = new Map<number, number[]>(); // sequence → positions of its new cells
  const outputs = new Set(batch.outputRows);
  sequences.forEach((sequence, row) => {
    const length = kv.length(sequence);
    const known = added.get(sequence) ?? [];
    const cell = length + known.length;
    const parent = parents ? parents[row] : -1;
    if (parent >= row || (parent >= 0 && sequences[parent] !== sequence)) {
      throw new VivaceError('INTERNAL', "run: a tree row's parent must come before it, in its sequence");
    }
    const before = !parents ? upTo(cell) : parent < 0 ? upTo(length) : rows[parent].visible;
    if (positions[row] !== before.length) {
      throw new VivaceError(
        'INTERNAL',
        `run: row ${row} sees ${before.length} cells before it, but its position is ${positions[row]}`,
      );
    }
    added.set(sequence, [...known, positions[row]]);
    rows.push({ sequence, position: positions[row], cell, visible: [...before, cell], output: outputs.has(row) });
  });
  for (const [sequence, places] of added) kv.reserve(sequence, places);
  return rows;
}

/** Chain rows become part of their sequences; a tree's rows wait for `keep`. */
export function commitRows(batch: ReferenceBatch): void {
  if (!batch.parents) for (const sequence of batch.sequences) batch.kv.commit(sequence, 1);
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
