// A model as the drafter of another one.
import { checkNames, number } from '../decode/option-checks.js';
import type { Drafter } from '../decode/speculation/drafter.js';
import { draftBy, type DraftModelOptions } from '../decode/speculation/drafters/draft-model.js';
import { expected } from '../errors.js';
import { Model } from './model.js';

/**
 * Drafts with a smaller model of the same vocabulary, for `speculation.drafter`. The caller disposes of the model, after
 * the generations that use it.
 *
 * Throws INVALID_ARGUMENT here for wrong options, and from `generate` for a model with another vocabulary; DISPOSED from
 * `generate` when the model is gone. Method: Leviathan et al. 2022, "Fast inference from transformers via speculative
 * decoding".
 */
export function draftModel(model: Model, options: DraftModelOptions = {}): Drafter {
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  checkNames(options, ['minProbability', 'temperature'], 'the options of draftModel');
  return draftBy('draft-model', () => model.lend(), {
    minProbability: number('minProbability', options.minProbability, 0.4, 0, 1),
    temperature: options.temperature === undefined ? NaN : number('temperature', options.temperature, 0, 0, 100),
  });
}
