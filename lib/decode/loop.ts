// The decoding loop over one sequence: feed what is new, draw, show, until something ends it.
import { VivaceError } from '../errors.js';
import type { PrefixSeat } from './prefix-cache.js';
import type { Tokenizer } from '../formats/tokenizer/tokenizer.js';
import type { Executor, KvCache, RowSampler } from '../program/executor.js';
import { Answer, type Piece } from './answer.js';
import { Fence } from './constraint.js';
import type { ResolvedOptions } from './options.js';
import type { Job, JobDraft, JobResult, OpenDraft, Rounds, Ticket } from './rounds.js';
import { watchOffload, type OffloadResult } from '../caches/offload.js';
import type { ExpertStatistics } from '../experts/statistics.js';
import { Speculator } from './speculation/speculator.js';
import type { SpeculationResult } from './speculation/result.js';
import type { TokenList } from './token-list.js';

/** Why a generation ended: the model ended its turn or a stop string came; a limit was reached; the caller stopped it. */
export type FinishReason = 'stop' | 'length' | 'abort';

export interface GenerateResult {
  readonly finishReason: FinishReason;
  /** The stop string that ended the text, if one did. */
  readonly stopString?: string;
  /** All pieces together. */
  readonly text: string;
  readonly tokens: readonly number[];
  readonly usage: {
    /** Tokens before the answer, those of earlier turns included. */
    readonly promptTokens: number;
    /** How many of them were in the cache already. */
    readonly cachedTokens: number;
    /** And how many of those had been computed for other sessions, or earlier ones. */
    readonly sharedTokens: number;
    /** Tokens of the answer, without the one that ended the turn. */
    readonly completionTokens: number;
  };
  readonly timings: {
    /** From the call to the first token. */
    readonly promptMs: number;
    /** From the first token to the end. */
    readonly completionMs: number;
    /** Prompt tokens that were not cached, per second. */
    readonly promptTokensPerSecond: number;
    readonly completionTokensPerSecond: number;
  };
  /** The seed in use, to get the same text again. */
  readonly seed: bigint;
  /** How drafts went, where there were any. */
  readonly speculation?: SpeculationResult;
  /** Where not all experts are in memory: what reading them came to meanwhile, for all sessions together. */
  readonly experts?: ExpertStatistics;
  /** Where layers keep keys and values in a file: what came of it meanwhile, for all sessions of the cache together. */
  readonly offload?: OffloadResult;
}

/** A sequence, with the prompt at the end of its tokens; the loop puts the answer behind them. */
export interface DecodeTarget {
  readonly rounds: Rounds;
  readonly executor: Pick<Executor, 'createSampler' | 'createProposal' | 'taps' | 'drafts' | 'weightBytes'>;
  readonly tokenizer: Tokenizer;
  readonly kv: KvCache;
  readonly sequence: number;
  readonly tokens: TokenList;
  /** Tokens that fit. */
  readonly contextLength: number;
  /** What it shares with other sequences. */
  readonly prefix?: PrefixSeat | undefined;
  /** Rows that tokens are drawn from do not read all, as those of a prompt do (Double Sparsity). */
  readonly chooses?: boolean;
  /** Begins to count what is read of experts; what it gives tells. */
  readonly experts?: () => () => ExpertStatistics | undefined;
  /** The sequence was given back: its cache must not be touched any more. */
  isDisposed(): boolean;
}

/**
 * Draws ahead while the caller looks at the last piece. When it returns or throws, `tokens` is what has been said,
 * and the cache holds a prefix of it. `finished` hears of the result also when the caller leaves the loop early.
 */
export async function* decode(
  target: DecodeTarget,
  options: ResolvedOptions,
  finished: (result: GenerateResult) => void,
): AsyncGenerator<Piece, GenerateResult, void> {
  const { tokens, tokenizer, kv, sequence, contextLength } = target;
  const { signal, maxTokens = Infinity } = options;
  const run = new Run(target, options);
  let reason: FinishReason = 'abort';
  try {
    run.submit();
    rounds: while (true) {
      const round = await run.next();
      // Tokens may have been drawn before the session was disposed of.
      if (round === undefined || target.isDisposed()) break;
      if (run.drawn === 0) target.prefix?.publish(tokens); // for prompts that come meanwhile
      for (const [index, drawn] of round.entries()) {
        if (tokenizer.endOfGeneration.has(drawn.token)) {
          reason = 'stop';
          break rounds;
        }
        const piece = run.take(drawn.token, () => run.answer.push(drawn));
        const stopped = run.answer.stopString !== undefined;
        if (stopped || run.drawn >= maxTokens || tokens.length >= contextLength) {
          reason = stopped ? 'stop' : 'length';
          if (piece) yield piece;
          break rounds;
        }
        // The next round is on its way before the last token of this one is shown.
        if (index + 1 === round.length && !signal?.aborted) run.submit();
        if (piece) yield piece;
        if (signal?.aborted || target.isDisposed()) break;
      }
    }
    if (target.isDisposed()) throw new VivaceError('DISPOSED', 'The session was disposed while it generated');
    const last = run.answer.end();
    if (run.answer.stopString !== undefined) reason = 'stop';
    if (last) yield last;
  } finally {
    await run.close();
    if (!target.isDisposed()) {
      // What belongs to a stop string was not said, nor what a caller who left did not see.
      tokens.truncate(run.promptTokens + run.answer.tokens.length);
      // Also gives memory back that rounds ahead would have used. Where rows choose, the last token is read with what comes next,
      // whether or not such a round has read it.
      const read = tokens.length - (target.chooses ? 1 : 0);
      kv.truncate(sequence, Math.min(kv.length(sequence), read));
      target.prefix?.publish(tokens);
    }
    finished(run.result(reason));
  }
  return run.result(reason);
}

