// Drafts by a model with another vocabulary: a chain that it draws in one native call, put together to the target's tokens.
import type { Proposal, SamplerOptions } from '../../../../program/executor.js';
import { TokenList } from '../../../token-list.js';
import type { DraftEnds } from '../../adapt/stop-head.js';
import type { Spoken } from '../../adapt/studied-drafter.js';
import type { Draft, DraftContext, GenerationDrafter } from '../../drafter.js';
import type { DraftSeat } from '../draft-model.js';
import { DraftSequence, drawnBy, noDraft } from '../draft-sequence.js';
import { directLaw, LawBuilder, paperLaw, type DrafterLaw } from './laws.js';
import type { Group, Translation } from './translation.js';

/** Rows of the text that may be read in a round that drafts; more are read before. */
const MOST_PENDING = 16;
/** Of the newest draft, in the average of how many tokens of the drafter one of the target takes. */
const NEWEST = 0.1;

const nothing = new Int32Array();

export interface MergingOptions {
  /**
   * `chosen`: the most probable tokens, put together to the target's; `recut`: they, cut as the target's tokenizer cuts texts;
   * `direct`: drawn from those that have a counterpart; `paper`: drawn, put together, and weighed by a law that is not quite
   * theirs.
   */
  readonly how: 'chosen' | 'recut' | 'direct' | 'paper';
  readonly minProbability: number;
  /** So many tokens at the end of its text are written anew as its tokenizer would; 0: none. */
  readonly resegmentTail: number;
}

export class MergingDrafter implements GenerationDrafter {
  private text: TokenList | undefined; // in the drafter's tokens
  private readonly own: DraftSequence;
  private readonly builder: LawBuilder;
  private readonly laws: { readonly own: Proposal; readonly target: Proposal } | undefined;
  private drafted: Int32Array = new Int32Array(); // the cache has memory for all but the last one
  private groups: readonly Group[] = [];
  private perToken = 1; // tokens of the drafter for one of the target

  constructor(
    private readonly seat: DraftSeat,
    private readonly translation: Translation,
    private readonly options: MergingOptions,
    { sampler, createProposal, signal }: DraftContext,
    private readonly spoken?: Spoken,
    private readonly ends?: DraftEnds,
  ) {
    const { direct } = translation.alignment;
    const bans = new Map<number, number>();
    if (options.how === 'direct') direct.forEach((target, token) => target < 0 && bans.set(token, -Infinity));
    const own: SamplerOptions = {
      ...sampler,
      ...(options.how === 'chosen' || options.how === 'recut' ? { temperature: 0 } : {}),
      logitBias: bans,
      logprob: true,
      topLogprobs: 0,
      vocab: direct.length,
    };
    this.own = new DraftSequence(seat, own, signal);
    this.builder = new LawBuilder(sampler.vocab);
    if (own.temperature > 0) {
      this.laws = { own: seat.executor.createProposal(false), target: createProposal(false) };
    }
  }

  accept(tokens: Int32Array): void {
    const { kv, sequence } = this.seat;
    const { translation, text } = this;
    if (text === undefined) {
      this.text = new TokenList(translation.begin(tokens));
      this.own.sampler.accept(this.text.slice());
      return;
    }
    // Groups stay as they were drafted where all of their tokens were kept.
    let kept = 0;
    let at = 0;
    for (const { targets, end } of this.groups) {
      if (!targets.every((token, i) => tokens[at + i] === token)) break;
      at += targets.length;
      kept = end;
    }
    const fresh = [...this.drafted.subarray(0, kept)];
    const drafted = this.drafted.length;
    this.speak(tokens.subarray(0, at), text);
    for (; at < tokens.length; at++) {
      const own = translation.tokensOf(tokens[at]);
      this.spoken?.(tokens[at], own, text, fresh.length);
      fresh.push(...own);
    }
    if (drafted > 0) {
      this.own.sampler.retract(this.drafted);
      const most = Math.min(kept, drafted - 1, text.length + fresh.length - 1 - kv.length(sequence));
      kv.commit(sequence, Math.max(0, most));
      this.drafted = new Int32Array();
      this.groups = [];
    }
    this.own.sampler.accept(Int32Array.from(fresh));
    text.append(fresh);
    const again = translation.resegmented(text, this.options.resegmentTail);
    if (!again) return;
    this.own.sampler.retract(text.slice(again.begin));
    this.own.sampler.accept(again.tokens);
    text.truncate(again.begin);
    text.append(again.tokens);
    if (kv.length(sequence) > again.begin) kv.truncate(sequence, again.begin);
  }

