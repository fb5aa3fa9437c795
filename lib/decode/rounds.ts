// How a decoding loop asks for model runs without knowing what else runs: lib/engine.ts merges the jobs into rounds.
import type { StopRule } from './speculation/adapt/stop-rule.js';
import type { Bid } from './speculation/scaling/joint.js';
import type {
  DraftedTree,
  DraftTree,
  KvCache,
  Proposal,
  RowDrafting,
  RowSampler,
  SeatResult,
  VerifyRule,
  WalkJudge,
} from '../program/executor.js';

/** Drafted tokens behind a job's last one, which the sampler verifies. */
export interface JobDraft {
  readonly tokens: Int32Array;
  /** The parent of each, before it; −1: the job's last token. Absent: a chain. */
  readonly parents?: Int32Array;
  readonly rule: VerifyRule;
  /** Row 0 is the job's last token, row i + 1 is node i. */
  readonly proposal?: Proposal;
  /** From 1; no two drafts of a sampler share one. */
  readonly cycle: number;
  /** Left out where its rows find no room. */
  readonly again?: SecondReading;
  /** The same: rows behind all others, after some of which this sampler draws. */
  readonly probe?: {
    readonly tokens: Int32Array;
    /** The row of this list before each; −1: the job's last token. */
    readonly parents: Int32Array;
    readonly outputs: Int32Array;
    readonly sampler: RowSampler;
  };
  /** Keeps tokens that the rule refuses, by the model's hidden states. */
  readonly judge?: WalkJudge;
  /** [1 + tokens]: what may follow each row, the root first; bits of tokens, null: any. */
  readonly masks?: readonly (Uint32Array | null)[];
}

/** A draft that is cut when it is known what else is in its round (speculation/scaling/joint.ts). */
export interface OpenDraft {
  readonly bid: Bid;
  /** As `RoundTerms.costs`, up to so many drafted rows. */
  readonly costs: (sequences: number, rows: number) => Float64Array;
  /** The draft of these nodes, ascending; undefined: there is nothing to verify. */
  cut(nodes: readonly number[]): JobDraft | undefined;
}

/** What a round did for all of its sequences. */
export interface RoundLoad {
  readonly sequences: number;
  readonly rows: number;
  /** Tokens that were said. */
  readonly tokens: number;
  /** Some of its rows were of prompts. */
  readonly prompt: boolean;
}

/** Rows behind a draft's, in which the model reads it again (speculation/reflective). They never stay in the cache. */
export interface SecondReading {
  readonly alpha: number;
  readonly corrects: boolean;
  readonly tokens: Int32Array;
  /** The row before each: a node of the draft, or `draft.tokens.length` + a row before it in this list. */
  readonly parents: Int32Array;
  /** Ascending: rows of this list after which the model's word counts, */
  readonly outputs: Int32Array;
  /** for what follows this row of the draft, 0 being the job's last token. */
  readonly rows: Int32Array;
}

/** The job's sampler goes on for several tokens at once, as a draft: see `JobResult.draft`. */
export interface JobDrafting {
  /** Tokens at most. */
  readonly steps: number;
  /** No token follows one that is less probable than this. */
  readonly least: number;
  /** In place of `least`: what ends the draft. */
  readonly stop?: StopRule | undefined;
  /** Records what they are drawn from; absent: the sampler draws them as always. */
  readonly proposal?: Proposal;
  /** From 1; no two drafts of a sampler share one. */
  readonly cycle: number;
}

/** The job's last token becomes the root of a tree that is drafted: see `JobResult.tree`. */
export interface JobTree extends Omit<DraftTree, 'output' | 'sampler'> {}

/** What a model knows of rows: values of its program (`Program.taps`), for drafters and judges that read them. */
export interface JobTaps {
  readonly names: readonly string[];
  /**
   * Called after each round of the job, before it resolves: per name [rows, width], of the rows that are in the cache now,
   * in order: the job's next tokens, then of its draft what was kept. The arrays belong to the callee.
   */
  hear(values: readonly Float32Array[], rows: number): void;
}

/** What a job wants of the run that it begins: a draft for its first round, a drafter for those that follow. */
export interface JobPlan {
  readonly draft?: JobDraft | OpenDraft | Promise<JobDraft | OpenDraft | undefined> | undefined;
  readonly drafting?: RowDrafting;
  /** How many rounds the run may be. */
  readonly rounds: number;
}

