// Trees that a model drafts leave the law of an answer as it is: every outcome of small cases, and many drafts of native trees.
import { native } from '../../../lib/native.js';
import type { NativeTree } from '../../../lib/native.js';
import type { FixedShape, GrownShape, VerifyRule } from '../../../lib/program/executor.js';
import { nativeTree, NativeRowProposal, NativeRowSampler, ruleSettings } from '../../../lib/program/native-walks.js';
import { distance, jointLaw, madeUp, normalised, speculativeLaw, verifier } from '../speculation/tiny-laws.js';
import type { Drafter } from '../speculation/tiny-laws.js';
import { Generator } from '../../fixtures/random/generator.js';
import { plain } from '../sampler-options.js';
import { grownTree, pathsOf } from './plain-trees.js';

const length = 3;
const p = madeUp('target');
const q = madeUp('drafter');

/** Children are drawn without replacement, as many as the shape says. */
function fixedDrafter(parents: readonly number[], kept: (tree: Built) => number[] = all): Drafter {
  return (text, dice) => {
    const places = [-1]; // in the shape, of each row
    const built: Built = { tokens: [text.at(-1) ?? -1], parents: [-1], scores: [1], nodes: [] };
    const texts = [[...text]];
    for (let row = 0; row < places.length; row++) {
      const children = [...parents.keys()].filter((place) => parents[place] === places[row]);
      if (children.length === 0) continue;
      const law = q(texts[row]);
      const left = Float64Array.from(law);
      const drawn: number[] = [];
      for (const place of children) {
        if (!left.some((weight) => weight > 0)) break;
        const token = dice.choose(normalised(left));
        left[token] = 0;
        drawn.push(token);
        places.push(place);
        built.tokens.push(token);
        built.parents.push(row);
        built.scores.push(built.scores[row] * law[token]);
        texts.push([...texts[row], token]);
      }
      built.nodes[row] = { law, drawn };
    }
    const rows = kept(built);
    return {
      rows: {
        tokens: rows.map((row) => built.tokens[row]),
        parents: rows.map((row) => rows.indexOf(built.parents[row])),
      },
      drawing: { nodes: rows.map((row) => built.nodes[row]), replacement: false },
    };
  };
}
interface Built {
  readonly tokens: number[];
  readonly parents: number[];
  readonly scores: number[];
  readonly nodes: ({ law: Float64Array; drawn: number[] } | undefined)[];
}
const all = ({ tokens }: Built): number[] => [...tokens.keys()];
const uneven = [-1, -1, 0, 0, 2];

/** The most probable tokens of the draft model, grown as in EAGLE-2. */
async function grownDrafter(shape: GrownShape): Promise<Drafter> {
  const trees = new Map<string, { tokens: number[]; parents: number[] }>();
  for (const text of textsUpTo(length)) {
    trees.set(text.join(), await grownTree((path) => q([...text, ...path]).map(Math.log), shape));
  }
  return (text) => {
    const { tokens = [], parents = [] } = trees.get(text.join()) ?? {};
    return { rows: { tokens: [text.at(-1) ?? -1, ...tokens], parents: [-1, ...parents.map((parent) => parent + 1)] } };
  };
}

function textsUpTo(count: number): number[][] {
  let last: number[][] = [[0]];
  const texts = [...last];
  for (let i = 0; i < count; i++) {
    last = last.flatMap((text) => [0, 1, 2].map((token) => [...text, token]));
    texts.push(...last);
  }
  return texts;
}

test('exact by enumeration: drawn trees of a fixed, uneven shape; grown trees by matching', async () => {
  const expected = jointLaw(p, length);
  const drawn = speculativeLaw(p, fixedDrafter(uneven), verifier({ name: 'ratio' }), length, 1);
  expect(distance(drawn.law, expected)).toBeLessThan(1e-12);
  for (const shape of [
    { depth: 3, nodes: 5, topK: 2, width: 2, least: 0 },
    { depth: 2, nodes: 8, topK: 3, width: 3, least: 0.1 },
  ]) {
    const { law, tokensPerRound } = speculativeLaw(p, await grownDrafter(shape), verifier({ name: 'match' }), length);
    expect(tokensPerRound).toBeGreaterThan(1.3);
    expect(distance(law, expected)).toBeLessThan(1e-12);
  }
});

