// From which law over the target's tokens a draft comes that a model with another vocabulary has drawn.
//
// The drafter draws its own tokens d ~ q. What the target is shown is a token t of its own, so the ratio rule needs Q(t), the
// probability that t is what comes out. A draw that no token of the target stands for has a place, too: the id behind the
// target's last one, which the target never says, so that it is always refused and the residual is drawn from. Leaving it out
// instead would be dropping a token after looking at it, which changes the law.
import type { NGramCache } from './n-gram-cache.js';

/** Tokens in ascending order, with weights. */
export interface TargetLaw {
  readonly ids: Int32Array;
  readonly weights: Float64Array;
}

/** Collects a law over `vocab` tokens and the one that stands for none of them. */
export class LawBuilder {
  private readonly weights: Float64Array;
  private readonly touched: number[] = [];

  constructor(readonly vocab: number) {
    this.weights = new Float64Array(vocab + 1);
  }

  /** The id of what no token stands for. */
  get none(): number {
    return this.vocab;
  }

  /** `token` −1: none. Weights may be taken away again. */
  add(token: number, weight: number): void {
    const id = token < 0 ? this.vocab : token;
    if (this.weights[id] === 0) this.touched.push(id);
    this.weights[id] += weight;
  }

  /** What was collected; the next law begins. */
  take(): TargetLaw {
    const ids = Int32Array.from(new Set(this.touched)).sort();
    const weights = Float64Array.from(ids, (id) => Math.max(0, this.weights[id]));
    for (const id of ids) this.weights[id] = 0;
    this.touched.length = 0;
    return { ids, weights };
  }
}

/** A law over the drafter's tokens: `weights[i]` of token `ids[i]`, which sum to 1. */
export interface DrafterLaw {
  readonly ids: ArrayLike<number>;
  readonly weights: ArrayLike<number>;
}

const weightOf = ({ ids, weights }: DrafterLaw, token: number): number => {
  const place = Array.prototype.indexOf.call(ids, token);
  return place < 0 ? 0 : weights[place];
};

/** Each token for itself. Exact. */
export function directLaw(law: DrafterLaw, direct: Int32Array, builder: LawBuilder): TargetLaw {
  for (let i = 0; i < law.ids.length; i++) if (law.weights[i] > 0) builder.add(direct[law.ids[i]], law.weights[i]);
  return builder.take();
}

/**
 * OmniDraft's law (Ramakrishnan et al. 2025), which is not the true one: the run that was merged gets the product of its
 * tokens' probabilities, taken from its first token's; other runs that might have been merged are not thought of.
 */
export function paperLaw(
  laws: readonly DrafterLaw[], // of the run's tokens
  run: ArrayLike<number>,
  target: number,
  direct: Int32Array,
  builder: LawBuilder,
): TargetLaw {
  const [first] = laws;
  for (let i = 0; i < first.ids.length; i++) {
    if (first.weights[i] > 0) builder.add(direct[first.ids[i]], first.weights[i]);
  }
  if (run.length > 1) {
    const product = laws.reduce((all, law, j) => all * weightOf(law, run[j]), 1);
    builder.add(direct[run[0]], -product);
    builder.add(target, product);
  }
  return builder.take();
}

/** How a position of an exact draft with runs of two is drawn; laws are dense, over the drafter's tokens. */
export interface ExactStep {
  /** The target's token, −1: none. */
  readonly target: number;
  /** The drafter's tokens that it consumed. */
  readonly run: readonly number[];
  readonly law: TargetLaw;
}

/**
 * Draws a token d; where runs of two begin with it, a second one x, and (d, x) is merged if it is such a run. Else x is
 * forgotten, not kept: whether (d, x) is a run depends on x, so that a kept x would not come from its law any more. So
 *
 *   Q(t) = Σ_{d: direct[d] = t} q(d) · (1 − Σ_{x: (d, x) is a run} q(x | d))  +  Σ_{(a, b) is t's run} q(a) · q(b | a).
 *
 * `second`: the laws behind the tokens with which runs may begin; those of other tokens are not looked for, which is a rule
 * like another as long as it is not chosen by what is drawn. Tests enumerate it.
 */
export function exactStep(
  first: Float64Array,
  second: ReadonlyMap<number, Float64Array>,
  cache: Pick<NGramCache, 'pairsFrom'>,
  direct: Int32Array,
  builder: LawBuilder,
  drawn: { readonly first: number; readonly draw: (law: Float64Array) => number },
): ExactStep {
  for (let token = 0; token < first.length; token++) {
    const weight = first[token];
    if (weight <= 0) continue;
    let alone = 1;
    const law = second.get(token);
    for (const [next, target] of (law && cache.pairsFrom(token)) ?? []) {
      const share = (law as Float64Array)[next];
      alone -= share;
      if (share > 0) builder.add(target, weight * share);
    }
    if (alone > 0) builder.add(direct[token] ?? -1, weight * alone);
  }
  const law = builder.take();
  const behind = second.get(drawn.first);
  if (behind) {
    const next = drawn.draw(behind);
    const target = cache.pairsFrom(drawn.first)?.get(next);
    if (target !== undefined) return { target, run: [drawn.first, next], law };
  }
  return { target: direct[drawn.first] ?? -1, run: [drawn.first], law };
}
