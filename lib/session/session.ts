// One sequence of a model: its tokens, its place in the KV cache, and what can be done with it.
import { expected, VivaceError } from '../errors.js';
import type { CachePolicy } from '../caches/policies.js';
import { refuseKeys, rowOf } from '../caches/resolve.js';
import type { PrefixSeat } from '../decode/prefix-cache.js';
import type { Piece } from '../decode/answer.js';
import { decode, type DecodeTarget, type GenerateResult } from '../decode/loop.js';
import { resolveOptions, type GenerateOptions, type ResolvedOptions } from '../decode/options.js';
import type { Rounds } from '../decode/rounds.js';
import { TokenList } from '../decode/token-list.js';
import type { Tokenizer } from '../formats/tokenizer/tokenizer.js';
import type { Executor, KeyDType, KvCache, KvDType } from '../program/executor.js';
import type { SavedCells } from '../program/kv-policy.js';
import type * as sessionFiles from './session-file.js';

/** What a model lends to its sessions. */
export interface SessionHost {
  readonly rounds: Rounds;
  readonly executor: Executor;
  readonly tokenizer: Tokenizer;
  /** Columns of the logits. */
  readonly logitsWidth: number;
  /** Tokens that may be drawn. */
  readonly vocab: number;
  readonly experts?: DecodeTarget['experts'];
  /** Identifies the model in saved sessions. */
  fingerprint(): string;
  /** The session is gone. */
  left(session: Session): void;
  joined(session: Session): void;
}

/** A prompt: text, or tokens as the tokenizer gives them. */
export type Prompt = string | ArrayLike<number>;

export interface SessionSeat {
  readonly kv: KvCache;
  readonly sequence: number;
  readonly keyType: KeyDType;
  readonly valueType: KvDType;
  readonly pageSize: number;
  readonly contextLength: number;
  /** What it shares with others. */
  readonly prefix?: PrefixSeat | undefined;
  /** Absent: the full cache. */
  readonly policy?: CachePolicy | undefined;
}

export class Session {
  /** Of the last generation, also of one that was left early. */
  lastResult: GenerateResult | undefined;
  private busy = false;
  private gone = false;

  /** @internal Made by `Model.createSession`, `Model.restoreSession` and `fork`. */
  constructor(
    private readonly host: SessionHost,
    private readonly seat: SessionSeat,
    private readonly list: TokenList,
  ) {
    host.joined(this);
  }

  /** Everything said so far, prompts and answers. A copy. */
  get tokens(): Int32Array {
    return this.list.slice();
  }

  /** How many tokens that is. */
  get length(): number {
    return this.list.length;
  }

  /** How many tokens fit. */
  get contextLength(): number {
    return this.seat.contextLength;
  }

  get disposed(): boolean {
    return this.gone;
  }

  /**
   * Continues the session with a prompt and streams the answer. The first prompt of a session gets the model's BOS token;
   * later ones are put behind what was said (by SentencePiece tokenizers with their leading space). An empty prompt goes
   * on where the last answer ended.
   *
   * The answer becomes part of the session; what belongs to a stop string and the token that ends a turn do not. When a
   * generation fails, or is aborted, before its first token, the session is as it was before. Leaving the loop early stops
   * the generation.
   *
   * Throws INVALID_ARGUMENT, CONTEXT_FULL, DISPOSED at once; BUSY, NUMERIC and OUT_OF_MEMORY from the iterator.
   */
  generate(prompt: Prompt, options?: GenerateOptions): AsyncGenerator<Piece, GenerateResult, void> {
    this.check();
    const resolved = this.resolve(options);
    const fresh = this.list.length === 0;
    const encoded = this.encode(prompt);
    if (this.list.length + encoded.length === 0) {
      throw expected('a prompt of at least one token', 'prompt', prompt, 'This model has no BOS token to begin with.');
    }
    this.checkRoom(this.list.length, encoded.length, resolved.maxTokens ?? 1);
    return this.run(resolved, () => {
      // The session may have changed since the call.
      const before = this.list.length;
      const added = fresh === (before === 0) ? encoded : this.encode(prompt);
      this.checkRoom(before, added.length, resolved.maxTokens ?? 1);
      this.list.append(added);
      return () => this.truncate(before);
    });
  }

