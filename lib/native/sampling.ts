// Types of the addon: samplers, and trees that a run drafts. Part of lib/native.ts.
import type { NativeProposal } from './drafters.js';

export interface NativeSampler {
  accept(tokens: Int32Array): void;
  retract(tokens: Int32Array): void;
  dispose(): void;
}

/** A tree to draft; the draft is written to the arrays, `count` [1] says how many nodes it has. */
export interface NativeTree {
  readonly output: number;
  readonly sampler: NativeSampler;
  readonly proposal?: NativeProposal;
  readonly cycle: number;
  readonly depth: number;
  readonly nodes: number;
  readonly topK: number;
  readonly width: number;
  readonly least: number;
  /** Of a fixed shape. */
  readonly parents?: Int32Array;
  readonly scores?: Float32Array;
  readonly tokens: Int32Array;
  readonly above: Int32Array;
  readonly probabilities: Float32Array;
  readonly rows: Int32Array;
  readonly count: Int32Array;
}
