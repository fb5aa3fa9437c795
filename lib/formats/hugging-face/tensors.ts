// Tensors of a Hugging Face checkpoint under their canonical (GGUF) names.
import { VivaceError } from '../../errors.js';
import { dtypes, type DType } from '../../program/dtype.js';
import type { Architecture } from '../model-config.js';
import type { TensorSource } from '../model-source.js';
import type { SafetensorsTensor } from '../safetensors.js';
import { ExpertTensors, expertPlace } from './experts.js';
import type { PackedModule } from './quantised/modules.js';

type Names = Readonly<Record<string, string>>;

const shared: Names = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
};

/** Gemma normalises around both blocks, so one name means another place than elsewhere. */
const gemma: Names = {
  ...shared,
  post_attention_layernorm: 'post_attention_norm',
  pre_feedforward_layernorm: 'ffn_norm',
  post_feedforward_layernorm: 'post_ffw_norm',
};

/** Fused in the files as in GGUF: rows of q, k, v; rows of gate, then up. */
const phi3: Names = { ...shared, 'self_attn.qkv_proj': 'attn_qkv', 'mlp.gate_up_proj': 'ffn_up' };

/** Experts themselves are in experts.ts. */
const routed: Names = {
  ...shared,
  'block_sparse_moe.gate': 'ffn_gate_inp',
  'mlp.gate': 'ffn_gate_inp',
  'mlp.shared_expert.gate_proj': 'ffn_gate_shexp',
  'mlp.shared_expert.up_proj': 'ffn_up_shexp',
  'mlp.shared_expert.down_proj': 'ffn_down_shexp',
  'mlp.shared_expert_gate': 'ffn_gate_inp_shexp',
  'mlp.shared_experts.gate_proj': 'ffn_gate_shexp',
  'mlp.shared_experts.up_proj': 'ffn_up_shexp',
  'mlp.shared_experts.down_proj': 'ffn_down_shexp',
};

const layerNames: Readonly<Record<Architecture, Names>> = {
  llama: routed, // Mixtral is one
  qwen2: shared,
  qwen3: shared,
  gemma2: gemma,
  gemma3: gemma,
  phi3,
  qwen2moe: routed,
  qwen3moe: routed,
  deepseek: routed,
};

/** Text models nested in models of several kinds of input, in the spellings of older and newer files; base models have none. */
const prefixes = /^(?:language_model\.model\.|model\.language_model\.|model\.|language_model\.)?/;
/** Parts that a text model does not have, and buffers that old files store although they follow from the config. */
const ignored = /^(?:model\.)?(?:vision_tower|vision_model|visual|multi_modal_projector)\.|\.rotary_emb\.inv_freq$/;

/** The canonical name; undefined for tensors that are none of the text model's. */
export function canonicalName(name: string, architecture: Architecture): string | undefined {
  if (ignored.test(name)) return undefined;
  const plain = name.replace(prefixes, '');
  if (plain === 'embed_tokens.weight') return 'token_embd.weight';
  if (plain === 'norm.weight') return 'output_norm.weight';
  if (plain === 'lm_head.weight') return 'output.weight';
  const match = /^layers\.(0|[1-9]\d{0,4})\.(.+)\.(weight|bias)$/.exec(plain);
  const names = layerNames[architecture];
  const biases = /^layers\.(0|[1-9]\d{0,4})\.mlp\.gate\.e_score_correction_bias$/.exec(plain);
  if (biases !== null && names === routed) return `blk.${biases[1]}.exp_probs_b.bias`;
  if (match !== null && Object.hasOwn(names, match[2])) return `blk.${match[1]}.${names[match[2]]}.${match[3]}`;
  throw new VivaceError(
    'UNSUPPORTED_FEATURE',
    `The tensor \`${name}\` has no place in a model of the architecture ${architecture}`,
    {
      remedy: 'Use a plain checkpoint: no adapters.',
    },
  );
}

