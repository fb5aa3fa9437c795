// What a decode step must read from memory, and how fast this machine reads: the limit that decoding runs against.
import { availableParallelism } from 'node:os';
import type { ModelSource } from '../../formats/model-source.js';
import { activeShare, kvBytesPerToken } from '../../models/memory.js';
import { native, nativeCall } from '../../native.js';
import type { KvDType } from '../../program/executor.js';

/** Larger than any cache, so that the measurement is one of memory. */
export const MEASURED_BYTES = 256 * 2 ** 20;

/**
 * Bytes read for one token behind `past` others: every weight once (of the embedding its row, of experts those of
 * the token), and what is cached.
 */
export function bytesPerToken(
  { config, tensors }: Pick<ModelSource, 'config' | 'tensors'>,
  past: number,
  cache: KvDType = 'F16',
): number {
  let bytes = past * kvBytesPerToken(config, cache, cache);
  for (const tensor of tensors.values()) {
    const isEmbedding = tensor.name === 'token_embd.weight';
    const share = isEmbedding && !config.tiedEmbedding ? 1 / config.vocab : activeShare(config, tensor.name);
    bytes += share * tensor.bytes;
  }
  return Math.round(bytes);
}

export interface Traffic {
  readonly bytesPerToken: number;
  readonly bytesPerSecond: number;
  /** What this machine's cores together read from memory, measured now (about 0.3 s). */
  readonly memoryBandwidth: number;
  /** Above 1 when the weights fit into the cache. */
  readonly fraction: number;
}

export async function measureTraffic(bytes: number, tokensPerSecond: number): Promise<Traffic> {
  const threads = availableParallelism();
  const { bytesPerSecond } = await nativeCall(() => native().ceilings(threads, MEASURED_BYTES));
  const used = bytes * tokensPerSecond;
  return {
    bytesPerToken: bytes,
    bytesPerSecond: used,
    memoryBandwidth: bytesPerSecond,
    fraction: used / bytesPerSecond,
  };
}
