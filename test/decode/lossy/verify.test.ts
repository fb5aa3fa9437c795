// Second readings and judges: native code says what the reference says, and extremes reduce to the rule.
import { createReferenceSampler } from '../../../lib/decode/reference-sampler.js';
import { fuse } from '../../../lib/decode/speculation/reflective/fuse.js';
import { native } from '../../../lib/native.js';
import type { NativeWalk } from '../../../lib/native.js';
import { divergence } from '../../../lib/decode/speculation/rules.js';
import { measures, type SamplerOptions, type VerifyRule } from '../../../lib/program/executor.js';
import { Generator } from '../../fixtures/random/generator.js';
import { plain } from '../sampler-options.js';
import { randomDraft, randomOptions, unit, verifyNative } from '../speculation/random-drafts.js';
import type { TestDraft } from '../speculation/random-drafts.js';

const rules: VerifyRule[] = [
  { name: 'match' },
  { name: 'ratio' },
  { name: 'block' },
  { name: 'typical', epsilon: 0.09, delta: 0.3 },
  { name: 'relaxed', top: 4, gap: 0.2 },
  { name: 'divergence', bound: 0.2, measure: 'jensen-shannon' },
];
const width = 37;

interface Case {
  readonly draft: TestDraft;
  readonly options: SamplerOptions;
  readonly logits: Float32Array; // of the draft's rows and of the second reading
  readonly hidden: Float32Array;
  readonly reflection: NonNullable<NativeWalk['reflection']>;
  readonly judge: NonNullable<NativeWalk['judge']>;
  readonly scores: number[];
}

function randomCase(random: Generator, trial: number): Case {
  const vocab = random.integer(2, trial % 10 === 0 ? 3000 : 90);
  const draft = randomDraft(random, vocab, (['chain', 'tree', 'replacement', 'chosen'] as const)[random.integer(0, 3)]);
  const rows = draft.tokens.length;
  const twice = Int32Array.from(draft.tokens.keys()).filter(() => unit(random) < 0.7);
  const again = Int32Array.from([...twice, ...twice.filter(() => unit(random) < 0.3)]); // some three times
  const logits = Float32Array.from({ length: (rows + again.length) * vocab }, () => 2 * random.normal());
  draft.parents.forEach((parent, row) => {
    if (parent >= 0) logits[parent * vocab + draft.tokens[row]] += 2.5;
  });
  const hidden = Float32Array.from({ length: rows * width }, () => random.normal());
  const weights = Float32Array.from({ length: width }, () => random.normal() / 4);
  const scores = Array.from({ length: rows }, (_, row) =>
    weights.reduce((sum, weight, i) => sum + weight * hidden[row * width + i], 0.1),
  );
  return {
    draft,
    options: randomOptions(random, vocab),
    logits,
    hidden,
    scores,
    reflection: { alpha: random.integer(0, 10) / 10, corrects: random.integer(0, 1) === 0, rows: again },
    judge: {
      weights,
      bias: 0.1,
      bound: random.normal(),
      guarded: Int32Array.from(draft.tokens, () => Number(unit(random) < 0.2)),
      longest: random.integer(0, 2),
    },
  };
}

const bits = (flags: Int32Array, bit: number): number[] => [...flags.keys()].filter((row) => (flags[row] & bit) !== 0);

test('native code keeps the rows and says the tokens of the reference, with second readings, judges and both', () => {
  const random = new Generator(8, 'lossy.test');
  let judgedTokens = 0;
  let changedRows = 0;
  for (let trial = 0; trial < 400; trial++) {
    const { draft, options, logits, hidden, scores, reflection, judge } = randomCase(random, trial);
    const rule = rules[trial % rules.length];
    const beyond = [{ reflection }, { judge }, { reflection, judge }][random.integer(0, 2)];
    const given = 'reflection' in beyond && beyond.reflection ? logits : logits.slice();
    const vocab = logits.length / (draft.tokens.length + reflection.rows.length);
    const used = 'reflection' in beyond ? given : given.slice(0, draft.tokens.length * vocab);
    const before = used.slice();
    const reference = createReferenceSampler(options);
    const sampler = new (native().Sampler)({ ...options });
    const prompt = Int32Array.from({ length: 5 }, () => random.integer(0, vocab - 1));
    reference.accept(prompt);
    sampler.accept(prompt);
    for (let cycle = 1; cycle <= 2; cycle++) {
      const rowsOf = Array.from({ length: used.length / vocab }, (_, row) =>
        used.subarray(row * vocab, (row + 1) * vocab),
      );
      const expected = reference.verify(draft, rule, rowsOf, cycle, draft.drawing, {
        ...('reflection' in beyond ? { reflection } : {}),
        ...('judge' in beyond ? { judge: { ...judge, scores } } : {}),
      });
      const { out, kept, logprobs } = verifyNative(sampler, draft, used, rule, cycle, { ...beyond, hidden });
      expect({ trial, kept: bits(kept, 1) }).toEqual({ trial, kept: expected.kept });
      expect({ trial, said: expected.kept.map((row) => out[row]) }).toEqual({ trial, said: expected.tokens });
      expect({ trial, judged: bits(kept, 2) }).toEqual({ trial, judged: expected.judged });
      expect({ trial, changed: bits(kept, 4) }).toEqual({ trial, changed: [...expected.changed] });
      expected.kept.forEach((row, i) => expect(logprobs[row]).toBeCloseTo(expected.reports[i].logprob, 3));
      judgedTokens += expected.judged.length;
      changedRows += expected.changed.length;
    }
    expect(used.every((value, i) => Object.is(value, before[i]))).toBe(true);
  }
  expect(judgedTokens).toBeGreaterThan(80);
  expect(changedRows).toBeGreaterThan(80);
});

