// What a reference op sees: its inputs by place, its attributes by place, and the rows of the run.
import type { Matrix } from '../matrix.js';
import type { ReferenceKv } from '../kv-cells.js';
import type { RunRow } from '../rows-of-run.js';

export interface ReferenceCall {
  /** In the order of the op's signature in lib/program/ops.ts. */
  readonly inputs: readonly Matrix[];
  /** An optional input; undefined when it is absent. */
  optional(index: number): Matrix | undefined;
  readonly attributes: readonly number[];
  readonly rows: readonly RunRow[];
  readonly kv?: ReferenceKv;
  /** Sequences whose prompts end here and are compressed, and how many of their last rows vote. */
  readonly compress?: ReadonlyMap<number, number> | undefined;
}

export type ReferenceOp = (call: ReferenceCall) => Matrix[];
