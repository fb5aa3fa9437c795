// What proposes tokens for speculative decoding: the interface that every drafter has.
import type { Tokenizer } from '../../formats/tokenizer/tokenizer.js';
import type { NativeDrafter } from '../../native.js';
import type { Proposal, SamplerOptions } from '../../program/executor.js';
import type { JobTaps } from '../rounds.js';

/** Proposed tokens as a tree, or a chain, whose root is the text's last token and is not in the lists. */
export interface DraftedTokens {
  /** [nodes]; the children of a node differ. */
  readonly tokens: Int32Array;
  /** [nodes]; the parent of node i lies before i, -1: the root. */
  readonly parents: Int32Array;
  /** [nodes]; estimated probability that the path to the node is right, at most its parent's. */
  readonly scores: Float32Array;
}

export interface TokenDrafter {
  /** Tokens that are in the text now: the prompt first and in one call, then what was kept, in order. */
  accept(tokens: Int32Array): void;
  /** The text is cut to `length` tokens: a rollback, or a generation from an earlier place. */
  truncate(length: number): void;
  /**
   * At most `maxNodes` tokens (0 to 4096), none deeper than `maxTokens` (0 to 4096) below the root; a chain when `maxNodes`
   * is at most `maxTokens`. No tokens when nothing is known. The arrays belong to the caller.
   */
  draft(maxTokens: number, maxNodes: number): DraftedTokens;
  /** Another one with the same text so far. */
  fork(): TokenDrafter;
  /** A generation is over and gave these tokens; for drafters that learn from finished outputs. */
  finish?(output: Int32Array): void;
  /** The same drafter for runs that ask it by themselves; nobody calls it meanwhile. */
  readonly native?: NativeDrafter;
  dispose(): void;
}

/**
 * Rows behind a draft's in which nothing is verified and which never stay: what the target finds most probable after some of
 * them is told to the drafter.
 */
export interface DraftProbe {
  readonly tokens: Int32Array;
  /** The row of this list before each, which lies before it; −1: the root. */
  readonly parents: Int32Array;
  /** Ascending: rows of this list. */
  readonly outputs: Int32Array;
}

/** A draft, and where its tokens were drawn at random what from. */
export interface Draft extends DraftedTokens {
  /** Left out where its rows find no room. A draft of nothing else is one, too. */
  readonly probe?: DraftProbe;
  /** Row 0 is the root, row i + 1 is node i. */
  readonly proposal?: Proposal;
}

/** What a drafter may know of a generation. */
export interface DraftContext {
  readonly tokenizer: Tokenizer;
  /** How the target draws. */
  readonly sampler: SamplerOptions;
  /** Makes laws that the target's verifier can read. */
  readonly createProposal: (replacement: boolean) => Proposal;
  readonly signal?: AbortSignal;
  /** What drafts will be asked for at most, where that is known. */
  readonly maxDraft?: number;
  readonly maxNodes?: number;
  /** Of the target's program. */
  readonly weightBytes?: number | undefined;
  /** The text's beginning may be shared with texts of the same salt (PrefixSeat). Absent: it may not. */
  readonly salt?: string | undefined;
}

/** The drafter of one generation. Calls come one after the other. */
export interface GenerationDrafter {
  /** What the target knows of its rows, for drafters that read it; heard of tokens before `accept` tells of them. */
  readonly taps?: JobTaps;
  /** So many of the target's most probable tokens are wanted for each of its tokens, for drafters that learn from them. */
  readonly learns?: number;
  /**
   * Tokens that are in the text now: first the whole text before the answer, then what was kept, in order, with the target's
   * law before each where `learns` asks for it: [token, logprob] pairs, at temperature 1, most probable first.
   */
  accept(tokens: Int32Array, laws?: readonly (readonly (readonly [number, number])[])[]): void;
  /** As `TokenDrafter.draft`; `cycle`, from 1, tells the generation's drafts apart. */
  draft(maxTokens: number, maxNodes: number, cycle: number): Draft | Promise<Draft>;
  /** What the last draft's probe gave, −1: nothing; before `accept` tells what was kept. Not called without. */
  probed?(tokens: Int32Array): void;
  /** Of a native drafter that probes: rows of its probes at most. */
  readonly probeRows?: number;
  /** The generation is over; these tokens were the answer. */
  finish?(output: Int32Array): void;
  /** As `TokenDrafter.native`. Who asks for it asks before the first `accept`, and awaits `ready` before a draft. */
  readonly native?: NativeDrafter | undefined;
  /** Whether drafts are trees or chains where both are allowed is left to who asks; the same for a whole generation. */
  readonly anyShape?: boolean;
  /**
   * A native drafter whose drafts are runs of a model: the run that verifies them makes the first one, too. Throws DISPOSED where
   * the model is gone.
   */
  readonly runs?: boolean;
  /** Its tokens are drawn: drafts have proposals. */
  readonly draws?: boolean;
  /** Resolves when the text has been read; undefined: it has. */
  ready?(): Promise<void> | undefined;
  /**
   * Nothing of what it drafted has been kept lately, and drafts do not decide what is said: it may read little of the text until
   * something is. Before the first `accept`.
   */
  saves?(): void;
  /** A native drafter hears of every round, after it: what was said, how many tokens of it were drafted. */
  hearRound?(tokens: Int32Array, kept: number): void;
  /** What the target knows of the rows of the next run is told to `taps`, whether or not a native drafter could hear it there. */
  readonly listens?: boolean;
  /** A run may draft in so many rounds; then `ready` is asked again. */
  readonly horizon?: number;
  dispose(): void;
}

/** A way to draft, for `speculation.drafter`; any number of generations may use it. */
export interface Drafter {
  readonly name: string;
  /** Tokens of a chain at most, where callers do not say; 0 to 64. Default 16. */
  readonly maxDraft?: number;
  start(context: DraftContext): GenerationDrafter;
}