test('seen not to be exact: what follows a token is forgotten when it is improbable', () => {
  const probable = ({ tokens, parents, scores }: Built): number[] =>
    [...tokens.keys()].filter((row) => parents[row] < 1 || scores[row] >= 0.32 * scores[parents[row]]);
  const { law } = speculativeLaw(p, fixedDrafter([-1, 0], probable), verifier({ name: 'ratio' }), length, 1);
  expect(distance(law, jointLaw(p, length))).toBeGreaterThan(0.002);
});

// Native trees over laws of two levels.
const vocab = 5;
const count = process.env['CI'] ? 1_000_000 : 100_000;
function places(name: string): { logits: Float32Array; law: Float64Array }[] {
  const random = new Generator(1, name);
  return Array.from({ length: 1 + vocab + vocab * vocab }, () => {
    const logits = Float32Array.from({ length: vocab }, () => random.integer(-6, 6) / 4);
    return { logits, law: normalised(Float64Array.from(logits, (logit) => Math.exp(logit))) };
  });
}
const target = places('target');
const small = places('drafter');
const placeOf = (path: ArrayLike<number>): number => Array.from(path).reduce((at, token) => 1 + at * vocab + token, 0);

interface Kind {
  readonly name: string;
  readonly rule: VerifyRule;
  readonly shape: FixedShape | GrownShape;
  readonly mistake?: 'even law';
}
const shape = { parents: Int32Array.of(-1, -1, 0, 0, 1, 1, 1) };
const kinds: Kind[] = [
  { name: 'a drawn tree, by ratio', rule: { name: 'ratio' }, shape },
  { name: 'a drawn tree, matched', rule: { name: 'match' }, shape },
  { name: 'all children there are', rule: { name: 'ratio' }, shape: { parents: Int32Array.of(-1, -1, -1, -1, -1, 2) } },
  { name: 'a grown tree', rule: { name: 'match' }, shape: { depth: 2, nodes: 5, topK: 3, width: 2, least: 0 } },
];

/** χ² of pairs of tokens, vocab² − 1 degrees of freedom. */
function statistic({ rule, shape: form, mistake }: Kind, rounds: number): number {
  const options = { ...plain, vocab, logprob: false };
  const sampler = new NativeRowSampler(new (native().Sampler)({ ...options, seed: 77n }));
  const drafting = new NativeRowSampler(new (native().Sampler)({ ...options, seed: 99n }));
  const found = new Float64Array(vocab * vocab);
  const proposal = new NativeRowProposal(new (native().Proposal)(false));
  let cycle = 0;
  const round = (before: readonly number[], part: FixedShape | GrownShape): number[] => {
    const drawn = 'parents' in part;
    const tree: NativeTree = nativeTree({
      output: 0,
      sampler: drafting,
      shape: part,
      cycle: ++cycle,
      ...(drawn ? { proposal } : {}),
    });
    native().growTree(tree, (path) => small[placeOf([...before, ...path])].logits);
    const nodes = tree.count[0];
    const tokens = [0, ...tree.tokens.subarray(0, nodes)];
    const parents = [-1, ...tree.above.subarray(0, nodes)].map((parent, row) => (row === 0 ? -1 : parent + 1));
    if (mistake) {
      for (let node = 0; node < proposal.size; node++) {
        const law = proposal.read(node);
        if (law && law.ids.length > 0) proposal.set(node, law.ids, law.weights.fill(1), law.drawn);
      }
    }
    const paths = [[], ...pathsOf({ tokens: tokens.slice(1), parents: parents.slice(1).map((parent) => parent - 1) })];
    const logits = new Float32Array(tokens.length * vocab);
    paths.forEach((path, row) => logits.set(target[placeOf([...before, ...path])].logits, row * vocab));
    const out = new Int32Array(tokens.length);
    const kept = new Int32Array(tokens.length);
    native().verify({
      sampler: sampler.native,
      ...ruleSettings(rule),
      cycle,
      ...(drawn ? { proposal: proposal.native } : {}),
      logits,
      vocab,
      tokens: Int32Array.from(tokens),
      parents: Int32Array.from(parents),
      out,
      kept,
    });
    return [...out].filter((_, row) => kept[row] === 1);
  };
  const one = 'parents' in form ? { parents: Int32Array.of(-1, -1) } : { ...form, depth: 1 };
  for (let i = 0; i < rounds; i++) {
    const said = round([], form);
    if (said.length < 2) said.push(...round(said, one));
    found[said[0] * vocab + said[1]]++;
  }
  let sum = 0;
  for (let a = 0; a < vocab; a++) {
    for (let b = 0; b < vocab; b++) {
      const expected = rounds * target[0].law[a] * target[placeOf([a])].law[b];
      sum += (found[a * vocab + b] - expected) ** 2 / expected;
    }
  }
  return sum;
}

