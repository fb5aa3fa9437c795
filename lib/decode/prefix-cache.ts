// Pages of the KV cache that outlive their sequences, so that a prompt that begins like an earlier text is not computed again.
// What is kept and who may have it is decided here; pages and their hashes are native (cpp/caches/prefix_pages.cpp).
import { totalmem } from 'node:os';
import { checkNames, integer } from './option-checks.js';
import type { TokenList } from './token-list.js';
import { expected } from '../errors.js';
import type { KvCache, PrefixPages } from '../program/executor.js';

export interface PrefixCacheOptions {
  /**
   * Memory of pages that no session has, at most; those that longest nobody had go first, and all of them before a session
   * would be without memory. Default: a sixteenth of this machine's memory, or an eighth of the graphics card's.
   */
  readonly bytes?: number;
  /** Only sessions of the same salt share. Default: the empty one. */
  readonly salt?: string;
}

export interface SessionPrefixOptions {
  /** Instead of the model's. */
  readonly salt?: string;
}

export interface PrefixCacheStatistics {
  /** Generations that looked for their prompts here, and those that found a beginning. */
  readonly requests: number;
  readonly hits: number;
  /** Tokens that these generations' own sessions did not have, and those of them that were found. */
  readonly promptTokens: number;
  readonly savedTokens: number;
  /** Pages that may be found, those of live sessions included. */
  readonly pages: number;
  /** Memory of pages that no session has, and the most that it may be. */
  readonly bytes: number;
  readonly limit: number;
  /** Pages that had to go. */
  readonly evictions: number;
}

type SharingKv = KvCache & { readonly prefixes: PrefixPages };

/**
 * Those of all models of this thread: when one of them lacks memory, the others' pages that nobody has make room, too. Models
 * that were lost without being disposed of may go.
 */
const open = new Set<WeakRef<PrefixCache>>();

/** Gives back the memory of all pages that no session has; false when there are none. */
export function dropIdlePages(): boolean {
  let some = false;
  for (const reference of open) {
    const cache = reference.deref();
    if (cache === undefined) open.delete(reference);
    else some = cache.dropIdle() || some;
  }
  return some;
}

/** Of one model: `model.prefixCache`. */
export class PrefixCache {
  private readonly kvs: SharingKv[] = [];
  /** @internal The model is gone, and its caches with it. */
  closed = false;
  private readonly reference = new WeakRef(this);
  private requests = 0;
  private hits = 0;
  private promptTokens = 0;
  private savedTokens = 0;

  /** @internal `bytes` 0: there is none. */
  constructor(
    private readonly bytes: number,
    private readonly salt: string,
  ) {
    if (bytes > 0) open.add(this.reference);
  }

  get enabled(): boolean {
    return this.bytes > 0;
  }

  statistics(): PrefixCacheStatistics {
    const { requests, hits, promptTokens, savedTokens, bytes: limit } = this;
    let [pages, bytes, evictions] = [0, 0, 0];
    for (const { prefixes, pageBytes } of this.kvs) {
      const counts = prefixes.counts();
      pages += counts.published;
      bytes += counts.idle * pageBytes;
      evictions += counts.evictions;
    }
    return { requests, hits, promptTokens, savedTokens, pages, bytes, limit, evictions };
  }

  /** Forgets all texts. Sessions keep what they have. */
  clear(): void {
    for (const { prefixes } of this.kvs) prefixes.forget();
  }

  /** @internal Caches of a model get even shares of its memory. */
  adopt(kv: KvCache): void {
    if (!this.enabled || !kv.prefixes) return;
    this.kvs.push(kv as SharingKv);
    for (const { prefixes, pageBytes } of this.kvs) {
      prefixes.keepIdle(Math.min(2 ** 30, Math.floor(this.bytes / this.kvs.length / pageBytes)));
    }
  }

  /** @internal What a session shares; undefined where it does not. */
  seat(kv: KvCache, sequence: number, pageSize: number, salt = this.salt): PrefixSeat | undefined {
    if (!this.kvs.some((own) => own === kv)) return undefined;
    return new PrefixSeat(this, kv as SharingKv, sequence, pageSize, salt);
  }

