// Native verification leaves the law as it is: a million drafts of each kind, by χ² on the first two tokens (a tenth of them outside of CI).
import { native } from '../../../lib/native.js';
import type { NativeProposal } from '../../../lib/native.js';
import type { VerifyRule } from '../../../lib/program/executor.js';
import { ruleSettings } from '../../../lib/program/native-walks.js';
import { Generator } from '../../fixtures/random/generator.js';
import { plain } from '../sampler-options.js';

const vocab = 5;
const count = process.env['CI'] ? 1_000_000 : 100_000;

/** Laws after the text, after each first token, and after each second one: logits that float32 holds exactly. */
function model(name: string): { logits: Float32Array; law: Float64Array }[] {
  const random = new Generator(1, name);
  return Array.from({ length: 1 + vocab + vocab * vocab }, () => {
    const logits = Float32Array.from({ length: vocab }, () => random.integer(-6, 6) / 4);
    const weights = Float64Array.from(logits, (logit) => Math.exp(logit));
    const total = weights.reduce((a, b) => a + b);
    return { logits, law: weights.map((weight) => weight / total) };
  });
}
const p = model('target');
const q = model('drafter');
const ids = Int32Array.from({ length: vocab }, (_, id) => id);
const after = (place: number, token: number): number => 1 + place * vocab + token;

interface Kind {
  readonly name: string;
  readonly rule: VerifyRule;
  /** Children of each row of the draft, of two levels. */
  readonly children: number;
  readonly replacement?: boolean;
  /** Breaks the rule's condition. */
  readonly broken?: 'law of another row' | 'whole law against truncated draws' | 'replacement';
}

const kinds: Kind[] = [
  { name: 'a drawn chain, by ratio', rule: { name: 'ratio' }, children: 1 },
  { name: 'a drawn chain, matched', rule: { name: 'match' }, children: 1 },
  { name: 'a drawn chain, as a block', rule: { name: 'block' }, children: 1 },
  { name: 'a tree without replacement', rule: { name: 'ratio' }, children: 2 },
  { name: 'a tree with replacement', rule: { name: 'ratio' }, children: 2, replacement: true },
];
const broken: Kind[] = [
  { name: 'another row’s law', rule: { name: 'ratio' }, children: 1, broken: 'law of another row' },
  { name: 'a whole law', rule: { name: 'ratio' }, children: 1, broken: 'whole law against truncated draws' },
  { name: 'children that were drawn without replacement', rule: { name: 'ratio' }, children: 2, broken: 'replacement' },
];

/** χ² of pairs of tokens against their law, degrees of freedom vocab² − 1. */
function statistic({ rule, children, replacement = false, broken: mistake }: Kind, rounds: number): number {
  let state = 2463534242;
  const uniform = (): number => {
    // xorshift32: fast, and good enough to draw drafts.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const draw = (weights: Float64Array): number => {
    let target = uniform() * weights.reduce((a, b) => a + b);
    const token = weights.findIndex((weight) => (target -= weight) < 0);
    return token < 0 ? weights.findLastIndex((weight) => weight > 0) : token;
  };
  const sampler = new (native().Sampler)({ ...plain, vocab, logprob: false, seed: 77n });
  const found = new Float64Array(vocab * vocab);
  const weightsOf = q.map(({ law }) => Float32Array.from(law));
  let cycle = 0;
  /** Verifies a draft behind the text or behind one token of it; gives what was said. */
  const round = (place: number, levels: number): number[] => {
    const tokens = [0];
    const parents = [-1];
    const places = [place];
    const proposal: NativeProposal = new (native().Proposal)(replacement || mistake === 'replacement');
    for (let row = 0, end = 1, level = 0; level < levels; level++, end = tokens.length) {
      for (; row < end; row++) {
        const own = places[row];
        const left = q[own].law.slice();
        if (mistake === 'whole law against truncated draws') left[left.indexOf(Math.min(...left))] = 0;
        const drawn: number[] = [];
        for (let child = 0; child < children; child++) {
          const token = draw(left);
          drawn.push(token);
          if (!replacement) left[token] = 0;
        }
        const said = mistake === 'law of another row' ? places[parents[row] < 0 ? row : parents[row]] + 1 : own;
        proposal.set(row, ids, weightsOf[said], Int32Array.from(drawn));
        for (const token of new Set(drawn)) {
          tokens.push(token);
          parents.push(row);
          places.push(after(own, token));
        }
      }
    }
    const rows = tokens.length;
    const logits = new Float32Array(rows * vocab);
    places.forEach((own, row) => logits.set(p[own].logits, row * vocab));
    const out = new Int32Array(rows);
    const kept = new Int32Array(rows);
    native().verify({
      sampler,
      ...ruleSettings(rule),
      cycle: ++cycle,
      proposal,
      logits,
      vocab,
      tokens: Int32Array.from(tokens),
      parents: Int32Array.from(parents),
      out,
      kept,
    });
    return [...out].filter((_, row) => kept[row] === 1);
  };
  for (let i = 0; i < rounds; i++) {
    const said = round(0, 2);
    if (said.length < 2) said.push(...round(after(0, said[0]), 1));
    found[said[0] * vocab + said[1]]++;
  }
  let sum = 0;
  for (let a = 0; a < vocab; a++) {
    for (let b = 0; b < vocab; b++) {
      const expected = rounds * p[0].law[a] * p[after(0, a)].law[b];
      sum += (found[a * vocab + b] - expected) ** 2 / expected;
    }
  }
  return sum;
}

// P(χ² of 24 degrees > 60) is below 1e-4.
test.each(kinds)(
  'exact: $name',
  (kind) => {
    expect(statistic(kind, count)).toBeLessThan(60);
  },
  120_000,
);

test.each(broken)('seen not to be exact: $name', (kind) => {
  expect(statistic(kind, 100_000)).toBeGreaterThan(200);
});
