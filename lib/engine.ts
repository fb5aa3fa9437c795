// Merges the jobs of all sequences of one model into rounds: one native run each, decoding rows first, prompts in chunks.
import { VivaceError } from './errors.js';
import { Ahead, outcomeOf, settle, verdictOf, withLoad, type Outcome } from './decode/ahead.js';
import {
  advance,
  buildRequest,
  chunkOf,
  cutTogether,
  draftingOf,
  endDraft,
  fitDraft,
  hearTaps,
  isOpen,
  isUnderWay,
  keepRows,
  kindOf,
  layersOf,
  loadOf,
  planOf,
  readOnce,
  retract,
  rowsOfDraft,
  treeOf,
  withProbe,
} from './decode/round-request.js';
import type { Entry, Place, Share } from './decode/round-request.js';
import type { Job, JobResult, Rounds, Ticket } from './decode/rounds.js';
import type { Executor, KvCache, RunRequest, RunResult } from './program/executor.js';

export interface EngineOptions {
  /** Rows of a round at most. Default 512: more does not make a row cheaper. */
  readonly maxRows?: number;
  /** Prompt rows of a round in which others decode, at most. Default 128. */
  readonly sharedRows?: number;
  /** Prompt rows of a round, however long it takes (where weights are read for each). Default: as many as are over soon. */
  readonly promptRows?: number | undefined;
  /** Called when memory is lacking: gives back what nobody needs now; false when there is nothing. */
  readonly relieve?: () => boolean;
}

/** At most so many rows left count as decoding: they are never cut into chunks. */
const DECODE_ROWS = 16;

// How long a round of prompts may take: until an abort is heard, and until others get their next token. Chunks are cut to
// that by what rows have cost so far; below LEAST_ROWS a row costs more the fewer there are.
const PROMPT_MS = 200;
const SHARED_MS = 60;
const LEAST_ROWS = 32;
const FIRST_ROWS = 64; // before anything is known

export class Engine implements Rounds {
  private readonly maxRows: number;
  private readonly sharedRows: number;
  private readonly promptRows: number | undefined;
  private queue: Entry[] = [];
  private flying: readonly Share[] = [];
  private flight: Promise<void> | undefined; // the run in flight
  private aheads: Ahead<Entry>[] = []; // the one in flight is the last
  private readonly leaving: { kv: KvCache; sequence: number }[] = [];
  private running: Promise<void> | undefined;
  private lastKv: KvCache | undefined;
  private closed = false;
  private readonly relieve: () => boolean;
  private rowMs: number | undefined; // what a row costs in rounds of many

  /** `vocab`: columns of the logits. */
  constructor(
    private readonly executor: Executor,
    private readonly vocab: number,
    options: EngineOptions = {},
  ) {
    this.maxRows = options.maxRows ?? 512;
    this.sharedRows = options.sharedRows ?? 128;
    this.promptRows = options.promptRows;
    this.relieve = options.relieve ?? (() => false);
  }

  submit(job: Job): Ticket {
    if (this.closed) throw new VivaceError('DISPOSED', 'The model was disposed');
    let entry: Entry | undefined;
    const done = new Promise<JobResult | undefined>((resolve, reject) => {
      const voters = job.prompt ? (job.kv.voters?.(job.sequence, job.tokens.length) ?? 0) : 0;
      const layers = layersOf(job, voters, this.executor);
      entry = { ...job, done: 0, cancelled: false, voters, layers, layer: 0, resolve, reject };
      this.accept(entry);
    });
    return { done, cancel: () => entry && this.cancel(entry) };
  }

  private accept(entry: Entry): void {
    for (const ahead of this.aheads) if (ahead.serve(entry)) return;
    for (const ahead of this.aheads) if (ahead.running) ahead.stop(); // the next round is for all
    this.queue.push(entry);
    this.running ??= this.run();
  }

  async settle(kv: KvCache, sequence: number): Promise<void> {
    this.forget(kv, sequence);
    if (this.isFlying(kv, sequence)) await this.flight;
  }

  async landed(kv: KvCache, sequence: number): Promise<void> {
    if (this.isFlying(kv, sequence)) await this.flight;
  }

  private forget(kv: KvCache, sequence: number): void {
    for (const ahead of this.aheads) {
      const waiting = ahead.has(kv, sequence) ? ahead.forget(sequence) : undefined;
      if (waiting) this.cancel(waiting);
    }
  }

