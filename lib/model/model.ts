// A loaded model: its program on an executor, its tokenizer, and the sessions and chats that run on it.
import { totalmem } from 'node:os';
import { keptBytes } from '../caches/kept.js';
import type { CacheModel, CacheOptions, CacheType, KeyType } from '../caches/policy.js';
import {
  cacheWord,
  keyTypeOf,
  resolveCache,
  rowOf,
  savedPolicy,
  valueTypeOf,
  type ResolvedCache,
} from '../caches/resolve.js';
import type * as chats from '../session/chat.js';
import type { Chat, ChatOptions } from '../session/chat.js';
import { dropIdlePages, sessionSalt, type PrefixCache, type SessionPrefixOptions } from '../decode/prefix-cache.js';
import { checkNames, integer } from '../decode/option-checks.js';
import type { DraftSeat } from '../decode/speculation/drafters/draft-model.js';
import { TokenList } from '../decode/token-list.js';
import { Engine } from '../engine.js';
import { expected, VivaceError } from '../errors.js';
import { fingerprint } from '../session/fingerprint.js';
import type { ModelConfig } from '../formats/model-config.js';
import type { ModelSource } from '../formats/model-source.js';
import type { Tokenizer } from '../formats/tokenizer/tokenizer.js';
import type { WeightStore } from '../formats/weight-store.js';
import { estimateMemory, kvBytesPerToken, type MemoryEstimate } from '../models/memory.js';
import type { NativeCallProfile } from '../native.js';
import type { Executor, KvCache, KvDType } from '../program/executor.js';
import { shapeUnder } from '../program/kv-policy.js';
import { NativeExecutor } from '../program/native-executor.js';
import type { Program } from '../program/program.js';
import type * as sessionFiles from '../session/session-file.js';
import { Session, type SessionHost } from '../session/session.js';
import type { ModelExperts } from '../experts/model-experts.js';
import { describe, type ModelInfo } from './info.js';
import type * as references from './reference.js';

/** Positions are 32-bit numbers. */
const ENDLESS_TOKENS = 2 ** 30;

export interface SessionOptions {
  /**
   * Tokens that fit. Default and limit: the model's `info.contextLength`; under an endless cache policy (`window`,
   * `lmInfinite`) 2^30.
   */
  readonly contextLength?: number;
  /** How keys and values of past tokens are kept. Default: all of them, as f16. */
  readonly cache?: CacheOptions;
  /**
   * Take pages of other sessions whose text begins the same, and leave this one's for later ones; with a `salt`, only among
   * sessions of the same salt. Default: as the model was loaded.
   */
  readonly prefixCache?: boolean | SessionPrefixOptions;
}

/** Where tensors are. */
export type StoredWeights = Pick<WeightStore, 'info' | 'bind' | 'bytes'>;

/** What a model lends to heads that draft for it. */
export interface ModelBase {
  readonly config: ModelConfig;
  readonly store: WeightStore;
  readonly info: ModelInfo;
  /** Names and columns of what its runs may be asked for. */
  readonly taps: Executor['taps'];
  /** Tokens that may be drawn. */
  readonly vocab: number;
  /**
   * An executor of another program on the same device, with `threads` at most; weights that the model has in memory are read there.
   */
  companion(program: Program, of: (tensor: string) => StoredWeights, threads?: number): Executor;
  readonly executor: Executor;
}

export class Model {
  readonly tokenizer: Tokenizer;
  readonly info: ModelInfo;
  private readonly engine: Engine;
  private readonly caches = new Map<string, KvCache>();
  private readonly sessions = new Set<Session>();
  private identity: string | undefined;
  private closing: Promise<void> | undefined;

  /** @internal Made by `loadModel`. */
  constructor(
    private readonly source: ModelSource,
    tokenizer: Tokenizer,
    private readonly executor: Executor,
    private readonly store: WeightStore,
    contextLength: number,
    /** What stays of texts for others that begin the same. */
    readonly prefixCache: PrefixCache,
    readonly experts: ModelExperts,
  ) {
    this.tokenizer = tokenizer;
    this.info = describe(source, executor.name, contextLength);
    const { promptRows } = experts;
    this.engine = new Engine(executor, source.config.vocab, { relieve: dropIdlePages, promptRows });
  }

