// What runs a program: the same face for the float64 reference in TypeScript and for native code.
import type { VivaceError } from '../errors.js';
import type { NativeDrafter, NativeOffloadStatistics } from '../native.js';
import type { DType } from './dtype.js';
import type { KvLayer, KvPolicy, PromptPart, SavedCells } from './kv-policy.js';
import type { KvShape } from './program.js';

export type KvDType = Extract<DType, 'F32' | 'F16' | 'Q8_0' | 'Q4_0'>;
export type KeyDType = KvDType | 'KIVI4'; // KIVI4: by channel

export interface KvOptions {
  readonly keyType?: KeyDType; // default F16
  readonly valueType?: KvDType; // default F16
  /** Tokens per page; default 32. */
  readonly pageSize?: number;
  /** Pages that may exist at once. */
  readonly maxPages: number;
  /** What is kept and seen of older cells (lib/caches); absent: all. On the CPU only. */
  readonly policy?: KvPolicy;
  /** Tests: pages are full of NaN before they are written and when they are given back. On the CPU only. */
  readonly poison?: boolean;
}

/** Rows of one run: tokens of any number of sequences, in any order; rows of one sequence in ascending position. */
export interface RunRequest {
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  /** Per row: the id of its sequence in the KV cache. */
  readonly sequences: Int32Array;
  /**
   * Trees: per row the batch row of its parent, −1 for the committed prefix. Absent: rows of a sequence form a chain.
   * A chain's rows are committed to the cache by the run; a tree's rows only by `KvCache.keep`.
   */
  readonly parents?: Int32Array;
  /** Rows whose logits are wanted, ascending. */
  readonly outputs: Int32Array;
  /**
   * Sequences whose prompts end with their last rows here and are compressed: how many of these rows vote
   * (`KvCache.voters`). They change with `KvCache.compact`. Not with `ahead`.
   */
  readonly compress?: ReadonlyMap<number, number>;
  /** The rows are some of a prompt that passes layer by layer. Not with `compress`, `ahead`, `taps`. */
  readonly part?: PromptPart;
  /** Filled with [outputs, vocab] when given. */
  readonly logits?: Float32Array;
  /** What the program reads besides (`Executor.inputs`), [rows, columns] each. */
  readonly inputs?: Readonly<Record<string, Float32Array>>;
  /** Values in between (`Program.taps`) to fill, [rows, width] each: a run with them computes them for all of its rows. */
  readonly taps?: Readonly<Record<string, Float32Array>>;
  /** Names of taps that nobody but judges reads: a device need not fill them. */
  readonly judged?: readonly string[];
  /** Per output: the sampler that draws a token from its logits, and accepts it, or null. */
  readonly samplers?: readonly (RowSampler | null)[];
  /** Per output: the tokens that its sampler may draw, token t being bit t % 32 of word t >> 5; null: all. Not with `ahead`. */
  readonly masks?: readonly (Uint32Array | null)[];
  /** Per output whose draws are draft number `cycle`, from 1: what they are drawn from is written to `proposal`. */
  readonly drafts?: readonly ({ readonly proposal: Proposal; readonly cycle: number } | null)[];
  /** Trees that are drafted: their outputs, the last rows of sequences, have no sampler. Needs `samplers`; no other drafts. */
  readonly trees?: readonly DraftTree[];
  /** Drafts that are verified: their outputs have no sampler of their own. Needs `samplers`. */
  readonly walks?: readonly DraftWalk[];
  /**
   * The run may go on by itself, with the tokens that it draws; every sequence has one output then, after its last row, with a
   * sampler. An executor may always stop after the first round. With a program's `feedback`, rows read what the one before left.
   */
  readonly ahead?: {
    /** One number: how many rounds the run may be. Changed while it runs, with Atomics.store. */
    readonly rounds: Int32Array;
    /** How many it may be at most, whatever `rounds` says later. */
    readonly limit: number;
    /** Tokens that nothing follows. */
    readonly ends: Int32Array;
    /** `told` hears of all rounds at the end. */
    readonly quiet?: boolean;
    /** No round after one in which every token's probability, as its sampler reports it, is less. */
    readonly least?: number;
    /** In place of `least`: the values of a StopRule, by which every sequence's draft has come to its end. */
    readonly stop?: Float64Array;
    /**
     * Per sequence, in the order of its outputs: what drafts behind the tokens that the run draws for it. Of such runs the
     * first round may have drafts, too. Only for executors that `drafts`.
     */
    readonly drafters?: readonly (RowDrafting | null)[];
    /**
     * Hears the result of each round, the first one's too, in order and before `run` resolves. The first round's rows are
     * committed to the cache by then; each later one's rows only by `KvCache.commit`.
     */
    readonly told: (result: RunResult) => void;
  };
}