  release(kv: KvCache, sequence: number): void {
    for (const entry of [...this.queue]) if (entry.kv === kv && entry.sequence === sequence) this.cancel(entry);
    this.forget(kv, sequence);
    if (this.isFlying(kv, sequence)) this.leaving.push({ kv, sequence });
    else kv.release(sequence);
  }

  /** A round is in flight. */
  get flies(): boolean {
    return this.flying.length > 0;
  }

  /** Resolves when no round is in flight and no job waits. */
  async idle(): Promise<void> {
    await this.running;
  }

  /** Cancels everything; later jobs are refused. */
  close(): void {
    this.closed = true;
    for (const { kv, sequences } of this.aheads) for (const sequence of sequences) this.forget(kv, sequence);
    for (const entry of [...this.queue]) this.cancel(entry);
  }

  private cancel(entry: Entry): void {
    entry.cancelled = true; // a job in flight is settled when its round is over
    for (const ahead of this.aheads) if (ahead.running && ahead.has(entry.kv, entry.sequence)) ahead.stop();
    if (this.flying.some((share) => share.entry === entry)) return;
    this.leave(entry);
  }

  /** The job ends without a result; nothing stays of a prompt that has passed some layers. */
  private leave(entry: Entry): void {
    this.queue = this.queue.filter((other) => other !== entry);
    if (entry.layers > 0) entry.kv.truncate(entry.sequence, entry.kv.length(entry.sequence));
    entry.resolve(undefined);
  }

  private isFlying(kv: KvCache, sequence: number): boolean {
    return this.flying.some(({ entry }) => entry.kv === kv && entry.sequence === sequence);
  }

