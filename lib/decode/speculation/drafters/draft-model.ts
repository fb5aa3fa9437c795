// Drafts by a second, smaller model with the same vocabulary.
import { VivaceError } from '../../../errors.js';
import type { NativeDrafter } from '../../../native.js';
import { nativeCall } from '../../../native.js';
import type { Tokenizer } from '../../../formats/tokenizer/tokenizer.js';
import type {
  DraftedTree,
  FixedShape,
  ModelDrafting as NativeDrafting,
  Proposal,
  TreeShape,
} from '../../../program/executor.js';
import type { PrefixSeat } from '../../prefix-cache.js';
import { TokenList } from '../../token-list.js';
import type { TokenMap } from '../adapt/lessons.js';
import type { DraftEnds } from '../adapt/stop-head.js';
import { StudiedDrafter, type Adaptation, type Spoken } from '../adapt/studied-drafter.js';
import type { AcceptanceProfile } from '../trees/acceptance-profile.js';
import { clipShape } from '../trees/best-shape.js';
import type { JobDrafting, JobResult, JobTree } from '../../rounds.js';
import type { Draft, DraftContext, Drafter, GenerationDrafter } from '../drafter.js';
import {
  chainOf,
  draftByItself,
  draftingLike,
  DraftSequence,
  drawnBy,
  noDraft,
  type SequenceSeat,
} from './draft-sequence.js';
import { TrialDrafter } from './trial-drafter.js';

export interface DraftModelOptions {
  /**
   * A chain ends behind a token that the model finds less probable than this, a tree at a level whose paths are together less
   * probable: 0 to 1. Default 0.4.
   */
  readonly minProbability?: number;
  /** How tokens are drafted: 0 takes the most probable ones. Default: as the target draws. */
  readonly temperature?: number;
  /** Of drafts that are trees, which they are where `speculation.maxNodes` is above `speculation.maxDraft`. */
  readonly tree?: TreeOptions;
}

export interface TreeOptions {
  /** Tokens that may follow a token: 1 to 32. Default 4. */
  readonly topK?: number;
  /** Paths that are followed further at each depth, the most probable ones: 1 to 64. Default `topK`. */
  readonly width?: number;
}

/** What a drafter's options come to. */
export interface ModelDrafting {
  readonly minProbability: number;
  /** NaN: as the target's. */
  readonly temperature: number;
  /** The tree for a draft of at most so many tokens in depth and number; `drawn`: its tokens will be drawn. */
  readonly shape: (depth: number, nodes: number, drawn: boolean) => TreeShape;
  /** Hears what became of trees. */
  readonly profile?: AcceptanceProfile;
  /** And how long they took; for drafts that nobody cuts. */
  readonly timed?: boolean;
  /** Learns from the target. */
  readonly adapt?: Adaptation;
}

/** What a model lends to its drafts: a sequence of its own. */
export interface DraftSeat extends SequenceSeat {
  readonly contextLength: number;
  /** Columns of the logits. */
  readonly logitsWidth: number;
  readonly tokenizer: Tokenizer;
  /** What the sequence shares with others of its model. */
  readonly prefix?: PrefixSeat | undefined;
}

/** Rows of the text that may be read in a round that drafts, and by a native drafter; more are read before. */
const MOST_PENDING = 16;
const MOST_BY_ITSELF = 128;

export const draftBy = (name: string, seat: (salt?: string) => DraftSeat, options: ModelDrafting): Drafter => ({
  name,
  start(context) {
    const own = seat(context.salt);
    try {
      checkVocabularies(context.tokenizer, own.tokenizer);
      const { adapt } = options;
      if (!adapt) {
        const start = (): ModelDrafter => new ModelDrafter(seat(context.salt), options, context);
        return new TrialDrafter(new ModelDrafter(own, options, context), start, (text) => isLong(text, own, context));
      }
      const learner = adapt.learner(context.tokenizer, sameTokens(Math.min(own.vocab, context.sampler.vocab)));
      return new StudiedDrafter((...study) => new ModelDrafter(own, options, context, ...study), own, learner);
    } catch (error) {
      own.rounds.release(own.kv, own.sequence);
      throw error;
    }
  },
});

