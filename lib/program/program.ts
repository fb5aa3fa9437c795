// A model as data: a flat list of op calls over named weights and values with a symbolic number of rows.
import type { DType } from './dtype.js';
import type { OpName } from './ops.js';

/** `rows`: one per token of the run; `outputs`: one per row whose logits are wanted; a number: fixed (weights). */
export type Rows = number | 'rows' | 'outputs';

/** Every value is a matrix [rows, columns], F32 unless it is a weight or an index. */
export interface Value {
  readonly id: number;
  readonly name: string;
  readonly dtype: DType;
  readonly rows: Rows;
  readonly columns: number;
  readonly kind: 'input' | 'weight' | 'constant' | 'value';
  /** Weights: the canonical tensor and its first row (a fused tensor is used as several row ranges). */
  readonly weight?: { readonly tensor: string; readonly firstRow: number };
  /** Constants: [rows, columns]; F32, or I32 for indices. */
  readonly data?: Float32Array | Int32Array;
}

export interface OpCall {
  readonly op: OpName;
  /** In the order of the op's signature; undefined where an optional input is absent. */
  readonly inputs: readonly (Value | undefined)[];
  readonly outputs: readonly Value[];
  /** Numbers in the order of the op's signature; enumerations are indices into its list of words. */
  readonly attributes: readonly number[];
}

/** Shape of the KV cache that the program's `kv_write` and `attention` calls use. */
export interface KvShape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
}

export interface Program {
  readonly name: string;
  readonly values: readonly Value[];
  readonly calls: readonly OpCall[];
  /** What a run returns: for language models `logits` [outputs, vocab]. */
  readonly outputs: Readonly<Record<string, Value>>;
  readonly kv?: KvShape;
  /**
   * Values in between that a run may be asked for (lib/program/taps.ts): `hidden`, what the output matrix multiplies, and
   * `residual.<layer>`, what goes into a layer; [rows or outputs, width].
   */
  readonly taps?: Readonly<Record<string, Value>>;
  /**
   * Of a head that drafts: the output [outputs, width] of a row is, for the row that follows it, `input` [rows, width]: an input
   * of the program, or a value that rows of a text make of one (lib/program/rewrite/feedback.ts).
   */
  readonly feedback?: { readonly input: Value; readonly output: Value };
}