  private async run(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve)); // jobs of this turn of the event loop begin together
    while (true) {
      const shares = this.plan();
      if (shares.length === 0) break;
      this.flying = shares;
      await (this.flight = this.drafted(shares).then((ready) => this.fly(ready)));
      this.flying = [];
      this.flight = undefined;
      this.land();
      for (const { kv, sequence } of this.leaving.splice(0)) kv.release(sequence);
      // Those who just got a token ask for the next one within three microtasks, and share the next round.
      for (let hop = 0; hop < 8; hop++) await undefined;
    }
    this.running = undefined;
  }

  /** Jobs that the run did not come to get a round of their own. */
  private land(): void {
    const left = this.aheads.flatMap((ahead) => (ahead.running ? ahead.end() : []));
    this.aheads = this.aheads.filter((ahead) => !ahead.over);
    for (const entry of left) {
      if (entry.cancelled) entry.resolve(undefined);
      else this.queue.push(entry);
    }
  }

  /** Jobs of one cache, the caches taking turns: first all that decode, then prompts by even shares of what is left. */
  private plan(): Share[] {
    const caches = [...new Set(this.queue.map(({ kv }) => kv))];
    if (caches.length === 0) return [];
    const turn = this.lastKv === undefined ? 0 : caches.indexOf(this.lastKv) + 1;
    const kv = (this.lastKv = caches[turn % caches.length]);
    const own = this.queue.filter((entry) => entry.kv === kv);
    const entries = own.filter((entry) => kindOf(entry) === kindOf(own[0]));
    if (own[0].layers > 0) return this.planLayer(entries);
    const left = ({ tokens, done }: Entry): number => tokens.length - done;
    const shares: Share[] = [];
    let room = this.maxRows;
    let free = this.maxRows; // for drafts, which no limit for prompts makes shorter
    const spend = (rows: number): void => void ((room -= rows), (free -= rows));
    const take = (entry: Entry, rows: number): void => {
      const ends = rows === left(entry) && !entry.logits && entry.voters === 0;
      const plan = ends ? planOf(entry, entries.length, this.queue.length === 1, free - rows) : undefined;
      if (plan === 'failed') return void (this.queue = this.queue.filter((other) => other !== entry));
      spend(rows);
      if (plan?.draft instanceof Promise) {
        const most = Math.min(free, plan.drafting?.maxNodes ?? 0);
        shares.push({ entry, rows, draft: undefined, room: most, plan });
        spend(most);
        return;
      }
      const given = ends ? (entry.draft ?? plan?.draft) : undefined;
      if (isOpen(given))
        return void shares.push({ entry, rows, draft: undefined, open: given, ...(plan ? { plan } : {}) });
      const draft = fitDraft(given, free);
      spend(rowsOfDraft(draft));
      shares.push({ entry, rows, draft, ...(plan ? { plan } : {}) });
    };
    for (const entry of entries.filter((one) => left(one) <= DECODE_ROWS)) {
      if (left(entry) > room || (shares.length > 0 && left(entry) + (entry.whole ?? 0) > free)) break;
      take(entry, left(entry));
    }
    room = Math.min(
      room,
      shares.length > 0 ? Math.min(this.sharedRows, this.rowsOf(SHARED_MS)) : this.rowsOf(PROMPT_MS),
    );
    const prompts = entries.filter((one) => left(one) > DECODE_ROWS).slice(0, room);
    prompts.forEach((entry, index) => {
      let rows = chunkOf(entry, Math.max(0, Math.ceil(room / (prompts.length - index))));
      // It ends where its draft finds room.
      if (rows === left(entry) && rows + (entry.whole ?? 0) > free && entry.voters === 0) rows--;
      if (rows > 0) take(entry, rows);
    });
    // Whoever was served goes to the end, so that more jobs than rows take turns.
    const served = new Set(shares.map(({ entry }) => entry));
    this.queue = [...this.queue.filter((entry) => !served.has(entry)), ...served];
    return shares;
  }

  /** Rows of one prompt in one layer: only one prompt at a time has all of a layer's keys and values. */
  private planLayer(entries: readonly Entry[]): Share[] {
    const entry = entries.find(isUnderWay) ?? entries[0];
    const rows = chunkOf(entry, this.rowsOf(this.queue.length > 1 ? SHARED_MS : PROMPT_MS) * entry.layers);
    this.queue = [...this.queue.filter((other) => !entries.includes(other)), ...entries];
    return [{ entry, rows, draft: undefined }];
  }

  private rowsOf(ms: number): number {
    if (this.promptRows !== undefined || this.rowMs === undefined) return this.promptRows ?? FIRST_ROWS;
    return Math.max(LEAST_ROWS, Math.floor(ms / this.rowMs / LEAST_ROWS) * LEAST_ROWS);
  }

  private learn(rows: number, ms: number): void {
    if (rows < LEAST_ROWS) return;
    this.rowMs = this.rowMs === undefined ? ms / rows : 0.7 * this.rowMs + (0.3 * ms) / rows;
  }

  /** The same with drafts that were still to come; a job whose draft fails has been rejected. */
  private async drafted(shares: readonly Share[]): Promise<readonly Share[]> {
    const ready: Share[] = [];
    for (const share of shares) {
      const { entry, plan, room = 0 } = share;
      if (!(plan?.draft instanceof Promise)) {
        ready.push(share);
        continue;
      }
      try {
        const draft = await plan.draft;
        ready.push(isOpen(draft) ? { ...share, open: draft } : { ...share, draft: fitDraft(draft, room) });
      } catch (error) {
        this.queue = this.queue.filter((other) => other !== entry);
        entry.reject(error);
      }
    }
    return cutTogether(ready, this.maxRows);
  }

  /** Runs the shares together; when that fails, one by one, so that only the job at fault hears of it. */
  private async fly(shares: readonly Share[]): Promise<void> {
    if (shares.length === 0) return;
    const lengths = shares.map(({ entry: { kv, sequence } }) => kv.length(sequence));
    try {
      await this.round(shares);
    } catch (error) {
      shares.forEach(({ entry: { kv, sequence } }, index) => {
        if (kv.length(sequence) > lengths[index]) kv.truncate(sequence, lengths[index]);
      });
      const lacksMemory = error instanceof VivaceError && error.code === 'OUT_OF_MEMORY';
      if (lacksMemory && this.relieve()) return this.fly(shares);
      if (shares.length > 1) {
        for (const share of shares) await this.fly([share]);
        return;
      }
      const [{ entry, rows, draft }] = shares;
      // A second reading is worth no error.
      if ((draft?.again ?? draft?.probe) && lacksMemory) {
        return this.fly([{ entry, rows, draft: readOnce(draft) }]);
      }
      entry.reject(error);
      this.leave(entry);
    }
  }

  private async round(shares: readonly Share[]): Promise<void> {
    const { request, places } = buildRequest(shares, this.vocab, this.executor);
    const goesOn = this.mayGoOn(shares);
    const begins = shares.some(({ plan }) => plan?.drafting?.begins);
    const ahead =
      goesOn || begins
        ? new Ahead(
            shares[0].entry.kv,
            shares.map(({ entry }) => entry),
            shares.map(({ plan }) => plan),
          )
        : undefined;
    if (!goesOn) ahead?.stop(); // somebody came meanwhile
    const drafting = draftingOf(shares);
    const begin = performance.now();
    if (drafting) {
      const results: RunResult[] = [];
      const told = (result: RunResult): void => void results.push(result);
      try {
        await this.executor.run(shares[0].entry.kv, { ...request, ahead: { ...drafting, told } });
      } catch (error) {
        // Each will draft again by itself, from where its sampler was.
        shares.forEach(({ entry }, index) => retract(entry, results, places[index].output));
        throw error;
      }
      this.learn(request.tokens.length, (performance.now() - begin) / Math.max(1, results.length));
      return this.share(shares, places, request, results[0], results);
    }
    let first = true;
    const told = (result: RunResult): void => {
      if (first) {
        this.learn(request.tokens.length / Math.max(1, shares[0].entry.layers), performance.now() - begin);
        keepRows(shares, request, ahead !== undefined);
      }
      const outcomes = ahead?.told(result);
      if (first) this.share(shares, places, request, result, undefined, outcomes);
      first = false;
    };
    if (!ahead) return told(await this.executor.run(shares[0].entry.kv, request));
    this.aheads = [...this.aheads.filter((other) => !other.over), ahead];
    const { rounds, limit, ends } = ahead;
    const goingOn = { rounds, limit, ends, told, ...ahead.drafters(shares.map(({ draft }) => draft)) };
    try {
      await this.executor.run(shares[0].entry.kv, { ...request, ahead: goingOn });
    } catch (error) {
      if (first) throw error; // else the next round will show what is wrong, and with whom
    }
  }

  /** Nobody else waits for a round, and everybody in this one wants the next one, too. */
  private mayGoOn(shares: readonly Share[]): boolean {
    return (
      shares.length === this.queue.length &&
      shares.every(({ entry, rows, plan }) => {
        const { ahead, sampler, logits, done, tokens, cancelled } = entry;
        return (
          ahead &&
          ahead.limit > 1 &&
          entry.voters === 0 &&
          !entry.draft &&
          sampler &&
          !logits &&
          (!entry.taps || plan?.drafting?.taps) &&
          done + rows === tokens.length &&
          !cancelled
        );
      })
    );
  }

  /** Gives each job what a round did for it. */
  private share(
    shares: readonly Share[],
    places: readonly Place[],
    request: RunRequest,
    result: RunResult,
    all?: readonly RunResult[], // of a round that drafts
    outcomes?: readonly Outcome[], // of one that may go on
  ): void {
    const load = loadOf(shares, request, result);
    const told = (entry: Entry, outcome: Outcome): void => settle(entry, withLoad(outcome, load));
    shares.forEach(({ entry, rows, draft }, index) => {
      const { logits } = request;
      const { output, wanted } = places[index];
      if (entry.logits && logits && wanted > 0 && logits.buffer !== entry.logits.out.buffer) {
        const from = Math.max(0, entry.done - entry.logits.firstRow) * this.vocab;
        entry.logits.out.set(logits.subarray(output * this.vocab, (output + wanted) * this.vocab), from);
      }
      if (entry.taps && !entry.cancelled && !outcomes) hearTaps(shares, index, request, result, places[index]);
      if (!advance(entry, rows)) return entry.cancelled ? this.leave(entry) : undefined;
      this.queue = this.queue.filter((other) => other !== entry);
      if (outcomes) told(entry, outcomes[index]);
      else if (entry.drafting && all) settle(entry, endDraft(entry, entry.drafting, all, output));
      else if (entry.tree) settle(entry, treeOf(request, result, output));
      else if (entry.sampler && draft) {
        const verdict = verdictOf(result, output, 1 + draft.tokens.length, draft.again !== undefined);
        told(entry, withProbe(verdict, result, output, draft));
      } else if (entry.sampler) told(entry, outcomeOf(result, output + wanted - 1));
      else entry.resolve({ token: -1, logprob: NaN, top: [] });
    });
  }
}
