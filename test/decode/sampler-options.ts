// Sampler options with everything off, and the native sampler as tests see it.
import type { Sampled } from '../../lib/decode/reference-sampler.js';
import { native, nativeCall } from '../../lib/native.js';
import type { SamplerOptions } from '../../lib/program/executor.js';

export const plain: SamplerOptions = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  typicalP: 1,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: new Map(),
  seed: 1n,
  logprob: true,
  topLogprobs: 0,
  vocab: 8,
};

export interface TestSampler {
  accept(tokens: Int32Array): void;
  sample(logits: Float32Array): Sampled;
  dispose(): void;
}

export const createNativeSampler = (options: SamplerOptions): TestSampler => {
  const sampler = new (native().Sampler)({ ...options }) as unknown as TestSampler;
  return {
    accept: (tokens) => nativeCall(() => sampler.accept(tokens)),
    sample: (logits) => nativeCall(() => sampler.sample(logits)),
    dispose: () => nativeCall(() => sampler.dispose()),
  };
};
