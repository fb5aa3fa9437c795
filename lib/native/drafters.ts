// Types of the addon: drafters that runs ask by themselves, and what they share. Part of lib/native.ts.
import type { NativeExecutable, NativeKvCache } from '../native.js';
import type { NativeSampler, NativeShape } from './sampling.js';

/** Options of native drafters, all of them given; ranges are those of lib/decode/speculation/drafters. */
export type NativeDrafterOptions =
  | { kind: 'n-gram'; minN: number; maxN: number; latest: boolean; branches: number }
  | { kind: 'input-copy'; minGram: number; maxGram: number; branches: number; firstDraft: number; input?: Int32Array }
  | { kind: 'lookahead'; n: number; window: number; candidates: number; seed: boolean }
  | { kind: 'suffix'; depth: number; factor: number; offset: number; minProb: number; cache?: NativeSuffixCache }
  | { kind: 'datastore'; minSpan: number; maxSpan: number; samples: number; datastore: NativeDatastore }
  | NativeModelDrafter;

/** Drafts by an executable on a sequence of its own; nobody else uses this, the sampler and the proposal in a run. */
export interface NativeModelDrafter {
  readonly kind: 'model';
  readonly executable: NativeExecutable;
  readonly kv: NativeKvCache;
  readonly sequence: number;
  /** The value that is drawn from. */
  readonly logits: number;
  readonly sampler: NativeSampler;
  /** Tokens are drawn and recorded; absent: the most probable ones. */
  readonly proposal?: NativeProposal;
  /** Nothing follows a token that is less probable. */
  readonly least: number;
  /** Tokens of text at most. */
  readonly context: number;
  /** Trees that are chosen, but for their sizes; and those that are drawn, the smallest first: one for each number of nodes. */
  readonly tree?: NativeShape;
  readonly shapes?: readonly NativeShape[];
  /** The input by which it reads what the target knew of rows, as `hear` says; and what rows of a draft read instead. */
  readonly features?: number;
  readonly feedback?: readonly [input: number, output: number];
  readonly fed?: NativeExecutable;
  /** An output's logits are those of so many levels side by side, of one row that nothing is kept of. */
  readonly levels?: number;
  /** What becomes of trees is counted, for `studied`. */
  readonly studies?: boolean;
}

export interface NativeDrafter {
  accept(tokens: Int32Array): void;
  /** For those that read what the target knew: [rows, width] of the text's next rows, before `accept` tells what came after. */
  hear(features: Float32Array): void;
  truncate(length: number): void;
  /** Writes a draft to the arrays, which must have room for `maxNodes`; returns how many nodes it has. */
  draft(maxTokens: number, maxNodes: number, tokens: Int32Array, parents: Int32Array, scores: Float32Array): number;
  /** Made off the JavaScript thread; `cycle` as in NativeWalk. Nobody uses the drafter meanwhile. */
  draftLater(
    maxTokens: number,
    maxNodes: number,
    cycle: number,
  ): Promise<{ tokens: Int32Array; parents: Int32Array; scores: Float32Array }>;
  /** Rows that the last draft wants beside it; the last `outputs` of them are asked, and the answers told to `probed`. */
  probe(): { tokens: Int32Array; parents: Int32Array; outputs: number } | null;
  probed(tokens: Int32Array): void;
  /**
   * Of each draft since the last call how many of its nodes were kept, with the root; how deep it was and its microseconds;
   * its rows, with the root, and the microseconds until something was said; then of each kept node depth, children, and which
   * child was kept, −1 for none. May be asked while a run has the drafter.
   */
  studied(): Int32Array;
  fork(): NativeDrafter;
  readonly bytes: number;
  dispose(): void;
}

export interface NativeProposal {
  readonly size: number;
  clear(): void;
  set(node: number, ids: Int32Array, weights: Float32Array, drawn: Int32Array): void;
  read(node: number): { ids: Int32Array; weights: Float32Array; drawn: Int32Array } | null;
}

/** A sequence of a run that goes on by itself, and drafts. `rule`, `first` and `second` as in NativeWalk. */
export interface NativeSeat {
  readonly drafter: NativeDrafter;
  /** Of a draft at most: tokens of a path, and all; and tokens that the sequence may still say. */
  readonly maxDraft: number;
  readonly maxNodes: number;
  readonly room: number;
  readonly rule: number;
  readonly first: number;
  readonly second: number;
  /** Of the first round's draft; it counts the tokens that are said. */
  readonly cycle: number;
  /** The run makes the draft of its first round, too: one sequence, whose rows have no draft. */
  readonly begins?: boolean;
  /** [n]: milliseconds of a round of n rows; empty: drafts are not cut. */
  readonly costs: Float64Array;
  readonly calibration: number;
  /** Reads the run's `value` of drafted rows; `protect`: tokens that only the rule may keep. */
  readonly judge?: {
    readonly weights: Float32Array;
    readonly bias: number;
    readonly bound: number;
    readonly longest: number;
    readonly protect: Int32Array;
    readonly value: number;
  };
  /** Values that the run gives of every row: the drafter hears of them, side by side. */
  readonly taps?: Int32Array;
  /** Draws from the drafter's probes; of the first round's the last `rows` rows and `outputs` outputs of the sequence are one. */
  readonly prober?: { readonly sampler: NativeSampler; readonly rows: number; readonly outputs: number };
}

/** A round of a run that goes on by itself. */
export interface NativeRound {
  /** Since the end of the round before, or the begin of the run. */
  readonly ms: number;
  /** In runs with drafters instead of what `sampling` has; lengths are the round's own. */
  readonly tokens?: Int32Array;
  readonly logprobs?: Float32Array;
  readonly errors?: Int32Array;
  readonly kept?: Int32Array;
  /**
   * Where somebody drafted, per sequence: its outputs, and of its draft the depth, the rows of its probe (their outputs are in no
   * list here), the sum of scores and what it took.
   */
  readonly rows?: Int32Array;
  readonly depths?: Int32Array;
  readonly probed?: Int32Array;
  readonly hoped?: Float64Array;
  readonly draftMs?: Float64Array;
}

export interface NativeSuffixCache {
  add(tokens: Int32Array): void;
  sizes(): { requests: number; tokens: number; nodes: number; bytes: number };
  dispose(): void;
}

/** `state` of long work: [0] thousandths done, [1] not 0: give up; to be used with Atomics. */
export interface NativeDatastore {
  info(): { vocab: number; tokens: number; texts: number; bytes: number; fingerprint: bigint };
  verify(state: Int32Array): Promise<void>;
  dispose(): void;
}

export interface NativeDatastoreBuilder {
  add(tokens: Int32Array): void;
  build(state: Int32Array): Promise<void>;
  /** Bytes of the file, once it is built. */
  readonly size: number;
  read(offset: number, out: Uint8Array): void;
  dispose(): void;
}
