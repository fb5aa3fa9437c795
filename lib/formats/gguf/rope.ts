// Position scaling as GGUF files express it: in keys, and for llama3 and longrope in tensors.
import { VivaceError } from '../../errors.js';
import type { Architecture, RopeScaling } from '../model-config.js';
import type { TensorSource } from '../model-source.js';
import { missingKey, optionalInteger, optionalNumber, optionalString, type Metadata } from './metadata.js';

/**
 * llama3 scaling never appears here: converters turn it into the tensor `rope_freqs.weight`, divisors that the model
 * applies whenever they are there.
 */
export function ropeScaling(
  metadata: Metadata,
  architecture: Architecture,
  tensors: ReadonlyMap<string, TensorSource>,
): RopeScaling {
  const key = (name: string): string => `${architecture}.rope.scaling.${name}`;
  const type = optionalString(metadata, key('type'));
  // `rope.scale_linear` is the name in files of 2023.
  const factor =
    optionalNumber(metadata, key('factor')) ?? optionalNumber(metadata, `${architecture}.rope.scale_linear`) ?? 0;
  const attentionFactor =
    optionalNumber(metadata, key('attn_factor')) ?? optionalNumber(metadata, key('yarn_attn_factor'));
  const contextLength = optionalInteger(metadata, `${architecture}.context_length`);
  const originalContextLength = optionalInteger(metadata, key('original_context_length')) ?? contextLength ?? 0;

  // Converters of phi3 write the factors, but no type.
  const factors = ['rope_factors_long.weight', 'rope_factors_short.weight'];
  if (type === 'longrope' || factors.some((name) => tensors.has(name))) {
    const absent = factors.find((name) => !tensors.has(name));
    if (absent !== undefined) {
      throw new VivaceError('MISSING_TENSOR', `The tensor \`${absent}\` is missing, which longrope scaling needs`);
    }
    return { type: 'longrope', originalContextLength, attentionFactor };
  }
  switch (type) {
    case 'none':
      return { type: 'none' };
    case 'linear':
    case undefined:
      return factor === 0 || factor === 1 ? { type: 'none' } : { type: 'linear', factor };
    case 'yarn':
      if (factor === 0) throw missingKey(key('factor'));
      return {
        type: 'yarn',
        factor,
        originalContextLength,
        // llama.cpp multiplies the key with yarn's own factor; the config holds the product.
        attentionFactor: attentionFactor === undefined ? undefined : attentionFactor * (1 + 0.1 * Math.log(factor)),
        betaFast: optionalNumber(metadata, key('yarn_beta_fast')) ?? 32,
        betaSlow: optionalNumber(metadata, key('yarn_beta_slow')) ?? 1,
      };
    default:
      throw new VivaceError(
        'UNSUPPORTED_FEATURE',
        `The model scales positions by "${type}"; supported are none, linear, yarn and longrope`,
      );
  }
}
