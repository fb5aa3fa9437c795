// The float64 executor of a model, in a file of its own: it is loaded when it is wanted.
import { createReferenceSampler } from '../decode/reference-sampler.js';
import { VivaceError } from '../errors.js';
import type { WeightStore } from '../formats/weight-store.js';
import type { Executor } from '../program/executor.js';
import type { Program } from '../program/program.js';
import { ReferenceExecutor } from '../program/reference/executor.js';

/** `of`: where a tensor's weights are. */
export function referenceExecutor(
  program: Program,
  of: (tensor: string) => Pick<WeightStore, 'info' | 'bytes'>,
): Executor {
  const bind = (tensor: string) => {
    const info = of(tensor).info(tensor);
    if (!info) throw new VivaceError('MISSING_TENSOR', `The model file has no tensor \`${tensor}\``);
    return { ...info, bytes: of(tensor).bytes(tensor) };
  };
  return new ReferenceExecutor(program, bind, createReferenceSampler);
}