  /**
   * As `generate`, for a prompt that replaces the session's past. What both have in common at the beginning stays in the
   * cache, so a conversation that is sent whole each time costs only what is new; `usage.cachedTokens` tells. When it fails
   * before its first token, the session is left with the prompt.
   */
  generateFrom(tokens: ArrayLike<number>, options?: GenerateOptions): AsyncGenerator<Piece, GenerateResult, void> {
    this.check();
    const resolved = this.resolve(options);
    const prompt = this.checkTokens(tokens, 'tokens');
    if (prompt.length === 0) throw expected('at least one token', 'tokens', tokens);
    this.checkRoom(0, prompt.length, resolved.maxTokens ?? 1);
    return this.run(resolved, () => {
      const same = this.list.commonPrefix(prompt);
      this.truncate(same);
      this.list.append(prompt.subarray(same));
      return () => {};
    });
  }

  /**
   * Puts tokens behind the session and gives their logits, [tokens, vocab] in one array: row i is about what follows
   * token i. `vocab` is `model.info.vocabSize`.
   */
  async forward(tokens: ArrayLike<number>): Promise<Float32Array> {
    this.check();
    const added = this.checkTokens(tokens, 'tokens');
    this.checkRoom(this.list.length, added.length, 0);
    const out = this.logits(added.length);
    if (added.length === 0) return out;
    return this.exclusively(async () => {
      const { kv, sequence } = this.seat;
      const before = this.list.length;
      this.list.append(added);
      const cached = kv.length(sequence);
      if (this.chooses) this.seat.prefix?.keep(cached);
      const job = { kv, sequence, tokens: this.list.slice(cached), logits: { firstRow: before - cached, out } };
      try {
        const done = await this.host.rounds.submit(job).done;
        this.check();
        if (done === undefined) throw new VivaceError('INTERNAL', 'The run was cancelled');
        this.seat.prefix?.publish(this.list);
        return out;
      } catch (error) {
        this.truncate(before);
        throw error;
      }
    });
  }

  /** A second session with the same past, which shares the memory of it. Works during a generation, too. */
  fork(): Session {
    this.check();
    const { kv, sequence } = this.seat;
    const forked = kv.fork(sequence);
    // Of a draft that was kept whole, the cache has tokens that have not been said yet.
    if (kv.length(forked) > this.list.length) kv.truncate(forked, this.list.length);
    const seat = { ...this.seat, sequence: forked, prefix: this.seat.prefix?.of(forked) };
    return new Session(this.host, seat, new TokenList(this.list.slice()));
  }

  /** Forgets the last `count` tokens. */
  rollback(count: number): void {
    this.check();
    this.checkFree();
    if (!Number.isInteger(count) || count < 0 || count > this.list.length) {
      throw expected(`an integer from 0 to ${this.list.length}, the session's length`, 'count', count);
    }
    this.truncate(this.list.length - count);
  }

  /** Writes the session, its cache included, to a file that `Model.restoreSession` reads. The file appears when complete. */
  async save(file: string): Promise<void> {
    this.check();
    if (typeof file !== 'string' || file === '') throw expected('a path', 'file', file);
    const { kv, sequence, keyType, valueType, contextLength, policy, pageSize } = this.seat;
    refuseKeys(keyType, 'save');
    if (policy && !kv.saved) {
      throw new VivaceError('UNSUPPORTED_FEATURE', 'The reference executor saves no sessions with a cache policy', {
        remedy: 'Use the full cache, or save the text.',
      });
    }
    const saved = policy && kv.saved?.(sequence);
    const read: SavedCells['read'] = (index, out) => {
      this.check();
      saved?.read(index, out);
    };
    const { writeSession } = require('./session-file.js') as typeof sessionFiles;
    await this.exclusively(() =>
      writeSession(file, {
        fingerprint: this.host.fingerprint(),
        keyType,
        valueType,
        contextLength,
        tokens: this.list.slice(),
        cells: { count: policy ? 0 : kv.length(sequence), bytes: kv.cellBytes },
        ...(saved ? { kept: { policy, pageSize, cells: { ...saved, read } } } : {}),
        read: (begin, count, out) => {
          this.check();
          kv.readCells(sequence, begin, count, out);
        },
      }),
    );
  }