/** Reading the prompt may take so much of the time of an answer of so many tokens; a row takes a share of a token's time. */
const READING = { share: 0.01, answer: 128, row: 0.25 };

/** Whether reading a text takes more than that. If not, what the model's other sequences know of it has been taken over. */
function isLong(
  text: TokenList,
  { kv, sequence, executor, prefix }: DraftSeat,
  { weightBytes }: DraftContext,
): boolean {
  const { share, answer, row } = READING;
  const times = (weightBytes ?? 0) / (executor.weightBytes ?? Infinity); // as large as the drafter
  const most = Math.max(2 * MOST_PENDING, (share * answer * times) / row);
  if (text.length <= most) return false;
  prefix?.share(text);
  if (text.length - kv.length(sequence) <= most) return false;
  kv.truncate(sequence, 0);
  return true;
}

/** A draft as its model's cache knows it. */
interface Drafted extends Omit<DraftedTree, 'scores'> {
  /** What the sampler took for text. */
  readonly told: Int32Array;
  readonly isTree: boolean;
  /** Milliseconds that it took, and when it was there. */
  readonly ms: number;
  readonly at: number;
}

/**
 * Draws from the target's own kind of law (temperature, truncations, penalties) under the small model, so that the ratio of
 * both decides (Leviathan et al. 2022); greedy targets get greedy drafts. A draft is one native call.
 */
class ModelDrafter implements GenerationDrafter {
  private readonly text = new TokenList(new Int32Array());
  private readonly own: DraftSequence;
  private readonly proposal: Proposal | undefined;
  private drafted: Drafted | undefined;
  private itself: NativeDrafter | undefined;
  private readonly sizes: { readonly maxDraft: number; readonly maxNodes: number };
  private known: NativeTrees | undefined;
  private isRead = false; // the text before the answer, or most of it

  constructor(
    private readonly seat: DraftSeat,
    private readonly options: ModelDrafting,
    { sampler, createProposal, signal, maxDraft = 0, maxNodes = 0 }: DraftContext,
    private readonly spoken?: Spoken,
    private readonly ends?: DraftEnds,
  ) {
    const own = draftingLike(sampler, options.temperature, seat.vocab);
    this.own = new DraftSequence(seat, own, signal);
    // The target's executor makes it: laws stay on the card where both models are on one.
    if (own.temperature > 0) this.proposal = createProposal(false);
    this.sizes = { maxDraft, maxNodes };
  }

  get anyShape(): boolean {
    return this.options.profile === undefined;
  }

  get draws(): boolean {
    return this.proposal !== undefined;
  }

  /** Trees of this generation: what a profile learns meanwhile is for the next one. */
  private get trees(): NativeTrees {
    return (this.known ??= nativeTrees(this.options.shape, this.sizes, this.draws));
  }

  /** Drafts need no JavaScript, where the executor can do without. */
  get native(): NativeDrafter | undefined {
    const { kv, sequence, executor, contextLength: context } = this.seat;
    const { sampler } = this.own;
    const { minProbability: least, profile } = this.options;
    const studies = profile !== undefined;
    const record = this.proposal ? { proposal: this.proposal } : {};
    const own = { kv, sequence, sampler, least, context, studies, ...record };
    this.itself ??= executor.createDrafter?.({ ...own, ...this.trees });
    return this.itself;
  }

  get runs(): boolean {
    const { kv, sequence, prefix } = this.seat;
    const unread = this.text.length - kv.length(sequence); // throws where the model is gone
    // Others are given the pages of a prompt that are computed when the run begins.
    return this.itself !== undefined && (!prefix || unread <= MOST_PENDING);
  }

