// What the next larger drafter of a ladder would bring, by a fitted law, and what its training would cost.
import { predictLaw, type FittedLaw } from './laws.js';

export interface Rung {
  readonly tokens?: number;
  readonly parameters?: number;
  /** What it would accept, and how much more than the largest one that was measured, by the same law. */
  readonly accepted: number;
  readonly gain: number;
  /** Floating-point operations of its training: 2 · target · tokens for the target's laws, 6 · parameters · tokens for the drafter. */
  readonly operations?: number;
}

/**
 * Three times the tokens, twice the parameters, or, of the joint law, either. `fixed`: what was not varied, for the costs; those are
 * there where tokens, parameters and the target's are known.
 */
export function nextRungs(
  law: FittedLaw,
  fixed: {
    readonly tokens?: number;
    readonly parameters?: number;
    readonly target?: number;
    readonly most?: number;
  } = {},
): Rung[] {
  const largest = Object.fromEntries(Object.entries(law.range).map(([axis, [, most]]) => [axis, most]));
  const options = fixed.most === undefined ? {} : { most: fixed.most };
  const now = predictLaw(law, largest, options).value;
  return Object.keys(law.range).map((axis) => {
    const at = { ...largest, [axis]: (largest[axis] as number) * (axis === 'tokens' ? 3 : 2) };
    const accepted = predictLaw(law, at, options).value;
    const { tokens, parameters, target } = { ...fixed, ...at };
    return {
      ...at,
      accepted,
      gain: accepted - now,
      ...(tokens === undefined || parameters === undefined || target === undefined
        ? {}
        : { operations: 2 * target * tokens + 6 * parameters * tokens }),
    };
  });
}
