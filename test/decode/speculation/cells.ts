// Which rule meets which kind of draft: every pair of them that must leave the law of an answer as it is. The reference's laws are
// enumerated (rules.test.ts), those of native code (native-laws.test.ts) and of cards (test/cuda/decode/laws.cu) counted.
//
// Drafters by kind: chosen chains and trees are those of n-gram, suffix, input-copy, datastore, lookahead, cross-vocabulary and
// medusa, and of a draft model at temperature 0 or whose trees grow; drawn ones are those of draft-model, draft-tree, eagle and of
// cross-vocabulary by exact laws. With replacement nobody here draws several children, but rules and interface allow it.
import type { VerifyRule } from '../../../lib/program/executor.js';

export type How = 'chosen' | 'drawn' | 'drawn with replacement';

export interface Cell {
  readonly name: string;
  readonly rule: VerifyRule;
  readonly how: How;
  /** Children of each row: 1, a chain. */
  readonly children: number;
  /** Native code goes a way of its own here; elsewhere it goes that of another cell. */
  readonly own: boolean;
}

const kinds: readonly [string, How, number][] = [
  ['a chosen chain', 'chosen', 1],
  ['a chosen tree', 'chosen', 2],
  ['a drawn chain', 'drawn', 1],
  ['a tree without replacement', 'drawn', 2],
  ['a tree with replacement', 'drawn with replacement', 2],
];
const rules = ['match', 'ratio', 'block'] as const;

export const cells: readonly Cell[] = rules.flatMap((rule) =>
  kinds.map(([kind, how, children]) => ({
    name: `${kind}, by ${rule}`,
    rule: { name: rule },
    how,
    children,
    own: rule === 'match' ? how === 'chosen' : how !== 'chosen' && (rule === 'ratio' || children === 1),
  })),
);
