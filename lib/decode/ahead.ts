// Tokens drawn before anybody asked for them: a run goes on by itself with what it draws, and hands out the results to the
// jobs that come for them, one per token. What nobody comes for was never said: the cache has not heard of it.
import type { KvCache, RowSampler, RunResult } from '../program/executor.js';
import type { Job, JobResult } from './rounds.js';

/**
 * How many rounds a run may be ahead of the slowest of its sequences. With one it would wait for JavaScript after each
 * token, for 0.3 to 0.5 ms when the weights have driven everything else out of the caches; more bridges pauses of the
 * JavaScript thread. They are lost when the caller stops.
 */
const ROUNDS_AHEAD = 8;

export interface Waiting extends Job {
  readonly resolve: (result: JobResult | undefined) => void;
  readonly reject: (error: unknown) => void;
}

export type Outcome = JobResult | Error;

/** What output `index` of a run gave. */
export function outcomeOf(result: RunResult, index: number): Outcome {
  const error = result.errors[index];
  if (error) return error;
  return { token: result.tokens[index], logprob: result.logprobs[index], top: result.top[index] ?? [] };
}

export function settle(job: Waiting, outcome: Outcome): void {
  if (outcome instanceof Error) job.reject(outcome);
  else job.resolve(outcome);
}

interface Seat<T extends Waiting> {
  readonly sequence: number;
  readonly sampler: RowSampler | undefined;
  /** What the next job has to bring: the token drawn last. */
  next: number;
  taken: number; // results that jobs have got
  readonly results: Outcome[];
  waiting: T | undefined;
}

/** One run of several rounds, and its results until they are taken. */
export class Ahead<T extends Waiting> {
  /** The run reads it: how many rounds it may be. */
  readonly rounds = new Int32Array(1);
  readonly limit: number;
  private readonly seats: Seat<T>[]; // by output
  private live = true;
  private stopped = false;

  constructor(
    readonly kv: KvCache,
    private readonly jobs: readonly T[],
  ) {
    this.limit = Math.min(...jobs.map(({ ahead }) => ahead?.limit ?? 1));
    this.seats = jobs.map(({ sequence, sampler }) => {
      return { sequence, sampler, next: -1, taken: 0, results: [], waiting: undefined };
    });
    this.allow();
  }

  /** The run has not ended. */
  get running(): boolean {
    return this.live;
  }

  /** Tokens that nothing follows. */
  get ends(): Int32Array {
    return Int32Array.from(new Set(this.jobs.flatMap(({ ahead }) => [...(ahead?.ends ?? [])])));
  }

  /** The sequences in it. */
  get sequences(): readonly number[] {
    return this.seats.map(({ sequence }) => sequence);
  }

  has(kv: KvCache, sequence: number): boolean {
    return kv === this.kv && this.sequences.includes(sequence);
  }

  /** Nothing is left of it. */
  get over(): boolean {
    return !this.seats.some((seat) => this.isOpen(seat));
  }

  /** The run ends with the round in flight. */
  stop(): void {
    this.stopped = true;
    Atomics.store(this.rounds, 0, 0);
  }

  /** A round is over: the first one's results are for the jobs that it was made for, which have been settled already. */
  told(result: RunResult, isFirst: boolean): void {
    this.seats.forEach((seat, output) => {
      const outcome = outcomeOf(result, output);
      if (isFirst) {
        seat.taken = 1;
        if (!(outcome instanceof Error)) seat.next = outcome.token;
      } else {
        seat.results.push(outcome);
        if (seat.waiting) this.take(seat, seat.waiting);
      }
    });
    this.allow();
  }

  /** Serves a job, now or when its round is over; false when it is not what was worked out. */
  serve(job: T): boolean {
    const seat = this.seats.find(({ sequence }) => sequence === job.sequence);
    if (!seat || job.kv !== this.kv || !this.isOpen(seat)) return false;
    const expected = job.tokens.length === 1 && job.tokens[0] === seat.next && job.sampler === seat.sampler;
    if (!expected || job.logits || job.taps || seat.waiting) {
      this.forget(job.sequence);
      return false;
    }
    if (seat.results.length > 0) {
      this.take(seat, job);
      this.allow();
    } else {
      seat.waiting = job;
    }
    return true;
  }

  /** The run is over: jobs that it did not come to. */
  end(): T[] {
    this.live = false;
    return this.seats.flatMap((seat) => {
      const { waiting } = seat;
      seat.waiting = undefined;
      return waiting ? [waiting] : [];
    });
  }

  /** Nobody will come for this sequence's results any more; gives the job that waits for one. */
  forget(sequence: number): T | undefined {
    if (this.live) this.stop();
    const seat = this.seats.find((one) => one.sequence === sequence);
    if (!seat) return undefined;
    const { waiting } = seat;
    seat.results.length = 0;
    seat.next = -1;
    seat.waiting = undefined;
    return waiting;
  }

  private isOpen(seat: Seat<T>): boolean {
    return seat.next >= 0 && (this.live || seat.results.length > 0);
  }

  private take(seat: Seat<T>, job: T): void {
    const outcome = seat.results.shift() as Outcome;
    this.kv.commit(seat.sequence, 1);
    seat.waiting = undefined;
    seat.taken++;
    seat.next = outcome instanceof Error ? -1 : outcome.token;
    settle(job, outcome);
  }

  private allow(): void {
    if (this.stopped) return;
    const slowest = Math.min(...this.seats.map(({ taken }) => taken));
    Atomics.store(this.rounds, 0, Math.min(this.limit, slowest + ROUNDS_AHEAD));
  }
}
