// The full cache: every token is kept and seen.
import { storageOf, type CacheOptions, type CacheStorage } from './policy.js';

/** The default. Throws INVALID_ARGUMENT. */
export function full(options?: CacheStorage): CacheOptions {
  return storageOf(options, [], 'the options of full');
}
