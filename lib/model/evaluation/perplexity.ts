// How well a model foretells a text, part by part of a long reading: whether it still does so far behind what it was trained on.
import { integer, signal as checkedSignal } from '../../decode/option-checks.js';
import { expected, VivaceError } from '../../errors.js';
import { Model, type SessionOptions } from '../model.js';

export interface PerplexityOptions {
  readonly model: Model;
  readonly text: string;
  /** Tokens that are read. Default: the whole text, as far as the session's context goes. */
  readonly length?: number;
  /** Parts of equal length that are told apart. Default 10. */
  readonly parts?: number;
  /**
   * The text is read so many times, beginning with another part each time and going on from its end with its beginning. With as many
   * readings as parts every part of the text stands at every place once, and differences are the place's alone. Default 1.
   */
  readonly rotations?: number;
  /** How it is read: the cache above all. */
  readonly session?: SessionOptions;
  /** Between 0 and 1. */
  readonly onProgress?: (fraction: number) => void;
  readonly signal?: AbortSignal;
}

export interface PerplexityPart {
  /** Tokens of the reading, from `begin` to before `end`. */
  readonly begin: number;
  readonly end: number;
  /** e to the mean of −ln of the probabilities that its tokens had, of all rotations. */
  readonly perplexity: number;
  /** Per token, medians of the rotations. */
  readonly ms: number;
  /** Bytes of keys and values at its end. */
  readonly kv: number;
}

export interface PerplexityReport {
  readonly tokens: number;
  readonly rotations: number;
  /** Without those that an abort left out. */
  readonly parts: readonly PerplexityPart[];
  /** Of all parts together. */
  readonly perplexity: number;
  readonly aborted: boolean;
}

/** Tokens of a run, whose logits are read at once. */
const CHUNK = 64;

/**
 * Reads a text token by token, each foretold from all before it. Under SnapKV nothing is compressed, for that happens to prompts that
 * are answered; rows of Double Sparsity choose, as when they decode. Throws INVALID_ARGUMENT, CONTEXT_FULL, and what `createSession` and
 * `forward` throw; an abort is a report of what there is.
 */
export async function evaluatePerplexity(options: PerplexityOptions): Promise<PerplexityReport> {
  const { model, session: seat, onProgress } = options;
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  if (typeof options.text !== 'string') throw expected('a text', 'text', options.text);
  const parts = integer('parts', options.parts, 10, 1, 1e6);
  const rotations = integer('rotations', options.rotations, 1, 1, parts);
  const signal = checkedSignal('signal', options.signal);
  const { tokenizer } = model;
  const start = tokenizer.encode('');
  const context = contextOf(model, seat) - start.length;
  const all = tokenizer.encode(options.text, { addSpecial: false });
  const wanted = integer('length', options.length, Math.min(all.length, context), 1, Number.MAX_SAFE_INTEGER);
  if (wanted > context) {
    throw new VivaceError('CONTEXT_FULL', `${wanted} tokens do not fit into a context of ${context}`, {
      remedy: 'Read less, load the model with a larger contextLength, or take an endless cache policy.',
    });
  }
  const size = Math.floor(wanted / parts);
  if (size < 1 || wanted > all.length) {
    throw expected(`from ${parts} to the text's ${all.length} tokens`, 'length', wanted, 'Take a longer text.');
  }
  const tokens = all.subarray(0, size * parts);
  const sums = Array.from({ length: parts }, () => ({ loss: 0, count: 0, ms: [] as number[], kv: 0 }));
  const reader = new Reader(model, seat, start);
  let aborted = false;
  for (let rotation = 0; rotation < rotations && !aborted; ++rotation) {
    const first = Math.floor((rotation * parts) / rotations) * size;
    const text = Int32Array.from([...tokens.subarray(first), ...tokens.subarray(0, first)]);
    aborted = !(await reader.read(text, size, signal, (part, loss, count, ms, kv) => {
      const sum = sums[part];
      sum.loss += loss;
      sum.count += count;
      sum.ms.push(ms / size);
      sum.kv = kv;
      onProgress?.((rotation + (part + 1) / parts) / rotations);
    }));
  }
  const read = sums.filter(({ count }) => count > 0);
  const of = (some: readonly { loss: number; count: number }[]): number =>
    Math.exp(some.reduce((sum, { loss }) => sum + loss, 0) / some.reduce((sum, { count }) => sum + count, 0));
  return {
    tokens: tokens.length,
    rotations,
    parts: read.map((sum, part) => ({
      begin: part * size,
      end: (part + 1) * size,
      perplexity: of([sum]),
      ms: median(sum.ms),
      kv: sum.kv,
    })),
    perplexity: read.length > 0 ? of(read) : NaN,
    aborted,
  };
}

type Told = (part: number, loss: number, count: number, ms: number, kv: number) => void;

class Reader {
  private readonly vocab: number;

  constructor(
    private readonly model: Model,
    private readonly seat: SessionOptions | undefined,
    /** What texts begin with. */
    private readonly start: Int32Array,
  ) {
    this.vocab = model.info.vocabSize;
  }

  /** False when it was aborted. Without anything to begin with, the first token is not foretold. */
  async read(text: Int32Array, size: number, signal: AbortSignal | undefined, told: Told): Promise<boolean> {
    using session = this.model.createSession({ prefixCache: false, ...this.seat });
    let last: Float32Array | undefined; // what was foretold for the next token
    if (this.start.length > 0) last = (await session.forward(this.start)).slice(-this.vocab);
    for (let part = 0; part * size < text.length; ++part) {
      let [loss, count] = [0, 0];
      const begin = performance.now();
      for (let at = part * size; at < (part + 1) * size; at += CHUNK) {
        if (signal?.aborted === true) return false;
        const chunk = text.subarray(at, Math.min(at + CHUNK, (part + 1) * size));
        const logits = await session.forward(chunk);
        for (const [row, token] of chunk.entries()) {
          const law = row === 0 ? last : logits.subarray((row - 1) * this.vocab, row * this.vocab);
          if (law === undefined) continue;
          loss += lossOf(law, token);
          ++count;
        }
        last = logits.subarray(-this.vocab);
      }
      told(part, loss, count, performance.now() - begin, this.model.memoryUsage().kv);
    }
    return true;
  }
}

/** −ln of the token's probability. */
function lossOf(logits: Float32Array, token: number): number {
  let most = -Infinity;
  for (const logit of logits) if (logit > most) most = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - most);
  return Math.log(sum) + most - logits[token];
}

function contextOf(model: Model, options: SessionOptions | undefined): number {
  using session = model.createSession(options);
  return session.contextLength;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
