// LongGen (Ge et al. 2024): some layers keep everything, the others the first tokens and a window, or one block in several.
import { flag, integer, word } from '../decode/option-checks.js';
import { expected } from '../errors.js';
import { longGenDefaults, longGenLayers, type LongGenConfig, type LongGenLayer } from '../formats/model-config.js';
import { fullPattern, type LayerPattern } from '../program/kv-policy.js';
import { storageOf, type CacheOptions, type CacheStorage, type PolicyRow } from './policy.js';

export interface LongGenOptions extends CacheStorage {
  /**
   * Where nothing of the following is given, a model's own schedule is used, if it was trained with one. `sinkWindow` (the
   * default) or `blockSparse`: what layers do that are not full.
   */
  readonly pattern?: 'sinkWindow' | 'blockSparse';
  /** The layers that keep everything, from 0; or their share, in the middle. Default: a third. */
  readonly fullLayers?: readonly number[] | number;
  /** The first tokens, which are always kept. Default 64. */
  readonly sinks?: number;
  /** Tokens that see each other, the newest one counted. Default 2048. */
  readonly window?: number;
  /** Tokens of a block: 16, 32, 64, or another multiple or divisor of the page size. Default 64. */
  readonly blockSize?: number;
  /** Blocks nearby that are seen, the newest token's counted. Default 16. */
  readonly localBlocks?: number;
  /** Of older blocks, one in so many. Default 16. */
  readonly stride?: number;
  /** All KV heads see the same blocks. Default false. */
  readonly homogeneous?: boolean;
  readonly headOffset?: number;
  /** So many of the last KV heads see everything. Default 0. */
  readonly denseHeads?: number;
  /** The first block is always kept. Default true. */
  readonly alwaysFirst?: boolean;
}

/** Without a schedule: the model's own. */
export interface LongGenPolicy {
  readonly kind: 'longGen';
  readonly schedule?: Omit<LongGenConfig, 'layers'> & {
    readonly sparse: Exclude<LongGenLayer, 'full_attention'>;
    readonly full: readonly number[] | number;
  };
}

const names = [
  ...['pattern', 'fullLayers', 'sinks', 'window', 'blockSize', 'localBlocks', 'stride'],
  ...['homogeneous', 'headOffset', 'denseHeads', 'alwaysFirst'],
];

/**
 * Less memory for models whose layers were trained for it; on others, what lies beyond the windows is noise for most layers.
 * Throws INVALID_ARGUMENT.
 */
export function longGen(options?: LongGenOptions): CacheOptions {
  const storage = storageOf(options, names, 'the options of longGen');
  const given = options ?? {};
  if (!names.some((name) => given[name as keyof LongGenOptions] !== undefined)) {
    return { ...storage, policy: { kind: 'longGen' } };
  }
  const pattern = word('pattern', given.pattern, 'sinkWindow', ['sinkWindow', 'blockSparse'] as const);
  const { fullLayers: full = 1 / 3 } = given;
  const listed = Array.isArray(full) && full.every((layer) => Number.isInteger(layer) && layer >= 0);
  if (!listed && !(typeof full === 'number' && full >= 0 && full <= 1)) {
    throw expected('a list of layers, or a share from 0 to 1', 'fullLayers', full);
  }
  const whole = (name: keyof LongGenOptions, fallback: number, least: number): number =>
    integer(name, given[name], fallback, least, 2 ** 30);
  const defaults = longGenDefaults;
  return {
    ...storage,
    policy: {
      kind: 'longGen',
      schedule: {
        sparse: pattern === 'sinkWindow' ? 'sliding_attention' : 'block_sparse_attention',
        full,
        sinks: whole('sinks', defaults.sinks, 0),
        sliding_window: whole('window', defaults.sliding_window, 1),
        block_size: whole('blockSize', defaults.block_size, 1),
        local_blocks: whole('localBlocks', defaults.local_blocks, 1),
        vert_stride: whole('stride', defaults.vert_stride, 1),
        homo_heads: Number(flag('homogeneous', given.homogeneous, false)),
        head_offset: whole('headOffset', defaults.head_offset, 0),
        dense_heads: whole('denseHeads', defaults.dense_heads, 0),
        always_first_block: Number(flag('alwaysFirst', given.alwaysFirst, true)),
      },
    },
  };
}

/** Of `layers` layers the `share` in the middle. */
export function middleLayers(layers: number, share: number): number[] {
  const count = Math.round(share * layers);
  const first = Math.floor((layers - count) / 2);
  return Array.from({ length: count }, (_, index) => first + index);
}

function patternOf(type: LongGenLayer, config: Omit<LongGenConfig, 'layers'>, kvHeads: number): LayerPattern {
  if (type === 'sliding_attention') return { ...fullPattern, sinks: config.sinks, window: config.sliding_window };
  if (type === 'full_attention') return fullPattern;
  const { block_size: block, local_blocks: local, vert_stride: stride } = config;
  return {
    ...fullPattern,
    ...{ block, local, stride },
    headStep: config.homo_heads ? 0 : Math.max(1, Math.floor(stride / kvHeads)),
    headOffset: config.head_offset,
    denseHeads: config.dense_heads,
    alwaysFirst: config.always_first_block !== 0,
  };
}

export const longGenRow: PolicyRow<LongGenPolicy> = {
  name: 'longgen',
  what: 'everything in some layers, windows or blocks in the others (LongGen)',
  make: longGen,
  options: ({ schedule }) =>
    schedule === undefined
      ? {}
      : {
          pattern: schedule.sparse === 'sliding_attention' ? 'sinkWindow' : 'blockSparse',
          fullLayers: schedule.full,
          sinks: schedule.sinks,
          window: schedule.sliding_window,
          blockSize: schedule.block_size,
          localBlocks: schedule.local_blocks,
          stride: schedule.vert_stride,
          homogeneous: schedule.homo_heads !== 0,
          headOffset: schedule.head_offset,
          denseHeads: schedule.dense_heads,
          alwaysFirst: schedule.always_first_block !== 0,
        },
  derive: ({ schedule }, { kvShape, kvLayers, longGen: own }) => {
    const config = schedule ?? own;
    if (config === undefined) {
      const remedy = 'This model was not trained for one; name a pattern to use it all the same.';
      throw expected('a pattern', 'pattern', undefined, remedy);
    }
    const { layers } = kvShape;
    let types = own?.layers ?? [];
    if (schedule) {
      const { full, sparse } = schedule;
      const whole = new Set(typeof full === 'number' ? middleLayers(layers, full) : full);
      const beyond = [...whole].find((layer) => layer >= layers);
      if (beyond !== undefined) throw expected(`layers below ${layers}`, 'fullLayers', beyond);
      types = Array.from({ length: layers }, (_, layer) => (whole.has(layer) ? longGenLayers[0] : sparse));
    }
    // A window that the model has by itself stays where it is the smaller one, and has no sinks.
    return {
      layers: types.map((type, layer) => {
        const pattern = patternOf(type, config, kvShape.kvHeads);
        const { window } = kvLayers[layer];
        if (window === 0 || (pattern.window > 0 && pattern.window < window)) return pattern;
        return { ...fullPattern, window };
      }),
    };
  },
  endless: false,
  alone: 'of one part of the text some layers have pages and others do not',
};
