// The judge of one generation: which tokens of a draft only the rule may keep.
import { VivaceError } from '../../../errors.js';
import type { Tokenizer } from '../../../formats/tokenizer/tokenizer.js';
import type { RowDrafting } from '../../../program/executor.js';
import { completing } from '../../completing.js';
import type { JobDraft } from '../../rounds.js';
import type { Draft } from '../drafter.js';
import type { ResolvedJudge } from './options.js';

export class Guard {
  /** The same for every draft of the generation. */
  readonly standing: NonNullable<RowDrafting['judge']>;
  private readonly protects: ReadonlySet<number>;

  /** `width`: of the hidden state, undefined where there is none to read. Throws SHAPE_MISMATCH, UNSUPPORTED_FEATURE. */
  constructor(judge: ResolvedJudge, tokenizer: Tokenizer, stop: readonly string[], width: number | undefined) {
    if (width === undefined) throw new VivaceError('UNSUPPORTED_FEATURE', 'This model has no hidden state to judge by');
    if (width !== judge.weights.length) {
      throw new VivaceError(
        'SHAPE_MISMATCH',
        `The judge's head has ${judge.weights.length} weights, the model's hidden state ${width} values`,
        { remedy: 'Use a head that was trained for this model.' },
      );
    }
    const { feature, weights, bias, bound, longest, protect } = judge;
    const stops = stop.flatMap((text) => completing(tokenizer, text));
    const own = [...protect].filter((token) => token < tokenizer.vocabSize);
    this.protects = new Set([...endsOf(tokenizer), ...stops, ...own]);
    this.standing = { feature, weights, bias, bound, longest, protect: Int32Array.from(this.protects) };
  }

  view({ tokens }: Draft): Pick<JobDraft, 'judge'> {
    const { feature, weights, bias, bound, longest } = this.standing;
    const guarded = Int32Array.from([-1, ...tokens], (token) => Number(this.protects.has(token)));
    return { judge: { feature, weights, bias, bound, longest, guarded } };
  }
}

const ends = new WeakMap<Tokenizer, readonly number[]>();

/** Special tokens, and those that end a turn. */
function endsOf(tokenizer: Tokenizer): readonly number[] {
  const known = ends.get(tokenizer);
  if (known) return known;
  const found: number[] = [...tokenizer.endOfGeneration];
  for (let token = 0; token < tokenizer.vocabSize; token++) if (tokenizer.isSpecial(token)) found.push(token);
  ends.set(tokenizer, found);
  return found;
}