  /** An empty session. Its memory grows with its tokens. */
  createSession(options: SessionOptions = {}): Session {
    this.check();
    checkNames(options, ['contextLength', 'cache', 'prefixCache'], 'the session options');
    const cache = resolveCache(options.cache, this.cacheModel());
    const most = this.mostTokens(cache);
    return this.seat(
      cache,
      integer('contextLength', options.contextLength, most, 1, most),
      sessionSalt(options.prefixCache),
    ).session();
  }

  /**
   * A session as it was when it was saved; its context is this model's, if that is smaller. Throws FILE_*, FORMAT_*,
   * CONTEXT_FULL, and INVALID_ARGUMENT for a session of another model.
   */
  async restoreSession(file: string): Promise<Session> {
    this.check();
    if (typeof file !== 'string' || file === '') throw expected('a path', 'file', file);
    let begun: { seat: ReturnType<Model['seat']>; tokens: Int32Array } | undefined;
    try {
      const { readSession } = require('../session/session-file.js') as typeof sessionFiles;
      await readSession(file, {
        fingerprint: this.fingerprint(),
        begin: ({ keyType, valueType, contextLength, tokens, cellBytes, kept }) => {
          this.check();
          const cache = this.savedCache(keyType, valueType, kept);
          const fits = Math.min(contextLength, this.mostTokens(cache));
          if (tokens.length > fits) {
            throw new VivaceError('CONTEXT_FULL', `${file} holds ${tokens.length} tokens, the context is ${fits}`, {
              remedy: `Load the model with a contextLength of at least ${tokens.length}.`,
            });
          }
          const [cells = 0, shift = 0] = kept?.state ?? [];
          if (cells + shift > tokens.length) {
            throw new VivaceError('FORMAT_INVALID', `${file} has more in its cache than in its text`);
          }
          const seat = this.seat(cache, fits, undefined, kept?.state);
          if (!kept) seat.kv.prefixes?.withhold(seat.sequence, 0); // a file's word is good enough for one session, not for all
          begun = { seat, tokens };
          if (seat.kv.cellBytes !== cellBytes) {
            throw new VivaceError(
              'FORMAT_INVALID',
              `${file} has cells of ${cellBytes} bytes, not ${seat.kv.cellBytes}`,
            );
          }
          return kept && seat.kv.saved?.(seat.sequence);
        },
        write: (count, cells) => {
          this.check();
          begun?.seat.kv.writeCells(begun.seat.sequence, count, cells);
        },
      });
    } catch (error) {
      if (begun && !this.closing) this.engine.release(begun.seat.kv, begun.seat.sequence);
      throw error;
    }
    const { seat, tokens } = begun as unknown as NonNullable<typeof begun>;
    return seat.session(tokens);
  }

  /** @internal A sequence for drafts (lib/model/draft-model.ts), which the caller releases; it shares texts of the salt. */
  lend(salt?: string): DraftSeat {
    this.check();
    const { kv, sequence } = this.seat({ keyType: 'F16', valueType: 'F16', pageSize: 32 }, this.info.contextLength);
    const { engine: rounds, executor, tokenizer, info } = this;
    const vocab = Math.min(info.vocabSize, tokenizer.vocabSize);
    const { contextLength, vocabSize: logitsWidth } = info;
    const prefix = salt === undefined ? undefined : this.prefixCache.seat(kv, sequence, 32, salt);
    return { rounds, executor, tokenizer, kv, sequence, contextLength, logitsWidth, vocab, prefix };
  }

  /** @internal What heads that draft for this model share with it (lib/model/eagle.ts). */
  base(): ModelBase {
    this.check();
    const { source, store, executor, info, tokenizer } = this;
    return {
      config: source.config,
      store,
      info,
      executor,
      taps: executor.taps,
      vocab: Math.min(info.vocabSize, tokenizer.vocabSize),
      companion: (program, of, threads) => {
        if (executor instanceof NativeExecutor)
          return executor.companion(program, (tensor) => of(tensor).bind(tensor), threads);
        const { referenceExecutor } = require('./reference.js') as typeof references;
        return referenceExecutor(program, of);
      },
    };
  }