  accept(tokens: Int32Array): void {
    const { kv, sequence } = this.seat;
    const { drafted, itself } = this;
    if (itself) {
      if (!this.isRead) this.text.append(tokens);
      return nativeCall(() => itself.accept(tokens));
    }
    if (drafted) {
      if (drafted.isTree) this.study(drafted, tokens);
      this.own.sampler.retract(drafted.told);
      // The last token is always left to be read: what follows it is not known yet.
      kv.keep(sequence, keptRows(drafted, tokens.subarray(0, -1)));
      this.drafted = undefined;
    }
    this.own.sampler.accept(tokens);
    if (this.text.length === 0 || !this.spoken) return this.text.append(tokens);
    tokens.forEach((token, place) => this.spoken?.(token, [token], this.text, place));
    this.text.append(tokens);
  }

  ready(): Promise<void> | undefined {
    if (this.isRead) return undefined;
    this.isRead = true;
    return this.text.length < this.seat.contextLength ? this.read()?.then(() => {}) : undefined;
  }

  /** All of the text but its last rows; false when there is nothing to go on with. */
  private read(): Promise<boolean> | undefined {
    const { kv, sequence } = this.seat;
    if (kv.length(sequence) === 0) this.seat.prefix?.share(this.text);
    const behind = this.text.length - kv.length(sequence) - (this.itself ? MOST_BY_ITSELF : MOST_PENDING);
    return behind > 0 ? this.own.read(this.text.slice(kv.length(sequence)).subarray(0, behind)) : undefined;
  }

  async draft(maxTokens: number, maxNodes: number, cycle: number): Promise<Draft> {
    this.hearStudies();
    if (this.itself) return draftByItself(this.itself, this.seat, [maxTokens, maxNodes, cycle], this.proposal);
    const steps = Math.min(maxTokens, this.seat.contextLength - this.text.length);
    if (steps < 1 || this.own.gone) return noDraft;
    const reading = this.read();
    if (reading && !(await reading)) return noDraft;
    const { proposal } = this;
    const record = { cycle, ...(proposal ? { proposal } : {}) };
    if (maxNodes > maxTokens) {
      const shape = shapeOf(this.trees, steps, maxNodes) ?? this.options.shape(steps, maxNodes, this.draws);
      return this.draftTree({ shape, ...record });
    }
    const least = this.options.minProbability;
    const done = await this.submit({ drafting: { steps, least, stop: this.ends?.rule, ...record } });
    const drawn = drawnBy(done);
    const chain = chainOf(drawn);
    this.ends?.drafted(
      chain.tokens,
      drawn.map(({ logprob }) => logprob),
    );
    const { tokens, parents } = chain;
    // The last one's row has not been computed.
    const rows = tokens.map((_, index) => (index + 1 < tokens.length ? index : -1));
    this.drafted = { tokens, parents, rows, told: tokens, isTree: false, ms: 0, at: 0 };
    return { ...chain, ...(proposal ? { proposal } : {}) };
  }

  /** What runs have counted by themselves. */
  private hearStudies(): void {
    const { itself } = this;
    const { profile, timed = false } = this.options;
    if (itself && profile)
      profile.recordAll(
        nativeCall(() => itself.studied()),
        timed,
      );
  }

  private study(drafted: Drafted, said: Int32Array): void {
    const { profile, timed = false } = this.options;
    if (!profile) return;
    profile.record(keptNodes(drafted, said));
    if (!timed) return;
    const depths: number[] = [];
    drafted.parents.forEach((parent) => depths.push(parent < 0 ? 1 : depths[parent] + 1));
    profile.time(Math.max(...depths), drafted.ms, drafted.tokens.length + 1, performance.now() - drafted.at);
  }

  private async draftTree(tree: JobTree): Promise<Draft> {
    if ('parents' in tree.shape && tree.shape.parents.length === 0) return noDraft; // nothing was ever kept
    const begin = performance.now();
    const done = await this.submit({ tree });
    if (!done?.tree) return noDraft;
    const { tokens, parents, scores, rows } = done.tree;
    const at = performance.now();
    this.drafted = { tokens, parents, rows, told: new Int32Array(), isTree: true, ms: at - begin, at };
    return { tokens, parents, scores, ...(tree.proposal ? { proposal: tree.proposal } : {}) };
  }