  /** Gives the memory back. A generation under way ends with DISPOSED. */
  dispose(): void {
    if (this.gone) return;
    this.gone = true;
    this.seat.prefix?.publish(this.list);
    this.host.rounds.release(this.seat.kv, this.seat.sequence);
    this.host.left(this);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** `begin` puts the prompt in place and returns what undoes it. */
  private async *run(options: ResolvedOptions, begin: () => () => void): AsyncGenerator<Piece, GenerateResult, void> {
    this.check();
    this.checkFree();
    const { host, seat, list } = this;
    const undo = begin();
    let result: GenerateResult | undefined;
    this.busy = true;
    if (!options.prefixCache) seat.prefix?.withhold(list);
    try {
      return yield* decode(
        {
          rounds: host.rounds,
          executor: host.executor,
          tokenizer: host.tokenizer,
          kv: seat.kv,
          sequence: seat.sequence,
          tokens: list,
          contextLength: seat.contextLength,
          prefix: options.prefixCache ? seat.prefix : undefined,
          ...(host.experts ? { experts: host.experts } : {}),
          chooses: this.chooses,
          isDisposed: () => this.gone,
        },
        options,
        (finished) => (this.lastResult = result = finished),
      );
    } finally {
      if (!result || (result.finishReason === 'abort' && result.tokens.length === 0)) undo();
      this.busy = false;
    }
  }

  private get chooses(): boolean {
    const { policy } = this.seat;
    return policy !== undefined && rowOf(policy).chooses === true;
  }

  private resolve(options: GenerateOptions | undefined): ResolvedOptions {
    const resolved = resolveOptions(options, this.host.vocab);
    const { speculation } = resolved;
    if (!speculation || this.seat.keyType !== 'KIVI4') return resolved;
    if (speculation.reflection) refuseKeys(this.seat.keyType, 'reflection');
    // A branch would be quantised together with others, so drafts are chains.
    return { ...resolved, speculation: { ...speculation, maxNodes: speculation.maxDraft } };
  }

  private logits(rows: number): Float32Array {
    try {
      return new Float32Array(rows * this.host.logitsWidth);
    } catch (cause) {
      const bytes = 4 * rows * this.host.logitsWidth;
      throw new VivaceError('OUT_OF_MEMORY', `No memory for the logits of ${rows} tokens, ${bytes} bytes`, {
        cause,
        remedy: 'Call forward with fewer tokens at a time.',
      });
    }
  }

  private encode(prompt: Prompt): Int32Array {
    if (typeof prompt !== 'string') return this.checkTokens(prompt, 'prompt');
    const { tokenizer } = this.host;
    const tokens = tokenizer.encode(prompt, { addSpecial: this.list.length === 0 });
    // Some models end every text with EOS; behind it there is nothing to continue.
    return tokens.length > 1 && tokens.at(-1) === tokenizer.special.eos ? tokens.subarray(0, -1) : tokens;
  }

  private checkTokens(tokens: ArrayLike<number>, name: string): Int32Array {
    if (typeof tokens !== 'object' || tokens === null || typeof tokens.length !== 'number') {
      throw expected(name === 'prompt' ? 'a string or an array of tokens' : 'an array of tokens', name, tokens);
    }
    const checked = new Int32Array(tokens.length);
    for (let i = 0; i < tokens.length; i++) {
      const token = tokens[i];
      if (!Number.isInteger(token) || token < 0 || token >= this.host.logitsWidth) {
        throw expected(`token ids from 0 to ${this.host.logitsWidth - 1}`, `${name}[${i}]`, token);
      }
      checked[i] = token;
    }
    return checked;
  }

  /** `used` tokens are there, `added` ones come, `answer` ones must fit behind them. */
  private checkRoom(used: number, added: number, answer: number): void {
    const { contextLength } = this.seat;
    if (used + added + answer <= contextLength) return;
    const parts = [
      ...(used > 0 ? [`${used} tokens so far`] : []),
      `${added} new tokens`,
      ...(answer > 0 ? [`${answer} to generate`] : []),
    ];
    throw new VivaceError('CONTEXT_FULL', `${parts.join(' + ')} exceed the context of ${contextLength} tokens`, {
      remedy:
        'Use a shorter prompt or a smaller maxTokens, forget some of the past (rollback), or set a larger contextLength ' +
        'when the model is loaded and the session is made.',
    });
  }

  private truncate(length: number): void {
    if (this.gone) return;
    const { kv, sequence } = this.seat;
    this.list.truncate(length);
    if (kv.length(sequence) > length) kv.truncate(sequence, length);
    this.seat.prefix?.cut(length);
  }

  private async exclusively<T>(body: () => Promise<T>): Promise<T> {
    this.checkFree();
    this.busy = true;
    try {
      return await body();
    } finally {
      this.busy = false;
    }
  }

  private check(): void {
    if (this.gone) throw new VivaceError('DISPOSED', 'The session was disposed');
  }

  private checkFree(): void {
    if (!this.busy) return;
    throw new VivaceError('BUSY', 'The session is busy with another call', {
      remedy: 'Wait until it has ended, or use another session: `session.fork()` makes one with the same past.',
    });
  }
}
