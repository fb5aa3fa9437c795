// What a model can be quantised to: types and mixtures of GGUF files, and schemes of safetensors directories.
import { dtypes, type DType } from '../program/dtype.js';

export interface GgufTarget {
  readonly container: 'gguf';
  readonly name: string;
  /** Of most matrices. */
  readonly dtype: DType;
  /** Of `attn_v` and `ffn_down` (of experts, too) in the layers whose errors matter most. */
  readonly better?: DType;
  /** `general.file_type`. */
  readonly fileType: number;
}

export interface SafetensorsTarget {
  readonly container: 'safetensors';
  readonly name: 'W4A16' | 'W8A8';
  readonly dtype: DType;
}

export type Target = GgufTarget | SafetensorsTarget;

const gguf = (name: string, dtype: DType, fileType: number, better?: DType): GgufTarget => ({
  container: 'gguf',
  name,
  dtype,
  fileType,
  ...(better ? { better } : {}),
});

const targets = [
  gguf('F32', 'F32', 0),
  gguf('F16', 'F16', 1),
  gguf('BF16', 'BF16', 32),
  gguf('Q8_0', 'Q8_0', 7),
  gguf('Q6_K', 'Q6_K', 18),
  gguf('Q5_K_M', 'Q5_K', 17, 'Q6_K'),
  gguf('Q5_K', 'Q5_K', 16),
  gguf('Q5_1', 'Q5_1', 9),
  gguf('Q5_0', 'Q5_0', 8),
  gguf('Q4_K_M', 'Q4_K', 15, 'Q6_K'),
  gguf('Q4_K', 'Q4_K', 14),
  gguf('Q4_1', 'Q4_1', 3),
  gguf('Q4_0', 'Q4_0', 2),
  gguf('IQ4_NL', 'IQ4_NL', 25),
  gguf('IQ4_XS', 'IQ4_XS', 30),
  gguf('Q3_K_M', 'Q3_K', 12, 'Q5_K'),
  gguf('Q3_K', 'Q3_K', 11),
  gguf('Q2_K', 'Q2_K', 10),
  { container: 'safetensors', name: 'W4A16', dtype: 'W4A16_G128' },
  { container: 'safetensors', name: 'W8A8', dtype: 'W8A8' },
] as const satisfies readonly Target[];

export type QuantizeType = (typeof targets)[number]['name'];

export const quantizeTypes: readonly QuantizeType[] = targets.map(({ name }) => name);

export const targetOf = (type: QuantizeType): Target => targets.find(({ name }) => name === type) as Target;

const bits = (dtype: DType): number => (8 * dtypes[dtype].bytes) / dtypes[dtype].block;

/** For rows that are no multiple of 256. */
const narrower: Partial<Record<DType, DType>> = {
  Q2_K: 'Q4_0',
  Q3_K: 'Q4_0',
  IQ4_XS: 'IQ4_NL',
  Q4_K: 'Q5_0',
  Q5_K: 'Q5_1',
  Q6_K: 'Q8_0',
};

/** Whether a layer is among those that a mixture keeps better: the first and last eighth, and every third between. */
function matters(layer: number, layers: number): boolean {
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
}

export interface TensorChoice {
  readonly dtype: DType;
  /** The type that its rows are too narrow for. */
  readonly insteadOf?: DType;
}

/**
 * The type of a tensor, by canonical name and shape. Vectors and routers stay F32. The head (or the embedding that is one) has at
 * least Q6_K: it is large in small models only, and every token's choice goes through it.
 */
export function tensorChoice(
  target: GgufTarget,
  tensor: { readonly name: string; readonly shape: readonly number[] },
  model: { readonly layers: number; readonly head: string },
): TensorChoice {
  // Routers are small, and rounded ones send rows to other experts.
  if (tensor.shape.length < 2 || tensor.name.endsWith('.ffn_gate_inp.weight')) return { dtype: 'F32' };
  let wanted = target.dtype;
  const [, layer] = /^blk\.(\d+)\.(?:attn_v|ffn_down(?:_exps|_shexp)?)\.weight$/.exec(tensor.name) ?? [];
  if (target.better && layer !== undefined && matters(Number(layer), model.layers)) wanted = target.better;
  if (tensor.name === model.head && bits(wanted) < bits('Q6_K')) wanted = 'Q6_K';
  const columns = tensor.shape.at(-1) as number;
  const fits = (dtype: DType): boolean => columns % dtypes[dtype].block === 0;
  if (fits(wanted)) return { dtype: wanted };
  const other = narrower[wanted];
  return { dtype: other && fits(other) ? other : 'F16', insteadOf: wanted };
}
