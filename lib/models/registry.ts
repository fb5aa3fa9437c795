// The table of model families: one row each; building, checks and documentation are derived from it.
import { VivaceError } from '../errors.js';
import type { Architecture } from '../formats/model-config.js';
import type { BuildProgram } from './decoder.js';
import { buildGemma2, buildGemma3 } from './gemma.js';
import { buildLlama, buildQwen2, buildQwen3 } from './llama.js';

export type { BuildOptions, BuildProgram, WeightLookup } from './decoder.js';

export interface Family {
  /** As in `general.architecture` of GGUF files. */
  readonly architecture: Architecture;
  /** Models that belong to it, for documentation. */
  readonly models: string;
  /** What sets it apart, in one line. */
  readonly description: string;
  readonly build: BuildProgram;
}

const family = (
  architecture: Architecture,
  models: string,
  description: string,
  build: BuildProgram,
): Family => ({ architecture, models, description, build });

export const families: readonly Family[] = [
  family(
    'llama',
    'Llama 1 to 3.x, Mistral 7B, Mistral Nemo, Mixtral, TinyLlama, SmolLM',
    'RMS norms, grouped-query attention, SiLU-gated MLP; sliding windows for Mistral, experts for Mixtral',
    buildLlama,
  ),
  family('qwen2', 'Qwen 2, Qwen 2.5', 'as llama, with biases on q, k and v', buildQwen2),
  family('qwen3', 'Qwen 3', 'as llama, with norms over the heads of q and k', buildQwen3),
  family(
    'phi3',
    'Phi-3 mini and medium, Phi-3.5 mini, Phi-4 mini',
    'as llama, with fused projections, longrope and partial rotation',
    buildLlama,
  ),
  family(
    'gemma2',
    'Gemma 2',
    'norms before and after each block, soft caps, a sliding window in every other layer',
    buildGemma2,
  ),
  family(
    'gemma3',
    'Gemma 3 (text)',
    'as gemma2 without soft caps, with head norms and two rotations; five of six layers slide',
    buildGemma3,
  ),
  family(
    'qwen2moe',
    'Qwen 1.5 MoE, Qwen 2 MoE',
    'as qwen2, with experts, and one shared by all rows with a gate of its own',
    buildQwen2,
  ),
  family('qwen3moe', 'Qwen 3 MoE (30B-A3B, 235B-A22B)', 'as qwen3, with experts', buildQwen3),
  family('deepseek', 'DeepSeek-MoE 16B', 'as llama, with experts after dense first layers, and shared ones', buildLlama),
];

/** The program of a model. Throws UNSUPPORTED_ARCHITECTURE, MISSING_TENSOR, SHAPE_MISMATCH or UNSUPPORTED_FEATURE. */
export const buildProgram: BuildProgram = (config, weights, options) => {
  const row = families.find(({ architecture }) => architecture === config.architecture);
  if (!row) {
    throw new VivaceError('UNSUPPORTED_ARCHITECTURE', `No model family is called "${config.architecture}"`, {
      remedy: `Supported are ${families.map(({ architecture }) => architecture).join(', ')}.`,
    });
  }
  return row.build(config, weights, options);
};
