// n-gram drafts (prompt lookup): what followed the last n tokens earlier in the text.
import { checkNames, integer, word } from '../../option-checks.js';
import { makeNative, NativeTokenDrafter } from './native-drafter.js';

export interface NGramOptions {
  /** The shortest n-gram that is looked up, 1 to 32. Default 1. */
  readonly minN?: number;
  /** The longest, tried first, `minN` to 32. Default 3, or `minN` where that is more. */
  readonly maxN?: number;
  /** Which of several earlier occurrences a chain copies from. Default 'latest'. */
  readonly prefer?: 'latest' | 'earliest';
  /** Occurrences that a tree is made of at most, 1 to 64. Default 8. */
  readonly branches?: number;
}

/**
 * Looks the last n tokens up in the text, from `maxN` down to `minN`, and drafts what followed them; a copy that reaches the
 * end of the text goes on with itself, so that repeated patterns are drafted whole. O(maxN) per token that is accepted or
 * taken back, O(draft) per draft, whatever the text's length. Memory: 4 bytes per token, and per n at most 28 more.
 * Scores: products of the odds that a match of so many tokens goes on, as this text has shown of each length; in a tree,
 * branches share what the ones before them leave.
 *
 * Throws INVALID_ARGUMENT for options outside of their ranges. Method: prompt lookup decoding (Saxena 2023); copies that go
 * on with themselves and the scores are ours.
 */
export class NGramDrafter extends NativeTokenDrafter {
  constructor(options: NGramOptions = {}) {
    checkNames(options, ['minN', 'maxN', 'prefer', 'branches'], 'the options of NGramDrafter');
    const minN = integer('minN', options.minN, 1, 1, 32);
    super(
      makeNative({
        kind: 'n-gram',
        minN,
        maxN: integer('maxN', options.maxN, Math.max(3, minN), minN, 32),
        latest: word('prefer', options.prefer, 'latest', ['latest', 'earliest']) === 'latest',
        branches: integer('branches', options.branches, 8, 1, 64),
      }),
    );
  }
}
