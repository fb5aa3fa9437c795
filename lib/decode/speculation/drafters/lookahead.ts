// Lookahead drafts: guesses that the target improves in its own rounds, and the n-grams that come out of them.
import { nativeCall } from '../../../native.js';
import { checkNames, integer } from '../../option-checks.js';
import type { Draft } from '../drafter.js';
import { makeNative, NativeTokenDrafter } from './native-drafter.js';

export interface LookaheadOptions {
  /** Tokens of an n-gram, its key included, 2 to 16. Default 5. */
  readonly n?: number;
  /** Places behind the text that are guessed at, 1 to 64. Default 7. */
  readonly window?: number;
  /** N-grams that are kept per key, the last ones used; as many are drafted at most. 1 to 64. Default 7. */
  readonly candidates?: number;
  /** Does the text itself give n-grams, too? Default true. */
  readonly seed?: boolean;
}

/** With defaults. Throws INVALID_ARGUMENT for options outside of their ranges. */
export function lookaheadOptions(options: LookaheadOptions = {}): Required<LookaheadOptions> {
  checkNames(options, ['n', 'window', 'candidates', 'seed'], 'the options of lookahead');
  return {
    n: integer('n', options.n, 5, 2, 16),
    window: integer('window', options.window, 7, 1, 64),
    candidates: integer('candidates', options.candidates, 7, 1, 64),
    seed: options.seed ?? true,
  };
}

/**
 * A window of `window` columns and `n` − 1 levels lies behind the text, the draft's probe: what the target finds most probable
 * after the last level becomes one, and columns that are full are n-grams for a pool. A draft is the pool's n-grams of the
 * text's last token. The method and its source: cpp/decode/draft/n_gram/lookahead_drafter.h. What was heard stays: `truncate`
 * to less and `fork` throw INTERNAL. O(window · n) per round; the rows of the window are what it costs.
 */
export class LookaheadDrafter extends NativeTokenDrafter {
  readonly probeRows: number;

  /** Throws INVALID_ARGUMENT for options outside of their ranges. */
  constructor(options: LookaheadOptions = {}) {
    const checked = lookaheadOptions(options);
    super(makeNative({ kind: 'lookahead', ...checked }));
    this.probeRows = (checked.n - 1) * checked.window;
  }

  override draft(maxTokens: number, maxNodes: number): Draft {
    const draft = super.draft(maxTokens, maxNodes);
    const probe = maxTokens > 0 && maxNodes > 0 ? nativeCall(() => this.native.probe()) : null;
    if (!probe) return draft;
    const { tokens, parents, outputs: count } = probe;
    const outputs = Int32Array.from({ length: count }, (_, i) => tokens.length - count + i);
    return { ...draft, probe: { tokens, parents, outputs } };
  }

  probed(tokens: Int32Array): void {
    nativeCall(() => this.native.probed(tokens));
  }
}
