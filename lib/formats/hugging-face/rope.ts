// Position encoding of config.json: `rope_theta` and `rope_scaling` of older files, `rope_parameters` of newer ones.
import { VivaceError } from '../../errors.js';
import type { Architecture, ModelConfig, RopeScaling } from '../model-config.js';
import { Fields, isObject } from './json.js';

export function readRope(
  config: Fields,
  architecture: Architecture,
  headDim: number,
  contextLength: number,
): ModelConfig['rope'] {
  const { scaling, local } = parameters(config);
  const partial = scaling?.number('partial_rotary_factor') ?? config.number('partial_rotary_factor') ?? 1;
  const dimensions = Math.floor(headDim * partial);
  const gemma3 = architecture === 'gemma3';
  return {
    base: scaling?.number('rope_theta') ?? config.number('rope_theta') ?? (gemma3 ? 1_000_000 : 10_000),
    localBase: gemma3 ? (local?.number('rope_theta') ?? config.number('rope_local_base_freq') ?? 10_000) : undefined,
    dimensions,
    scaling: readScaling(config, scaling, architecture, dimensions, contextLength),
    layout: 'halves',
  };
}

/** The parameters of global layers and, where layers differ (gemma3 in newer files), of sliding ones. */
function parameters(config: Fields): { scaling?: Fields; local?: Fields } {
  const scaling = config.fields('rope_parameters') ?? config.fields('rope_scaling');
  if (scaling !== undefined && isObject(scaling.value('full_attention'))) {
    return { scaling: scaling.fields('full_attention'), local: scaling.fields('sliding_attention') };
  }
  return { scaling };
}

function readScaling(
  config: Fields,
  scaling: Fields | undefined,
  architecture: Architecture,
  dimensions: number,
  contextLength: number,
): RopeScaling {
  const type = scaling?.string('rope_type') ?? scaling?.string('type') ?? 'default';
  if (scaling === undefined || type === 'default' || type === 'none') return { type: 'none' };
  const required = (key: string): number => {
    const value = scaling.number(key);
    if (value === undefined) throw scaling.missing(key);
    return value;
  };
  const original =
    scaling.number('original_max_position_embeddings') ?? config.number('original_max_position_embeddings');
  // Early files of phi3 call longrope "su", and once "yarn".
  if (type === 'longrope' || type === 'su' || (type === 'yarn' && architecture === 'phi3')) {
    return longrope(scaling, original ?? (architecture === 'phi3' ? 4096 : undefined), dimensions);
  }
  switch (type) {
    case 'linear': {
      const factor = required('factor');
      return factor === 1 ? { type: 'none' } : { type, factor };
    }
    case 'llama3':
      return {
        type,
        factor: required('factor'),
        lowFrequencyFactor: required('low_freq_factor'),
        highFrequencyFactor: required('high_freq_factor'),
        originalContextLength: required('original_max_position_embeddings'),
      };
    case 'yarn':
      refuse(scaling, ['mscale', 'mscale_all_dim'], 'yarn');
      if (scaling.boolean('truncate') === false) throw unsupported('yarn with `truncate: false`');
      return {
        type,
        factor: required('factor'),
        originalContextLength: original ?? contextLength,
        attentionFactor: scaling.number('attention_factor'),
        betaFast: scaling.number('beta_fast') ?? 32,
        betaSlow: scaling.number('beta_slow') ?? 1,
      };
    default:
      throw unsupported(`"${type}"; supported are linear, llama3, yarn and longrope`);
  }
}

function longrope(scaling: Fields, original: number | undefined, dimensions: number): RopeScaling {
  refuse(scaling, ['short_mscale', 'long_mscale'], 'longrope');
  if (original === undefined) throw scaling.missing('original_max_position_embeddings');
  const factors = (key: string): readonly number[] => {
    const list = scaling.numbers(key);
    if (list === undefined) throw scaling.missing(key);
    if (list.length !== dimensions / 2 || !list.every((factor) => factor > 0)) {
      throw new VivaceError(
        'FORMAT_INVALID',
        `\`${key}\` has ${list.length} factors, expected ${dimensions / 2} above 0`,
      );
    }
    return list;
  };
  return {
    type: 'longrope',
    originalContextLength: original,
    attentionFactor: scaling.number('attention_factor'),
    shortFactors: factors('short_factor'),
    longFactors: factors('long_factor'),
  };
}

const unsupported = (what: string): VivaceError =>
  new VivaceError('UNSUPPORTED_FEATURE', `The model scales positions by ${what}`);

function refuse(scaling: Fields, keys: readonly string[], type: string): void {
  const key = keys.find((name) => scaling.value(name) !== undefined);
  if (key !== undefined) throw unsupported(`${type} with \`${key}\``);
}
