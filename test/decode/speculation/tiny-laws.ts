// Laws of made-up models over a few tokens, which depend on all of the text; drafts from them; and the joint law of an
// answer, with and without drafts.
import { verifyDraft } from '../../../lib/decode/speculation/rules.js';
import type { Chance, DraftRows, Drawing } from '../../../lib/decode/speculation/rules.js';
import type { VerifyRule } from '../../../lib/program/executor.js';
import { Generator } from '../../fixtures/random/generator.js';
import { enumerate } from './enumerate.js';
import type { Dice } from './enumerate.js';

export const vocab = 3;

export type Model = (text: readonly number[]) => Float64Array;

/** Some tokens are impossible in some places. */
export function madeUp(name: string): Model {
  const known = new Map<string, Float64Array>();
  return (text) => {
    const key = text.join();
    const old = known.get(key);
    if (old) return old;
    const random = new Generator(3, `${name} ${key}`);
    const weights = Float64Array.from({ length: vocab }, () => (random.integer(0, 5) === 0 ? 0 : random.integer(1, 9)));
    if (weights.every((weight) => weight === 0)) weights[random.integer(0, vocab - 1)] = 1;
    const law = normalised(weights);
    known.set(key, law);
    return law;
  };
}

export function normalised(weights: Float64Array): Float64Array {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

export interface Draft {
  readonly rows: DraftRows;
  readonly drawing?: Drawing;
}

/** A draft behind a text, whose last token is the root. */
export type Drafter = (text: readonly number[], dice: Dice) => Draft;

/** `children` of each row, `depth` times; drawn, or the most probable ones. */
export function drafter(
  q: Model,
  depth: number,
  children: number,
  how: 'drawn' | 'drawn with replacement' | 'chosen',
  drawFrom: (law: Float64Array) => Float64Array = (law) => law,
): Drafter {
  return (text, dice) => {
    const tokens = [text.at(-1) ?? -1];
    const parents = [-1];
    const texts = [[...text]];
    const nodes: Drawing['nodes'][number][] = [];
    for (let row = 0, end = 1, level = 0; level < depth; level++, end = tokens.length) {
      for (; row < end; row++) {
        const law = q(texts[row]);
        let left = Float64Array.from(drawFrom(law));
        const drawn: number[] = [];
        for (let child = 0; child < children; child++) {
          if (!left.some((weight) => weight > 0)) break;
          const token =
            how === 'chosen' ? left.indexOf(left.reduce((a, b) => Math.max(a, b))) : dice.choose(normalised(left));
          drawn.push(token);
          if (how !== 'drawn with replacement') {
            left = left.slice();
            left[token] = 0;
          }
        }
        if (how !== 'chosen') nodes[row] = { law, drawn };
        for (const token of new Set(drawn)) {
          tokens.push(token);
          parents.push(row);
          texts.push([...texts[row], token]);
        }
      }
    }
    return {
      rows: { tokens, parents },
      ...(how === 'chosen' ? {} : { drawing: { nodes, replacement: how === 'drawn with replacement' } }),
    };
  };
}

export type Verifier = (draft: Draft, lawAt: (path: readonly number[]) => Float64Array, dice: Dice) => number[];

export function verifier(rule: VerifyRule): Verifier {
  return ({ rows, drawing }, lawAt, dice) => {
    const chance: Chance = {
      accepts: (probability) => dice.choose([probability, 1 - probability]) === 0,
      draws: (weights) => dice.choose(normalised(weights)),
    };
    return verifyDraft(rows, rule, (_, path) => lawAt(path), chance, drawing).tokens;
  };
}

/** The law of the first `length` tokens behind [0]: "token,token" → probability. */
export function jointLaw(p: Model, length: number): Map<string, number> {
  return lawOf((dice) => {
    const text = [0];
    for (let i = 0; i < length; i++) text.push(dice.choose(p(text)));
    return text.slice(1).join();
  });
}

/** The same, by rounds of drafts, `most` of them, and plainly from there on; `tokensPerRound` of the drafts. */
export function speculativeLaw(
  p: Model,
  draft: Drafter,
  verify: Verifier,
  length: number,
  most = Infinity,
): { law: Map<string, number>; tokensPerRound: number } {
  let tokens = 0;
  let rounds = 0;
  const outcomes = enumerate((dice) => {
    const text = [0];
    let count = 0;
    for (; text.length <= length && count < most; count++) {
      text.push(...verify(draft(text, dice), (path) => p([...text, ...path]), dice));
    }
    const said = text.length - 1;
    while (text.length <= length) text.push(dice.choose(p(text)));
    return { answer: text.slice(1, length + 1).join(), count, said };
  });
  const law = new Map<string, number>();
  for (const { value, probability } of outcomes) {
    law.set(value.answer, (law.get(value.answer) ?? 0) + probability);
    tokens += probability * value.said;
    rounds += probability * value.count;
  }
  return { law, tokensPerRound: tokens / rounds };
}

function lawOf(body: (dice: Dice) => string): Map<string, number> {
  const law = new Map<string, number>();
  for (const { value, probability } of enumerate(body)) law.set(value, (law.get(value) ?? 0) + probability);
  return law;
}

/** The greatest difference between two laws. */
export function distance(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): number {
  return Math.max(
    ...[...new Set([...a.keys(), ...b.keys()])].map((key) => Math.abs((a.get(key) ?? 0) - (b.get(key) ?? 0))),
  );
}
