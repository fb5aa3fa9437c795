// Medusa heads as the drafter of their model.
import { checkNames } from '../decode/option-checks.js';
import type { DraftModelOptions, ModelDrafting } from '../decode/speculation/drafters/draft-model.js';
import { tokenHeadsDrafter } from '../decode/speculation/drafters/token-heads.js';
import { AcceptanceProfile } from '../decode/speculation/trees/acceptance-profile.js';
import { expected } from '../errors.js';
import { headWeights } from '../formats/hugging-face/heads/directory.js';
import { openMedusaHeads } from '../formats/hugging-face/heads/medusa.js';
import { WeightStore } from '../formats/weight-store.js';
import { buildMedusa } from '../models/medusa.js';
import { draftingBy } from './draft-model.js';
import { checkHead, HeadRuns, type HeadDrafter } from './head-runs.js';
import type { Model } from './model.js';

/** A row less is no run less, and what does not pay is cut when it is known what rows cost. */
const usual = { minProbability: 0, topK: 10, width: 16 };

/** `minProbability`: default 0. `tree`: by default `topK` 10 and `width` 16. */
export interface MedusaOptions extends DraftModelOptions {
  /**
   * How often heads were right, or a file of that: trees have the one shape that is best by it, as the method's authors have
   * them, and it goes on learning. Default: trees grow by what the heads say of each token.
   */
  readonly profile?: AcceptanceProfile | string;
}

/**
 * Drafts with Medusa heads of the model, for `speculation.drafter`. `headPath`: a directory with config.json and
 * medusa_lm_head.safetensors, as published. A path of a draft has at most as many tokens as there are heads.
 *
 * Throws INVALID_ARGUMENT, FILE_*, FORMAT_*, UNSUPPORTED_*, MISSING_TENSOR, SHAPE_MISMATCH here, DISPOSED from `generate`.
 * Method: Cai et al. 2024, "Medusa: Simple LLM inference acceleration framework with multiple decoding heads".
 */
export function medusa(model: Model, headPath: string, options: MedusaOptions = {}): HeadDrafter {
  checkHead(model, headPath);
  checkNames(options, ['minProbability', 'temperature', 'tree', 'profile'], 'the options of medusa');
  const drafting = { ...draftingBy(options, usual), ...shapesBy(options.profile) };
  const { config: target, store } = model.base();
  const opened = openMedusaHeads(headPath, target);
  const own = new WeightStore(opened);
  const of = headWeights(own, store);
  const cache = { layers: 1, kvHeads: 1, headDim: 1, valueDim: 1 };
  const runs = new HeadRuns(model, ['hidden'], own, of, cache, opened.heads * target.vocab, () =>
    buildMedusa(target, (tensor) => of(tensor).info(tensor), opened),
  );
  return runs.drafter((seat) => tokenHeadsDrafter('medusa', () => ({ ...seat(), heads: opened.heads }), drafting));
}

/** Trees of one shape, the best by a profile. */
function shapesBy(
  given: MedusaOptions['profile'],
): Pick<ModelDrafting, 'profile'> & Partial<Pick<ModelDrafting, 'shape'>> {
  if (given === undefined) return {};
  const profile = typeof given === 'string' ? AcceptanceProfile.open(given) : given;
  if (!(profile instanceof AcceptanceProfile)) throw expected('an AcceptanceProfile or a path', 'profile', profile);
  return {
    profile,
    shape: (depth, nodes, drawn) => {
      const shape = profile.shape(depth, nodes);
      return drawn ? shape : { parents: shape.parents };
    },
  };
}
