// The table of cache policies.
import { doubleSparsityRow, type DoubleSparsityPolicy } from './double-sparsity.js';
import { lmInfiniteRow, type LmInfinitePolicy } from './lm-infinite.js';
import { longGenRow, type LongGenPolicy } from './long-gen.js';
import type { PolicyRow } from './policy.js';
import { snapKvRow, type SnapKvPolicy } from './snap-kv.js';
import { windowRow, type WindowPolicy } from './window.js';

/** By kind. The full cache has no policy. */
interface Policies {
  readonly window: WindowPolicy;
  readonly lmInfinite: LmInfinitePolicy;
  readonly longGen: LongGenPolicy;
  readonly doubleSparsity: DoubleSparsityPolicy;
  readonly snapKv: SnapKvPolicy;
}

export type CachePolicy = Policies[keyof Policies];

export const policyRows: { readonly [K in keyof Policies]: PolicyRow<Policies[K]> } = {
  window: windowRow,
  lmInfinite: lmInfiniteRow,
  longGen: longGenRow,
  doubleSparsity: doubleSparsityRow,
  snapKv: snapKvRow,
};