/** Tokens to put behind a sequence, in as many rounds as it takes. */
export interface Job {
  readonly kv: KvCache;
  readonly sequence: number;
  /** At least one; the first one's position is the sequence's length. */
  readonly tokens: Int32Array;
  /**
   * The tokens are what a prompt still lacks in the cache: it is compressed where the cache does that, in a round without
   * drafts that does not go on. Not with `drafting`, `tree`.
   */
  readonly prompt?: boolean;
  /** Draws the next token after the last row. */
  readonly sampler?: RowSampler;
  /** Bits of the tokens that it may draw where there is no draft. Not with `ahead`, `drafting`, `tree`. */
  readonly mask?: Uint32Array | null;
  /**
   * The token drawn will be the sequence's next job, with the same sampler, and so on: `limit` draws at most, this one
   * counted, and none after a token of `ends`. So the next ones may be worked out before they are asked for; `settle` says
   * that no more will come.
   */
  readonly ahead?: { readonly limit: number; readonly ends: Int32Array };
  /** Verified in the round of the last token, if there is room for its rows. Not with `ahead`. */
  readonly draft?: JobDraft | OpenDraft;
  /** Rows that its draft may have and must get, in whatever round: without them another text would be said. Default 0. */
  readonly whole?: number;
  /**
   * With `ahead`: asked when the last token's round begins, if no earlier run has come to it; `sequences`: how many are in it;
   * `alone`: the model has nothing else to do.
   */
  readonly plan?: (sequences: number, alone: boolean) => JobPlan;
  /**
   * The last token's round becomes as many as it takes to draw a draft. The cache has room for all of its tokens but the
   * last one, and they are in it once `KvCache.commit` says so, before the sequence's next job.
   */
  readonly drafting?: JobDrafting;
  /**
   * The same as a tree; the sampler stays as it is. The cache has room for what was computed of it, and what stays is in it
   * once `KvCache.keep` says so, before the sequence's next job. Not with `drafting`.
   */
  readonly tree?: JobTree;
  /** What the program reads besides tokens (`Executor.inputs`), [tokens.length, columns] each. */
  readonly inputs?: Readonly<Record<string, Float32Array>>;
  /**
   * Not with `ahead`, for what was worked out before it was asked for has none; unless a `plan` gives a drafter that hears of
   * them instead.
   */
  readonly taps?: JobTaps;
  /** The logits after these rows, from `firstRow` to the end: [tokens.length − firstRow, vocab]. */
  readonly logits?: { readonly firstRow: number; readonly out: Float32Array };
}

/** What the last row gave; token −1 without a sampler. */
export interface JobResult {
  readonly token: number;
  readonly logprob: number;
  readonly top: readonly (readonly [number, number])[];
  /** The drafted tokens before it that were kept, in order; the cache has them. */
  readonly accepted?: readonly JobResult[];
  /** Of a job that drafts: the tokens, `token` the first of them. Its sampler has accepted them all. */
  readonly draft?: readonly JobResult[];
  /** Of a job with a `tree`; `token` is −1. */
  readonly tree?: DraftedTree;
  /** What was drawn after the outputs of the draft's probe, −1 where that failed. */
  readonly probed?: Int32Array;
  /** The job had a draft, and it was verified. */
  readonly verified?: boolean;
  /** The draft was read twice: so many rows had another most probable token for that. */
  readonly changed?: number;
  /** A drafted token that was kept. */
  readonly drafted?: true;
  /** A drafted token that only a judge kept. */
  readonly judged?: true;
  /** Of rounds that may go on by themselves: how long this one took. */
  readonly ms?: number;
  /** Of rounds with other sequences. */
  readonly load?: RoundLoad;
  /** The run had a drafter for the sequence, which has heard these tokens. */
  readonly seat?: Omit<SeatResult, 'rows'> & { readonly drafted: number };
}

export interface Ticket {
  /** Undefined when the job was cancelled; some of its tokens may be in the cache then. */
  readonly done: Promise<JobResult | undefined>;
  /** Takes effect when the round in flight is over. */
  cancel(): void;
}

export interface Rounds {
  submit(job: Job): Ticket;
  /** Forgets what was worked out ahead for a sequence; resolves when no round touches it. */
  settle(kv: KvCache, sequence: number): Promise<void>;
  /** Resolves when no round touches it. */
  landed(kv: KvCache, sequence: number): Promise<void>;
  /** Gives the sequence back: at once, or when the round in flight is over. Its jobs are cancelled. */
  release(kv: KvCache, sequence: number): void;
}