test('weight 0 and a judge that trusts nothing are the rule itself, bit for bit', () => {
  const random = new Generator(9, 'extremes');
  for (let trial = 0; trial < 200; trial++) {
    const { draft, options, logits, hidden, reflection, judge } = randomCase(random, trial);
    const rule = rules[trial % rules.length];
    const vocab = logits.length / (draft.tokens.length + reflection.rows.length);
    const play = (beyond: Parameters<typeof verifyNative>[5], given: Float32Array): unknown => {
      const sampler = new (native().Sampler)({ ...options });
      sampler.accept(Int32Array.of(1, 0));
      return verifyNative(sampler, draft, given, rule, 3, beyond);
    };
    const own = logits.slice(0, draft.tokens.length * vocab);
    const plainly = play({}, own);
    // What is read a second time may be anything then.
    const poisoned = logits.map((value, i) => (i < own.length ? value : NaN));
    for (const corrects of [true, false]) {
      expect(play({ reflection: { ...reflection, alpha: 0, corrects } }, poisoned)).toEqual(plainly);
    }
    const never = { ...judge, bound: Infinity };
    if (rule.name !== 'block') expect(play({ judge: never, hidden }, own)).toEqual(plainly);
    const all = draft.tokens.map(() => 1);
    if (rule.name !== 'block')
      expect(play({ judge: { ...judge, bound: -9, guarded: all }, hidden }, own)).toEqual(plainly);
  }
});

test('a judge that trusts everything keeps the whole draft, and less the less it trusts', () => {
  const random = new Generator(10, 'trust');
  for (let trial = 0; trial < 100; trial++) {
    const { options, logits, hidden, judge } = randomCase(random, trial);
    const vocab = 6;
    const tokens = Int32Array.from({ length: 6 }, () => random.integer(0, vocab - 1));
    const draft = { tokens, parents: Int32Array.from(tokens.keys(), (row) => row - 1) };
    const own = Float32Array.from({ length: 36 }, (_, i) => logits[i % logits.length]);
    const states = Float32Array.from({ length: 6 * width }, (_, i) => hidden[i % hidden.length] + i / 100);
    const length = (bound: number): number => {
      const sampler = new (native().Sampler)({ ...plain, vocab, seed: options.seed, temperature: trial % 2 });
      const open = { ...judge, guarded: new Int32Array(6), longest: 0, bound };
      return bits(verifyNative(sampler, draft, own, { name: 'ratio' }, 1, { judge: open, hidden: states }).kept, 1)
        .length;
    };
    const lengths = [-Infinity, -2, -1, 0, 1, 2, Infinity].map(length);
    expect(lengths[0]).toBe(6);
    expect([...lengths].sort((a, b) => b - a)).toEqual(lengths);
  }
});

