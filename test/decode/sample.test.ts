// Native and reference samplers draw the same tokens; both follow the distribution that their options describe.
import { createReferenceSampler } from '../../lib/decode/reference-sampler.js';
import type { SamplerOptions } from '../../lib/program/executor.js';
import { Generator } from '../fixtures/random/generator.js';
import { createNativeSampler, plain, type TestSampler } from './sampler-options.js';

const samplers: [string, (options: SamplerOptions) => TestSampler][] = [
  ['reference', createReferenceSampler],
  ['native', createNativeSampler],
];
const text = (...tokens: number[]): Int32Array => Int32Array.from(tokens);

test('native and reference samplers draw the same tokens and report the same log-probabilities', () => {
  const random = new Generator(7, 'sample.test');
  const unit = (): number => random.next() / 2 ** 32;
  const sometimes = <T>(share: number, value: () => T, otherwise: T): T => (unit() < share ? value() : otherwise);
  for (let round = 0; round < 100; round++) {
    // Beyond 2048 tokens, and where many of them may be kept, all are gone through instead of a list.
    const size = round < 80 ? random.integer(2, 700) : random.integer(2100, 5000);
    const options: SamplerOptions = {
      ...plain,
      vocab: sometimes(0.3, () => Math.max(2, size - 5), size),
      seed: BigInt(random.next()) << BigInt(random.integer(0, 32)),
      temperature: sometimes(0.1, () => 0, 2 * unit() + 0.01),
      topK: sometimes(0.5, () => random.integer(1, 120), 0),
      topP: sometimes(0.5, () => unit() + 1e-9, 1),
      minP: sometimes(0.5, () => 0.3 * unit(), 0),
      typicalP: sometimes(0.4, () => unit() + 1e-9, 1),
      repetitionPenalty: sometimes(0.4, () => 1 + unit(), 1),
      presencePenalty: sometimes(0.4, () => unit(), 0),
      frequencyPenalty: sometimes(0.3, () => unit(), 0),
      logitBias: sometimes(
        0.3,
        () =>
          new Map([
            [0, 2],
            [1, -Infinity],
          ]),
        new Map<number, number>(),
      ),
      topLogprobs: random.integer(0, 5),
    };
    const reference = createReferenceSampler(options);
    const native = createNativeSampler(options);
    const prompt = Int32Array.from({ length: 6 }, () => random.integer(0, size - 1));
    for (const sampler of [reference, native]) sampler.accept(prompt);
    const spread = (round < 80 ? 6 : 1.5) * unit();
    for (let draw = 0; draw < 8; draw++) {
      // Ties, banned tokens and smooth values; token 0 is always possible.
      const logits = Float32Array.from({ length: size }, (_, token) => {
        if (token > 0 && unit() < 0.05) return -Infinity;
        return unit() < 0.3 ? random.integer(-2, 2) : spread * random.normal();
      });
      const before = logits.slice();
      const expected = reference.sample(logits);
      const drawn = native.sample(logits);
      expect({ round, draw, token: drawn.token }).toEqual({ round, draw, token: expected.token });
      expect(drawn.logprob).toBeCloseTo(expected.logprob, 4);
      expect(drawn.top.map(([token]) => token)).toEqual(expected.top.map(([token]) => token));
      drawn.top.forEach(([, logprob], index) => expect(logprob).toBeCloseTo(expected.top[index][1], 4));
      expect(logits).toEqual(before);
      for (const sampler of [reference, native]) sampler.accept(text(expected.token));
    }
  }
});

/** Wilson-Hilferty: the chi-square statistic as a standard normal number; above 4 is worse than 1 in 30 000. */
function normalised(chiSquare: number, freedom: number): number {
  return (Math.cbrt(chiSquare / freedom) - (1 - 2 / (9 * freedom))) / Math.sqrt(2 / (9 * freedom));
}

const logits = Float32Array.from([1, 2.5, 2, -1, 0, 2, -3, 1.5]);
const softmax = (values: readonly number[]): number[] => {
  const weights = values.map(Math.exp);
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
};
/** The distribution over some tokens only. */
const among = (tokens: readonly number[], values: readonly number[] = [...logits]): number[] =>
  softmax(values.map((value, token) => (tokens.includes(token) ? value : -Infinity)));
