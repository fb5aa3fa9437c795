// Drafts by heads that each say one token further on from what the target knew of its last row, whatever stands between.
import { nativeCall, type NativeDrafter } from '../../../native.js';
import type { DraftedTree, Proposal, TreeShape } from '../../../program/executor.js';
import type { JobTaps } from '../../rounds.js';
import type { Draft, DraftContext, Drafter, GenerationDrafter } from '../drafter.js';
import { keptNodes, nativeTrees, shapeOf, type ModelDrafting, type NativeTrees } from './draft-model.js';
import { draftByItself, draftingLike, DraftSequence, noDraft } from './draft-sequence.js';
import type { HeadSeat } from './feature-head.js';

export interface TokenHeadsSeat extends Omit<HeadSeat, 'logitsWidth'> {
  /** How many there are: tokens of a draft's path at most. */
  readonly heads: number;
}

export const tokenHeadsDrafter = (name: string, seat: () => TokenHeadsSeat, options: ModelDrafting): Drafter => ({
  name,
  start: (context) => new TokenHeadsDrafter(seat(), options, context),
});

/**
 * A draft is one run over one row, the last that the target computed: head i's law is that of the tokens at depth i + 1,
 * the same behind every path. Of a chain that is drawn, or a tree, nodes are chosen or drawn as a model's are.
 */
class TokenHeadsDrafter implements GenerationDrafter {
  readonly taps: JobTaps;
  private readonly own: DraftSequence;
  private readonly proposal: Proposal | undefined;
  private feature: Float32Array | undefined; // of the row before the text's last token
  private length = 0; // of the text
  private readonly sizes: { readonly maxDraft: number; readonly maxNodes: number };
  private itself: NativeDrafter | undefined;
  private drafted: DraftedTree | undefined;
  private known: NativeTrees | undefined;

  constructor(
    private readonly seat: TokenHeadsSeat,
    private readonly options: ModelDrafting,
    { sampler, createProposal, signal, maxDraft = 0, maxNodes = 0 }: DraftContext,
  ) {
    this.sizes = { maxDraft, maxNodes };
    this.taps = { names: seat.taps, hear: ([values], rows) => this.hear(values.slice(-values.length / rows)) };
    const own = draftingLike(sampler, options.temperature, seat.vocab);
    this.own = new DraftSequence(seat, own, signal);
    if (own.temperature > 0) this.proposal = createProposal(false);
  }

  get draws(): boolean {
    return this.proposal !== undefined;
  }

  /** Trees of this generation: what a profile learns meanwhile is for the next one. */
  private get trees(): NativeTrees {
    const { maxDraft, maxNodes } = this.sizes;
    const sizes = { maxDraft: Math.min(maxDraft, this.seat.heads), maxNodes };
    return (this.known ??= nativeTrees(this.options.shape, sizes, this.draws));
  }

  /** Its part of a round needs no JavaScript, where the executor can do without. */
  get native(): NativeDrafter | undefined {
    const { kv, sequence, executor, contextLength: context, heads } = this.seat;
    const { minProbability: least, profile } = this.options;
    if (profile && this.sizes.maxDraft < 1) return undefined; // its trees are not known yet
    const own = {
      kv,
      sequence,
      sampler: this.own.sampler,
      least,
      context,
      levels: heads,
      studies: profile !== undefined,
    };
    const record = this.proposal ? { proposal: this.proposal } : {};
    this.itself ??= executor.createDrafter?.({ ...own, ...record, ...this.trees });
    return this.itself;
  }

  /** Of the last row that stays. */
  private hear(feature: Float32Array): void {
    const { itself } = this;
    if (itself) nativeCall(() => itself.hear(feature));
    else this.feature = feature;
  }

  get runs(): boolean {
    const { kv, sequence } = this.seat;
    kv.length(sequence); // throws where the model is gone
    return this.itself !== undefined;
  }

  accept(tokens: Int32Array): void {
    const { itself } = this;
    if (itself) return nativeCall(() => itself.accept(tokens));
    if (this.drafted && this.options.profile) this.options.profile.record(keptNodes(this.drafted, tokens));
    this.drafted = undefined;
    this.own.sampler.accept(tokens);
    this.length += tokens.length;
  }

  async draft(maxTokens: number, maxNodes: number, cycle: number): Promise<Draft> {
    const { seat, proposal, feature } = this;
    this.study();
    if (this.itself) return draftByItself(this.itself, seat, [maxTokens, maxNodes, cycle], proposal);
    const { kv, sequence, heads: levels } = seat;
    const depth = Math.min(maxTokens, levels, seat.contextLength - this.length);
    this.feature = undefined;
    // Before a token was said, what was heard is of a row where the prompt was cut, which the clock decides.
    if (depth < 1 || cycle === 1 || !feature || this.own.gone) return noDraft;
    kv.truncate(sequence, 0); // no row knows of another
    const shape = maxNodes > maxTokens ? this.tree(depth, maxNodes) : this.chain(depth);
    if ('parents' in shape && shape.parents.length === 0) return noDraft; // nothing was ever kept
    const record = { cycle, ...(proposal ? { proposal } : {}) };
    const done = await this.own.run({
      tokens: Int32Array.of(0),
      inputs: { features: feature },
      sampler: this.own.sampler,
      tree: { shape, levels, ...record },
    });
    if (!done?.tree) return noDraft;
    const { tokens, parents, scores } = (this.drafted = done.tree);
    return { tokens, parents, scores, ...(proposal ? { proposal } : {}) };
  }

  private tree(depth: number, nodes: number): TreeShape {
    return shapeOf(this.trees, depth, nodes) ?? this.options.shape(depth, nodes, this.draws);
  }

  /** What runs have counted by themselves. */
  private study(): void {
    const { itself } = this;
    const { profile } = this.options;
    if (itself && profile)
      profile.recordAll(
        nativeCall(() => itself.studied()),
        false,
      );
  }

  private chain(depth: number): TreeShape {
    if (this.proposal) return { parents: Int32Array.from({ length: depth }, (_, i) => i - 1) };
    return { depth, nodes: depth, topK: 1, width: 1, least: this.options.minProbability };
  }

  dispose(): void {
    this.study();
    this.itself?.dispose();
    this.own.dispose();
  }
}