/** How a draft is verified (lib/decode/speculation/rules.ts). */
export type VerifyRule =
  | { readonly name: 'match' | 'ratio' | 'block' }
  | { readonly name: 'typical'; readonly epsilon: number; readonly delta: number }
  | { readonly name: 'relaxed'; readonly top: number; readonly gap: number }
  | { readonly name: 'divergence'; readonly bound: number; readonly measure: Measure };

/** How far a draft's law q is from the target's p: Σ p · ln(p / q), Σ q · ln(q / p), or half the sum of both's from their mean. */
export const measures = ['p from q', 'q from p', 'jensen-shannon'] as const;
export type Measure = (typeof measures)[number];

/**
 * A sequence whose last rows are a draft: the root, which is the last token of its text, and behind it the drafted tokens,
 * all of them outputs. Of these rows the run commits the root and what the verifier keeps, of a tree's rows, too.
 */
export interface DraftWalk {
  /** Index of the root's output; the draft's follow. */
  readonly output: number;
  /** Outputs, the root's included. */
  readonly rows: number;
  readonly sampler: RowSampler;
  readonly rule: VerifyRule;
  /** What the tokens were drawn from; without it every rule but the lossy ones matches. */
  readonly proposal?: Proposal;
  /** Number of the sequence's draft, from 1: no random number is used twice. */
  readonly cycle: number;
  /**
   * Output i behind the draft's is a second reading of its row `rows[i]`: its logits count with the weight `alpha`, for what
   * follows a refused token if `corrects`. These rows come after the draft's in the run and are never kept.
   */
  readonly reflection?: { readonly alpha: number; readonly corrects: boolean; readonly rows: Int32Array };
  /** Keeps drafted tokens that the rule refuses. The run must tap its `feature`. */
  readonly judge?: WalkJudge;
  /** [rows]: the tokens that may follow each row, as those of `RunRequest.masks`. */
  readonly masks?: readonly (Uint32Array | null)[];
}

/** A linear head on a value of a drafted token's own row: above `bound` the token is right. */
export interface WalkJudge {
  readonly feature: 'hidden' | 'unnormed'; // what the output matrix multiplies, or the same before the last norm
  /** [width] */
  readonly weights: Float32Array;
  readonly bias: number;
  /** −∞: every token is right, ∞: none. */
  readonly bound: number;
  /** [rows of the draft, the root's included]: not 0 where only the rule may keep the row. */
  readonly guarded: Int32Array;
  /** Tokens in a row that only the judge keeps, at most; 0: any number. */
  readonly longest: number;
}

/** Which tree a model drafts behind a row. */
export type TreeShape = GrownShape | FixedShape;

/** Grown from the most probable tokens: EAGLE-2 (Li et al. 2024), section 4. */
export interface GrownShape {
  /** Tokens on a path, and of the tree, at most. */
  readonly depth: number;
  readonly nodes: number;
  /** Children of a row. */
  readonly topK: number;
  /** Rows of a level at most: the most probable paths. */
  readonly width: number;
  /** No level whose paths are together less probable. */
  readonly least: number;
}