test('divergence: 0 is the ratio, and the larger the bound the more of what was drawn stays', () => {
  const random = new Generator(14, 'near');
  const kept = new Map<string, number>();
  const [vocab, rows] = [11, 6];
  for (let trial = 0; trial < 200; trial++) {
    const logits = Float32Array.from({ length: rows * vocab }, () => random.normal());
    // The draft's law is the row's with noise, and its token is drawn from it.
    const tokens = [0];
    const nodes = Array.from({ length: rows - 1 }, (_, row) => {
      const noise = unit(random);
      const weights = Float64Array.from({ length: vocab }, (__, token) =>
        Math.fround(Math.exp(logits[row * vocab + token] + noise * random.normal())),
      );
      let left = unit(random) * weights.reduce((a, b) => a + b);
      const token = Math.max(
        0,
        weights.findIndex((weight) => (left -= weight) < 0),
      );
      tokens.push(token);
      const total = weights.reduce((a, b) => a + b);
      return { law: weights.map((weight) => weight / total), drawn: [token] };
    });
    const draft = {
      tokens: Int32Array.from(tokens),
      parents: Int32Array.from(tokens.keys(), (row) => row - 1),
      drawing: { nodes, replacement: false },
    };
    const play = (rule: VerifyRule): ReturnType<typeof verifyNative> =>
      verifyNative(new (native().Sampler)({ ...plain, vocab, seed: BigInt(trial) }), draft, logits, rule, 1);
    for (const measure of measures) {
      expect(play({ name: 'divergence', bound: 0, measure })).toEqual(play({ name: 'ratio' }));
      for (const bound of [0, 0.02, 0.1, 0.5, Infinity]) {
        const stay = bits(play({ name: 'divergence', bound, measure }).kept, 1).length;
        kept.set(`${measure} ${bound}`, (kept.get(`${measure} ${bound}`) ?? 0) + stay);
      }
    }
  }
  for (const measure of measures) {
    const lengths = [0, 0.02, 0.1, 0.5, Infinity].map((bound) => kept.get(`${measure} ${bound}`)!);
    expect(lengths).toEqual([...lengths].sort((a, b) => a - b));
    expect(lengths[4]).toBe(200 * rows);
    expect(lengths[2]).toBeGreaterThan(1.05 * lengths[0]);
  }
  // By hand: p = (½, ½, 0), q = (¼, ¼, ½).
  const [p, q] = [Float64Array.of(0.5, 0.5, 0), Float64Array.of(0.25, 0.25, 0.5)];
  expect(divergence(p, q, 'p from q')).toBeCloseTo(Math.log(2), 12);
  expect(divergence(p, q, 'q from p')).toBe(Infinity);
  expect(divergence(q, p, 'q from p')).toBeCloseTo(Math.log(2), 12);
  const both = 0.5 * Math.log(4 / 3) + 0.5 * (0.5 * Math.log(2 / 3) + 0.5 * Math.log(2));
  expect(divergence(p, q, 'jensen-shannon')).toBeCloseTo(both, 12);
  expect(divergence(q, p, 'jensen-shannon')).toBeCloseTo(both, 12);
});

test('what lies behind a refused token changes nothing', () => {
  const random = new Generator(13, 'behind');
  let refused = 0;
  for (let trial = 0; trial < 150; trial++) {
    const vocab = 12;
    const tokens = Int32Array.from({ length: 7 }, () => random.integer(0, vocab - 1));
    const logits = Float32Array.from({ length: 14 * vocab }, () => 2 * random.normal());
    for (let row = 0; row < 6; row++) logits[row * vocab + tokens[row + 1]] += 2;
    const hidden = Float32Array.from({ length: 7 * width }, () => random.normal());
    const weights = Float32Array.from({ length: width }, () => random.normal() / 4);
    const judge = { weights, bias: -1, bound: 0, guarded: new Int32Array(7), longest: 0 };
    const reflection = { alpha: 0.4, corrects: trial % 2 === 0, rows: Int32Array.from(tokens.keys()) };
    const play = (): { said: number[]; kept: number[] } => {
      const sampler = new (native().Sampler)({ ...plain, vocab, seed: BigInt(trial), temperature: trial % 3 });
      const draft = { tokens, parents: Int32Array.from(tokens.keys(), (row) => row - 1) };
      const { out, kept } = verifyNative(sampler, draft, logits, { name: 'ratio' }, 1, { judge, reflection, hidden });
      const rows = bits(kept, 1);
      return { kept: rows, said: rows.map((row) => out[row]) };
    };
    const first = play();
    const end = first.kept.length; // the row that was refused, if there is one
    if (end >= 7) continue;
    refused++;
    for (let row = end + 1; row < 7; row++) {
      tokens[row] = random.integer(0, vocab - 1);
      hidden.fill(random.normal(), row * width, (row + 1) * width);
    }
    for (const half of [0, 7]) {
      for (let row = end; row < 7; row++) logits.fill(random.normal(), (half + row) * vocab, (half + row + 1) * vocab);
    }
    expect(play()).toEqual(first);
  }
  expect(refused).toBeGreaterThan(50);
});

