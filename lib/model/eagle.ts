// An EAGLE head as the drafter of its model.
import { totalmem } from 'node:os';
import { checkNames, number } from '../decode/option-checks.js';
import type { Drafter } from '../decode/speculation/drafter.js';
import type { DraftModelOptions } from '../decode/speculation/drafters/draft-model.js';
import { headDrafter } from '../decode/speculation/drafters/feature-head.js';
import { Engine } from '../engine.js';
import { expected, VivaceError } from '../errors.js';
import { openEagleHead } from '../formats/hugging-face/draft-head.js';
import { WeightStore } from '../formats/weight-store.js';
import { buildEagle } from '../models/eagle.js';
import { kvBytesPerToken } from '../models/memory.js';
import { Model } from './model.js';

export type EagleOptions = Pick<DraftModelOptions, 'minProbability' | 'temperature'>;

/** A head that has been opened; generations of its model may use it until it is disposed of. */
export interface HeadDrafter extends Drafter {
  /** Gives its memory back; not during a generation that uses it. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/**
 * Drafts with an EAGLE-1 or 2 head of the model, for `speculation.drafter`. `headPath`: a directory with config.json and
 * model.safetensors, as published. The embedding and the output matrix are the model's own, in the same memory.
 *
 * Throws INVALID_ARGUMENT, FILE_*, FORMAT_*, UNSUPPORTED_*, MISSING_TENSOR, SHAPE_MISMATCH here, DISPOSED from `generate`.
 * Method: Li et al. 2024, "EAGLE: Speculative sampling requires rethinking feature uncertainty".
 */
export function eagle(model: Model, headPath: string, options: EagleOptions = {}): HeadDrafter {
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  if (typeof headPath !== 'string' || headPath === '') throw expected('a path', 'headPath', headPath);
  checkNames(options, ['minProbability', 'temperature'], 'the options of eagle');
  const resolved = {
    minProbability: number('minProbability', options.minProbability, 0.4, 0, 1),
    temperature: options.temperature === undefined ? NaN : number('temperature', options.temperature, 0, 0, 100),
  };
  const { config: target, store, companion, info, vocab } = model.base();
  if (!('hidden' in model.base().taps)) {
    throw new VivaceError('UNSUPPORTED_FEATURE', 'This model does not say what its output matrix multiplies');
  }
  const head = openEagleHead(headPath, target);
  const own = new WeightStore(head);
  const of = (tensor: string): WeightStore => (/^(token_embd|output)\./.test(tensor) ? store : own);
  try {
    const { contextLength } = info;
    const program = buildEagle(head.config, (tensor) => of(tensor).info(tensor), { contextLength });
    const executor = companion(program, of);
    const pageBytes = 32 * kvBytesPerToken(head.config, 'F16', 'F16');
    const kv = executor.createKvCache({
      maxPages: Math.max(16, Math.min(1 << 20, Math.floor(totalmem() / pageBytes))),
    });
    const rounds = new Engine(executor, target.vocab);
    let gone = false;
    const seat = (): Parameters<typeof headDrafter>[1] extends () => infer Seat ? Seat : never => {
      if (gone || model.disposed) throw new VivaceError('DISPOSED', 'The head or its model was disposed');
      return { rounds, executor, kv, sequence: kv.create(), contextLength, vocab, logitsWidth: target.vocab };
    };
    const dispose = (): void => {
      if (gone) return;
      gone = true;
      rounds.close();
      void rounds.idle().then(() => {
        kv.dispose();
        executor.dispose();
        own.close();
      });
    };
    return { ...headDrafter('eagle', seat, resolved), dispose, [Symbol.dispose]: dispose };
  } catch (error) {
    own.close();
    throw error;
  }
}