/** The children of a node are, in this order, its first, second, … token. */
export interface FixedShape {
  /** Per node, before it; −1: the root. */
  readonly parents: Int32Array;
  /** Per node what `DraftedTree.scores` says; absent: probabilities of the model. */
  readonly scores?: Float32Array;
}

/** A tree behind a sequence's last row. The cache has room for what it computes; `KvCache.keep` keeps some of it. */
export interface DraftTree {
  readonly output: number;
  /** Knows the text; is as before afterwards. */
  readonly sampler: RowSampler;
  readonly shape: TreeShape;
  /** Children are drawn without replacement, and recorded here: for fixed shapes. Absent: the most probable tokens. */
  readonly proposal?: Proposal;
  /** Number of the sequence's draft, from 1. */
  readonly cycle: number;
  /**
   * The output's row has the logits of so many levels side by side, from heads that each say one token further on; nothing is
   * computed behind the root, and no node has a cell.
   */
  readonly levels?: number;
}

/** What became of it. */
export interface DraftedTree {
  readonly tokens: Int32Array;
  readonly parents: Int32Array;
  /** Probability of the path to the node. */
  readonly scores: Float32Array;
  /** Per node the ordinal of its cell behind the root's; −1: none was computed. */
  readonly rows: Int32Array;
}

/** A drafter that a run asks by itself, round by round. It hears what the run says, the first round's, too. */
export interface RowDrafting {
  readonly drafter: NativeDrafter; // nobody else calls it during the run
  /** Tokens of a draft's path at most, and of the draft; a chain where these are no more. */
  readonly maxDraft: number;
  readonly maxNodes: number;
  /** Tokens that the sequence may still say, those of the first round counted. */
  readonly room: number;
  readonly rule: VerifyRule;
  /** Of the first round's draft, which the run makes where it `begins`: one sequence, no draft yet. Counts what is said. */
  readonly cycle: number;
  readonly begins?: boolean;
  /** [n]: milliseconds of a round of n rows, which say how far a draft pays; empty: drafts are not cut. */
  readonly costs: Float64Array;
  readonly calibration: number; // kept tokens per sum of scores
  /** Of drafts behind the first round's; only the rule may keep tokens that it protects. */
  readonly judge?: Omit<WalkJudge, 'guarded'> & { readonly protect: Int32Array };
  /** What the drafter hears of the rows that stay: values of `RunRequest.taps`. */
  readonly taps?: readonly string[] | undefined;
  /** Draws from rows that the drafter wants beside its drafts; of the first round's so many, and of its outputs, are there. */
  readonly prober?: { readonly sampler: RowSampler; readonly rows: number; readonly outputs: number };
}

/** A sequence that drafts for another model's. */
export interface ModelDrafting {
  readonly kv: KvCache;
  readonly sequence: number;
  /** It has heard what the drafter hears. */
  readonly sampler: RowSampler;
  /** Tokens are drawn and recorded; absent: the most probable ones are chosen. */
  readonly proposal?: Proposal;
  /** Nothing follows a token that the model finds less probable. */
  readonly least: number;
  readonly context: number; // tokens of text at most
  /** How trees grow, whose sizes are the drafts'. */
  readonly tree?: GrownShape;
  /** Trees of one shape instead, one for each number of nodes that drafts may have, ascending; where there is a proposal. */
  readonly shapes?: readonly (FixedShape & { readonly nodes: number })[];
  readonly levels?: number; // as `DraftTree.levels`
  readonly studies?: boolean; // what becomes of trees is counted: `NativeDrafter.studied`
}

/** The laws that a draft's tokens were drawn from. Made by `Executor.createProposal`. */
export interface Proposal {
  /** Rows with a law, the root being 0. */
  readonly size: number;
  clear(): void;
  /** The children of row `node` were drawn from weights over ascending token ids, `drawn` in this order. */
  set(node: number, ids: Int32Array, weights: Float32Array, drawn: Int32Array): void;
  /** The same, with weights that sum to 1; null for a row without. */
  read(node: number): { readonly ids: Int32Array; readonly weights: Float32Array; readonly drawn: Int32Array } | null;
}

