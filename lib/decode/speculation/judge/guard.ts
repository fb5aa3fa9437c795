// The judge of one generation: which tokens of a draft only the rule may keep.
import { VivaceError } from '../../../errors.js';
import type { Tokenizer } from '../../../formats/tokenizer/tokenizer.js';
import type { RowDrafting } from '../../../program/executor.js';
import type { JobDraft } from '../../rounds.js';
import type { Draft } from '../drafter.js';
import type { ResolvedJudge } from './options.js';

export class Guard {
  private answer: number[] | undefined; // its end
  private known: RowDrafting['judge'];

  /** `width`: of the hidden state, undefined where there is none to read. Throws SHAPE_MISMATCH, UNSUPPORTED_FEATURE. */
  constructor(
    private readonly judge: ResolvedJudge,
    private readonly tokenizer: Tokenizer,
    private readonly stop: readonly string[],
    width: number | undefined,
  ) {
    if (width === undefined) throw new VivaceError('UNSUPPORTED_FEATURE', 'This model has no hidden state to judge by');
    if (width !== judge.weights.length) {
      throw new VivaceError(
        'SHAPE_MISMATCH',
        `The judge's head has ${judge.weights.length} weights, the model's hidden state ${width} values`,
        { remedy: 'Use a head that was trained for this model.' },
      );
    }
  }

  /** The prompt first, then the answer. A stop string does not begin in the prompt. */
  accept(tokens: Int32Array): void {
    const longest = Math.max(0, ...this.stop.map(({ length }) => length));
    this.answer = this.answer === undefined ? [] : [...this.answer, ...tokens].slice(-4 * longest - 4);
  }

  /** The same for every draft, which needs no text where there are no stop strings; undefined where there are. */
  get standing(): RowDrafting['judge'] {
    if (this.stop.length > 0) return undefined;
    if (this.known) return this.known;
    const { feature, weights, bias, bound, longest, protect } = this.judge;
    const own = [...protect].filter((token) => token < this.tokenizer.vocabSize);
    const tokens = Int32Array.from([...endsOf(this.tokenizer), ...own]);
    return (this.known = { feature, weights, bias, bound, longest, protect: tokens });
  }

  view({ tokens, parents }: Draft): Pick<JobDraft, 'judge'> {
    const { feature, weights, bias, bound, longest } = this.judge;
    const guarded = new Int32Array(1 + tokens.length);
    tokens.forEach((_, node) => (guarded[1 + node] = Number(this.protects(tokens, parents, node))));
    return { judge: { feature, weights, bias, bound, longest, guarded } };
  }

  private protects(tokens: Int32Array, parents: Int32Array, node: number): boolean {
    const { tokenizer, stop, judge } = this;
    const token = tokens[node];
    if (tokenizer.isSpecial(token) || tokenizer.endOfGeneration.has(token) || judge.protect.has(token)) return true;
    if (stop.length === 0) return false;
    const path: number[] = [];
    for (let at = node; at >= 0; at = parents[at]) path.unshift(tokens[at]);
    const text = tokenizer.decode([...(this.answer ?? []), ...path]);
    return stop.some((one) => text.includes(one));
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
