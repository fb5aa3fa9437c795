// Drafts by a second, smaller model with the same vocabulary.
import { VivaceError } from '../../../errors.js';
import type { Tokenizer } from '../../../formats/tokenizer/tokenizer.js';
import type { Executor, KvCache, Proposal, RowSampler, SamplerOptions } from '../../../program/executor.js';
import { TokenList } from '../../token-list.js';
import type { Rounds, Ticket } from '../../rounds.js';
import type { Draft, DraftContext, Drafter, GenerationDrafter } from '../drafter.js';

export interface DraftModelOptions {
  /** A draft ends behind a token that the model finds less probable than this: 0 to 1. Default 0.4. */
  readonly minProbability?: number;
  /** How tokens are drafted: 0 takes the most probable ones. Default: as the target draws. */
  readonly temperature?: number;
}

/** What a model lends to its drafts: a sequence of its own. */
export interface DraftSeat {
  readonly rounds: Rounds;
  readonly executor: Pick<Executor, 'createSampler' | 'createProposal'>;
  readonly kv: KvCache;
  readonly sequence: number;
  readonly contextLength: number;
  /** Columns of the logits. */
  readonly logitsWidth: number;
  /** Tokens that may be drawn. */
  readonly vocab: number;
  readonly tokenizer: Tokenizer;
}

/** Rows of the text that may be read in a round that drafts; more are read before. */
const MOST_PENDING = 16;

export const draftBy = (name: string, seat: () => DraftSeat, options: Required<DraftModelOptions>): Drafter => ({
  name,
  start(context) {
    const own = seat();
    try {
      checkVocabularies(context.tokenizer, own.tokenizer);
      return new ModelDrafter(own, options, context);
    } catch (error) {
      own.rounds.release(own.kv, own.sequence);
      throw error;
    }
  },
});

/**
 * Draws from the target's own kind of law (temperature, truncations, penalties) under the small model, so that the ratio of
 * both decides (Leviathan et al. 2022); greedy targets get greedy drafts. A draft is one native call.
 */
class ModelDrafter implements GenerationDrafter {
  private readonly text = new TokenList(new Int32Array());
  private readonly sampler: RowSampler;
  private readonly proposal: Proposal | undefined;
  private drafted: Int32Array = new Int32Array(); // the cache has memory for all but the last one
  private ticket: Ticket | undefined;
  private gone = false;
  private readonly signal: AbortSignal | undefined;
  private readonly cancel = (): void => this.ticket?.cancel();

  constructor(
    private readonly seat: DraftSeat,
    private readonly options: Required<DraftModelOptions>,
    { sampler, createProposal, signal }: DraftContext,
  ) {
    const temperature = Number.isNaN(options.temperature) ? sampler.temperature : options.temperature;
    const own: SamplerOptions = { ...sampler, temperature, logprob: true, topLogprobs: 0 };
    this.sampler = seat.executor.createSampler({ ...own, vocab: Math.min(own.vocab, seat.vocab) });
    // Both devices' drafts are read on the host.
    if (temperature > 0) this.proposal = createProposal(false);
    this.signal = signal;
    signal?.addEventListener('abort', this.cancel);
  }

  accept(tokens: Int32Array): void {
    const { kv, sequence } = this.seat;
    if (this.drafted.length > 0) {
      this.sampler.retract(this.drafted);
      let same = 0;
      while (same < tokens.length && this.drafted[same] === tokens[same]) same++;
      kv.commit(sequence, Math.min(same, tokens.length - 1, this.drafted.length - 1));
      this.drafted = new Int32Array();
    }
    this.sampler.accept(tokens);
    this.text.append(tokens);
  }

  async draft(maxTokens: number, _maxNodes: number, cycle: number): Promise<Draft> {
    const { kv, sequence, rounds, contextLength } = this.seat;
    const steps = Math.min(maxTokens, contextLength - this.text.length);
    if (steps < 1 || this.gone) return nothing;
    const behind = this.text.length - kv.length(sequence) - MOST_PENDING;
    if (behind > 0) {
      const tokens = this.text.slice(kv.length(sequence)).subarray(0, behind);
      this.ticket = rounds.submit({ kv, sequence, tokens });
      if ((await this.ticket.done) === undefined || this.gone) return nothing;
    }
    const { proposal } = this;
    this.ticket = rounds.submit({
      kv,
      sequence,
      tokens: this.text.slice(kv.length(sequence)),
      sampler: this.sampler,
      drafting: { steps, least: this.options.minProbability, cycle, ...(proposal ? { proposal } : {}) },
    });
    const done = await this.ticket.done;
    const draft = done?.draft ?? (done && done.token >= 0 ? [done] : []);
    const tokens = Int32Array.from(draft, ({ token }) => token);
    this.drafted = tokens;
    let score = 1;
    return {
      tokens,
      parents: tokens.map((_, index) => index - 1),
      scores: Float32Array.from(draft, ({ logprob }) => (score *= Math.exp(logprob))),
      ...(proposal ? { proposal } : {}),
    };
  }

  dispose(): void {
    if (this.gone) return;
    this.gone = true;
    this.signal?.removeEventListener('abort', this.cancel);
    this.sampler.dispose();
    this.seat.rounds.release(this.seat.kv, this.seat.sequence);
  }
}

const nothing: Draft = { tokens: new Int32Array(), parents: new Int32Array(), scores: new Float32Array() };

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
