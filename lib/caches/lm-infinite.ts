// LM-Infinite (Han et al. 2023): the first tokens and a window as long as the training's, and no distance beyond it.
import { integer } from '../decode/option-checks.js';
import { expected } from '../errors.js';
import { endlessPolicy } from './endless.js';
import { storageOf, type CacheOptions, type CacheStorage, type PolicyRow } from './policy.js';

export interface LmInfiniteOptions extends CacheStorage {
  /** First tokens of the text, which are always kept. Default 10. */
  readonly sinks?: number;
  /** Tokens that see each other, the newest one counted. Default and limit: what the model was trained on. */
  readonly window?: number;
  /** How far away the first tokens seem to be once the window has left them. Default: `window`. */
  readonly distance?: number;
}

export interface LmInfinitePolicy {
  readonly kind: 'lmInfinite';
  readonly sinks: number;
  readonly window?: number;
  readonly distance?: number;
}

/**
 * Endless texts in memory that does not grow: what is neither among the first tokens nor in the window is forgotten. Texts
 * that fit the window give the bits of the full cache. Throws INVALID_ARGUMENT.
 */
export function lmInfinite(options?: LmInfiniteOptions): CacheOptions {
  const storage = storageOf(options, ['sinks', 'window', 'distance'], 'the options of lmInfinite');
  const sinks = integer('sinks', options?.sinks, 10, 0, 65536);
  const given = (name: 'window' | 'distance') =>
    options?.[name] === undefined ? {} : { [name]: integer(name, options[name], 0, 1, 2 ** 30) };
  return { ...storage, policy: { kind: 'lmInfinite', sinks, ...given('window'), ...given('distance') } };
}

export const lmInfiniteRow: PolicyRow<LmInfinitePolicy> = {
  name: 'lm-infinite',
  what: 'the first tokens and a window, and no distance beyond it (LM-Infinite)',
  make: lmInfinite,
  options: ({ kind: _, ...options }) => options,
  derive: ({ sinks, window, distance }, model) => {
    const { contextLength } = model;
    for (const [name, value] of [['window', window] as const, ['distance', distance] as const]) {
      if (value === undefined || value <= contextLength) continue;
      const remedy = 'Beyond what a model was trained on, its answers are noise.';
      throw expected(`at most the model's context of ${contextLength}`, name, value, remedy);
    }
    const own = window ?? contextLength;
    return endlessPolicy(model, { sinks, window: own, distance: 'ceiling', limit: distance ?? own });
  },
  endless: true,
};
