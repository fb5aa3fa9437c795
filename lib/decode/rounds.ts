// How a decoding loop asks for model runs without knowing what else runs: lib/engine.ts merges the jobs into rounds.
import type { KvCache, RowSampler } from '../program/executor.js';

/** Tokens to put behind a sequence, in as many rounds as it takes. */
export interface Job {
  readonly kv: KvCache;
  readonly sequence: number;
  /** At least one; the first one's position is the sequence's length. */
  readonly tokens: Int32Array;
  /** Draws the next token after the last row. */
  readonly sampler?: RowSampler;
  /** The logits after these rows, from `firstRow` to the end: [tokens.length − firstRow, vocab]. */
  readonly logits?: { readonly firstRow: number; readonly out: Float32Array };
}

/** What the last row gave; token −1 without a sampler. */
export interface JobResult {
  readonly token: number;
  readonly logprob: number;
  readonly top: readonly (readonly [number, number])[];
}

export interface Ticket {
  /** Undefined when the job was cancelled; some of its tokens may be in the cache then. */
  readonly done: Promise<JobResult | undefined>;
  /** Takes effect when the round in flight is over. */
  cancel(): void;
}

export interface Rounds {
  submit(job: Job): Ticket;
  /** Gives the sequence back: at once, or when the round in flight is over. Its jobs are cancelled. */
  release(kv: KvCache, sequence: number): void;
}