const all = [0, 1, 2, 3, 4, 5, 6, 7];

// What each option leaves, worked out by hand: probabilities are 0.075 0.334 0.203 0.010 0.027 0.203 0.001 0.123 (sum 0.976
// before rounding), in descending order tokens 1 2 5 7 0 4 3 6.
const laws: [string, Partial<SamplerOptions>, number[]][] = [
  ['nothing', {}, among(all)],
  [
    'temperature',
    { temperature: 0.5 },
    among(
      all,
      [...logits].map((value) => value / 0.5),
    ),
  ],
  ['topK', { topK: 3 }, among([1, 2, 5])],
  ['topK with a tie at its edge keeps the lower id', { topK: 2 }, among([1, 2])],
  ['topP', { topP: 0.8 }, among([1, 2, 5, 7])],
  ['topP smaller than the most probable token', { topP: 0.05 }, among([1])],
  ['minP', { minP: 0.3 }, among([1, 2, 5, 7])],
  [
    'temperature before topP',
    { temperature: 2, topP: 0.5 },
    among(
      [1, 2, 5],
      [...logits].map((value) => value / 2),
    ),
  ],
  ['topP over what topK left', { topK: 3, topP: 0.7 }, among([1, 2])],
  [
    'logitBias',
    {
      logitBias: new Map([
        [6, 5],
        [1, -Infinity],
      ]),
    },
    among([0, 2, 3, 4, 5, 6, 7], [1, 2.5, 2, -1, 0, 2, 2, 1.5]),
  ],
  ['vocab', { vocab: 4 }, among([0, 1, 2, 3])],
];

