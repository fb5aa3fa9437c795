// Native verification leaves the law as it is: a million drafts of each kind, by χ² on the first two tokens. A fifth of them
// where native code goes the way of another kind; a tenth of all outside of CI.
import { native } from '../../../lib/native.js';
import type { NativeProposal } from '../../../lib/native.js';
import { ruleSettings } from '../../../lib/program/native-walks.js';
import { Generator } from '../../fixtures/random/generator.js';
import { plain } from '../sampler-options.js';
import { cells } from './cells.js';
import type { Cell } from './cells.js';

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

interface Kind extends Cell {
  /** Breaks the rule's condition. */
  readonly broken?: Broken;
}
type Broken =
  | 'law of another row'
  | 'whole law against truncated draws'
  | 'truncated law against whole draws'
  | 'dropped'
  | 'replacement';

const ratio = (how: Kind['how'], children: number, mistake: Broken, name = mistake as string): Kind => {
  return { name, rule: { name: 'ratio' }, how, children, own: true, broken: mistake };
};
const broken: Kind[] = [
  ratio('drawn', 1, 'law of another row'),
  ratio('drawn', 1, 'whole law against truncated draws'),
  ratio('drawn', 1, 'truncated law against whole draws'),
  ratio('drawn', 1, 'dropped', 'a drawn token is dropped for its probability'),
  ratio('drawn', 2, 'replacement', 'children without replacement as if with it'),
  ratio('drawn with replacement', 2, 'replacement', 'children with replacement as if without'),
  { ...ratio('drawn', 1, 'law of another row', 'another row’s law, as a block'), rule: { name: 'block' } },
];

/** Draws drafts, which are kept to be used again: there are not many. */
function drafts({ how, children, broken: mistake }: Kind): (place: number, levels: number) => TinyDraft {
  let state = 2463534242;
  const uniform = (): number => {
    // xorshift32: fast, and good enough to draw drafts.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const draw = (weights: Float64Array, without: readonly number[]): number => {
    let total = 0;
    for (let i = 0; i < vocab; i++) if (!without.includes(i)) total += weights[i];
    let target = uniform() * total;
    let last = -1;
    for (let i = 0; i < vocab; i++) {
      if (weights[i] <= 0 || without.includes(i)) continue;
      last = i;
      target -= weights[i];
      if (target < 0) break;
    }
    return last;
  };
  const leastOf = (law: Float64Array): Float64Array => law.map((value) => (value === Math.min(...law) ? 0 : value));
  const truncated = q.map(({ law }) => leastOf(law));
  const drawFrom = mistake === 'whole law against truncated draws' ? truncated : q.map(({ law }) => law);
  const recorded = (mistake === 'truncated law against whole draws' ? truncated : q.map(({ law }) => law)).map((law) =>
    Float32Array.from(law),
  );
  const chosen = q.map(({ law }) => [...ids].sort((a, b) => law[b] - law[a]));
  const replacement = (how === 'drawn with replacement') !== (mistake === 'replacement');
  const known = new Map<string, TinyDraft>();
  return (place, levels) => {
    const places = [place];
    const tokens = [0];
    const parents = [-1];
    const nodes: number[][] = [];
    let key = `${place} ${levels}:`;
    for (let row = 0, end = 1, level = 0; level < levels; level++, end = places.length) {
      for (; row < end; row++) {
        const own = places[row];
        const drawn: number[] = [];
        for (let child = 0; child < children; child++) {
          if (how === 'chosen') drawn.push(chosen[own][child]);
          else drawn.push(draw(drawFrom[own], how === 'drawn' ? drawn : []));
        }
        if (mistake === 'dropped' && q[own].law[drawn[0]] < 0.2) drawn.length = 0;
        nodes[row] = drawn;
        key += `${drawn.join()};`;
        for (const token of new Set(drawn)) {
          tokens.push(token);
          parents.push(row);
          places.push(after(own, token));
        }
      }
    }
    const old = known.get(key);
    if (old) return old;
    const logits = new Float32Array(tokens.length * vocab);
    places.forEach((own, row) => logits.set(p[own].logits, row * vocab));
    const walk = { logits, vocab, tokens: Int32Array.from(tokens), parents: Int32Array.from(parents) };
    if (how === 'chosen') return keep(key, walk);
    const proposal: NativeProposal = new (native().Proposal)(replacement);
    nodes.forEach((drawn, row) => {
      const said = mistake === 'law of another row' ? places[parents[row] < 0 ? row : parents[row]] + 1 : places[row];
      proposal.set(row, ids, recorded[said], Int32Array.from(drawn));
    });
    return keep(key, { ...walk, proposal });
  };
  function keep(key: string, draft: TinyDraft): TinyDraft {
    known.set(key, draft);
    return draft;
  }
}

interface TinyDraft {
  readonly logits: Float32Array;
  readonly vocab: number;
  readonly tokens: Int32Array;
  readonly parents: Int32Array;
  readonly proposal?: NativeProposal;
}

/** χ² of pairs of tokens against their law, degrees of freedom vocab² − 1. */
function statistic(kind: Kind, rounds: number): number {
  const sampler = new (native().Sampler)({ ...plain, vocab, logprob: false, seed: 77n });
  const found = new Float64Array(vocab * vocab);
  const draft = drafts(kind);
  const settings = { sampler, ...ruleSettings(kind.rule) };
  const out = new Int32Array(1 + 2 + 4);
  const kept = new Int32Array(out.length);
  let cycle = 0;
  /** Verifies a draft behind the text or behind one token of it; gives what was said. */
  const round = (place: number, levels: number): number[] => {
    const { tokens, ...walk } = draft(place, levels);
    const rows = { tokens, out: out.subarray(0, tokens.length), kept: kept.subarray(0, tokens.length) };
    native().verify({ ...settings, ...walk, ...rows, cycle: ++cycle });
    const said: number[] = [];
    for (let row = 0; row < tokens.length; row++) if (kept[row] === 1) said.push(out[row]);
    return said;
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
test.each(cells)(
  'exact: $name',
  (kind) => {
    expect(statistic(kind, kind.own ? count : count / 5)).toBeLessThan(60);
  },
  120_000,
);

test.each(cells)('exact at temperature 0: $name', (kind) => {
  const sampler = new (native().Sampler)({ ...plain, vocab, logprob: false, temperature: 0 });
  const best = p.map(({ law }) => law.indexOf(Math.max(...law)));
  const draft = drafts(kind);
  for (let i = 1; i <= 200; i++) {
    const { tokens, ...walk } = draft(0, 2);
    const out = new Int32Array(tokens.length);
    const kept = new Int32Array(tokens.length);
    native().verify({ sampler, ...ruleSettings(kind.rule), ...walk, tokens, out, kept, cycle: i });
    const said = [...out].filter((_, row) => kept[row] === 1);
    const expected: number[] = [];
    for (let place = 0; expected.length < said.length; place = after(place, expected[expected.length - 1])) {
      expected.push(best[place]);
    }
    expect(said).toEqual(expected);
  }
});

test.each(broken)('seen not to be exact: $name', (kind) => {
  expect(statistic(kind, 50_000)).toBeGreaterThan(100);
});
