// Double Sparsity (Yang et al. 2024): the whole cache is kept, but a row that decodes attends to few of its tokens, which it
// chooses by labels of a few channels of every key.
import { flag, integer, word } from '../decode/option-checks.js';
import { expected, VivaceError } from '../errors.js';
import type { KvLabels } from '../program/kv-policy.js';
import {
  channelFile,
  channelTypes,
  firstChannels,
  readChannels,
  type ChannelFile,
  type ChannelType,
} from './channels.js';
import { nativeOffload, offloadPolicy, type OffloadOptions, type OffloadPolicy } from './offload.js';
import { storageOf, type CacheModel, type CacheOptions, type CacheStorage, type PolicyRow } from './policy.js';

export interface DoubleSparsityOptions extends CacheStorage {
  /** What `calibrate` made for the model, or its file. */
  readonly channels: string | ChannelFile;
  /** By what channels were ranked. Default: qkGroup where several query heads share a KV head, else qk. */
  readonly channelType?: ChannelType;
  /** Channels of a label: 8, 16, 24 … up to a head's width. Default 32. */
  readonly heavyChannels?: number;
  /** Bits of each: 2, 4, 8 or 16. Default 4. */
  readonly labelBits?: number;
  /** Tokens that a row attends to. Default 256, or 512 where query heads choose together. */
  readonly tokens?: number;
  /** Or one of so many tokens of the text, if that is more. Default 16; 0: no such rule. */
  readonly sparsity?: number;
  /** Texts up to so many tokens are read in full. Default 4096. */
  readonly sparseThreshold?: number;
  /** Layers that read all. Default: the first two, none of a model with two. */
  readonly denseLayers?: readonly number[];
  /** Tokens before the newest one that are always among them. Default 0. */
  readonly recent?: number;
  /** First tokens that are. Default 0. */
  readonly sinks?: number;
  /** One choice for all query heads of a KV head. Default: where there are four and more of them. */
  readonly groupSelect?: boolean;
  /**
   * Keys and values of all layers but the dense ones lie in a file, and take so much memory at most (`memory`, or more options).
   * Results are the same. Default: everything is in memory.
   */
  readonly offload?: OffloadOptions | number | string;
}

export interface DoubleSparsityPolicy {
  readonly kind: 'doubleSparsity';
  /** [layers][heads][heavyChannels] per type that the file has. */
  readonly channels: Readonly<Partial<Record<ChannelType, readonly (readonly (readonly number[])[])[]>>>;
  readonly channelType?: ChannelType;
  readonly heavyChannels: number;
  readonly labelBits: number;
  readonly tokens?: number;
  readonly sparsity: number;
  readonly sparseThreshold: number;
  readonly denseLayers?: readonly number[];
  readonly recent: number;
  readonly sinks: number;
  readonly groupSelect?: boolean;
  readonly offload?: OffloadPolicy;
}

const names = [
  'channels',
  'channelType',
  'heavyChannels',
  'labelBits',
  'tokens',
  'sparsity',
  'sparseThreshold',
  'denseLayers',
  'recent',
  'sinks',
  'groupSelect',
  'offload',
] as const;

/** Fewer tokens, or a smaller part of the text, lose what a text says: Yang et al. 2024, section 5. */
const FEW_TOKENS = 64;
const SMALL_PART = 32;

/** Throws INVALID_ARGUMENT; of a file of channels FILE_NOT_FOUND, FILE_UNREADABLE and FORMAT_INVALID. */
export function doubleSparsity(options: DoubleSparsityOptions): CacheOptions {
  const storage = storageOf(options, names, 'the options of doubleSparsity');
  const { channelType, tokens, denseLayers, groupSelect, offload } = options;
  const heavyChannels = integer('heavyChannels', options.heavyChannels, 32, 8, 256);
  if (heavyChannels % 8 !== 0) throw expected('a multiple of 8', 'heavyChannels', heavyChannels);
  const file = readChannels(options.channels);
  const wanted = channelType === undefined ? channelTypes : [word('channelType', channelType, 'qk', channelTypes)];
  const found = wanted.flatMap((type) => {
    const channels = firstChannels(file, type, heavyChannels);
    return channels ? [[type, channels] as const] : [];
  });
  if (found.length === 0) {
    throw new VivaceError('FORMAT_INVALID', `The channels are not of type ${wanted.join(' or ')}`, {
      remedy: 'Choose another channelType, or make them by vivace calibrate.',
    });
  }
  const recent = integer('recent', options.recent, 0, 0, 2 ** 20);
  const sinks = integer('sinks', options.sinks, 0, 0, 2 ** 20);
  const least = Math.max(16, recent + sinks + 1);
  const policy: DoubleSparsityPolicy = {
    kind: 'doubleSparsity',
    channels: Object.fromEntries(found),
    ...(channelType === undefined ? {} : { channelType }),
    heavyChannels,
    labelBits: bitsOf(options.labelBits),
    ...(tokens === undefined ? {} : { tokens: integer('tokens', tokens, 256, least, 2 ** 30) }),
    sparsity: integer('sparsity', options.sparsity, 16, 0, 2 ** 20),
    sparseThreshold: integer('sparseThreshold', options.sparseThreshold, 4096, 0, 2 ** 30),
    ...(denseLayers === undefined ? {} : { denseLayers: layersOf(denseLayers) }),
    recent,
    sinks,
    ...(groupSelect === undefined ? {} : { groupSelect: flag('groupSelect', groupSelect, true) }),
    ...(offload === undefined ? {} : { offload: offloadPolicy(offload) }),
  };
  return { ...storage, policy };
}