/** How a sequence's draft went in a round: its rows and the root's, how deep it was, the sum of its scores, what it took. */
export interface SeatResult {
  readonly rows: number;
  readonly depth: number;
  readonly probed: number; // rows of a probe beside them
  readonly hoped: number;
  readonly draftMs: number;
}

export interface RunResult {
  /** Per output: the token drawn, −1 where no sampler was given; in a draft what follows the row, −1 where it was not kept. */
  readonly tokens: Int32Array;
  /** Per output: natural log-probability of the token as the model gave it, at temperature 1 (NaN unless its sampler reports it). */
  readonly logprobs: Float32Array;
  /** Per output, where its sampler asks for `topLogprobs`: [token, logprob] pairs, most probable first. */
  readonly top: readonly (readonly (readonly [number, number])[] | null)[];
  /** Per output: why its sampler could not draw (NUMERIC, DISPOSED), or null. One sequence's error is not the others'. */
  readonly errors: readonly (VivaceError | null)[];
  /**
   * Per output of a draft, bits: 1 the row stays (the root always does), 2 only a judge kept it, 4 the row was read twice and
   * its most probable token is another one for that.
   */
  readonly kept: Int32Array;
  /** Of a run that may go on by itself: how long the round took. */
  readonly ms?: number;
  /** In a run with drafters, per sequence, absent where nobody drafted: how many of the round's outputs are its own, and how its draft went. */
  readonly seats?: readonly SeatResult[];
  /** Of `RunRequest.trees`, in this order. */
  readonly trees?: readonly DraftedTree[];
}

/** The state that draws one sequence's tokens: options, penalties' history, random stream. Made by `Executor.createSampler`. */
export interface RowSampler {
  /** Tells the sampler of tokens that were put into the text without being drawn by a run: the prompt. For penalties. */
  accept(tokens: Int32Array): void;
  /** Takes back the tokens that it accepted last: a draft. */
  retract(tokens: Int32Array): void;
  dispose(): void;
}

/** Every field explicit: defaults are applied by lib/decode/options.ts. Order of application as documented there. */
export interface SamplerOptions {
  readonly temperature: number; // 0: greedy, ties to the lowest id
  readonly topK: number; // 0: off
  readonly topP: number; // 1: off
  readonly minP: number; // 0: off
  readonly typicalP: number; // 1: off
  readonly repetitionPenalty: number; // 1: off
  readonly presencePenalty: number; // 0: off
  readonly frequencyPenalty: number; // 0: off
  readonly logitBias: ReadonlyMap<number, number>;
  readonly seed: bigint; // 64-bit
  /** Report the drawn token's log-probability; else it is NaN. Looks at every logit once more. */
  readonly logprob: boolean;
  readonly topLogprobs: number; // 0: none
  /** Tokens at or beyond it are never drawn (embedding rows without a token). */
  readonly vocab: number;
}

/**
 * Full pages that stay when no sequence has them any more, and are found by the text that they end. A sequence's cells must
 * be those of the first of the tokens given.
 */
export interface PrefixPages {
  /** At most so many pages that no sequence has; the ones that longest nobody had go first. At first 0: nothing is kept. */
  keepIdle(pages: number): void;
  /** Takes over what is published of the beginning of these tokens, if that is more than the sequence has; its length then. */
  share(sequence: number, tokens: Int32Array, salt: string): number;
  /** Publishes what the sequence has in full pages, as far as it is not withheld. */
  publish(sequence: number, tokens: Int32Array, salt: string): void;
  /** Cells from `from` on are not published, until they are forgotten. */
  withhold(sequence: number, from: number): void;
  /** Drops the pages that no sequence has; how many there were. */
  dropIdle(): number;
  /** Nothing is published any more. */
  forget(): void;
  /** Pages that may be found, those of them that no sequence has, and those that had to go. */
  counts(): { readonly published: number; readonly idle: number; readonly evictions: number };
}

