// A model as the drafter of another one.
import { checkNames, integer, number } from '../decode/option-checks.js';
import type { Drafter } from '../decode/speculation/drafter.js';
import { draftBy, type DraftModelOptions, type ModelDrafting } from '../decode/speculation/drafters/draft-model.js';
import { AcceptanceProfile, checkShape } from '../decode/speculation/trees/acceptance-profile.js';
import { BestShapes, clipShape, mostNodes } from '../decode/speculation/trees/best-shape.js';
import { expected } from '../errors.js';
import { Model } from './model.js';
import { bindAdaptation, type AdaptOptions } from './online-adaptation.js';

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
export function draftModel(model: Model, options: DraftModelOptions & AdaptOptions = {}): Drafter {
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  checkNames(options, ['minProbability', 'temperature', 'tree', 'adapt'], 'the options of draftModel');
  const { adapt } = options;
  bindAdaptation(model, adapt);
  return draftBy('draft-model', (salt) => adapt?.seat() ?? model.lend(salt), {
    ...draftingBy(options),
    ...(adapt ? { adapt } : {}),
  });
}

/** Options of drafts that are chains, or trees that grow where tokens are chosen; with other defaults for some drafters. */
export function draftingBy(
  { minProbability, temperature, tree = {} }: DraftModelOptions,
  usual: { readonly minProbability?: number; readonly topK?: number; readonly width?: number } = {},
): ModelDrafting {
  checkNames(tree, ['topK', 'width'], 'the options of trees');
  const topK = integer('tree.topK', tree.topK, usual.topK ?? 4, 1, 32);
  const width = integer('tree.width', tree.width, usual.width ?? topK, 1, 64);
  const least = number('minProbability', minProbability, usual.minProbability ?? 0.4, 0, 1);
  return {
    minProbability: least,
    temperature: temperature === undefined ? NaN : number('temperature', temperature, 0, 0, 100),
    shape: (depth, nodes, drawn) => (drawn ? drawnShape(depth, nodes) : { depth, nodes, topK, width, least }),
  };
}

const drawnShapes = new Map<number, BestShapes>(); // by depth

function drawnShape(depth: number, nodes: number): ReturnType<ModelDrafting['shape']> {
  const shapes = drawnShapes.get(depth) ?? new BestShapes([RATES], depth, mostNodes);
  drawnShapes.set(depth, shapes);
  return shapes.shape(Math.min(nodes, mostNodes));
}

export interface DraftTreeOptions {
  /** The tree: the parent of each node, before it, −1 for the text's end; a node's children in the order of their ranks. */
  readonly tree?: ArrayLike<number>;
  /** Chooses the tree and goes on learning; or a file of one. Default: one that begins with this drafter. */
  readonly profile?: AcceptanceProfile | string;
  /** How tokens are drafted: 0 takes the most probable ones. Default: as the target draws. */
  readonly temperature?: number;
  /** The profile hears how long drafts and rounds take. For generations with `adaptive: false`. Default false. */
  readonly timed?: boolean;
}

/**
 * As `draftModel`, with trees of one shape: a given one, or the one that by what a profile knows gives the most tokens per
 * second. `speculation.maxNodes` must be above `speculation.maxDraft`, else drafts are chains. A profile that knows too little
 * drafts trees that show much.
 *
 * Throws INVALID_ARGUMENT for wrong options, and what `AcceptanceProfile.open` says of a file. Method: Sequoia (Chen et al.
 * 2024, section 3.1).
 */
export function draftTree(model: Model, options: DraftTreeOptions = {}): Drafter {
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  checkNames(options, ['tree', 'profile', 'temperature', 'timed'], 'the options of draftTree');
  const { tree, timed = false } = options;
  if (tree !== undefined && typeof options.profile === 'string') {
    throw expected('a tree or the file of a profile', 'options', options);
  }
  const profile = typeof options.profile === 'string' ? AcceptanceProfile.open(options.profile) : options.profile;
  if (profile !== undefined && !(profile instanceof AcceptanceProfile)) {
    throw expected('an AcceptanceProfile or a path', 'profile', profile);
  }
  const learning = profile ?? new AcceptanceProfile();
  const fixed = tree === undefined ? undefined : { parents: checkShape(tree) };
  return draftBy('draft-tree', (salt) => model.lend(salt), {
    minProbability: 0,
    temperature: options.temperature === undefined ? NaN : number('temperature', options.temperature, 0, 0, 100),
    shape: (depth, nodes, drawn) => {
      const shape = fixed ? clipShape(fixed, depth, nodes) : learning.shape(depth, nodes);
      // Of chosen tokens the model knows better how probable each is.
      return drawn ? shape : { parents: shape.parents };
    },
    profile: learning,
    timed,
  });
}
