// Experts in config.json, and their tensors: one per expert, or those of a layer in one.
import { VivaceError } from '../../errors.js';
import type { ExpertsConfig } from '../model-config.js';
import { splitGateUp, stacked, type TensorSource } from '../model-source.js';
import type { Fields } from './json.js';

/** By `model_type`: fields that published files leave out, as the transformers classes have them. */
export const expertDefaults = {
  mixtral: { num_local_experts: 8, num_experts_per_tok: 2 },
  qwen2_moe: {
    num_experts: 60,
    num_experts_per_tok: 4,
    moe_intermediate_size: 1408,
    shared_expert_intermediate_size: 5632,
    decoder_sparse_step: 1,
  },
  qwen3_moe: { num_experts: 128, num_experts_per_tok: 8, moe_intermediate_size: 768, decoder_sparse_step: 1 },
  deepseek: { moe_intermediate_size: 1407, first_k_dense_replace: 0, moe_layer_freq: 1 },
} as const;

type Kind = keyof typeof expertDefaults;

/** By class. */
const kinds: Readonly<Record<string, Kind | undefined>> = {
  Mixtral: 'mixtral',
  Qwen2Moe: 'qwen2_moe',
  Qwen3Moe: 'qwen3_moe',
  Deepseek: 'deepseek',
};

/** Undefined for dense models. Throws FORMAT_INVALID or UNSUPPORTED_FEATURE. */
export function readExperts(
  text: Fields,
  className: string,
  defaults: Readonly<Record<string, number>>,
  layers: number,
): ExpertsConfig | undefined {
  const integer = (key: string): number | undefined => text.integer(key) ?? defaults[key];
  const required = (key: string): number => {
    const value = integer(key);
    if (value === undefined) throw text.missing(key);
    return value;
  };
  const kind = kinds[className];
  if (kind === undefined) return undefined;
  const counts = { mixtral: 'num_local_experts', qwen2_moe: 'num_experts', qwen3_moe: 'num_experts' };
  const count = required(kind === 'deepseek' ? 'n_routed_experts' : counts[kind]);
  const hidden = required(kind === 'mixtral' ? 'intermediate_size' : 'moe_intermediate_size');
  const scoring = text.string('scoring_func') ?? 'softmax';
  if (scoring !== 'softmax' && scoring !== 'sigmoid') {
    throw new VivaceError(
      'UNSUPPORTED_FEATURE',
      `The model's scoring_func is "${scoring}"; supported are softmax and sigmoid`,
    );
  }
  const grouped = (text.string('topk_method') ?? 'greedy') !== 'greedy';
  const normalise = kind === 'mixtral' || text.boolean('norm_topk_prob') === true;
  const sharedHidden = {
    mixtral: () => 0,
    qwen2_moe: () => required('shared_expert_intermediate_size'),
    qwen3_moe: () => 0,
    deepseek: () => (text.integer('n_shared_experts') ?? 0) * hidden,
  };
  return {
    count,
    used: required('num_experts_per_tok'),
    hidden,
    sharedHidden: sharedHidden[kind](),
    sparse: sparseLayers(text, kind, layers, required),
    scoring,
    normalise,
    // With normalised weights, softmax models do not scale.
    scale: normalise && scoring === 'softmax' ? 1 : (text.number('routed_scaling_factor') ?? 1),
    groups: grouped ? required('n_group') : 1,
    groupsUsed: grouped ? required('topk_group') : 1,
    groupScore: scoring === 'sigmoid' ? 'top2' : 'max',
  };
}

function sparseLayers(text: Fields, kind: Kind, layers: number, required: (key: string) => number): boolean[] {
  const all = Array.from({ length: Math.min(layers, 4096) }, (_, layer) => layer);
  if (kind === 'mixtral') return all.map(() => true);
  if (kind === 'deepseek') {
    const [first, step] = [required('first_k_dense_replace'), required('moe_layer_freq')];
    return all.map((layer) => layer >= first && layer % step === 0);
  }
  const step = required('decoder_sparse_step');
  const dense = text.list('mlp_only_layers') ?? [];
  return all.map((layer) => !dense.includes(layer) && (layer + 1) % step === 0);
}

const mixtral: Readonly<Record<string, string>> = { w1: 'gate', w3: 'up', w2: 'down' };

export interface ExpertPlace {
  /** Of the tensor that holds all experts. */
  readonly name: string;
  /** Absent: the tensor holds all. */
  readonly expert?: number;
}

/** Where a tensor of experts belongs; undefined for other tensors. */
export function expertPlace(plain: string): ExpertPlace | undefined {
  const one =
    /^layers\.(0|[1-9]\d{0,4})\.mlp\.experts\.(0|[1-9]\d{0,3})\.(gate|up|down)_proj\.weight$/.exec(plain) ??
    /^layers\.(0|[1-9]\d{0,4})\.block_sparse_moe\.experts\.(0|[1-9]\d{0,3})\.(w[123])\.weight$/.exec(plain);
  if (one) {
    const [, layer, expert, side] = one;
    return { name: `blk.${layer}.ffn_${mixtral[side] ?? side}_exps.weight`, expert: Number(expert) };
  }
  const all =
    /^layers\.(0|[1-9]\d{0,4})\.(?:block_sparse_moe|mlp)\.experts\.(gate_up|gate|up|down)_proj(?:\.weight)?$/.exec(
      plain,
    );
  return all ? { name: `blk.${all[1]}.ffn_${all[2]}_exps.weight` } : undefined;
}

/** Collects the tensors of experts of a checkpoint. */
export class ExpertTensors {
  private readonly found = new Map<string, TensorSource[]>();

  /** `tensor` has the name that the checkpoint gives it. Throws FORMAT_INVALID. */
  add({ name, expert = 0 }: ExpertPlace, tensor: TensorSource): void {
    const list = this.found.get(name) ?? [];
    if (list[expert]) {
      throw new VivaceError('FORMAT_INVALID', `Two tensors stand for expert ${expert} of \`${name}\``);
    }
    list[expert] = tensor;
    this.found.set(name, list);
  }

  /** One tensor for all experts of a layer. Throws MISSING_TENSOR or SHAPE_MISMATCH. */
  *stacks(): Generator<TensorSource> {
    for (const [name, list] of this.found) {
      const first = list.find(Boolean) as TensorSource;
      if (list.length === 1 && first.shape.length === 3) {
        if (!name.includes('gate_up')) yield { ...first, name };
        else yield* Object.values(splitGateUp({ ...first, name }));
        continue;
      }
      for (let expert = 0; expert < list.length; ++expert) {
        const tensor = list[expert] as TensorSource | undefined;
        if (!tensor) throw new VivaceError('MISSING_TENSOR', `\`${name}\`: there is no tensor of expert ${expert}`);
        if (tensor.dtype !== first.dtype || tensor.shape.join() !== first.shape.join()) {
          throw new VivaceError(
            'SHAPE_MISMATCH',
            `The experts of \`${name}\` differ: one is ${first.dtype} [${first.shape.join(', ')}], \`${tensor.name}\` is ${tensor.dtype} [${tensor.shape.join(', ')}]`,
          );
        }
      }
      yield stacked({ name, dtype: first.dtype, shape: [list.length, ...first.shape] }, list);
    }
  }
}