  async draft(maxTokens: number, maxNodes: number, cycle: number): Promise<Draft> {
    const { kv, sequence, contextLength } = this.seat;
    const { text, laws } = this;
    const { how, minProbability } = this.options;
    const most = Math.min(maxTokens, maxNodes);
    if (text === undefined || text.length === 0 || most < 1 || this.own.gone) return noDraft;
    // Runs take several steps, and one may be left that is cut at the end.
    const wanted = how === 'direct' ? most : Math.ceil(most * this.perToken) + this.translation.cache.options.maxN - 1;
    const steps = Math.min(wanted, contextLength - text.length);
    if (steps < 1) return noDraft;
    // After a token that the drafter cannot say, its text is as long as the cache: the last token is read once more.
    if (kv.length(sequence) >= text.length) kv.truncate(sequence, text.length - 1);
    const behind = text.length - kv.length(sequence) - MOST_PENDING;
    if (behind > 0) {
      const tokens = text.slice(kv.length(sequence)).subarray(0, behind);
      if (!(await this.own.read(tokens))) return noDraft;
    }
    laws?.own.clear();
    const done = await this.own.run({
      tokens: text.slice(kv.length(sequence)),
      sampler: this.own.sampler,
      drafting: { steps, least: minProbability, stop: this.ends?.rule, cycle, ...(laws ? { proposal: laws.own } : {}) },
    });
    const result = drawnBy(done);
    this.drafted = Int32Array.from(result, ({ token }) => token);
    const probabilities = result.map(({ logprob }) => Math.exp(logprob));
    this.ends?.drafted(
      this.drafted,
      result.map(({ logprob }) => logprob),
    );
    return this.translated(most, probabilities);
  }

  dispose(): void {
    this.own.dispose();
  }

  /** Tells of the groups that were kept whole. */
  private speak(kept: Int32Array, text: TokenList): void {
    let at = 0;
    for (const { targets, begin, end } of this.groups) {
      if (at >= kept.length) break;
      targets.forEach((_, i) => {
        const own = i === 0 ? this.drafted.subarray(begin, end) : nothing;
        this.spoken?.(kept[at++], own, text, begin);
      });
    }
  }

  private translated(most: number, probabilities: readonly number[]): Draft {
    const { drafted, laws, translation } = this;
    const { how } = this.options;
    const all =
      how === 'recut'
        ? translation.recut(drafted)
        : translation.merge(drafted, how === 'direct' ? how : how === 'paper' ? 'runs' : 'split');
    const groups: Group[] = [];
    const tokens: number[] = [];
    const scores: number[] = [];
    let score = 1;
    let at = 0;
    for (const group of all) {
      if (tokens.length + group.targets.length > most) break;
      groups.push(group);
      for (; at < group.end; at++) score *= probabilities[at];
      for (const token of group.targets) {
        tokens.push(token);
        scores.push(score);
      }
    }
    this.groups = groups;
    if (tokens.length > 0) this.perToken += NEWEST * (at / tokens.length - this.perToken);
    laws?.target.clear();
    if (laws) groups.forEach((group, place) => this.record(group, place));
    return {
      tokens: Int32Array.from(tokens),
      parents: Int32Array.from(tokens, (_, index) => index - 1),
      scores: Float32Array.from(scores),
      ...(laws ? { proposal: laws.target } : {}),
    };
  }

  /** Says which law the token at this place of the draft comes from. */
  private record({ targets: [target], begin, end }: Group, place: number): void {
    const { laws, drafted, builder, translation } = this;
    if (!laws) return;
    const { direct } = translation.alignment;
    const rows = Array.from({ length: end - begin }, (_, i) => laws.own.read(begin + i) as DrafterLaw);
    const run = drafted.subarray(begin, end);
    const law =
      this.options.how === 'direct'
        ? directLaw(rows[0], direct, builder)
        : paperLaw(rows, run, target, direct, builder);
    laws.target.set(place, law.ids, Float32Array.from(law.weights), Int32Array.of(target));
  }
}