function bitsOf(bits: unknown): number {
  if (bits === undefined) return 4;
  if (bits === 2 || bits === 4 || bits === 8 || bits === 16) return bits;
  throw expected('2, 4, 8 or 16', 'labelBits', bits);
}

function layersOf(layers: unknown): number[] {
  const list: unknown[] = Array.isArray(layers) ? layers : [layers];
  return list.map((layer) => integer('denseLayers', layer, 0, 0, 65535));
}

/** Throws INVALID_ARGUMENT where the channels do not fit the model. */
export function labelsFor(
  policy: DoubleSparsityPolicy,
  model: Pick<CacheModel, 'kvShape' | 'contextLength'>,
  heads: number,
): KvLabels {
  const { layers, kvHeads, keyDim } = model.kvShape;
  const { channels, heavyChannels, recent, sinks } = policy;
  const group = heads / kvHeads;
  const best = policy.channelType ?? (group > 1 && channels.qkGroup ? 'qkGroup' : 'qk');
  const type = channels[best] ? best : (Object.keys(channels)[0] as ChannelType);
  const table = channels[type] ?? [];
  const sets = type === 'q' || type === 'qk' ? heads : kvHeads;
  const widest = Math.max(...table.flat(2));
  if (table.length !== layers || table.some((own) => own.length !== sets) || widest >= keyDim) {
    const what = `${layers} layers of ${sets} heads, ${keyDim} wide`;
    const received = `${table.length} layers of ${table[0]?.length ?? 0} heads, ${widest + 1} wide`;
    throw expected(`channels of type ${type} for ${what}`, 'channels', received, 'Make them by vivace calibrate.');
  }
  const grouped = group > 1 && (policy.groupSelect ?? group >= 4);
  const tokens = policy.tokens ?? Math.max(grouped ? 512 : 256, recent + sinks + 1);
  warnOf(policy, tokens, model.contextLength);
  const dense = policy.denseLayers ?? (layers > 2 ? [0, 1] : []);
  return {
    channels: heavyChannels,
    bits: policy.labelBits,
    sets,
    table: Int32Array.from(table.flat(2)),
    sparse: Uint8Array.from({ length: layers }, (_, layer) => (dense.includes(layer) ? 0 : 1)),
    tokens,
    share: policy.sparsity,
    threshold: policy.sparseThreshold,
    recent,
    sinks,
    grouped,
  };
}

/** Each is said once. */
const warned = new Set<string>();

function warnOf({ sparsity, sparseThreshold }: DoubleSparsityPolicy, tokens: number, context: number): void {
  const part = sparsity > 0 ? Math.max(tokens, context / sparsity) : tokens;
  const few = tokens < FEW_TOKENS && sparseThreshold < FEW_TOKENS;
  if (!few && part * SMALL_PART >= context) return;
  const why = few
    ? `rows attend to ${tokens} tokens; fewer than ${FEW_TOKENS} lose much of a text`
    : `at ${context} tokens rows attend to one of ${Math.floor(context / part)}; beyond one of ${SMALL_PART} texts are not found again`;
  if (warned.has(why)) return;
  warned.add(why);
  process.emitWarning(`doubleSparsity: ${why}`, { code: 'VIVACE_FEW_TOKENS' });
}

export const doubleSparsityRow: PolicyRow<DoubleSparsityPolicy> = {
  name: 'double-sparsity',
  what: 'all tokens are kept, decoding reads those that labels promise to matter',
  make: doubleSparsity,
  options: ({ kind: _, channels, ...options }) => ({ ...options, channels: channelFile(channels) }),
  derive: (policy, model) => {
    const labels = labelsFor(policy, model, model.kvLayers[0].heads);
    if (policy.offload === undefined) return { labels };
    if (model.name.startsWith('cuda')) {
      throw new VivaceError('UNSUPPORTED_FEATURE', 'Graphics cards keep all keys and values in their memory', {
        remedy: 'Leave offload out, or use the CPU.',
      });
    }
    if (!labels.sparse.includes(1)) {
      throw expected('a layer that is not dense', 'denseLayers', policy.denseLayers, 'Only such layers are offloaded.');
    }
    return { labels, offload: nativeOffload(policy.offload) };
  },
  endless: false,
  chooses: true,
};
