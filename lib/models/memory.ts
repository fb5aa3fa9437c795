// How much memory a model will need, before anything is loaded.
import type { ModelConfig } from '../formats/model-config.js';
import type { ModelSource } from '../formats/model-source.js';
import { rowBytes } from '../program/dtype.js';
import type { KeyDType, KvDType } from '../program/executor.js';

export interface MemoryOptions {
  /** Tokens of all sessions together. Default: one session of the model's context length. */
  readonly contextLength?: number;
  /** Types of cached keys and values. Default f16. */
  readonly keyType?: KeyDType;
  readonly valueType?: KvDType;
  /** Rows of the largest round. Default 512. */
  readonly rows?: number;
  /** What experts take, where not all of them are in memory (`planExperts`). Default: all of them, in the mapped file. */
  readonly expertBytes?: number;
}

/** In bytes. */
export interface MemoryEstimate {
  /** Tensors in the mapped file: shared between processes, and given back by the system under pressure. */
  readonly mapped: number;
  /** Copies of tensors in a form that is faster to compute with. */
  readonly weights: number;
  /** The KV cache when `contextLength` tokens are in it; it grows with them. */
  readonly kv: number;
  readonly kvPerToken: number;
  /** Intermediate values of the largest round. */
  readonly activations: number;
  readonly total: number;
}

/** Bytes of one token in the KV cache. */
export function kvBytesPerToken(
  config: Pick<ModelConfig, 'layers' | 'kvHeads' | 'headDim' | 'valueDim'>,
  keyType: KeyDType,
  valueType: KvDType,
): number {
  const { layers, kvHeads, headDim, valueDim } = config;
  return layers * kvHeads * (rowBytes(keyType, headDim) + rowBytes(valueType, valueDim));
}

/** An estimate from configuration and tensor table alone; within about a tenth of what a loaded model uses. */
export function estimateMemory(
  source: Pick<ModelSource, 'config' | 'tensors'>,
  options: MemoryOptions = {},
): MemoryEstimate {
  const { config, tensors } = source;
  const { contextLength = config.contextLength, keyType = 'F16', valueType = 'F16', rows = 512, expertBytes } = options;
  let mapped = 0;
  let weights = expertBytes ?? 0;
  for (const { name, bytes, dtype, shape, add, packed, parts } of tensors.values()) {
    if (expertBytes !== undefined && name.endsWith('_exps.weight')) continue; // they stay in the file
    const converted = add !== undefined || (shape.length === 1 && dtype !== 'F32');
    if (packed || parts) weights += bytes;
    else if (converted) weights += 4 * shape.reduce((product, size) => product * size, 1);
    else mapped += bytes;
  }
  const kvPerToken = kvBytesPerToken(config, keyType, valueType);
  const kv = kvPerToken * contextLength;
  const activations = 4 * (rows * widestLayer(config) + config.vocab);
  return { mapped, weights, kv, kvPerToken, activations, total: mapped + weights + kv + activations };
}

/** The part of a tensor that one token meets: of experts, as many as it goes to. */
export const activeShare = ({ experts }: Pick<ModelConfig, 'experts'>, tensor: string): number =>
  experts && tensor.endsWith('_exps.weight') ? experts.used / experts.count : 1;

/** Weights that one token meets: all but those of experts that it does not go to. */
export function activeParameters({ config, tensors }: Pick<ModelSource, 'config' | 'tensors'>): number {
  let sum = 0;
  for (const { name, shape } of tensors.values()) {
    sum += activeShare(config, name) * shape.reduce((product, size) => product * size, 1);
  }
  return Math.round(sum);
}

/** Floats per row that are alive at once: the residual, its norm, and the wider of attention's and the MLP's values. */
function widestLayer({ width, hidden, heads, kvHeads, headDim, valueDim, experts }: ModelConfig): number {
  const attention = 2 * heads * headDim + heads * valueDim + kvHeads * (headDim + valueDim);
  // Of every expert of a row: what gate and up make of it, and its product with down.
  const routed = experts ? experts.used * (experts.hidden + width) + experts.count : 0;
  return 2 * width + Math.max(attention, 2 * hidden, routed);
}