  /** @internal */
  dropIdle(): boolean {
    return this.kvs.reduce((some, { prefixes }) => prefixes.dropIdle() > 0 || some, false);
  }

  /** @internal A generation had to compute so many tokens, and found so many. */
  count(prompt: number, saved: number): void {
    this.requests++;
    if (saved > 0) this.hits++;
    this.promptTokens += prompt;
    this.savedTokens += saved;
  }

  /** @internal */
  close(): void {
    this.closed = true;
    open.delete(this.reference);
    this.kvs.length = 0;
  }
}

/** What one sequence takes of others, and gives. Its cells are those of the first tokens of the lists that come. */
export class PrefixSeat {
  private pages = 0; // full ones that have been published
  private own = Infinity; // its first cell that does not follow from the text alone

  constructor(
    private readonly cache: PrefixCache,
    private readonly kv: SharingKv,
    private readonly sequence: number,
    private readonly pageSize: number,
    readonly salt: string,
  ) {}

  /** The same for a fork of the sequence. */
  of(sequence: number): PrefixSeat {
    const seat = new PrefixSeat(this.cache, this.kv, sequence, this.pageSize, this.salt);
    seat.own = this.own;
    return seat;
  }

  /** Takes what others have of a text, but for its last token, whose logits are wanted; how many tokens were new. */
  share(tokens: TokenList): number {
    const { kv, sequence, pageSize } = this;
    if (this.cache.closed) return 0;
    const before = kv.length(sequence);
    const most = tokens.length - 1;
    const found = Math.floor(most / pageSize) > Math.floor(before / pageSize);
    const after = found ? kv.prefixes.share(sequence, tokens.slice(0, most), this.salt) : before;
    this.cache.count(tokens.length - before, after - before);
    return after - before;
  }

  /** Gives what has been computed of a text. */
  publish(tokens: TokenList): void {
    const { kv, sequence, pageSize } = this;
    if (this.cache.closed) return;
    const full = Math.floor(Math.min(tokens.length, kv.length(sequence), this.own) / pageSize);
    if (full <= this.pages) return;
    kv.prefixes.publish(sequence, tokens.slice(0, full * pageSize), this.salt);
    this.pages = full;
  }

  /** From the token at `from` on, what is computed does not follow from the text alone. */
  keep(from: number): void {
    this.own = Math.min(this.own, from);
  }

  /** The text was cut. */
  cut(length: number): void {
    if (length <= this.own) this.own = Infinity;
    this.pages = Math.min(this.pages, Math.floor(length / this.pageSize));
  }

  /** What is computed of a text from now on, its last token at least, stays the sequence's own. */
  withhold(tokens: TokenList): void {
    const { kv, sequence } = this;
    const from = Math.min(kv.length(sequence), tokens.length - 1);
    kv.truncate(sequence, from); // else a cut to this would be taken for the end of what is withheld
    kv.prefixes.withhold(sequence, from);
  }
}

/** Throws INVALID_ARGUMENT. `memory`: bytes where pages lie. */
export function createPrefixCache(given: boolean | PrefixCacheOptions | undefined, memory: number): PrefixCache {
  if (given === false) return new PrefixCache(0, '');
  const options = given === true || given === undefined ? {} : given;
  checkNames(options, ['bytes', 'salt'], 'the options of prefixCache');
  return new PrefixCache(integer('prefixCache.bytes', options.bytes, memory, 1, 2 ** 50), saltOf(options.salt) ?? '');
}

/** A session's own salt; false: it shares nothing. */
export function sessionSalt(given: boolean | SessionPrefixOptions | undefined): string | undefined | false {
  if (given === false) return false;
  const options = given === true || given === undefined ? {} : given;
  checkNames(options, ['salt'], 'the options of prefixCache');
  return saltOf(options.salt);
}

function saltOf(salt: unknown): string | undefined {
  if (salt !== undefined && typeof salt !== 'string') throw expected('a string', 'prefixCache.salt', salt);
  return salt;
}

/** This machine's memory, or what the system lets this process have of it. */
export const hostMemory = (): number => Math.min(totalmem(), process.constrainedMemory() || Infinity);