  /** A conversation in the model's own format. Throws UNSUPPORTED_FEATURE when there is no template for it. */
  createChat(options: ChatOptions & SessionOptions = {}): Chat {
    this.check();
    const names = ['system', 'template', 'messages', 'contextLength', 'cache', 'prefixCache'];
    checkNames(options, names, 'the chat options');
    const { contextLength, cache, prefixCache, ...chat } = options;
    const session = this.createSession({ contextLength, cache, prefixCache });
    try {
      const { Chat } = require('../session/chat.js') as typeof chats; // templates need an interpreter: 5 ms
      return new Chat(session, this.tokenizer, this.source.chatTemplates, chat);
    } catch (error) {
      session.dispose();
      throw error;
    }
  }

  /**
   * What this model takes with so many tokens in its sessions, in bytes; on a card as the card plans it. With a `cache` that has a policy: with one session of that
   * length, in whole pages; `kvMost` is what its keys and values take while it is read as one prompt.
   */
  estimateMemory(
    options: { contextLength?: number; keyType?: KeyType; valueType?: CacheType; cache?: CacheOptions } = {},
  ): MemoryEstimate & { readonly kvMost?: number } {
    this.check();
    checkNames(options, ['contextLength', 'keyType', 'valueType', 'cache'], 'the options of estimateMemory');
    const contextLength = integer('contextLength', options.contextLength, this.info.contextLength, 0, 2 ** 40);
    const keyType = options.cache?.keyType ?? options.keyType;
    const valueType = options.cache?.valueType ?? options.valueType;
    const types = { keyType: keyTypeOf(keyType), valueType: valueTypeOf(valueType) };
    const estimate = estimateMemory(this.source, { contextLength, ...types });
    const { weights, mapped } = this.executor.memory();
    const planned = this.executor instanceof NativeExecutor ? this.executor.roundBytes : undefined;
    const { activations } = { ...estimate, ...(planned === undefined ? {} : { activations: planned }) };
    const cache = options.cache && resolveCache(options.cache, this.cacheModel());
    const held = { ...estimate, weights, mapped, activations };
    if (!cache?.native) return { ...held, total: mapped + weights + estimate.kv + activations };
    const { held: kv, most: kvMost } = keptBytes(
      cache.native,
      {
        ...cache,
        shape: shapeUnder(cache.native, this.executor.kvShape, this.queryGroup()),
        keyType: cache.keyType as KvDType,
        ...(this.executor.parts === undefined ? {} : { byLayer: true }),
      },
      contextLength,
    );
    return { ...held, kv, kvMost, total: mapped + weights + kv + activations };
  }

  /** Bytes in use now: weights, keys and values that sessions have and that stay for others, intermediate values. */
  memoryUsage(): { weights: number; mapped: number; activations: number; kv: number; prefixCache: number } {
    this.check();
    const kv = [...this.caches.values()].reduce((sum, cache) => sum + cache.usedBytes(), 0);
    return { ...this.executor.memory(), kv, prefixCache: this.prefixCache.statistics().bytes };
  }

  /**
   * Resolves when all weights lie in the order that is read fastest, which otherwise happens between the first runs
   * (`repack` of LoadOptions); for benchmarks, and servers that warm up. Throws OUT_OF_MEMORY.
   */
  async repack(): Promise<void> {
    this.check();
    if (this.executor instanceof NativeExecutor) for await (const _ of this.executor.repack()) this.check();
  }

  /** @internal Starts or stops profiling; where the time of rounds went so far. Undefined when the executor cannot tell. */
  profile(on?: boolean): readonly NativeCallProfile[] | undefined {
    this.check();
    return this.executor instanceof NativeExecutor ? this.executor.profileCalls(on) : undefined;
  }

  get disposed(): boolean {
    return this.closing !== undefined;
  }

  /** Disposes of all sessions and gives all memory back: at once, or when the round in flight is over. */
  dispose(): void {
    this.closing ??= this.close();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Resolves when the memory is back. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
    await this.closing;
  }

  private close(): Promise<void> {
    this.engine.close();
    for (const session of [...this.sessions]) session.dispose();
    const free = (): void => {
      this.prefixCache.close();
      for (const kv of this.caches.values()) kv.dispose();
      this.executor.dispose();
      this.store.close();
    };
    if (!this.engine.flies) {
      free();
      return Promise.resolve();
    }
    return this.engine.idle().then(free);
  }

  private mostTokens({ policy }: ResolvedCache): number {
    return policy !== undefined && rowOf(policy).endless ? ENDLESS_TOKENS : this.info.contextLength;
  }