// P(χ² of 24 degrees > 60) is below 1e-4.
test.each(kinds)('exact: $name', (kind) => expect(statistic(kind, count)).toBeLessThan(60), 600_000);

test('seen not to be exact: a law on record that children were not drawn from', () => {
  expect(statistic({ ...kinds[0], mistake: 'even law' }, 40_000)).toBeGreaterThan(200);
});

test('trees of all levels at once are those of one level after the other, whose laws are the same behind every path', () => {
  const rows = Array.from({ length: 3 }, (_, depth) => small[depth].logits);
  const penalties = { repetitionPenalty: 1.7, presencePenalty: 0.4 };
  const forms: (FixedShape | GrownShape)[] = [
    { parents: Int32Array.of(-1, -1, 0, 0, 1, 2, 2, 4) },
    { depth: 3, nodes: 14, topK: 3, width: 4, least: 0 },
    { depth: 3, nodes: 9, topK: 4, width: 2, least: 0.3 },
  ];
  for (const options of [{}, penalties, { topK: 2, temperature: 0.5 }]) {
    for (const form of forms) {
      const trees = [{}, { levels: 3 }].map((more) => {
        const sampler = new NativeRowSampler(
          new (native().Sampler)({ ...plain, vocab, logprob: false, seed: 8n, ...options }),
        );
        sampler.accept(Int32Array.of(3, 1));
        const proposal = new NativeRowProposal(new (native().Proposal)(false));
        const drawn = 'parents' in form ? { proposal } : {};
        const tree = nativeTree({ output: 0, sampler, shape: form, cycle: 4, ...drawn, ...more });
        native().growTree(tree, (path) => rows[path.length]);
        const nodes = tree.count[0];
        const parts = [tree.tokens, tree.above, tree.probabilities].map((part) => [...part.subarray(0, nodes)]);
        return [nodes, ...parts, Array.from({ length: proposal.size }, (_, node) => proposal.read(node))];
      });
      expect(trees[0][0]).toBeGreaterThan(3);
      expect(trees[1]).toEqual(trees[0]);
    }
  }
});

test('pairs of children are drawn without replacement, by their law', () => {
  const drafting = new NativeRowSampler(new (native().Sampler)({ ...plain, vocab, logprob: false, seed: 5n }));
  const { logits, law } = small[0];
  const rounds = 50_000;
  const found = new Map<string, number>();
  for (let cycle = 1; cycle <= rounds; cycle++) {
    const proposal = new NativeRowProposal(new (native().Proposal)(false));
    const tree = nativeTree({
      output: 0,
      sampler: drafting,
      shape: { parents: Int32Array.of(-1, -1) },
      cycle,
      proposal,
    });
    native().growTree(tree, () => logits);
    const pair = tree.tokens.join();
    found.set(pair, (found.get(pair) ?? 0) + 1);
  }
  let sum = 0;
  for (let a = 0; a < vocab; a++) {
    for (let b = 0; b < vocab; b++) {
      if (a === b) expect(found.has(`${a},${b}`)).toBe(false);
      if (a === b) continue;
      const expected = (rounds * law[a] * law[b]) / (1 - law[a]);
      sum += ((found.get(`${a},${b}`) ?? 0) - expected) ** 2 / expected;
    }
  }
  expect(sum).toBeLessThan(53); // 19 degrees, P below 1e-4
});
