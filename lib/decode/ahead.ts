// Tokens drawn before anybody asked for them: a run goes on by itself with what it draws, and hands out the results to the
// jobs that come for them, one per token. What nobody comes for was never said: the cache has not heard of it.
import type { KvCache, RowDrafting, RowSampler, RunResult, SeatResult } from '../program/executor.js';
import type { Job, JobDraft, JobPlan, JobResult, RoundLoad } from './rounds.js';

/**
 * How many rounds a run may be ahead of the slowest of its sequences. With one it would wait for JavaScript after each
 * token, for 0.3 to 0.5 ms when the weights have driven everything else out of the caches; more bridges pauses of the
 * JavaScript thread. They are lost when the caller stops.
 */
const ROUNDS_AHEAD = 8;

// Rounds of a run: between two runs pass 0.7 ms, but cells are reserved for all rounds of all sequences.
const MOST_CELLS = 256;
const LEAST_ROUNDS = 64;

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

/** What the verification of a draft gave; `root` is its first output, `rows` how many it has with the root. */
export function verdictOf(result: RunResult, root: number, rows: number, readTwice = false): Outcome {
  const said: Outcome[] = [];
  let changed = 0;
  for (let row = 0; row < rows; row++) {
    const flags = result.kept[root + row];
    if ((flags & 1) === 0) continue;
    if ((flags & 4) !== 0) changed++;
    const before = said[said.length - 1]; // says this row's token
    if ((flags & 2) !== 0 && before && !(before instanceof Error)) said[said.length - 1] = { ...before, judged: true };
    said.push(outcomeOf(result, root + row));
  }
  // After an error behind kept tokens, these were said; who goes on from there meets it again.
  if (said.length > 1 && said[said.length - 1] instanceof Error) said.pop();
  const last = said[said.length - 1];
  if (last instanceof Error) return last;
  return {
    ...last,
    accepted: said.slice(0, -1).map((one) => ({ ...(one as JobResult), drafted: true as const })),
    verified: true,
    ...(readTwice ? { changed } : {}),
  };
}

/** What a round of a run that may go on gave the sequence `place`, whose first output is `output`. */
function outcomeAt(result: RunResult, place: number, output: number, drafts: boolean): Outcome {
  const { ms, seats } = result;
  const { rows, ...seat } = seats?.[place] ?? noSeat;
  const outcome = rows > 1 ? verdictOf(result, output, rows) : outcomeOf(result, output);
  if (outcome instanceof Error) return outcome;
  return {
    ...outcome,
    ...(ms === undefined ? {} : { ms }),
    ...(drafts ? { seat: { drafted: rows - 1, ...seat } } : {}),
  };
}

const noSeat: SeatResult = { rows: 1, depth: 0, probed: 0, hoped: 0, draftMs: 0 };

const loadOf = (outcomes: readonly Outcome[]): Omit<RoundLoad, 'rows'> => ({
  sequences: outcomes.length,
  tokens: outcomes.reduce((sum, one) => sum + (one instanceof Error ? 0 : 1 + (one.accepted?.length ?? 0)), 0),
  prompt: false,
});

export const withLoad = (outcome: Outcome, load: RoundLoad | undefined): Outcome =>
  load && !(outcome instanceof Error) ? { ...outcome, load } : outcome;

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
  private hasBegun = false; // the first round is over

  constructor(
    readonly kv: KvCache,
    private readonly jobs: readonly T[],
    private readonly plans: readonly (JobPlan | undefined)[],
  ) {
    const most = Math.max(LEAST_ROUNDS, Math.floor(MOST_CELLS / jobs.length));
    this.limit = Math.min(
      most,
      ...jobs.map(({ ahead }, i) => Math.min(ahead?.limit ?? 1, plans[i]?.rounds ?? Infinity)),
    );
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

  /** What drafts for its sequences, if anything does for one of them; `drafts`: those of the first round. */
  drafters(drafts: readonly (JobDraft | undefined)[]): { drafters?: (RowDrafting | null)[] } {
    const drafters = this.plans.map((plan, i) => {
      const { drafting = null } = plan ?? {};
      const probe = drafts[i]?.probe;
      if (!drafting?.prober || !probe) return drafting;
      const { sampler } = drafting.prober;
      return { ...drafting, prober: { sampler, rows: probe.tokens.length, outputs: probe.outputs.length } };
    });
    return drafters.some((one) => one !== null) ? { drafters } : {};
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

  /** A round is over. What the first one gave is for the jobs that it was made for, in their order; they are settled. */
  told(result: RunResult): readonly Outcome[] {
    let output = 0;
    let probed = 0;
    const given = this.seats.map((_, place) => {
      const outcome = outcomeAt(result, place, output, this.plans[place]?.drafting !== undefined);
      output += result.seats?.[place].rows ?? 1;
      probed += result.seats?.[place].probed ?? 0;
      return outcome;
    });
    const load = given.length > 1 ? { ...loadOf(given), rows: output + probed } : undefined;
    const outcomes = this.seats.map((seat, place) => {
      const outcome = withLoad(given[place], load);
      if (this.hasBegun) {
        seat.results.push(outcome);
        if (seat.waiting) this.take(seat, seat.waiting);
      } else {
        seat.taken = 1;
        if (!(outcome instanceof Error)) seat.next = outcome.token;
      }
      return outcome;
    });
    this.hasBegun = true;
    this.allow();
    return outcomes;
  }

  /** Serves a job, now or when its round is over; false when it is not what was worked out. */
  serve(job: T): boolean {
    const place = this.seats.findIndex(({ sequence }) => sequence === job.sequence);
    const seat = this.seats[place] as Seat<T> | undefined;
    if (!seat || job.kv !== this.kv || !this.isOpen(seat)) return false;
    const heard = this.plans[place]?.drafting?.taps !== undefined;
    const expected = job.tokens.length === 1 && job.tokens[0] === seat.next && job.sampler === seat.sampler;
    if (!expected || job.logits || (job.taps && !heard) || seat.waiting) {
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
    const kept = outcome instanceof Error ? 0 : (outcome.accepted?.length ?? 0);
    this.kv.commit(seat.sequence, 1 + kept);
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