test('the judge reads the row whose input is the token', () => {
  const allowed = new Set([2, 5, 7]);
  const vocab = 8;
  const weights = Float32Array.from({ length: vocab }, (_, token) => (allowed.has(token) ? 1 : -1));
  for (const drafted of [[2], [3], [2, 5, 7], [5, 5, 1, 2], [1, 2, 5], [7, 2, 3]]) {
    const tokens = Int32Array.of(0, ...drafted);
    const hidden = new Float32Array(tokens.length * vocab);
    tokens.forEach((token, row) => (hidden[row * vocab + token] = 1));
    const logits = new Float32Array(tokens.length * vocab);
    for (let row = 0; row < tokens.length; row++) logits[row * vocab + 6] = 5; // the model says 6, always
    const { out, kept } = verifyNative(
      new (native().Sampler)({ ...plain, vocab, temperature: 0 }),
      { tokens, parents: Int32Array.from(tokens.keys(), (row) => row - 1) },
      logits,
      { name: 'match' },
      1,
      { hidden, judge: { weights, bias: 0, bound: 0, guarded: new Int32Array(tokens.length), longest: 0 } },
    );
    const wrong = drafted.findIndex((token) => !allowed.has(token));
    const right = wrong < 0 ? drafted.length : wrong;
    expect(bits(kept, 1)).toEqual(Array.from({ length: right + 1 }, (_, row) => row));
    expect([...out.slice(0, right + 1)]).toEqual([...drafted.slice(0, right), 6]);
  }
});

test('what a ban or truncation took away is not kept by any judge', () => {
  const vocab = 4;
  const draft = { tokens: Int32Array.of(0, 1), parents: Int32Array.of(-1, 0) };
  const judge = { weights: Float32Array.of(1), bias: 9, bound: -Infinity, guarded: new Int32Array(2), longest: 0 };
  const logits = Float32Array.of(3, 1, 0, 0, 0, 0, 0, 0);
  const keeps = (options: Partial<SamplerOptions>): boolean => {
    const sampler = new (native().Sampler)({ ...plain, vocab, ...options });
    return (
      verifyNative(sampler, draft, logits, { name: 'match' }, 1, { judge, hidden: new Float32Array(2) }).kept[1] !== 0
    );
  };
  expect(keeps({ temperature: 0 })).toBe(true);
  expect(keeps({ temperature: 0, logitBias: new Map([[1, -Infinity]]) })).toBe(false);
  expect(keeps({ temperature: 1, topK: 2 })).toBe(true);
  expect(keeps({ temperature: 1, topK: 1 })).toBe(false);
});

test('mixtures: the product of powers, and bans are bans', () => {
  const random = new Generator(11, 'fuse');
  const softmax = (row: ArrayLike<number>): Float64Array => {
    const weights = Float64Array.from(row, (value) => Math.exp(value));
    const total = weights.reduce((a, b) => a + b);
    return weights.map((weight) => weight / total);
  };
  for (let trial = 0; trial < 50; trial++) {
    const alpha = random.integer(0, 10) / 10;
    const [first, second] = [0, 1].map(() => Float32Array.from({ length: 20 }, () => 3 * random.normal()));
    const [p, q] = [softmax(first), softmax(second)];
    const powers = p.map((value, i) => value ** (1 - alpha) * q[i] ** alpha);
    const total = powers.reduce((a, b) => a + b);
    softmax(fuse(first, [second], alpha)).forEach((value, i) =>
      expect(Math.abs(value - powers[i] / total)).toBeLessThan(1e-6),
    );
  }
  const banned = Float32Array.of(-Infinity, 1, -Infinity, 0);
  const other = Float32Array.of(0, 2, -Infinity, -Infinity);
  expect([...fuse(banned, [other], 0)]).toEqual([...banned]);
  expect([...fuse(banned, [other], 1)]).toEqual([...other]);
  expect([...fuse(banned, [other], 0.5)]).toEqual([-Infinity, 1.5, -Infinity, -Infinity]);
  // The same in native code: the token that both allow is said.
  for (const alpha of [0, 0.5, 1]) {
    const logits = Float32Array.of(...banned, ...other);
    const reflection = { alpha, corrects: true, rows: Int32Array.of(0) };
    const sampler = new (native().Sampler)({ ...plain, vocab: 4 });
    const draft = { tokens: Int32Array.of(3), parents: Int32Array.of(-1) };
    const { out } = verifyNative(sampler, draft, logits, { name: 'match' }, 1, { reflection });
    if (alpha === 0.5) expect(out[0]).toBe(1);
    expect(out[0]).toBeGreaterThanOrEqual(0);
  }
});