/** What one generation keeps: its sampler, its drafts, its job in flight, its clock. */
class Run {
  readonly answer: Answer;
  readonly promptTokens: number;
  drawn = 0;
  private readonly cachedTokens: number;
  private readonly sharedTokens: number;
  private readonly sampler: RowSampler;
  private readonly speculator: Speculator | undefined;
  private readonly fence: Fence | undefined;
  private readonly ends: Int32Array;
  private readonly begin = performance.now();
  private readonly experts: (() => ExpertStatistics | undefined) | undefined;
  private readonly offload: () => OffloadResult | undefined;
  private first: number | undefined; // time of the first token
  private end: number | undefined;
  private closed = false;
  private prompt: boolean; // it has not been fed yet
  private flight: Promise<JobResult | undefined> | undefined;
  private ticket: Ticket | undefined;
  private readonly cancel = (): void => this.ticket?.cancel();

  constructor(
    private readonly target: DecodeTarget,
    private readonly options: ResolvedOptions,
  ) {
    const { tokens, kv, sequence, tokenizer, executor } = target;
    const { speculation, signal, constraint } = options;
    this.experts = target.experts?.();
    this.offload = watchOffload(target.kv);
    this.promptTokens = tokens.length;
    this.feedLast();
    const prompt = tokens.slice();
    this.fence = constraint && new Fence(constraint, options.sampler.vocab, tokenizer.endOfGeneration);
    if (speculation) {
      const { salt } = target.prefix ?? {};
      const context = { tokenizer, sampler: options.sampler, ...(signal ? { signal } : {}), salt };
      this.speculator = new Speculator(speculation, executor, context, options.stop, this.fence);
      this.speculator.accept(prompt);
    }
    // A drafter that learns wants to know more of the target's law than the caller; draws are the same.
    const topLogprobs = Math.max(
      options.sampler.topLogprobs,
      Math.min(this.speculator?.learns ?? 0, options.sampler.vocab),
    );
    this.sampler = executor.createSampler({ ...options.sampler, topLogprobs });
    this.sampler.accept(prompt);
    // Drafters that read what the model knows of rows need them all computed here.
    this.sharedTokens = this.speculator?.taps ? 0 : (target.prefix?.share(tokens) ?? 0);
    if (target.chooses) target.prefix?.keep(tokens.length - 1);
    this.cachedTokens = kv.length(sequence);
    this.prompt = tokens.length - this.cachedTokens > 1; // else nothing was said since the last answer
    this.ends = Int32Array.from([...tokenizer.endOfGeneration, ...(this.speculator?.turns ?? [])]);
    const continues = prompt.some((token) => !tokenizer.isSpecial(token));
    const shown = options.logprobs ? options.sampler.topLogprobs : undefined;
    this.answer = new Answer(tokenizer, options.stop, shown, speculation !== undefined, continues);
    signal?.addEventListener('abort', this.cancel);
  }

  /** The last token is fed again when the cache has it: its logits are needed. */
  private feedLast(): void {
    const { tokens, kv, sequence } = this.target;
    if (kv.length(sequence) >= tokens.length) kv.truncate(sequence, tokens.length - 1);
  }

  submit(): void {
    const { speculator } = this;
    if (!speculator) this.flight = this.fence ? this.limited() : this.round(Infinity);
    else this.flight = speculator.goesOn ? this.goOn(speculator) : this.speculate(speculator);
    this.flight.catch(() => {}); // whoever awaits it sees the error
  }