  /** How a saved session's cells are kept. Throws FORMAT_INVALID, and UNSUPPORTED_FEATURE on devices without policies. */
  private savedCache(keyType: KvDType, valueType: KvDType, kept: sessionFiles.KeptHeader | undefined): ResolvedCache {
    if (!kept) return { keyType, valueType, pageSize: 32 };
    const types = { keyType: cacheWord(keyType), valueType: cacheWord(valueType) };
    return resolveCache({ ...types, pageSize: kept.pageSize, policy: savedPolicy(kept.policy) }, this.cacheModel());
  }

  /** A place for a session that does not exist yet; `state`: that is being restored under a policy. */
  private seat(
    cache: ResolvedCache,
    contextLength: number,
    salt: string | false | undefined = undefined,
    state?: readonly number[],
  ) {
    const { keyType, valueType, pageSize, policy } = cache;
    const kv = this.cache(cache);
    const sequence = state ? restored(kv, state) : kv.create();
    const host: SessionHost = {
      rounds: this.engine,
      executor: this.executor,
      tokenizer: this.tokenizer,
      logitsWidth: this.info.vocabSize,
      vocab: Math.min(this.info.vocabSize, this.tokenizer.vocabSize),
      experts: () => this.experts.watch(),
      fingerprint: () => this.fingerprint(),
      joined: (session: Session) => this.sessions.add(session),
      left: (session: Session) => this.sessions.delete(session),
    };
    const prefix = salt === false ? undefined : this.prefixCache.seat(kv, sequence, pageSize, salt);
    const session = (tokens?: Int32Array): Session =>
      new Session(
        host,
        { kv, sequence, keyType, valueType, pageSize, contextLength, prefix, policy },
        new TokenList(tokens),
      );
    return { kv, sequence, session };
  }

  /** Sessions of the same types and policy share a cache, so that their rows share rounds. */
  private cache({ keyType, valueType, pageSize, policy, native }: ResolvedCache): KvCache {
    const name = `${keyType}/${valueType}/${pageSize}/${JSON.stringify(policy ?? 'full')}`;
    let kv = this.caches.get(name);
    if (kv === undefined) {
      const each = native?.snap?.granularity === 'queryHead' ? this.queryGroup() : 1;
      const pageBytes = each * pageSize * kvBytesPerToken(this.source.config, keyType, valueType);
      const maxPages = Math.min(1 << 20, Math.max(16, Math.floor(totalmem() / pageBytes)));
      const storage = { keyType, valueType, pageSize, maxPages };
      kv = this.executor.createKvCache(native === undefined ? storage : { ...storage, policy: native });
      this.caches.set(name, kv);
      if (policy === undefined || rowOf(policy).alone === undefined) this.prefixCache.adopt(kv);
    }
    return kv;
  }

  private queryGroup(): number {
    const { kvShape, kvLayers } = this.executor;
    return Math.max(...kvLayers.map(({ heads }) => heads)) / kvShape.kvHeads;
  }

  private cacheModel(): CacheModel {
    const { kvShape, kvLayers, name } = this.executor;
    const { contextLength, longGen } = this.source.config;
    return { kvShape, kvLayers, name, contextLength, ...(longGen ? { longGen } : {}) };
  }

  /** @internal Values of the hidden state that judges read (lib/model/judge). Throws UNSUPPORTED_FEATURE. */
  hiddenWidth(): number {
    this.check();
    const width = this.executor.taps['hidden'];
    if (width !== undefined) return width;
    throw new VivaceError('UNSUPPORTED_FEATURE', 'This model has no hidden state to judge by');
  }

  /** @internal Tells models apart. */
  fingerprint(): string {
    return (this.identity ??= fingerprint(this.source));
  }

  private check(): void {
    if (this.closing) throw new VivaceError('DISPOSED', 'The model was disposed');
  }
}

/** Throws FORMAT_INVALID for numbers that no sequence has. */
function restored(kv: KvCache, state: readonly number[]): number {
  if (!kv.restore) {
    throw new VivaceError('UNSUPPORTED_FEATURE', 'The reference executor restores no sessions with a cache policy');
  }
  try {
    return kv.restore(state);
  } catch (cause) {
    if (!(cause instanceof VivaceError) || cause.code !== 'INVALID_ARGUMENT') throw cause;
    throw new VivaceError('FORMAT_INVALID', 'The saved session is none that its cache policy makes', { cause });
  }
}
