// Suffix drafts: what followed the text's last tokens most often, in the text and in finished outputs of other requests.
import { native, nativeCall } from '../../../native.js';
import type { NativeDrafter, NativeSuffixCache } from '../../../native.js';
import { expected } from '../../../errors.js';
import { checkNames, integer, number } from '../../option-checks.js';
import { makeNative, NativeTokenDrafter } from './native-drafter.js';

export interface SuffixCacheOptions {
  /** Tokens of the longest sequence that is counted, 2 to 256. Default 64. */
  readonly maxDepth?: number;
  /** Outputs that are kept, 1 to 10^9; the oldest one makes room. Default 100000. */
  readonly maxCachedRequests?: number;
  /** Tokens that are kept, 1 to 2^31 - 1, which bounds memory to 250 bytes for each. Default 2^22. */
  readonly maxCachedTokens?: number;
}

/** Finished outputs that any number of SuffixDrafters learn from. */
export class SuffixCache {
  /** For SuffixDrafter. */
  readonly native: NativeSuffixCache;

  /** Throws INVALID_ARGUMENT for options outside of their ranges. */
  constructor(options: SuffixCacheOptions = {}) {
    checkNames(options, ['maxDepth', 'maxCachedRequests', 'maxCachedTokens'], 'the options of SuffixCache');
    const checked = {
      depth: integer('maxDepth', options.maxDepth, 64, 2, 256),
      maxRequests: integer('maxCachedRequests', options.maxCachedRequests, 100000, 1, 1e9),
      maxTokens: integer('maxCachedTokens', options.maxCachedTokens, 2 ** 22, 1, 2 ** 31 - 1),
    };
    this.native = nativeCall(() => new (native().SuffixCache)(checked));
  }

  /**
   * Adds one output; of a longer one than `maxCachedTokens` its end. Throws DISPOSED, and OUT_OF_MEMORY, after which the
   * cache is empty.
   */
  add(output: Int32Array): void {
    if (!(output instanceof Int32Array)) throw expected('an Int32Array', 'output', output);
    nativeCall(() => this.native.add(output));
  }

  /** What is kept. `nodes`: of the trie that counts. */
  sizes(): { requests: number; tokens: number; nodes: number; bytes: number } {
    return nativeCall(() => this.native.sizes());
  }

  /** Drafters that were made with it keep what it holds until they are disposed. */
  dispose(): void {
    this.native.dispose();
  }
}

export interface SuffixOptions {
  /** Tokens of the longest sequence of the text that is counted, 2 to 256. Default 64. */
  readonly maxDepth?: number;
  /** With L tokens matched, floor(L · factor + offset) are drafted at most: 0 to 10^6. Default 1. */
  readonly factor?: number;
  /** -10^6 to 10^6. Default 0. */
  readonly offset?: number;
  /** Tokens whose path is less probable than this are not drafted: 0 to 1. Default 0.1. */
  readonly minProb?: number;
  /** Shared with other requests. Default: the text alone. */
  readonly cache?: SuffixCache;
}

/**
 * Counts all sequences of the text up to `maxDepth`. For L = 1, 2 … while the last L tokens were there before, the draft goes
 * on from them with the most frequent next token (of equals the smallest); a tree takes the most probable nodes. A path's
 * probability is the product of count(child) / count(parent), where an occurrence at the text's end counts as one with
 * nothing after it. The L with the highest sum of probabilities wins; of equals the longest one, and the text against the
 * cache. O(path) per token accepted or taken back; up to 250 bytes per token of text.
 *
 * Throws INVALID_ARGUMENT for options outside of their ranges, DISPOSED for a disposed cache. Method: SuffixDecoding (Oliaro
 * et al. 2024, section 3); that shapes and drafts depend on the text alone is ours.
 */
export class SuffixDrafter extends NativeTokenDrafter {
  private readonly cache?: SuffixCache;

  /** `forked`: for fork(). */
  constructor(options: SuffixOptions = {}, forked?: NativeDrafter) {
    super(forked ?? made(options));
    this.cache = options.cache;
  }

  override fork(): SuffixDrafter {
    const options: SuffixOptions = this.cache === undefined ? {} : { cache: this.cache };
    return new SuffixDrafter(
      options,
      nativeCall(() => this.native.fork()),
    );
  }

  /** Adds the output to the cache, if there is one. */
  finish(output: Int32Array): void {
    this.cache?.add(output);
  }
}

function made(options: SuffixOptions): NativeDrafter {
  checkNames(options, ['maxDepth', 'factor', 'offset', 'minProb', 'cache'], 'the options of SuffixDrafter');
  const { cache } = options;
  if (cache !== undefined && !(cache instanceof SuffixCache)) throw expected('a SuffixCache', 'cache', cache);
  return makeNative({
    kind: 'suffix',
    depth: integer('maxDepth', options.maxDepth, 64, 2, 256),
    factor: number('factor', options.factor, 1, 0, 1e6),
    offset: number('offset', options.offset, 0, -1e6, 1e6),
    minProb: number('minProb', options.minProb, 0.1, 0, 1),
    ...(cache === undefined ? {} : { cache: cache.native }),
  });
}