describe.each(samplers)('%s sampler', (_, create) => {
  test.each(laws)('draws by the law of %s', (_name, options, law) => {
    const draws = 6000;
    const sampler = create({ ...plain, seed: 99n, ...options });
    const counts = new Array<number>(law.length).fill(0);
    for (let i = 0; i < draws; i++) {
      const { token } = sampler.sample(logits);
      sampler.accept(text(token));
      counts[token]++;
    }
    let chiSquare = 0;
    law.forEach((probability, token) => {
      if (probability === 0) expect(counts[token]).toBe(0);
      else chiSquare += (counts[token] - draws * probability) ** 2 / (draws * probability);
    });
    const freedom = law.filter((probability) => probability > 0).length - 1;
    if (freedom > 0) expect(normalised(chiSquare, freedom)).toBeLessThan(4);
  });

  test('typicalP keeps the tokens whose surprise is nearest to the entropy', () => {
    const law = softmax([...logits]);
    const entropy = law.reduce((sum, p) => sum - p * Math.log(p), 0);
    const order = [...all].sort(
      (a, b) => Math.abs(-Math.log(law[a]) - entropy) - Math.abs(-Math.log(law[b]) - entropy),
    );
    const kept: number[] = [];
    for (let mass = 0; mass < 0.4; mass += law[kept[kept.length - 1]]) kept.push(order[kept.length]);
    const sampler = create({ ...plain, typicalP: 0.4 });
    const drawn = new Set<number>();
    for (let i = 0; i < 2000; i++) {
      const { token } = sampler.sample(logits);
      sampler.accept(text(token));
      drawn.add(token);
    }
    expect([...drawn].sort()).toEqual(kept.sort());
    expect(kept).not.toContain(6);
  });

  test('greedy takes the greatest logit, of equals the lowest id', () => {
    const sampler = create({ ...plain, temperature: 0 });
    expect(sampler.sample(Float32Array.of(0, 3, 1, 3, -1, 3, 2, 0)).token).toBe(1);
    expect(sampler.sample(new Float32Array(8)).token).toBe(0);
    const long = new Float32Array(1000).fill(-1);
    long[999] = long[513] = 2;
    expect(create({ ...plain, vocab: 1000, temperature: 0 }).sample(long).token).toBe(513);
    expect(create({ ...plain, vocab: 513, temperature: 0 }).sample(long).token).toBe(0);
  });

  test('penalties are those of the formula, and presence and frequency count the answer only', () => {
    const report = (options: Partial<SamplerOptions>, generated: number[]): number => {
      // Greedy over two candidates tells which of two adjusted logits is greater.
      const sampler = create({ ...plain, temperature: 0, vocab: 2, ...options });
      sampler.accept(text(0, 0, 0));
      sampler.sample(Float32Array.of(0, 0)); // from here on, accepted tokens are the answer's
      sampler.accept(text(...generated));
      let low = -50;
      let high = 50;
      while (high - low > 1e-4) {
        const middle = (low + high) / 2;
        const { token } = sampler.sample(Float32Array.of(4, middle)); // 1 wins when its logit is above the adjusted 4
        if (token === 1) high = middle;
        else low = middle;
      }
      return high;
    };
    expect(report({ repetitionPenalty: 2 }, [])).toBeCloseTo(2, 2);
    expect(report({ presencePenalty: 0.5 }, [])).toBeCloseTo(4, 2);
    expect(report({ presencePenalty: 0.5 }, [0, 0])).toBeCloseTo(3.5, 2);
    expect(report({ frequencyPenalty: 0.5 }, [0, 0, 0])).toBeCloseTo(2.5, 2);
    expect(report({ repetitionPenalty: 2, frequencyPenalty: 0.5, presencePenalty: 1 }, [0, 0])).toBeCloseTo(0, 2);
    expect(report({ repetitionPenalty: 2, logitBias: new Map([[0, 2]]) }, [])).toBeCloseTo(3, 2);
    const negative = create({ ...plain, temperature: 0, vocab: 2, repetitionPenalty: 2 });
    negative.accept(text(0));
    expect(negative.sample(Float32Array.of(-1, -1.9)).token).toBe(1);
  });

  test('a seed repeats its draws, another one does not, and a draw repeated before accept() is the same', () => {
    const run = (seed: bigint): number[] => {
      const sampler = create({ ...plain, seed });
      return Array.from({ length: 40 }, () => {
        const { token } = sampler.sample(logits);
        expect(sampler.sample(logits).token).toBe(token);
        sampler.accept(text(token));
        return token;
      });
    };
    expect(run(5n)).toEqual(run(5n));
    expect(run(5n)).not.toEqual(run(6n));
    expect(run(5n)).not.toEqual(run(5n + (1n << 32n)));
  });

  test('NaN, +infinity and nothing to draw from are NUMERIC errors, and a disposed sampler says so', () => {
    const sampler = create(plain);
    const numeric = expect.objectContaining({ code: 'NUMERIC' });
    const bad = logits.slice();
    bad[3] = NaN;
    expect(() => sampler.sample(bad)).toThrow(numeric);
    bad[3] = Infinity;
    expect(() => sampler.sample(bad)).toThrow(numeric);
    expect(() => sampler.sample(new Float32Array(8).fill(-Infinity))).toThrow(numeric);
    const banned = create({
      ...plain,
      vocab: 2,
      logitBias: new Map([
        [0, -Infinity],
        [1, -Infinity],
      ]),
    });
    expect(() => banned.sample(logits)).toThrow(numeric);
    expect(sampler.sample(logits).token).toBeLessThan(8);
    sampler.dispose();
    expect(() => sampler.sample(logits)).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
  });

  test('log-probabilities are those of the unchanged logits', () => {
    const sampler = create({ ...plain, temperature: 0, topK: 1, topLogprobs: 3, logitBias: new Map([[4, 100]]) });
    const { token, logprob, top } = sampler.sample(logits);
    const law = softmax([...logits]);
    expect(token).toBe(4);
    expect(logprob).toBeCloseTo(Math.log(law[4]), 5);
    expect(top.map(([id]) => id)).toEqual([1, 2, 5]);
    top.forEach(([id, value]) => expect(value).toBeCloseTo(Math.log(law[id]), 5));
  });
});