const readable: Readonly<Record<string, DType>> = { F32: 'F32', F16: 'F16', BF16: 'BF16' };

/** A tensor under another name. Throws UNSUPPORTED_TENSOR_TYPE. */
export function plainTensor(
  { name: given, type, shape, file, offset, bytes }: SafetensorsTensor & { readonly file: number },
  name: string,
): TensorSource {
  if (Object.hasOwn(readable, type)) return { name, dtype: readable[type], shape, file, offset, bytes };
  throw new VivaceError(
    'UNSUPPORTED_TENSOR_TYPE',
    `The tensor \`${given}\` has the type ${type}; supported in safetensors files are ${Object.keys(readable).join(', ')}`,
    {
      remedy: 'Use an F16 or BF16 checkpoint, or a quantised GGUF file of the model.',
    },
  );
}

/** Throws UNSUPPORTED_TENSOR_TYPE, UNSUPPORTED_FEATURE or FORMAT_INVALID. */
export function canonicalTensors(
  tensors: Iterable<SafetensorsTensor & { readonly file: number }>,
  architecture: Architecture,
): Map<string, TensorSource> {
  const result = new Map<string, TensorSource>();
  const experts = new ExpertTensors();
  for (const { name: given, type, shape, file, offset, bytes } of tensors) {
    const place = layerNames[architecture] === routed ? expertPlace(given.replace(prefixes, '')) : undefined;
    if (place) {
      experts.add(place, plainTensor({ name: given, type, shape, file, offset, bytes }, given));
      continue;
    }
    const name = canonicalName(given, architecture);
    if (name === undefined) continue;
    const tensor = plainTensor({ name: given, type, shape, file, offset, bytes }, name);
    if (result.has(name))
      throw new VivaceError('FORMAT_INVALID', `Two tensors stand for \`${name}\`; one is \`${given}\``);
    // Gemma multiplies by 1 + weight; GGUF files hold the sum.
    const offsetNorm = architecture.startsWith('gemma') && name.endsWith('norm.weight');
    // A map to one number is a vector.
    const flat = name.endsWith('.ffn_gate_inp_shexp.weight') && shape[0] === 1 ? { shape: shape.slice(1) } : {};
    result.set(name, offsetNorm ? { ...tensor, add: 1 } : { ...tensor, ...flat });
  }
  for (const tensor of experts.stacks()) result.set(tensor.name, tensor);
  return result;
}

/** The weights of quantised modules beside the plain tensors. Throws UNSUPPORTED_FEATURE or FORMAT_INVALID. */
export function packedTensors(
  modules: Iterable<PackedModule>,
  architecture: Architecture,
  plain: Map<string, TensorSource>,
): Map<string, TensorSource> {
  for (const { name: module, shape, dtype, bytes, packed } of modules) {
    const given = `${module}.weight`;
    if (expertPlace(given.replace(prefixes, ''))) {
      throw new VivaceError('UNSUPPORTED_FEATURE', `The checkpoint quantises experts (\`${given}\`)`, {
        remedy: 'Use an F16 or BF16 checkpoint, or a GGUF file of the model.',
      });
    }
    const name = canonicalName(given, architecture);
    if (name === undefined) continue;
    if (plain.has(name))
      throw new VivaceError('FORMAT_INVALID', `Two tensors stand for \`${name}\`; one is \`${given}\``);
    const { file, offset } = packed.codes;
    plain.set(name, { name, dtype, shape, file, offset, bytes, packed });
  }
  return plain;
}

/** The first `rows` rows of a matrix. */
export function firstRows(tensor: TensorSource, rows: number): TensorSource {
  const [all, ...rest] = tensor.shape;
  if (rows >= all) return tensor;
  const columns = rest.reduce((product, dimension) => product * dimension, 1);
  return { ...tensor, shape: [rows, ...rest], bytes: rows * columns * dtypes[tensor.dtype].bytes };
}