/** Sequences in paged memory. Ids are small integers. */
export interface KvCache {
  readonly pageBytes: number;
  /** Bytes of pages that sequences have. */
  usedBytes(): number;
  readonly prefixes?: PrefixPages;
  create(): number;
  fork(sequence: number): number;
  release(sequence: number): void;
  length(sequence: number): number;
  /** Forgets the tokens from `length` on, or all where that is in a compressed prompt: `length` tells. */
  truncate(sequence: number, length: number): void;
  /** The next `count` cells, filled by rounds ahead, belong to the sequence. */
  commit(sequence: number, count: number): void;
  /** After a tree run over `sequence`: of its new rows keep those with these ascending ordinals. */
  keep(sequence: number, ordinals: Int32Array): void;
  /** Cells that a sequence has; absent: one per token. Of compressed prompts some are gone. */
  cells?(sequence: number): number;
  /**
   * Where the cache compresses prompts: rows at the end of a prompt of `rows` more tokens that must be in one run, in which
   * they vote for what stays; 0: all of it stays.
   */
  voters?(sequence: number, rows: number): number;
  /** A run with `compress`, or of a prompt's last rows in the last layer, is over: what it chose takes the place of its cells. */
  compact?(sequence: number): void;
  /** Runs may be parts of prompts, if the executor can. */
  readonly byLayer?: boolean;
  /** The most that `usedBytes` ever was. */
  peakBytes?(): number;
  /** Bytes per cell of `readCells`. */
  readonly cellBytes: number;
  readCells(sequence: number, begin: number, count: number, out: Uint8Array): void;
  /** Appends `count` cells to the sequence. */
  writeCells(sequence: number, count: number, cells: Uint8Array): void;
  /** Save and restore where some cells are gone, or more than keys and values is kept; absent: the cache cannot. */
  saved?(sequence: number): SavedCells;
  /** A sequence whose pages are still to be written. Throws INVALID_ARGUMENT for what is no state of this cache. */
  restore?(state: readonly number[]): number;
  /** What layers in a file did so far. */
  offloaded?(): NativeOffloadStatistics | undefined;
  /** Gives all memory back at once. */
  dispose(): void;
}

export interface Executor {
  readonly name: 'reference' | 'cpu' | 'cuda' | 'cuda-emulated';
  readonly kvShape: KvShape;
  /** What cache policies know of its layers. */
  readonly kvLayers: readonly KvLayer[];
  /** Names and columns of what every run must bring besides tokens, for heads that drafts come from. */
  readonly inputs: Readonly<Record<string, number>>;
  /** Names and columns of what `RunRequest.taps` may ask for. */
  readonly taps: Readonly<Record<string, number>>;
  /** Layers that a prompt's rows can pass one after the other (`RunRequest.part`); absent: they cannot. */
  readonly parts?: number;
  /** Runs take `ahead.drafters`. */
  readonly drafts?: boolean;
  createKvCache(options: KvOptions): KvCache;
  createSampler(options: SamplerOptions): RowSampler;
  /** `replacement`: a node's children may be the same token twice. */
  createProposal(replacement: boolean): Proposal;
  /**
   * What drafts for runs of another executor that `drafts`, which ask it by themselves. The sequence and the sampler are its
   * own until it is disposed of; what it has read of the text counts at the begin of each run or draft. Undefined: cannot.
   */
  createDrafter?(drafting: ModelDrafting): NativeDrafter | undefined;
  /** One round, or several where `ahead` allows it. Runs of one executor take turns in the order of their calls. */
  run(kv: KvCache, request: RunRequest): Promise<RunResult>;
  /** Bytes of the program's weights, wherever they are; undefined: unknown. */
  readonly weightBytes?: number;
  /** Bytes held for weights (beyond the mapped file), activations and scratch. */
  memory(): { weights: number; mapped: number; activations: number };
  dispose(): void;
}
