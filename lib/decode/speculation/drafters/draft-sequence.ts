// What drafters that run a model share: a sequence of it for one generation, a sampler, the job in flight, and their end.
import { fromNative, nativeCall, type NativeDrafter } from '../../../native.js';
import type { Executor, KvCache, Proposal, RowSampler, SamplerOptions } from '../../../program/executor.js';
import type { Job, JobResult, Rounds, Ticket } from '../../rounds.js';
import type { Draft } from '../drafter.js';

/** Where drafts are run. */
export interface SequenceSeat {
  readonly rounds: Rounds;
  readonly executor: Pick<Executor, 'createSampler' | 'createProposal' | 'createDrafter' | 'weightBytes'>;
  readonly kv: KvCache;
  readonly sequence: number;
  /** Tokens that may be drawn. */
  readonly vocab: number;
}

export const noDraft: Draft = { tokens: new Int32Array(), parents: new Int32Array(), scores: new Float32Array() };

/** What draws a model's drafts for a target that draws by `sampler`; `temperature` NaN: the target's. */
export const draftingLike = (sampler: SamplerOptions, temperature: number, vocab: number): SamplerOptions => ({
  ...sampler,
  temperature: Number.isNaN(temperature) ? sampler.temperature : temperature,
  logprob: true,
  topLogprobs: 0,
  vocab: Math.min(sampler.vocab, vocab),
});

/** The tokens that a drafting job drew, in order; none where it was cancelled. */
export const drawnBy = (done: JobResult | undefined): readonly JobResult[] =>
  done?.draft ?? (done && done.token >= 0 ? [done] : []);

/** They as a chain, each path's probability its score. */
export function chainOf(drawn: readonly JobResult[]): Omit<Draft, 'proposal'> {
  let score = 1;
  return {
    tokens: Int32Array.from(drawn, ({ token }) => token),
    parents: Int32Array.from(drawn, (_, index) => index - 1),
    scores: Float32Array.from(drawn, ({ logprob }) => (score *= Math.exp(logprob))),
  };
}

/** A draft by a native drafter of a model, off this thread. */
export async function draftByItself(
  itself: NativeDrafter,
  { kv, sequence }: Pick<SequenceSeat, 'kv' | 'sequence'>,
  most: readonly [tokens: number, nodes: number, cycle: number],
  proposal: Proposal | undefined,
): Promise<Draft> {
  kv.length(sequence); // throws where the model is gone
  try {
    const draft = await nativeCall(() => itself.draftLater(...most));
    return { ...draft, ...(proposal ? { proposal } : {}) };
  } catch (error) {
    throw fromNative(error);
  }
}

/** Ends with `dispose`; an aborted generation's job in flight is cancelled. */
export class DraftSequence {
  readonly sampler: RowSampler;
  private ticket: Ticket | undefined;
  private ended = false;
  private readonly cancel = (): void => this.ticket?.cancel();

  constructor(
    private readonly seat: SequenceSeat,
    options: SamplerOptions,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.sampler = seat.executor.createSampler(options);
    signal?.addEventListener('abort', this.cancel);
  }

  /** Nothing may run any more. */
  get gone(): boolean {
    return this.ended;
  }

  /** Undefined when it was cancelled. */
  run(job: Omit<Job, 'kv' | 'sequence'>): Promise<JobResult | undefined> {
    const { kv, sequence, rounds } = this.seat;
    this.ticket = rounds.submit({ kv, sequence, ...job });
    return this.ticket.done;
  }

  /** Reads tokens that nothing is drawn behind; false when there is nothing to go on with. */
  async read(tokens: Int32Array, inputs?: Job['inputs']): Promise<boolean> {
    return (await this.run({ tokens, ...(inputs ? { inputs } : {}) })) !== undefined && !this.ended;
  }

  dispose(): void {
    if (this.ended) return;
    this.ended = true;
    this.signal?.removeEventListener('abort', this.cancel);
    this.sampler.dispose();
    this.seat.rounds.release(this.seat.kv, this.seat.sequence);
  }
}