  private round(ahead: number, draft?: JobDraft | OpenDraft, plan?: Job['plan']): Promise<JobResult | undefined> {
    const { tokens, kv, sequence, rounds } = this.target;
    const limit = Math.min(this.room(), ahead);
    const taps = this.speculator?.taps;
    const { fence } = this;
    this.ticket = rounds.submit({
      kv,
      sequence,
      tokens: tokens.slice(kv.length(sequence)),
      sampler: this.sampler,
      ...(this.prompt ? { prompt: true } : {}),
      ...(fence ? { mask: fence.mask } : {}),
      ...(draft ? { draft } : (taps && !plan) || fence ? {} : { ahead: { limit, ends: this.ends } }),
      ...(taps ? { taps } : {}),
      ...(plan ? { plan } : {}),
      ...(this.speculator && this.speculator.whole > 0 ? { whole: this.speculator.whole } : {}),
    });
    this.prompt = false;
    if (this.options.signal?.aborted) this.ticket.cancel();
    return this.ticket.done;
  }

  /** What the constraint throws comes when the round is asked for its result, after the last piece. */
  private async limited(): Promise<JobResult | undefined> {
    return this.round(Infinity);
  }

  private async speculate(speculator: Speculator): Promise<JobResult | undefined> {
    const { contextLength, tokens } = this.target;
    const draft = await speculator.next(this.room() - 1, contextLength - tokens.length);
    if (this.closed || this.target.isDisposed() || this.options.signal?.aborted) return undefined;
    this.feedLast();
    return this.heard(speculator, () => this.round(speculator.ahead, draft));
  }

  /** Where drafts need no JavaScript, whole runs of rounds are asked for. */
  private async goOn(speculator: Speculator): Promise<JobResult | undefined> {
    const reading = speculator.ready();
    if (reading) {
      await reading;
      if (this.closed || this.target.isDisposed() || this.options.signal?.aborted) return undefined;
      this.feedLast();
    }
    const { contextLength, tokens } = this.target;
    const [room, behind] = [this.room(), contextLength - tokens.length];
    return this.heard(speculator, () =>
      this.round(Infinity, undefined, (sequences, alone) => speculator.plan(room, behind, sequences, alone)),
    );
  }

  private async heard(
    speculator: Speculator,
    round: () => Promise<JobResult | undefined>,
  ): Promise<JobResult | undefined> {
    const rows = this.target.tokens.length - this.target.kv.length(this.target.sequence);
    const begin = performance.now();
    const drawn = await round();
    if (drawn && !this.closed) speculator.hear(drawn, performance.now() - begin, rows > 1);
    return drawn;
  }

  /** Tokens that may still be drawn. */
  private room(): number {
    const { contextLength, tokens } = this.target;
    return Math.min((this.options.maxTokens ?? Infinity) - this.drawn, contextLength - tokens.length);
  }

  /** The next tokens, at least one, or undefined after an abort. */
  async next(): Promise<readonly JobResult[] | undefined> {
    const drawn = await this.flight;
    this.flight = undefined;
    return drawn && [...(drawn.accepted ?? []), drawn];
  }

  /** Records a token of the answer. */
  take<T>(token: number, show: () => T): T {
    this.first ??= performance.now();
    this.drawn++;
    this.target.tokens.push(token);
    this.fence?.take(token);
    return show();
  }

  async close(): Promise<void> {
    this.end = performance.now();
    this.closed = true;
    this.options.signal?.removeEventListener('abort', this.cancel);
    this.ticket?.cancel();
    await this.flight?.catch(() => {});
    const { rounds, kv, sequence } = this.target;
    // Drafters of a run in flight may be in use until it lands.
    if (this.target.isDisposed()) await rounds.landed(kv, sequence);
    else await rounds.settle(kv, sequence);
    this.sampler.dispose();
    this.speculator?.end(Int32Array.from(this.answer.tokens));
  }

  result(finishReason: FinishReason): GenerateResult {
    const { answer, begin, promptTokens, cachedTokens, sharedTokens } = this;
    const end = this.end ?? performance.now();
    const first = this.first ?? end;
    const experts = this.experts?.();
    const offload = this.offload();
    return {
      finishReason,
      ...(answer.stopString === undefined ? {} : { stopString: answer.stopString }),
      text: answer.text,
      tokens: answer.tokens,
      usage: { promptTokens, cachedTokens, sharedTokens, completionTokens: answer.tokens.length },
      timings: {
        promptMs: first - begin,
        completionMs: end - first,
        promptTokensPerSecond: rate(promptTokens - cachedTokens, first - begin),
        completionTokensPerSecond: rate(this.drawn - 1, end - first),
      },
      seed: this.options.sampler.seed,
      ...(this.speculator ? { speculation: this.speculator.result() } : {}),
      ...(experts ? { experts } : {}),
      ...(offload ? { offload } : {}),
    };
  }
}

const rate = (count: number, ms: number): number => (count > 0 && ms > 0 ? (count / ms) * 1000 : 0);
