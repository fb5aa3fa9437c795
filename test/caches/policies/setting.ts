// A small random model whose query heads share keys, and a cache of every policy with pages and windows that its texts soon leave.
import { doubleSparsity, full, lmInfinite, longGen, snapKv, window } from '../../../lib/index.js';
import type { CacheOptions, DoubleSparsityOptions } from '../../../lib/index.js';
import { randomModel, writeRandomGguf } from '../../fixtures/random-model.js';

const heads = 4;
const dim = 32;

/** It was trained on 256 tokens. */
export function writeModel(file: string): void {
  const base = randomModel('llama');
  const sizes = {
    width: 64,
    hidden: 128,
    heads,
    kvHeads: 2,
    headDim: dim,
    valueDim: dim,
    layers: 3,
    contextLength: 256,
  };
  const config = { ...base.config, ...sizes, rope: { ...base.config.rope, dimensions: dim } };
  writeRandomGguf(file, { ...base, config }, 'F32');
}

export const channels = Object.fromEntries(
  [0, 1, 2].map((layer) => [
    `model.layers.${layer}.self_attn.qk_proj`,
    Array.from({ length: heads }, (_, head) => Array.from({ length: dim }, (_u, i) => (7 * i + head + layer) % dim)),
  ]),
);

const few: DoubleSparsityOptions = {
  channels,
  ...{ heavyChannels: 8, tokens: 16, sparsity: 0, sparseThreshold: 20, denseLayers: [0], pageSize: 8 },
};

export interface Kind {
  readonly cache: CacheOptions;
  /** What does the same in a plainer way; absent: `cache` itself. */
  readonly plainly?: CacheOptions;
  /** Tokens at most. */
  readonly most: number;
  /** What a row is follows from the text alone, however it came about. */
  readonly plain: boolean;
}
export const kinds: readonly (readonly [string, Kind])[] = [
  ['full', { cache: full({ pageSize: 8 }), most: 240, plain: true }],
  ['window', { cache: window({ sinks: 3, recent: 29, pageSize: 8 }), most: 400, plain: true }],
  ['lm-infinite', { cache: lmInfinite({ sinks: 9, window: 24, pageSize: 4 }), most: 400, plain: true }],
  ['longgen', { cache: longGen({ fullLayers: [1], sinks: 4, window: 20, pageSize: 8 }), most: 240, plain: true }],
  [
    'longgen, blocks',
    {
      cache: longGen({
        pattern: 'blockSparse',
        fullLayers: [1],
        ...{ blockSize: 8, localBlocks: 2, stride: 3, pageSize: 4 },
      }),
      most: 240,
      plain: true,
    },
  ],
  ['double-sparsity', { cache: doubleSparsity(few), most: 240, plain: false }],
  [
    'double-sparsity in a file',
    {
      cache: doubleSparsity({ ...few, offload: { memory: '5MiB', delayUs: 20 } }),
      plainly: doubleSparsity(few),
      most: 240,
      plain: false,
    },
  ],
  ['snapkv', { cache: snapKv({ budget: 32, window: 6, kernel: 3, pageSize: 8 }), most: 240, plain: false }],
];
