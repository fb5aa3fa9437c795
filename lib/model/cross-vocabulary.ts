// A model as the drafter of another one, whatever their vocabularies are.
import { checkNames, integer, number, word } from '../decode/option-checks.js';
import {
  CrossVocabularyDrafter,
  exactnessWords,
  type Exactness,
} from '../decode/speculation/drafters/cross-vocabulary/policy.js';
import { expected } from '../errors.js';
import { Model } from './model.js';
import { bindAdaptation, type AdaptOptions } from './online-adaptation.js';

export interface CrossVocabularyOptions extends AdaptOptions {
  /** How tokens are drafted and judged. Default `match`, which at temperature 0 is `greedy`. */
  readonly exactness?: Exactness;
  /**
   * A draft ends behind a token that the model finds less probable than this: 0 to 1. Default 0.2, and 0.4 where what is drawn at
   * a temperature has to match.
   */
  readonly minProbability?: number;
  /** Tokens of the drafter that may be put together to one of the target's, 2 to 8. Default 4. */
  readonly maxN?: number;
  /** Such runs that are kept, 0 to 2^20. Default 65536. */
  readonly maxEntries?: number;
  /** Which run makes room: the one used longest ago (`lru`, default) or least (`lfu`). */
  readonly evict?: 'lru' | 'lfu';
  /**
   * Begin with runs for the target's tokens, the first `maxEntries` that need one, and not with none; some microseconds each,
   * once. Default true.
   */
  readonly warm?: boolean;
  /**
   * With `match` and `greedy`: cut drafts as the target's tokenizer cuts texts, and not by runs. Default false.
   */
  readonly recut?: boolean;
  /**
   * So many tokens at the end of the drafter's text are written anew after each round, as its own tokenizer would write these
   * words: what the target says piece by piece it may never have read so. 0 to 64, default 0. Not with `adapt`.
   */
  readonly resegmentTail?: number;
  /** Control tokens that mean the same: the drafter's id → the target's. */
  readonly pairs?: Readonly<Record<number, number>>;
  /** A file that keeps what was learned; it holds tokens that the target said. Default: none. */
  readonly cachePath?: string;
}

/**
 * Drafts with a model of any vocabulary, for `speculation.drafter`. Runs of its tokens become the target's by their bytes:
 * which runs are needed is learned from what targets say. The caller disposes of the model, after the generations that use it.
 *
 * Throws INVALID_ARGUMENT here for wrong options; from `generate` what `loadCache` says of a file, INVALID_ARGUMENT for
 * `greedy` with a temperature, DISPOSED when the model is gone. Method: OmniDraft (Ramakrishnan et al. 2025, arXiv
 * 2507.02659); `match`, `ngram-exact` and tokens that become several of the target's are ours.
 */
export function crossVocabulary(model: Model, options: CrossVocabularyOptions = {}): CrossVocabularyDrafter {
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  const names = [
    'exactness',
    'minProbability',
    'maxN',
    'maxEntries',
    'evict',
    'warm',
    'recut',
    'resegmentTail',
    'pairs',
    'cachePath',
    'adapt',
  ];
  checkNames(options, names, 'the options of crossVocabulary');
  const { exactness, cachePath, warm = true, recut = false, pairs = {}, adapt } = options;
  if (typeof recut !== 'boolean') throw expected('true or false', 'recut', recut);
  if (typeof warm !== 'boolean') throw expected('true or false', 'warm', warm);
  if (cachePath !== undefined && (typeof cachePath !== 'string' || cachePath === '')) {
    throw expected('a path', 'cachePath', cachePath);
  }
  if (typeof pairs !== 'object' || pairs === null) throw expected('an object', 'pairs', pairs);
  const id = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
  for (const [own, other] of Object.entries(pairs)) {
    if (!id(Number(own)) || !id(other)) throw expected('token ids', `pairs[${own}]`, other);
  }
  const resegmentTail = integer('resegmentTail', options.resegmentTail, 0, 0, 64);
  if (resegmentTail > 0 && adapt) {
    throw expected('0', 'resegmentTail', resegmentTail, 'A drafter that learns keeps the places of what it has read.');
  }
  bindAdaptation(model, adapt);
  return new CrossVocabularyDrafter(() => adapt?.seat() ?? model.lend(), {
    ...(adapt ? { adapt } : {}),
    exactness: exactness === undefined ? undefined : word('exactness', exactness, 'match', exactnessWords),
    minProbability:
      options.minProbability === undefined ? undefined : number('minProbability', options.minProbability, 0, 0, 1),
    maxN: integer('maxN', options.maxN, 4, 2, 8),
    maxEntries: integer('maxEntries', options.maxEntries, 65536, 0, 2 ** 20),
    evict: word('evict', options.evict, 'lru', ['lru', 'lfu']),
    pairs,
    cachePath,
    warm,
    recut,
    resegmentTail,
  });
}
