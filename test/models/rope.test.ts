// Rotary frequencies: the published values of every scaling, and the laws between them.
import { ropeVectors, llama3Divisors } from '../../lib/models/rope.js';
import type { RopeScaling } from '../../lib/formats/model-config.js';

const none: RopeScaling = { type: 'none' };
const served = (contextLength: number, trainedContextLength = contextLength) => ({ contextLength, trainedContextLength });

/** Scaled frequency over unscaled, per pair. */
function ratios(base: number, dimensions: number, scaling: RopeScaling, context = served(4096)): number[] {
  const plain = ropeVectors({ base, dimensions, scaling: none }, context).frequencies;
  const scaled = ropeVectors({ base, dimensions, scaling }, context).frequencies;
  return Array.from(scaled, (frequency, j) => frequency / plain[j]);
}

const llama31 = {
  type: 'llama3',
  factor: 8,
  lowFrequencyFactor: 1,
  highFrequencyFactor: 4,
  originalContextLength: 8192,
} as const;

const yarn = (factor: number, originalContextLength: number) =>
  ({ type: 'yarn', factor, originalContextLength, betaFast: 32, betaSlow: 1 }) as const;

describe('rotary frequencies', () => {
  test('fall from 1 by the same ratio, to base^(−(d−2)/d)', () => {
    const { frequencies, magnitude } = ropeVectors({ base: 10000, dimensions: 64, scaling: none }, served(4096));
    expect(magnitude).toBe(1);
    expect(frequencies).toHaveLength(32);
    expect(frequencies[0]).toBe(1);
    expect(frequencies[16]).toBeCloseTo(0.01, 9);
    expect(frequencies[31]).toBeCloseTo(10000 ** (-62 / 64), 10);
  });

  test('linear: all divided by the factor', () => {
    for (const ratio of ratios(10000, 64, { type: 'linear', factor: 8 })) expect(ratio).toBeCloseTo(1 / 8, 6);
  });

  test('llama3: the divisors of Llama 3.1 (d 128, base 500000, factor 8 of 8192)', () => {
    const divisors = llama3Divisors(llama31, 500000, 128);
    expect([...divisors.subarray(0, 29)]).toEqual(Array(29).fill(1));
    [1.2075, 1.5534, 2.0263, 2.6945, 3.6843, 5.2573].forEach((divisor, j) => expect(divisors[29 + j]).toBeCloseTo(divisor, 4));
    expect([...divisors.subarray(35)]).toEqual(Array(29).fill(8));
    const found = ratios(500000, 128, llama31);
    expect(found[28]).toBeCloseTo(1, 6);
    expect(found[29]).toBeCloseTo(0.8282, 4);
    expect(found[30]).toBeCloseTo(0.6437, 3);
    expect(found[34]).toBeCloseTo(0.1902, 4);
    expect(found[35]).toBeCloseTo(0.125, 6);
  });

  test('llama3 from the config and from a tensor of divisors give the same bits', () => {
    const divisors = Float32Array.from(llama3Divisors(llama31, 500000, 128));
    const fromTensor = ropeVectors({ base: 500000, dimensions: 128, scaling: none }, { ...served(4096), divisors });
    expect(fromTensor).toEqual(ropeVectors({ base: 500000, dimensions: 128, scaling: llama31 }, served(4096)));
  });

  test('yarn: the ramp and the magnitude (d 128)', () => {
    const found = ratios(10000, 128, yarn(16, 4096));
    expect(found[20]).toBeCloseTo(1, 6);
    expect(found[21]).toBeLessThan(0.99);
    expect(found[33]).toBeCloseTo(0.53125, 5);
    expect(found[45]).toBeGreaterThan(0.07);
    expect(found[46]).toBeCloseTo(1 / 16, 6);
    const magnitude = (base: number, scaling: RopeScaling): number =>
      ropeVectors({ base, dimensions: 128, scaling }, served(4096)).magnitude;
    expect(magnitude(10000, yarn(16, 4096))).toBeCloseTo(1.277259, 6);
    expect(magnitude(1e6, yarn(4, 32768))).toBeCloseTo(1.138629, 6);
    expect(magnitude(1e6, { ...yarn(4, 32768), attentionFactor: 1.5 })).toBe(1.5);
    const qwen = ratios(1e6, 128, yarn(4, 32768));
    expect(qwen[23]).toBeCloseTo(1, 6);
    expect(qwen[24]).toBeLessThan(0.99);
    expect(qwen[40]).toBeCloseTo(0.25, 6);
  });

  test('longrope: short factors up to the original context, long ones beyond, one magnitude for both', () => {
    const scaling = {
      type: 'longrope',
      originalContextLength: 4096,
      shortFactors: Array(16).fill(1.25),
      longFactors: Array(16).fill(20),
    } as const;
    const at = (contextLength: number) => ropeVectors({ base: 10000, dimensions: 32, scaling }, served(contextLength, 131072));
    expect(at(4096).frequencies[0]).toBeCloseTo(1 / 1.25, 6);
    expect(at(4097).frequencies[0]).toBeCloseTo(1 / 20, 6);
    expect(at(4096).magnitude).toBeCloseTo(Math.sqrt(1 + Math.log(32) / Math.log(4096)), 6);
    expect(at(4097).magnitude).toBe(at(4096).magnitude);
  });

  test('factors of another length are refused, and so is longrope without any', () => {
    const longrope = { base: 10000, dimensions: 32, scaling: { type: 'longrope', originalContextLength: 4096 } } as const;
    expect(() => ropeVectors(longrope, served(4096))).toThrow(expect.objectContaining({ code: 'MISSING_TENSOR' }));
    expect(() => ropeVectors(longrope, { ...served(4096), divisors: new Float32Array(4) })).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    );
  });
});
