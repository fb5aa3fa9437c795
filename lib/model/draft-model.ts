// A model as the drafter of another one.
import { checkNames, integer, number } from '../decode/option-checks.js';
import type { Drafter } from '../decode/speculation/drafter.js';
import { draftBy, type DraftModelOptions, type ModelDrafting } from '../decode/speculation/drafters/draft-model.js';
import { BestShapes, mostNodes } from '../decode/speculation/trees/best-shape.js';
import { expected } from '../errors.js';
import { Model } from './model.js';

/** How often the first, second, … drawn child is kept, where nothing is known of the two models. */
const RATES = [0.6, 0.15, 0.07, 0.04];

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
  checkNames(options, ['minProbability', 'temperature', 'tree'], 'the options of draftModel');
  const { tree = {} } = options;
  checkNames(tree, ['topK', 'width'], 'the options of trees');
  const topK = integer('tree.topK', tree.topK, 4, 1, 32);
  const width = integer('tree.width', tree.width, topK, 1, 64);
  const least = number('minProbability', options.minProbability, 0.4, 0, 1);
  return draftBy('draft-model', () => model.lend(), {
    minProbability: least,
    temperature: options.temperature === undefined ? NaN : number('temperature', options.temperature, 0, 0, 100),
    shape: (depth, nodes, drawn) => (drawn ? drawnShape(depth, nodes) : { depth, nodes, topK, width, least }),
  });
}

const drawnShapes = new Map<string, ReturnType<ModelDrafting['shape']>>();

function drawnShape(depth: number, nodes: number): ReturnType<ModelDrafting['shape']> {
  const most = Math.min(nodes, mostNodes);
  const key = `${depth}/${most}`;
  const shape = drawnShapes.get(key) ?? new BestShapes([RATES], depth, most).shape(most);
  drawnShapes.set(key, shape);
  return shape;
}
