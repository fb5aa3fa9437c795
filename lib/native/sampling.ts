// Types of the addon: samplers, and trees that a run drafts. Part of lib/native.ts.
import type { NativeExecutable } from '../native.js';
import type { NativeProposal } from './drafters.js';

export interface NativeSampler {
  accept(tokens: Int32Array): void;
  retract(tokens: Int32Array): void;
  dispose(): void;
}

/** Of a run with rounds ahead or trees: what rows leave to those that come to stand behind them. */
export interface NativeFeedback {
  /** A row's output is their input. */
  readonly feedback?: readonly [input: number, output: number];
  /** Runs the rows behind those of the first run; its values have the same ids. Default: the program itself. */
  readonly fed?: NativeExecutable;
}

/** Which tree a model drafts. */
export interface NativeShape {
  readonly depth: number;
  readonly nodes: number;
  readonly topK: number;
  readonly width: number;
  readonly least: number;
  /** Of a fixed shape. */
  readonly parents?: Int32Array;
  readonly scores?: Float32Array;
}

/** A tree to draft; the draft is written to the arrays, `count` [1] says how many nodes it has. */
export interface NativeTree extends NativeShape {
  /** The output's row of logits has those of so many levels side by side. */
  readonly levels?: number;
  readonly output: number;
  readonly sampler: NativeSampler;
  readonly proposal?: NativeProposal;
  readonly cycle: number;
  readonly tokens: Int32Array;
  readonly above: Int32Array;
  readonly probabilities: Float32Array;
  readonly rows: Int32Array;
  readonly count: Int32Array;
}

/** A draft's verification: `rule` is VerifyRule of cpp/decode/verify/verify.h. */
export interface NativeWalk {
  readonly sampler: NativeSampler;
  readonly rule: number;
  readonly first: number;
  readonly second: number;
  readonly cycle: number;
  readonly proposal?: NativeProposal;
  /** Outputs behind the draft's are a second reading: of row `rows[i]` of the draft. */
  readonly reflection?: { readonly alpha: number; readonly corrects: boolean; readonly rows: Int32Array };
  /** `guarded` [rows]. The hidden states are those of the run. */
  readonly judge?: {
    readonly weights: Float32Array;
    readonly bias: number;
    readonly bound: number;
    readonly guarded: Int32Array;
    readonly longest: number;
  };
  /** [rows]: the tokens that may follow each row, as bits. */
  readonly masks?: readonly (Uint32Array | null)[];
}
