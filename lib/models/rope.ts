// Rotary positions: the inverse frequencies of a model, as it was trained or stretched to longer contexts.
import { VivaceError } from '../errors.js';
import type { ModelConfig, RopeScaling } from '../formats/model-config.js';

/** What a `rope_table` call needs. */
export interface RopeVectors {
  /** Angle per position of each pair, in radians. // [dimensions / 2] */
  readonly frequencies: Float32Array;
  /** Factor of every sine and cosine. */
  readonly magnitude: number;
}

export interface RopeOptions {
  /** Positions that will be served: longrope chooses its factors by it. */
  readonly contextLength: number;
  /** The model's own context length. */
  readonly trainedContextLength: number;
  /** Divisors that a GGUF file keeps in a tensor. // [dimensions / 2] */
  readonly divisors?: Float32Array;
}

/**
 * θ_j = base^(−2j/d), changed by the scaling. Computed in float64 and rounded once; divisors are rounded to float32 first,
 * as GGUF files store them, so that a model gives the same bits from either file format.
 * Throws SHAPE_MISMATCH when there are not d/2 divisors, MISSING_TENSOR when longrope has none.
 */
export function ropeVectors(rope: Pick<ModelConfig['rope'], 'base' | 'dimensions' | 'scaling'>, options: RopeOptions): RopeVectors {
  const { base, dimensions, scaling } = rope;
  const divisors = options.divisors ?? configDivisors(scaling, base, dimensions, options.contextLength);
  if (divisors && divisors.length !== dimensions / 2) {
    throw new VivaceError(
      'SHAPE_MISMATCH',
      `rope_table: ${divisors.length} frequency factors for ${dimensions} rotated values, expected ${dimensions / 2}`,
    );
  }
  let frequencies = baseFrequencies(base, dimensions);
  if (divisors) frequencies = frequencies.map((frequency, j) => frequency / Math.fround(divisors[j]));
  if (scaling.type === 'linear') frequencies = frequencies.map((frequency) => frequency / scaling.factor);
  if (scaling.type === 'yarn') frequencies = yarn(frequencies, scaling, base);
  return { frequencies: Float32Array.from(frequencies), magnitude: Math.fround(magnitude(scaling, options)) };
}

const baseFrequencies = (base: number, dimensions: number): Float64Array =>
  Float64Array.from({ length: dimensions / 2 }, (_, j) => base ** ((-2 * j) / dimensions));

/** Whether longrope uses the factors for contexts beyond the original one. */
export const usesLongFactors = (scaling: Extract<RopeScaling, { type: 'longrope' }>, contextLength: number): boolean =>
  contextLength > scaling.originalContextLength;

function configDivisors(
  scaling: RopeScaling,
  base: number,
  dimensions: number,
  contextLength: number,
): ArrayLike<number> | undefined {
  if (scaling.type === 'llama3') return llama3Divisors(scaling, base, dimensions);
  if (scaling.type !== 'longrope') return undefined;
  const factors = usesLongFactors(scaling, contextLength) ? scaling.longFactors : scaling.shortFactors;
  if (!factors) {
    throw new VivaceError('MISSING_TENSOR', 'The model scales positions by longrope, but has no frequency factors', {
      remedy: 'Convert it again: a GGUF file keeps them in rope_factors_long.weight and rope_factors_short.weight.',
    });
  }
  return factors;
}

/** Long waves are stretched by `factor`, short ones stay, those between are interpolated (Llama 3.1). */
export function llama3Divisors(
  scaling: Extract<RopeScaling, { type: 'llama3' }>,
  base: number,
  dimensions: number,
): Float64Array {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalContextLength: original } = scaling;
  return baseFrequencies(base, dimensions).map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < original / high) return 1;
    if (wavelength > original / low) return factor;
    const smooth = (original / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** Frequencies that turn less than `betaSlow` times in the original context are stretched, above `betaFast` kept. */
function yarn(frequencies: Float64Array, scaling: Extract<RopeScaling, { type: 'yarn' }>, base: number): Float64Array {
  const dimensions = frequencies.length * 2;
  const { factor, originalContextLength: original, betaFast, betaSlow } = scaling;
  const pairTurning = (turns: number): number =>
    (dimensions * Math.log(original / (2 * Math.PI * turns))) / (2 * Math.log(base));
  const low = Math.max(Math.floor(pairTurning(betaFast)), 0);
  const high = Math.min(Math.ceil(pairTurning(betaSlow)), dimensions - 1);
  const width = high === low ? 0.001 : high - low;
  return frequencies.map((frequency, j) => {
    const ramp = Math.min(Math.max((j - low) / width, 0), 1);
    return frequency * (1 - ramp) + (frequency / factor) * ramp;
  });
}

function magnitude(scaling: RopeScaling, { trainedContextLength }: RopeOptions): number {
  if (scaling.type === 'yarn') {
    return scaling.attentionFactor ?? (scaling.factor > 1 ? 1 + 0.1 * Math.log(scaling.factor) : 1);
  }
  if (scaling.type === 'longrope') {
    const stretch = trainedContextLength / scaling.originalContextLength;
    return scaling.attentionFactor ?? (stretch > 1 ? Math.sqrt(1 + Math.log(stretch) / Math.log(scaling.originalContextLength)) : 1);
  }
  return 1;
}
