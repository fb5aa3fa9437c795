// Drafts by heads that each say one token further on from what the target knew of its last row, whatever stands between.
import type { DraftedTree, Proposal, TreeShape } from '../../../program/executor.js';
import type { JobTaps } from '../../rounds.js';
import type { Draft, DraftContext, Drafter, GenerationDrafter } from '../drafter.js';
import { keptNodes, type ModelDrafting } from './draft-model.js';
import { draftingLike, DraftSequence, noDraft } from './draft-sequence.js';
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
  private drafted: DraftedTree | undefined;

  constructor(
    private readonly seat: TokenHeadsSeat,
    private readonly options: ModelDrafting,
    { sampler, createProposal, signal }: DraftContext,
  ) {
    this.taps = {
      names: seat.taps,
      hear: ([values], rows) => void (this.feature = values.slice(values.length - values.length / rows)),
    };
    const own = draftingLike(sampler, options.temperature, seat.vocab);
    this.own = new DraftSequence(seat, own, signal);
    if (own.temperature > 0) this.proposal = createProposal(false);
  }

  accept(tokens: Int32Array): void {
    if (this.drafted && this.options.profile) this.options.profile.record(keptNodes(this.drafted, tokens));
    this.drafted = undefined;
    this.own.sampler.accept(tokens);
    this.length += tokens.length;
  }

  async draft(maxTokens: number, maxNodes: number, cycle: number): Promise<Draft> {
    const { seat, proposal, feature } = this;
    const { kv, sequence, heads: levels } = seat;
    const depth = Math.min(maxTokens, levels, seat.contextLength - this.length);
    this.feature = undefined;
    if (depth < 1 || !feature || this.own.gone) return noDraft;
    kv.truncate(sequence, 0); // no row knows of another
    const shape =
      maxNodes > maxTokens ? this.options.shape(depth, maxNodes, proposal !== undefined) : this.chain(depth);
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

  private chain(depth: number): TreeShape {
    if (this.proposal) return { parents: Int32Array.from({ length: depth }, (_, i) => i - 1) };
    return { depth, nodes: depth, topK: 1, width: 1, least: this.options.minProbability };
  }

  dispose(): void {
    this.own.dispose();
  }
}
