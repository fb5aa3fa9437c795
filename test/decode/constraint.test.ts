// Constraints: masks, what they leave of drafts, and the law of answers under them, with and without drafts.
import { Fence, tokenMask, type Constraint } from '../../lib/decode/constraint.js';
import { verifyDraft } from '../../lib/decode/speculation/rules.js';
import type { VerifyRule } from '../../lib/program/executor.js';
import { native } from '../../lib/native.js';
import { createReferenceSampler } from '../../lib/decode/reference-sampler.js';
import { Generator } from '../fixtures/random/generator.js';
import { cells } from './speculation/cells.js';
import { randomMasks, randomOptions } from './speculation/random-drafts.js';
import { distance, drafter, jointLaw, madeUp, normalised, speculativeLaw, vocab } from './speculation/tiny-laws.js';
import type { Dice } from './speculation/enumerate.js';
import type { Draft, Drafter, Model, Verifier } from './speculation/tiny-laws.js';

const p = madeUp('target');
const q = madeUp('drafter');
const length = 3;

/** Its state is the whole answer; what it forbids is made up, but never the most probable token. */
const whole: Constraint<readonly number[]> = {
  start: [],
  allowed(answer) {
    const law = p([0, ...answer]);
    const random = new Generator(4, answer.join());
    const best = law.indexOf(Math.max(...law));
    return tokenMask(
      vocab,
      [0, 1, 2].filter((token) => token === best || random.integer(0, 2) > 0),
    );
  },
  advance: (answer, token) => [...answer, token],
};
const limited: Model = (text) => {
  const [word] = whole.allowed(text.slice(1)) as Uint32Array;
  return normalised(p(text).map((value, token) => (((word >> token) & 1) === 1 ? value : 0)));
};
const plain = jointLaw(limited, length);

function fenceAt(answer: readonly number[]): Fence {
  const fence = new Fence(whole, vocab, new Set());
  for (const token of answer) fence.take(token);
  return fence;
}

/** Drafts as the speculator makes them, and laws that the masks have been applied to. */
function fenced(draft: Drafter, forget = false): Drafter {
  return (text, dice) => {
    const { rows, drawing } = draft(text, dice);
    const tokens = Int32Array.from(rows.tokens).subarray(1);
    const parents = Int32Array.from(rows.parents, (parent) => parent - 1).subarray(1);
    const scores = new Float32Array(tokens.length).fill(1);
    const proposal = drawing && !forget ? { proposal: drawing } : {};
    const cut = fenceAt(text.slice(1)).cut({ tokens, parents, scores, ...proposal });
    return {
      rows: { tokens: [text.at(-1) ?? 0, ...cut.tokens], parents: [-1, ...cut.parents.map((parent) => parent + 1)] },
      ...(drawing ? { drawing } : {}),
    };
  };
}
function verifier(rule: VerifyRule, before: { text: readonly number[] }): Verifier {
  return ({ rows, drawing }: Draft, _, dice: Dice) => {
    const nodes = { tokens: Int32Array.from(rows.tokens).subarray(1), scores: new Float32Array() };
    const parents = Int32Array.from(rows.parents, (parent) => parent - 1).subarray(1);
    const masks = fenceAt(before.text.slice(1)).masks({ ...nodes, parents });
    const lawAt = (row: number, path: readonly number[]): Float64Array => {
      const mask = masks[row];
      const law = p([...before.text, ...path]);
      return mask ? normalised(law.map((value, token) => ((mask[0] >> token) & 1 ? value : 0))) : law;
    };
    const chance = {
      accepts: (probability: number) => dice.choose([probability, 1 - probability]) === 0,
      draws: (weights: Float64Array) => dice.choose(normalised(weights)),
    };
    return verifyDraft(rows, rule, lawAt, chance, drawing).tokens;
  };
}
function lawOf(rule: VerifyRule, draft: Drafter, rounds: number): Map<string, number> {
  const before = { text: [] as readonly number[] };
  const told: Drafter = (text, dice) => {
    before.text = [...text];
    return draft(text, dice);
  };
  return speculativeLaw(limited, told, verifier(rule, before), length, rounds).law;
}

test.each(cells)('exact: $name', ({ rule, how, children }) => {
  const drafts = fenced(drafter(q, 2, children, how));
  expect(distance(lawOf(rule, drafts, children > 1 ? 1 : Infinity), plain)).toBeLessThan(1e-12);
});

