// Which channels of keys matter most: statistics of queries and keys over a text, for caches that guess scores by few channels
// (Double Sparsity, Yang et al. 2024, section 3.1).
import { channelKey, type ChannelFile } from '../../caches/channels.js';
import { checkNames, integer, signal as checkSignal } from '../../decode/option-checks.js';
import { expected, VivaceError } from '../../errors.js';
import type { Executor, KvCache } from '../../program/executor.js';
import { Model } from '../model.js';

export interface CalibrateOptions {
  /** Tokens that see each other. Default 512, or the model's context if that is less. */
  readonly blockLength?: number;
  /** Blocks that are read at most. Default 256. */
  readonly blocks?: number;
  readonly signal?: AbortSignal;
  /** Hears the share done, 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
}

/** Rows of a run: what all layers say of them takes memory. */
const ROWS = 64;

/**
 * Ranks the channels of every head by mean |q| and |k| before the rotation and mean |q·k| after it, each token with itself.
 * Channels are those of keys after the rotation in order of halves, as Hugging Face has them. Sums of blocks are added in a
 * way that does not depend on their order. Throws INVALID_ARGUMENT for a text of less than a block's tokens, ABORTED,
 * UNSUPPORTED_FEATURE.
 */
export async function calibrate(model: Model, text: string, options: CalibrateOptions = {}): Promise<ChannelFile> {
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  if (typeof text !== 'string' || text === '') throw expected('some text', 'text', text);
  checkNames(options, ['blockLength', 'blocks', 'signal', 'onProgress'], 'the options of calibrate');
  const { executor, config, info } = model.base();
  const longest = info.contextLength;
  const length = integer('blockLength', options.blockLength, Math.min(512, longest), 1, longest);
  const most = integer('blocks', options.blocks, 256, 1, 2 ** 20);
  const abort = checkSignal('signal', options.signal);
  if (!('query.0' in executor.taps)) {
    throw new VivaceError('UNSUPPORTED_FEATURE', 'This model does not say its queries and keys');
  }
  const tokens = model.tokenizer.encode(text, { addSpecial: false });
  const count = Math.min(most, Math.floor(tokens.length / length));
  if (count === 0) {
    throw expected(`a text of at least ${length} tokens`, 'text', `${tokens.length} tokens`, 'Give a longer text.');
  }
  const { rope, headDim } = config;
  const order = rope.layout === 'adjacent' ? halvesOrder(headDim, rope.dimensions) : undefined;
  const statistics = new Statistics(executor, order);
  const kv = executor.createKvCache({ maxPages: Math.ceil(length / 32) + 1 });
  try {
    for (let block = 0; block < count; ++block) {
      await readBlock(executor, kv, tokens.slice(block * length, (block + 1) * length), statistics, abort);
      options.onProgress?.((block + 1) / count);
    }
  } finally {
    kv.dispose();
  }
  return statistics.ranked();
}

async function readBlock(
  executor: Executor,
  kv: KvCache,
  tokens: Int32Array,
  statistics: Statistics,
  abort: AbortSignal | undefined,
): Promise<void> {
  const sequence = kv.create();
  try {
    for (let from = 0; from < tokens.length; from += ROWS) {
      if (abort?.aborted) throw new VivaceError('ABORTED', 'The calibration was aborted');
      const part = tokens.slice(from, from + ROWS);
      const rows = part.length;
      const taps = statistics.taps(rows);
      await executor.run(kv, {
        tokens: part,
        positions: Int32Array.from(part, (_, row) => from + row),
        sequences: new Int32Array(rows).fill(sequence),
        outputs: Int32Array.of(rows - 1),
        taps,
      });
      statistics.add(taps, rows);
    }
    statistics.endBlock();
  } finally {
    kv.release(sequence);
  }
}

/** Where a value goes that lies at the index before the rotation, which reads pairs side by side and writes halves. */
export const halvesOrder = (width: number, rotated: number): Int32Array =>
  Int32Array.from({ length: width }, (_, i) => (i < rotated ? (i % 2) * (rotated / 2) + (i >> 1) : i));

type Taps = Record<string, Float32Array>;

/** Sums of one kind of value in one layer. */
class Sums {
  private readonly block: Float64Array;
  readonly all: Float64Array;

