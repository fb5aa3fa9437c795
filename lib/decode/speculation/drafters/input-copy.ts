// Input-guided drafts for outputs that are nearly a copy of an input: corrections, edits, translations of few words.
import { expected } from '../../../errors.js';
import { checkNames, integer } from '../../option-checks.js';
import { makeNative, NativeTokenDrafter } from './native-drafter.js';

export interface InputCopyOptions {
  /** Tokens of the text that the output copies. Default: the whole prompt. */
  readonly input?: Int32Array;
  /** The place in the input is looked up by the last 1 to 32 tokens of output: by so many first. Default 1. */
  readonly minGram?: number;
  /** By so many at most, `minGram` to 32. Default 3, or `minGram` where that is more. */
  readonly maxGram?: number;
  /** Places that a draft is made of when `maxGram` tokens stand in several, 1 to 64. Default 1: none then. */
  readonly branches?: number;
  /**
   * Tokens of a draft at most while the copy has not been borne out, 1 to 4096, default 16. Behind n tokens that are the input's
   * (32 are counted) it may have 2n.
   */
  readonly firstDraft?: number;
}

/**
 * The first draft is the input from its begin. Later the last g tokens of the output are looked up in the input, for g from
 * `minGram` on: in one place, the draft is what follows there; in several, g grows, up to `maxGram`. Where no g finds a single
 * place, the copy stays where it would be by now, if `minGram` tokens match there; else there is no draft. With `branches`, several places give a tree, of those nearest to where the last certain one would be by now.
 * The prompt is what the first accept() gives, or the first after a truncate() into the prompt; all else is output.
 * O(maxGram) per token. Memory: 4 bytes per token of input and output, and per token of input and g at most 28 more.
 * Scores: products of the odds that a match of so many tokens goes on, as certain places of this output have shown of each
 * length; several places share it.
 *
 * Throws INVALID_ARGUMENT for options outside of their ranges. Method: input-guided aggressive decoding (Ge et al.,
 * "Lossless Acceleration for Seq2seq Generation with Aggressive Decoding", 2022, section on IAD), for models without an
 * encoder; branches, scores, the growth of drafts and going on where no place is the only one are ours.
 */
export class InputCopyDrafter extends NativeTokenDrafter {
  constructor(options: InputCopyOptions = {}) {
    checkNames(options, ['input', 'minGram', 'maxGram', 'branches', 'firstDraft'], 'the options of InputCopyDrafter');
    const { input } = options;
    if (input !== undefined && !(input instanceof Int32Array)) throw expected('an Int32Array', 'input', input);
    const minGram = integer('minGram', options.minGram, 1, 1, 32);
    super(
      makeNative({
        kind: 'input-copy',
        minGram,
        maxGram: integer('maxGram', options.maxGram, Math.max(3, minGram), minGram, 32),
        branches: integer('branches', options.branches, 1, 1, 64),
        firstDraft: integer('firstDraft', options.firstDraft, 16, 1, 4096),
        ...(input === undefined ? {} : { input }),
      }),
    );
  }
}
