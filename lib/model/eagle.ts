// An EAGLE head as the drafter of its model.
import { checkNames } from '../decode/option-checks.js';
import type { DraftModelOptions } from '../decode/speculation/drafters/draft-model.js';
import { headDrafter } from '../decode/speculation/drafters/feature-head.js';
import { headWeights, type DraftHead } from '../formats/hugging-face/heads/directory.js';
import { openEagleHead } from '../formats/hugging-face/heads/eagle.js';
import type { ModelConfig } from '../formats/model-config.js';
import { WeightStore } from '../formats/weight-store.js';
import { buildEagle, buildEagle3 } from '../models/eagle.js';
import type { Program } from '../program/program.js';
import { draftingBy } from './draft-model.js';
import { checkHead, HeadRuns, type HeadDrafter } from './head-runs.js';
import type { Model } from './model.js';

/** `minProbability`: default 0.1, for heads say less sharply than models what is probable. */
export type EagleOptions = DraftModelOptions;

/**
 * Drafts with an EAGLE head of the model, 1, 2 or 3, for `speculation.drafter`. `headPath`: a directory with config.json and
 * model.safetensors, as published. Embedding and output matrix are the model's own, in the same memory, where the head has none.
 *
 * Throws INVALID_ARGUMENT, FILE_*, FORMAT_*, UNSUPPORTED_*, MISSING_TENSOR, SHAPE_MISMATCH here, DISPOSED from `generate`.
 * Methods: Li et al. 2024, "EAGLE: Speculative sampling requires rethinking feature uncertainty" and "EAGLE-2: Faster inference
 * of language models with dynamic draft trees"; Li et al. 2025, "EAGLE-3: Scaling up inference acceleration of large language
 * models via training-time test".
 */
export function eagle(model: Model, headPath: string, options: EagleOptions = {}): HeadDrafter {
  checkHead(model, headPath);
  checkNames(options, ['minProbability', 'temperature', 'tree'], 'the options of eagle');
  const drafting = draftingBy(options, { minProbability: 0.1 });
  const { config: target, store, info } = model.base();
  const head = openEagleHead(headPath, target);
  const taps = head.third ? head.third.layers.map((layer) => `residual.${layer}`) : ['hidden'];
  const own = new WeightStore(head);
  const of = headWeights(own, store);
  const runs = new HeadRuns(model, taps, own, of, head.config, target.vocab, () =>
    headProgram(head, of, target, info.contextLength),
  );
  return runs.drafter((seat) => headDrafter('eagle', seat, drafting));
}

/** The program of a head whose tensors are found by `of`. */
export function headProgram(
  { config, third }: DraftHead,
  of: (tensor: string) => WeightStore,
  target: ModelConfig,
  contextLength: number,
): Program {
  const info = (tensor: string): ReturnType<WeightStore['info']> => of(tensor).info(tensor);
  if (!third) return buildEagle(config, info, { contextLength });
  return buildEagle3(config, info, { contextLength }, third, target.width);
}
