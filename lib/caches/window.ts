// StreamingLLM (Xiao et al. 2023): the first tokens and the most recent ones, at positions counted within what is kept.
import { integer } from '../decode/option-checks.js';
import { expected } from '../errors.js';
import { endlessPolicy } from './endless.js';
import { storageOf, type CacheOptions, type CacheStorage, type PolicyRow } from './policy.js';

export interface WindowOptions extends CacheStorage {
  /** First tokens of the text, which are always kept. Default 4. */
  readonly sinks?: number;
  /**
   * Tokens before the newest one that are kept besides. Default: what the model was trained on, less `sinks` and the newest
   * token; more than that is refused.
   */
  readonly recent?: number;
}

export interface WindowPolicy {
  readonly kind: 'window';
  readonly sinks: number;
  readonly recent?: number;
}

/**
 * Endless texts in memory that does not grow: what is neither among the first nor among the recent tokens is forgotten.
 * Throws INVALID_ARGUMENT.
 */
export function window(options?: WindowOptions): CacheOptions {
  const storage = storageOf(options, ['sinks', 'recent'], 'the options of window');
  const sinks = integer('sinks', options?.sinks, 4, 0, 65536);
  const recent = options?.recent === undefined ? {} : { recent: integer('recent', options.recent, 0, 1, 2 ** 30) };
  return { ...storage, policy: { kind: 'window', sinks, ...recent } };
}

export const windowRow: PolicyRow<WindowPolicy> = {
  name: 'window',
  what: 'the first tokens and the most recent ones (StreamingLLM)',
  make: window,
  options: ({ kind: _, ...options }) => options,
  derive: ({ sinks, recent = -1 }, model) => {
    const most = model.contextLength - sinks - 1;
    if (recent > most || most < 1) {
      const remedy = 'Beyond what a model was trained on, its answers are noise.';
      throw expected(`sinks + recent below the model's context of ${model.contextLength}`, 'recent', recent, remedy);
    }
    const kept = recent < 0 ? most : recent;
    return endlessPolicy(model, { sinks, window: kept + 1, distance: 'cacheIndex', limit: sinks + kept });
  },
  endless: true,
};
