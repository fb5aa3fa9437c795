// Files of channels: which channels of keys matter most, per layer and head. The published layout of Double Sparsity: an object
// with lists of all channels, most important first.
import { readFileSync } from 'node:fs';
import { expected, VivaceError } from '../errors.js';

/**
 * By what channels are ranked: mean |q| or |k| before the rotation, or mean |q·k| after it, per query head or (qkGroup) the
 * mean of the query heads of a KV head.
 */
export const channelTypes = ['q', 'k', 'qk', 'qkGroup'] as const;
export type ChannelType = (typeof channelTypes)[number];

const suffixes = { q: 'q_proj', k: 'k_proj', qk: 'qk_proj', qkGroup: 'qk_group_proj' } as const;

/** Keys `model.layers.<i>.self_attn.<q|k|qk|qk_group>_proj`, [heads][channels] each; other keys are not looked at. */
export type ChannelFile = Readonly<Record<string, readonly (readonly number[])[]>>;

export const channelKey = (layer: number, type: ChannelType): string =>
  `model.layers.${layer}.self_attn.${suffixes[type]}`;

/** [layers][heads][count]: the first channels of each head; undefined where the file has none of this type. Throws FORMAT_INVALID. */
export function firstChannels(file: ChannelFile, type: ChannelType, count: number): number[][][] | undefined {
  const found: number[][][] = [];
  for (let layer = 0; file[channelKey(layer, type)] !== undefined; ++layer) {
    const key = channelKey(layer, type);
    const heads = file[key];
    if (!Array.isArray(heads) || heads.length === 0) throw invalid(key, 'is no list of heads');
    found.push(heads.map((channels, head) => first(channels, count, (why) => invalid(key, `head ${head} ${why}`))));
  }
  return found.length > 0 ? found : undefined;
}

/** The other way round, for the channels that there are. */
export function channelFile(
  channels: Readonly<Partial<Record<ChannelType, readonly (readonly (readonly number[])[])[]>>>,
): ChannelFile {
  return Object.fromEntries(
    channelTypes.flatMap((type) => (channels[type] ?? []).map((heads, layer) => [channelKey(layer, type), heads])),
  );
}

function first(channels: unknown, count: number, mistake: (why: string) => VivaceError): number[] {
  if (!Array.isArray(channels) || channels.some((channel) => !Number.isInteger(channel) || channel < 0)) {
    throw mistake('is no list of channels');
  }
  if (channels.length < count) throw mistake(`has ${channels.length} channels, ${count} are wanted`);
  const wanted = channels.slice(0, count) as number[];
  if (new Set(wanted).size !== count) throw mistake('has a channel twice');
  return wanted;
}

const remedy = 'Make a file of channels: vivace calibrate MODEL --text FILE -o channels.json';

/** From a path, or as it is. Throws INVALID_ARGUMENT, FILE_NOT_FOUND, FILE_UNREADABLE and FORMAT_INVALID. */
export function readChannels(given: unknown): ChannelFile {
  if (typeof given === 'object' && given !== null) return given as ChannelFile;
  if (typeof given !== 'string' || given === '') {
    throw expected('a path or an object of channels', 'channels', given, remedy);
  }
  try {
    const parsed = JSON.parse(readFileSync(given, 'utf8')) as unknown;
    if (typeof parsed === 'object' && parsed !== null) return parsed as ChannelFile;
    throw new VivaceError('FORMAT_INVALID', `${given} holds no object of channels`);
  } catch (error) {
    if (error instanceof VivaceError) throw error;
    if (error instanceof SyntaxError) throw new VivaceError('FORMAT_INVALID', `${given} is no JSON: ${error.message}`);
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VivaceError(code === 'ENOENT' ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE', message, { remedy });
  }
}

const invalid = (key: string, why: string): VivaceError =>
  new VivaceError('FORMAT_INVALID', `channels: ${key}: ${why}`);
