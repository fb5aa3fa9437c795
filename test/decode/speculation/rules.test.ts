// The exact rules leave the law of an answer as it is: every outcome is enumerated. Broken rules do not pass.
import type { VerifyRule } from '../../../lib/program/executor.js';
import type { Drawing } from '../../../lib/decode/speculation/rules.js';
import { childOf } from '../../../lib/decode/speculation/rules.js';
import { cells } from './cells.js';
import { distance, drafter, jointLaw, madeUp, normalised, speculativeLaw, verifier, vocab } from './tiny-laws.js';
import type { Drafter, Model, Verifier } from './tiny-laws.js';

const length = 3;
const p = madeUp('target');
const q = madeUp('drafter');
const plain = jointLaw(p, length);

const match = { name: 'match' } as const;
const ratio = { name: 'ratio' } as const;
const block = { name: 'block' } as const;

/** One random number for all children, listed first and in their order; a child that was drawn twice is listed twice. */
const scan: Verifier = ({ rows, drawing }, lawAt, dice) => {
  const tokens: number[] = [];
  for (let row = 0; row >= 0;) {
    const law = lawAt(tokens);
    const children = Array.from(rows.tokens).filter((_, i) => rows.parents[i] === row);
    const listed = drawing?.nodes[row]?.drawn ?? children;
    const shares = listed.map((token) => law[token]);
    const rest = law.map((value, token) => (children.includes(token) ? 0 : value));
    const left = Math.max(0, 1 - shares.reduce((a, b) => a + b, 0));
    const total = shares.reduce((a, b) => a + b, 0) + left;
    const place = dice.choose([...shares, left].map((share) => share / total));
    const token = listed[place] ?? dice.choose(normalised(rest));
    tokens.push(token);
    row = childOf(rows, row, token);
  }
  return tokens;
};

/** The model's law at temperature 0. */
const greedy: Model = (text) => {
  const law = p(text);
  const best = law.indexOf(law.reduce((a, b) => Math.max(a, b)));
  return law.map((_, token) => Number(token === best));
};

const exact: [string, Verifier, Drafter, (typeof cells)[number]['children'], boolean][] = [
  ...cells.map(({ name, rule, how, children }): (typeof exact)[number] => [
    name,
    verifier(rule),
    drafter(q, children > 1 ? 2 : 3, children, how),
    children,
    how === 'drawn with replacement',
  ]),
  ['no draft', verifier(match), drafter(q, 0, 1, 'chosen'), 1, false],
  ['three children without replacement', verifier(ratio), drafter(q, 1, 3, 'drawn'), 3, false],
  ['a block of one', verifier(block), drafter(q, 1, 1, 'drawn'), 1, false],
  ['a drafter that is the target', verifier(ratio), drafter(p, 3, 1, 'drawn'), 1, false],
  ['one number for a chosen tree', scan, drafter(q, 2, 2, 'chosen'), 2, false],
  ['one number for drawn children that differ', scan, drafter(q, 2, 2, 'drawn'), 2, false],
];

