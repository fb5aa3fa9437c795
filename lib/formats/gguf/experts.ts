// Experts in GGUF metadata, with the defaults of llama.cpp.
import { VivaceError } from '../../errors.js';
import type { Architecture, ExpertsConfig, ModelConfig } from '../model-config.js';
import type { TensorSource } from '../model-source.js';
import { missingKey, optionalBoolean, optionalInteger, optionalNumber, type Metadata } from './metadata.js';

/** What files of an architecture leave out. */
interface Rule {
  /** The architecture has no models without experts. */
  readonly always: boolean;
  readonly normalise: boolean;
}

const rules: Partial<Readonly<Record<Architecture, Rule>>> = {
  llama: { always: false, normalise: true }, // Mixtral
  qwen2moe: { always: true, normalise: false },
  qwen3moe: { always: true, normalise: true },
  deepseek: { always: true, normalise: false },
};

/** Undefined for dense models. Throws FORMAT_INVALID, or UNSUPPORTED_ARCHITECTURE where experts are not expected. */
export function ggufExperts(
  metadata: Metadata,
  architecture: Architecture,
  { layers, hidden }: Pick<ModelConfig, 'layers' | 'hidden'>,
  tensors: ReadonlyMap<string, TensorSource>,
): ExpertsConfig | undefined {
  const integer = (key: string): number | undefined => optionalInteger(metadata, `${architecture}.${key}`);
  const required = (key: string): number => {
    const value = integer(key);
    if (value === undefined) throw missingKey(`${architecture}.${key}`);
    return value;
  };
  const rule = rules[architecture];
  const count = integer('expert_count') ?? 0;
  if (count === 0) {
    if (rule?.always) throw missingKey(`${architecture}.expert_count`);
    return undefined;
  }
  if (!rule) {
    throw new VivaceError(
      'UNSUPPORTED_ARCHITECTURE',
      `The model is a mixture of ${count} experts ("${architecture}" with expert_count); supported with experts are ${Object.keys(rules).join(', ')}`,
    );
  }
  const used = required('expert_used_count');
  const own = integer('expert_feed_forward_length') ?? ownHidden(architecture, hidden, used);
  if (own === undefined) throw missingKey(`${architecture}.expert_feed_forward_length`);
  const shared = {
    qwen2moe: () => integer('expert_shared_feed_forward_length') ?? hidden,
    deepseek: () => (integer('expert_shared_count') ?? 0) * own,
  };
  const scoring = scoringOf(metadata, architecture);
  const dense = integer('leading_dense_block_count') ?? 0;
  const has = (layer: number, part: string): boolean => tensors.has(`blk.${layer}.${part}.weight`);
  return {
    count,
    used,
    hidden: own,
    sharedHidden: architecture === 'qwen2moe' || architecture === 'deepseek' ? shared[architecture]() : 0,
    // No key says which of the later layers are dense: their tensors do.
    sparse: Array.from(
      { length: Math.min(layers, 4096) },
      (_, layer) => layer >= dense && (has(layer, 'ffn_gate_inp') || !has(layer, 'ffn_gate')),
    ),
    scoring,
    normalise: optionalBoolean(metadata, `${architecture}.expert_weights_norm`) ?? rule.normalise,
    scale: optionalNumber(metadata, `${architecture}.expert_weights_scale`) || 1,
    groups: integer('expert_group_count') || 1,
    groupsUsed: integer('expert_group_used_count') || 1,
    groupScore: scoring === 'sigmoid' ? 'top2' : 'max',
  };
}

/** Where files do not tell it apart from the width of dense layers. */
function ownHidden(architecture: Architecture, hidden: number, used: number): number | undefined {
  if (architecture === 'llama') return hidden;
  return architecture === 'qwen2moe' ? hidden / used : undefined;
}

function scoringOf(metadata: Metadata, architecture: Architecture): ExpertsConfig['scoring'] {
  const key = `${architecture}.expert_gating_func`;
  const given = optionalInteger(metadata, key) ?? 0;
  if (given === 0 || given === 1) return 'softmax';
  if (given === 2) return 'sigmoid';
  throw new VivaceError(
    'UNSUPPORTED_FEATURE',
    `The model sets \`${key}\` to ${given}; supported are 1 (softmax) and 2 (sigmoid)`,
  );
}