test('seen not to be exact: drawn tokens that are forgotten because they are forbidden', () => {
  const forgetful: Drafter = (text, dice) => {
    const { rows, drawing } = fenced(drafter(q, 1, 1, 'drawn'), true)(text, dice);
    return rows.tokens.length > 1 ? { rows, ...(drawing ? { drawing } : {}) } : { rows };
  };
  expect(distance(lawOf({ name: 'ratio' }, forgetful, Infinity), plain)).toBeGreaterThan(0.005);
});

/** Tokens that ascend; behind 7 only the end, 9. */
const ascending: Constraint<number> = {
  start: -1,
  allowed: (last) => tokenMask(10, last === 7 ? [9] : [0, 1, 2, 3, 4, 5, 6, 7, 8].filter((token) => token > last)),
  advance: (_, token) => token,
};
const draftOf = (tokens: number[], parents: number[]) => ({
  tokens: Int32Array.from(tokens),
  parents: Int32Array.from(parents),
  scores: Float32Array.from(tokens, (_, node) => 1 / (node + 1)),
});

test('drafts end where the constraint forbids what follows, and behind what ends an answer', () => {
  const fence = new Fence(ascending, 10, new Set([9]));
  fence.take(2);
  //    2 ─ 5 ─ 3 ─ 4        3 forbidden
  //      └ 1 ─ 6            1 forbidden
  //      └ 7 ─ 9 ─ 9        nothing follows the first 9
  const draft = draftOf([5, 1, 7, 3, 6, 9, 4, 9, 8], [-1, -1, -1, 0, 1, 2, 3, 5, 0]);
  const cut = fence.cut(draft);
  expect([...cut.tokens]).toEqual([5, 7, 9, 8]);
  expect([...cut.parents]).toEqual([-1, -1, 1, 0]);
  expect([...cut.scores]).toEqual([0, 2, 5, 8].map((node) => Math.fround(1 / (node + 1))));
  expect(fence.masks(cut).map((mask) => mask?.[0])).toEqual([0x1f8, 0x1c0, 0x200, undefined, 0]);
  const drawn = { ...draftOf([5, 3, 4, 8], [-1, 0, 1, 2]), proposal: {} };
  expect([...fence.cut(drawn).tokens]).toEqual([5, 3]);
  expect(fence.cut({ ...draft, proposal: {} })).toMatchObject({ tokens: draft.tokens });
  const fits = draftOf([5, 6], [-1, 0]);
  expect(fence.cut(fits)).toBe(fits);
});

test('native draws are the reference’s, and leave logits and later draws alone', () => {
  const random = new Generator(8, 'constraint.test');
  for (let trial = 0; trial < 300; trial++) {
    const size = random.integer(1, 90);
    const options = randomOptions(random, size);
    const [mask] = randomMasks(random, 1, size);
    const logits = Float32Array.from({ length: size }, () => random.normal());
    const before = logits.slice();
    const sampler = new (native().Sampler)({ ...options });
    const draw = (allowed: Uint32Array | null): number => {
      const out = new Int32Array(1);
      const row = { tokens: Int32Array.of(0), parents: Int32Array.of(-1), out, kept: new Int32Array(1) };
      const walk = { sampler, rule: 0, first: 0, second: 0, cycle: 1, ...(allowed ? { masks: [allowed] } : {}) };
      native().verify({ ...walk, logits, vocab: size, ...row });
      return out[0];
    };
    const reference = createReferenceSampler(options);
    for (const allowed of [mask, null]) {
      const { token } = reference.sample(logits, allowed);
      reference.accept(Int32Array.of(token));
      expect({ trial, token: draw(allowed) }).toEqual({ trial, token });
    }
    expect(logits).toEqual(before);
  }
});

test('what makes no sense is refused', () => {
  const sampler = new (native().Sampler)({ ...randomOptions(new Generator(1, 'x'), 40), vocab: 40 });
  const row = { tokens: Int32Array.of(0), parents: Int32Array.of(-1), out: new Int32Array(1), kept: new Int32Array(1) };
  const walk = { sampler, rule: 0, first: 0, second: 0, cycle: 1, logits: new Float32Array(40), vocab: 40, ...row };
  expect(() => native().verify({ ...walk, masks: [new Uint32Array(1)] })).toThrow(/too few words/);
  expect(() => native().verify({ ...walk, masks: [null, null] })).toThrow(/make no sense/);
  expect(() => native().verify({ ...walk, masks: [new Uint32Array(2)] })).toThrow(/constraint bans every token/);
  expect(() => tokenMask(8, [8])).toThrow(/0 to 7/);
  expect(() => tokenMask(0, [])).toThrow(/number of tokens/);
});