test.each(exact)('exact: %s', (_, verify, draft, children, replacement) => {
  // Trees have very many outcomes. A round that leaves the law as it is, whatever came before it, is all that is needed.
  const rounds = children > 1 || replacement ? 1 : Infinity;
  const { law } = speculativeLaw(p, draft, verify, length, rounds);
  expect([...law.values()].reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  expect(distance(law, plain)).toBeLessThan(1e-12);
});

test.each([ratio, block, match])('exact: lengths that are planned anew each round by what was kept, $name', (rule) => {
  // Two more tokens where all of the last draft was kept, none where none was: never a look at what is drawn next.
  let [depth, before] = [1, 1];
  const planned: Drafter = (text, dice) => {
    if (text.length === 1) depth = 1;
    else depth = text.length - before > depth ? Math.min(3, depth + 2) : Math.max(0, text.length - before - 1);
    before = text.length;
    return drafter(q, depth, 1, 'drawn')(text, dice);
  };
  const { law, tokensPerRound } = speculativeLaw(p, planned, verifier(rule), length);
  expect(distance(law, plain)).toBeLessThan(1e-12);
  expect(tokensPerRound).toBeGreaterThan(1);
});

test.each(cells)('exact at temperature 0: $name', ({ rule, how, children }) => {
  const draft = drafter(q, 2, children, how);
  const { law } = speculativeLaw(greedy, draft, verifier(rule), length, children > 1 ? 1 : Infinity);
  expect(distance(law, jointLaw(greedy, length))).toBeLessThan(1e-12);
});

test('a drafter that is the target is always kept, and one that is never right costs nothing but rows', () => {
  const same = speculativeLaw(p, drafter(p, 2, 1, 'drawn'), verifier(ratio), length);
  expect(same.tokensPerRound).toBeCloseTo(3, 12);
  const wrong: Drafter = (text) => ({ rows: { tokens: [text.at(-1) ?? 0, vocab], parents: [-1, 0] } });
  const never = speculativeLaw((text) => Float64Array.of(...p(text), 0), wrong, verifier(match), length);
  expect(never.tokensPerRound).toBe(1);
  expect(distance(never.law, plain)).toBeLessThan(1e-12);
});

test('what the rules accept is in the order that their papers say', () => {
  const chain = drafter(q, 3, 1, 'drawn');
  const tokens = (rule: VerifyRule, draft = chain, drafts = Infinity): number =>
    speculativeLaw(p, draft, verifier(rule), length, drafts).tokensPerRound;
  expect(tokens(ratio)).toBeGreaterThan(tokens(match));
  expect(tokens(block)).toBeGreaterThan(tokens(ratio));
  const wide = drafter(q, 2, 2, 'drawn');
  expect(tokens(ratio, wide, 1)).toBeGreaterThan(tokens(ratio, drafter(q, 2, 1, 'drawn'), 1));
});

test('one step of a chain accepts 1 − the distance of the laws', () => {
  const step = speculativeLaw(p, drafter(q, 1, 1, 'drawn'), verifier(ratio), 1);
  const same = p([0]).reduce((sum, value, token) => sum + Math.min(value, q([0])[token]), 0);
  expect(step.tokensPerRound).toBeCloseTo(1 + same, 12);
});

/** Forgets drawn tokens that the drafter finds improbable, after it has drawn them. */
const dropping: Drafter = (text, dice) => {
  const draft = drafter(q, 1, 1, 'drawn')(text, dice);
  const token = draft.rows.tokens[1];
  return q(text)[token] >= 0.5 ? draft : { rows: { tokens: [text.at(-1) ?? 0], parents: [-1] } };
};

const rewrite =
  (change: (drawing: Drawing) => Drawing): Verifier =>
  (draft, lawAt, dice) =>
    verifier(ratio)(draft.drawing ? { ...draft, drawing: change(draft.drawing) } : draft, lawAt, dice);

/** Accepts by p / q, but draws from p when it refuses. */
const withoutResidual: Verifier = ({ rows, drawing }, lawAt, dice) => {
  const tokens: number[] = [];
  for (let row = 0; row >= 0;) {
    const law = lawAt(tokens);
    const node = drawing?.nodes[row];
    const token = node?.drawn[0];
    const kept = token !== undefined && node && dice.choose(shares(law[token] / node.law[token])) === 0;
    tokens.push(kept ? token : dice.choose(law));
    row = childOf(rows, row, tokens[tokens.length - 1]);
  }
  return tokens;
};
const shares = (ratioOf: number): number[] => [Math.min(1, ratioOf), 1 - Math.min(1, ratioOf)];

/** Refused tokens leave the draft's law, but not what the next child is compared with. */
const sameLaw = rewrite((drawing) => ({ ...drawing, replacement: true }));
/** Each row with the law of the row before it. */
const wrongRow = rewrite(({ nodes, ...rest }) => ({
  ...rest,
  nodes: nodes.map((node, row) =>
    node ? { law: (nodes[Math.max(0, row - 1)] ?? node).law, drawn: node.drawn } : node,
  ),
}));
/** Every child by its own random number against p, as if it had been chosen alone; refused ones are taken away from p. */
const mixed: Verifier = ({ rows }, lawAt, dice) => {
  const tokens: number[] = [];
  for (let row = 0; row >= 0;) {
    const law = lawAt(tokens);
    const children = Array.from(rows.tokens).filter((_, i) => rows.parents[i] === row);
    const kept = children.find((child) => dice.choose([law[child], 1 - law[child]]) === 0);
    const rest = law.map((value, token) => (children.includes(token) ? 0 : value));
    const token = kept ?? dice.choose(rest.some((value) => value > 0) ? normalised(rest) : law);
    tokens.push(token);
    row = childOf(rows, row, token);
  }
  return tokens;
};
/** The other tree rule than the draft was drawn for. */
const otherRule = rewrite((drawing) => ({ ...drawing, replacement: !drawing.replacement }));
const most = (law: Float64Array): Float64Array =>
  normalised(law.map((value) => (value === law.reduce((a, b) => Math.max(a, b)) ? value : 0)));
const truncated = rewrite(({ nodes, ...rest }) => ({
  ...rest,
  nodes: nodes.map((node) => node && { law: most(node.law), drawn: node.drawn }),
}));

const broken: [string, Drafter, Verifier][] = [
  ['a drawn token is dropped for its probability', dropping, verifier(ratio)],
  ['no residual', drafter(q, 2, 1, 'drawn'), withoutResidual],
  ['children without replacement against the whole law', drafter(q, 1, 2, 'drawn'), sameLaw],
  ["another row's law", drafter(q, 2, 1, 'drawn'), wrongRow],
  ['drawn from a truncated law, verified with the whole one', drafter(q, 2, 1, 'drawn', most), verifier(ratio)],
  ['drawn from the whole law, verified with a truncated one', drafter(q, 2, 1, 'drawn'), truncated],
  ['the whole law in a block of truncated draws', drafter(q, 2, 1, 'drawn', most), verifier(block)],
  ['children with replacement as if without', drafter(q, 1, 2, 'drawn with replacement'), otherRule],
  ['one number for children that were drawn twice', drafter(q, 1, 2, 'drawn with replacement'), scan],
  ['a number for each chosen child, but the law of one', drafter(q, 1, 2, 'chosen'), mixed],
  ['the same of drawn children', drafter(q, 1, 2, 'drawn'), mixed],
  ['typical acceptance', drafter(q, 2, 1, 'chosen'), verifier({ name: 'typical', epsilon: 0.2, delta: 0.3 })],
  ['laws that are near', drafter(q, 2, 1, 'drawn'), verifier({ name: 'divergence', bound: 9, measure: 'q from p' })],
  ['relaxed acceptance', drafter(q, 2, 1, 'chosen'), verifier({ name: 'relaxed', top: 2, gap: 0.5 })],
];

test.each(broken)('not exact, and seen to be so: %s', (_, draft, verify) => {
  expect(distance(speculativeLaw(p, draft, verify, length).law, plain)).toBeGreaterThan(0.005);
});

test('lossy rules: thresholds that nothing passes draw from the law itself', () => {
  for (const rule of [
    { name: 'typical', epsilon: 2, delta: 1e9 },
    { name: 'relaxed', top: 0, gap: 1 },
  ] as const) {
    const { law, tokensPerRound } = speculativeLaw(p, drafter(q, 2, 2, 'chosen'), verifier(rule), length);
    expect(distance(law, plain)).toBeLessThan(1e-12);
    // A token that happens to be a child is one: nobody needs to draw it again.
    expect(tokensPerRound).toBeGreaterThan(1);
  }
});