  constructor(readonly width: number) {
    this.block = new Float64Array(width);
    this.all = new Float64Array(width);
  }

  add(column: number, value: number): void {
    this.block[column] += value;
  }

  /** A block's sums are rounded to 24 bits: 64 of them hold the sum of many exactly, whatever their order. */
  endBlock(): void {
    for (let i = 0; i < this.width; ++i) this.all[i] += Math.fround(this.block[i]);
    this.block.fill(0);
  }
}

/** Sums over tokens, of which `taps` are what a run says of its rows. @internal */
export class Statistics {
  private readonly layers: { readonly q: Sums; readonly k: Sums; readonly qk: Sums }[];
  private readonly kvHeads: number;
  private readonly width: number;
  private readonly group: number;

  constructor(
    private readonly executor: Pick<Executor, 'kvShape' | 'taps'>,
    /** Where a channel before the rotation counts, if not at its own place. */
    private readonly order?: Int32Array,
  ) {
    const { layers, kvHeads, keyDim } = executor.kvShape;
    this.kvHeads = kvHeads;
    this.width = keyDim;
    this.group = executor.taps['query.0'] / (kvHeads * keyDim);
    this.layers = Array.from({ length: layers }, () => {
      const heads = this.group * kvHeads;
      return { q: new Sums(heads * keyDim), k: new Sums(kvHeads * keyDim), qk: new Sums(heads * keyDim) };
    });
  }

  taps(rows: number): Taps {
    const names = this.layers.flatMap((_, layer) =>
      ['query', 'key', 'query.unrotated', 'key.unrotated'].map((name) => `${name}.${layer}`),
    );
    return Object.fromEntries(names.map((name) => [name, new Float32Array(rows * this.executor.taps[name])]));
  }

  add(taps: Taps, rows: number): void {
    const { width, group, kvHeads } = this;
    this.layers.forEach(({ q, k, qk }, layer) => {
      this.addSizes(q, taps[`query.unrotated.${layer}`]);
      this.addSizes(k, taps[`key.unrotated.${layer}`]);
      const [queries, keys] = [taps[`query.${layer}`], taps[`key.${layer}`]];
      for (let row = 0; row < rows; ++row) {
        for (let head = 0; head < group * kvHeads; ++head) {
          const key = (row * kvHeads + Math.floor(head / group)) * width;
          const query = (row * group * kvHeads + head) * width;
          for (let c = 0; c < width; ++c) qk.add(head * width + c, Math.abs(queries[query + c] * keys[key + c]));
        }
      }
    });
  }

  private addSizes(sums: Sums, values: Float32Array): void {
    const { order, width } = this;
    values.forEach((value, index) => {
      const column = index % sums.width;
      const place = order ? column - (column % width) + order[column % width] : column;
      sums.add(place, Math.abs(value));
    });
  }

  endBlock(): void {
    for (const { q, k, qk } of this.layers) for (const sums of [q, k, qk]) sums.endBlock();
  }

  ranked(): ChannelFile {
    const { width, group } = this;
    const heads = (all: Float64Array): Float64Array[] =>
      Array.from({ length: all.length / width }, (_, head) => all.slice(head * width, (head + 1) * width));
    const rank = (values: Float64Array): number[] =>
      Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b);
    const entries = this.layers.flatMap(({ q, k, qk }, layer) => {
      const perHead = heads(qk.all);
      const groups = heads(k.all).map((_, kvHead) =>
        perHead.slice(kvHead * group, (kvHead + 1) * group).reduce((a, b) => a.map((value, c) => value + b[c])),
      );
      return [
        [channelKey(layer, 'q'), heads(q.all).map(rank)],
        [channelKey(layer, 'k'), heads(k.all).map(rank)],
        [channelKey(layer, 'qk'), perHead.map(rank)],
        [channelKey(layer, 'qkGroup'), groups.map(rank)],
      ] as const;
    });
    return Object.fromEntries(entries);
  }
}