  private submit(what: { drafting: JobDrafting } | { tree: JobTree }): Promise<JobResult | undefined> {
    const { kv, sequence } = this.seat;
    const tokens = this.text.slice(kv.length(sequence));
    return this.own.run({ tokens, sampler: this.own.sampler, ...what });
  }

  dispose(): void {
    if (!this.own.gone) this.seat.prefix?.publish(this.text);
    this.hearStudies();
    this.itself?.dispose();
    this.own.dispose();
  }
}

export type NativeTrees = Pick<NativeDrafting, 'tree' | 'shapes'>;

/** Of trees of one shape, what a draft of this size gets; undefined where there are none. */
export function shapeOf({ shapes }: NativeTrees, depth: number, nodes: number): FixedShape | undefined {
  const whole = shapes?.findLast((one) => one.nodes <= nodes);
  return whole && clipShape(whole, depth, nodes);
}

/** What a native drafter has to know of trees of these sizes. */
export function nativeTrees(
  shape: ModelDrafting['shape'],
  { maxDraft, maxNodes }: { readonly maxDraft: number; readonly maxNodes: number },
  drawn: boolean,
): NativeTrees {
  if (maxNodes <= maxDraft || maxDraft < 1) return {};
  const whole = shape(maxDraft, maxNodes, drawn);
  if (!('parents' in whole)) return { tree: whole };
  const shapes = [];
  for (let nodes = 2; nodes <= maxNodes; nodes++) {
    const { parents, scores } = shape(maxDraft, nodes, drawn) as FixedShape;
    shapes.push({ nodes, parents, ...(scores ? { scores } : {}) });
  }
  return { shapes };
}

/** Cells of the draft, behind those of the text, that hold what was kept of it. */
function keptRows({ tokens, parents, rows }: Drafted, kept: Int32Array): Int32Array {
  const cells: number[] = [];
  let node = -1;
  for (const token of kept) {
    node = tokens.findIndex((one, index) => one === token && parents[index] === node);
    if (node < 0 || rows[node] < 0) break;
    cells.push(rows[node]);
  }
  return Int32Array.from(cells);
}

/** For `AcceptanceProfile.record`. */
export function keptNodes(
  { tokens, parents }: Pick<DraftedTree, 'tokens' | 'parents'>,
  said: Int32Array,
): Parameters<AcceptanceProfile['record']>[0][number][] {
  const nodes = [];
  let node = -1;
  for (const [depth, token] of said.entries()) {
    const children = [...parents.keys()].filter((child) => parents[child] === node);
    if (children.length === 0) break;
    const rank = children.findIndex((child) => tokens[child] === token);
    nodes.push({ depth, children: children.length, rank });
    if (rank < 0) break;
    node = children[rank];
  }
  return nodes;
}

/** Every token for itself. */
function sameTokens(count: number): TokenMap {
  const same = Int32Array.from({ length: count }, (_, token) => token);
  return { direct: same, inverse: same };
}

const sound = new WeakMap<Tokenizer, WeakSet<Tokenizer>>();

/** Throws INVALID_ARGUMENT unless every token means the same to both; of padded vocabularies those that both have. */
function checkVocabularies(target: Tokenizer, drafter: Tokenizer): void {
  if (target === drafter || sound.get(target)?.has(drafter)) return;
  const count = Math.min(target.vocabSize, drafter.vocabSize);
  for (let token = 0; token < count; token++) {
    const [wanted, own] = [target.piece(token), drafter.piece(token)];
    if (wanted.length === own.length && wanted.every((byte, index) => byte === own[index])) continue;
    const words = [drafter, target].map((tokenizer) => JSON.stringify(tokenizer.tokenText(token)));
    throw new VivaceError(
      'INVALID_ARGUMENT',
      `The draft model's vocabulary is another one: token ${token} is ${words.join(', not ')}`,
      { remedy: 'Use a draft model of the same family.' },
    );
  }
  const known = sound.get(target) ?? new WeakSet();
  sound.set(target, known.add(drafter));
}
