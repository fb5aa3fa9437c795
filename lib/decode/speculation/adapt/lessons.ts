// What a token of the target teaches a drafter: a law over the drafter's tokens, and the run that the token is for it.
import type { ResolvedAdaptation } from './options.js';

/** Tokens with their natural log-probabilities, most probable first. */
export type TopTokens = readonly (readonly [token: number, logprob: number])[];

/** How two vocabularies meet: [drafter's tokens] the target's, and the other way round; −1: none. */
export interface TokenMap {
  readonly direct: Int32Array;
  readonly inverse: Int32Array;
}

export interface Lesson {
  /** Index in the drafter's text of the token whose row learns it. */
  readonly row: number;
  readonly ids: readonly number[];
  readonly laws: readonly number[];
  /** A token of the drafter that is to follow, −1: none. */
  readonly label: number;
  readonly weight: number;
}

/** Of a law that says so little of the drafter's tokens nothing is learned. */
const LEAST = 1e-6;

/** Not 0: the token is the one of the drafter's that a token of the target maps to, so that no two have one counterpart. */
export const mappedTokens = ({ direct, inverse }: TokenMap, vocab: number): Uint8Array =>
  Uint8Array.from({ length: vocab }, (_, token) => {
    const target = direct[token] ?? -1;
    return Number(target >= 0 && inverse[target] === token);
  });

/**
 * What the target's law `top` and its token `target` say, which the drafter's text has as `own` from place `begin` on, 1 at
 * least. Laws are normalised over what is mapped; the target's other tokens count as mapped ones.
 */
export function lessonsOf(
  target: number,
  top: TopTokens,
  own: ArrayLike<number>,
  begin: number,
  { inverse }: TokenMap,
  { runWeight }: Pick<ResolvedAdaptation, 'runWeight'>,
): Lesson[] {
  const weights = new Map<number, number>();
  let known = 0; // probability of all tokens of the list
  let mapped = 0;
  for (const [token, logprob] of top) {
    const weight = Math.exp(logprob);
    known += weight;
    const id = inverse[token] ?? -1;
    if (id < 0) continue;
    weights.set(id, (weights.get(id) ?? 0) + weight);
    mapped += weight;
  }
  const total = mapped + Math.max(0, 1 - known);
  const sound = total > LEAST && weights.size > 0;
  const ids = sound ? [...weights.keys()] : [];
  const laws = sound ? Array.from(weights.values(), (weight) => weight / total) : [];
  const isRun = own.length > 1 && (inverse[target] ?? -1) < 0;
  const probability = Math.exp(top.find(([token]) => token === target)?.[1] ?? -Infinity);
  const weight = runWeight === 'fixed' ? 1 : probability;
  const lessons: Lesson[] = [];
  if (sound || isRun) {
    lessons.push({ row: begin - 1, ids, laws, label: isRun ? own[0] : -1, weight });
  }
  for (let j = 1; isRun && j < own.length; j++) {
    lessons.push({ row: begin - 1 + j, ids: [], laws: [], label: own[j], weight });
  }
  return lessons;
}
