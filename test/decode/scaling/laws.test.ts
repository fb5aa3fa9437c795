// Fits: recovered coefficients, honest intervals, curvature and saturation seen, and a toy with a real law.
import { fitLaw, predictLaw, type Measurement } from '../../../lib/decode/speculation/scaling/laws.js';
import { nextRungs } from '../../../lib/decode/speculation/scaling/next-rung.js';
import {
  improvementByChance,
  incompleteBeta,
  leastSquares,
  tQuantile,
} from '../../../lib/decode/speculation/scaling/least-squares.js';
import { acceptanceOfToy } from './order-two-toy.js';
import { gaussian, random } from './random.js';

test('quantiles of t and tails of F are those of the tables', () => {
  for (const [p, degrees, value] of [
    [0.975, 1, 12.7062],
    [0.975, 5, 2.57058],
    [0.95, 10, 1.81246],
    [0.995, 3, 5.84091],
    [0.975, 1000, 1.96234],
  ]) {
    expect(tQuantile(p, degrees)).toBeCloseTo(value, 4);
  }
  expect(incompleteBeta(0.3, 2, 3)).toBeCloseTo(0.3483, 4); // 1 − Σ_{i<2} C(4,i) 0.3^i 0.7^(4−i)
  // The 5 % point of F with 1 and 10 degrees of freedom is 4.9646.
  const shape = (degrees: number, squares: number) => ({
    coefficients: [],
    covariance: [],
    r2: 0,
    squares,
    degrees,
    leaveOneOut: 0,
  });
  expect(improvementByChance(shape(10, 10), shape(11, 10 + 4.9646))).toBeCloseTo(0.05, 4);
});

test('a fit has the residuals, errors and leave-one-out errors of doing it by hand', () => {
  const next = random(1);
  const x = Array.from({ length: 9 }, () => [1, next() * 3, next()]);
  const y = x.map(([, a, b]) => 2 + 0.5 * a - b + 0.1 * gaussian(next));
  const weights = y.map(() => 0.5 + next());
  const fit = leastSquares(x, y, weights)!;
  // The gradient vanishes.
  for (let column = 0; column < 3; column++) {
    const gradient = x.reduce(
      (sum, row, i) =>
        sum + weights[i] * row[column] * (y[i] - row.reduce((all, value, j) => all + value * fit.coefficients[j], 0)),
      0,
    );
    expect(gradient).toBeCloseTo(0, 9);
  }
  const without = x.map((row, left) => {
    const rest = (list: readonly unknown[]) => list.filter((_, i) => i !== left);
    const part = leastSquares(rest(x) as number[][], rest(y) as number[], rest(weights) as number[])!;
    return y[left] - row.reduce((all, value, j) => all + value * part.coefficients[j], 0);
  });
  expect(fit.leaveOneOut).toBeCloseTo(Math.sqrt(without.reduce((sum, e) => sum + e * e, 0) / y.length), 9);
  expect(
    leastSquares(
      [
        [1, 2],
        [1, 2],
        [1, 2],
      ],
      [1, 2, 3],
    ),
  ).toBeUndefined();
  expect(
    leastSquares(
      [
        [1, 2],
        [1, 3],
      ],
      [1, 2],
    ),
  ).toBeUndefined();
});

test('95 % intervals cover the truth in 93 to 97 % of 2000 fits', () => {
  const next = random(2);
  const truth = [0.4, 0.5, 0.2];
  const covered = [0, 0, 0];
  for (let run = 0; run < 2000; run++) {
    const measurements = [];
    for (const tokens of [1e6, 1e7, 1e8]) {
      for (const parameters of [1e6, 4e6, 1.6e7]) {
        const accepted = 0.4 + 0.5 * Math.log10(tokens) + 0.2 * Math.log10(parameters) + 0.03 * gaussian(next);
        measurements.push({ tokens, parameters, accepted });
      }
    }
    const law = fitLaw('joint', measurements);
    if (law.coefficients.length > 3) continue; // one in twenty finds an interaction by chance
    const t = tQuantile(0.975, law.count - 3);
    truth.forEach(
      (value, i) => (covered[i] += Number(Math.abs(law.coefficients[i] - value) < t * law.standardErrors[i]) / 2000),
    );
  }
  // Of those without an interaction, which are 95 %.
  for (const share of covered) expect(share / 0.95).toBeGreaterThan(0.93);
  for (const share of covered) expect(share / 0.95).toBeLessThan(0.975);
});

test('weights by groups of prompts beat none where the noise varies', () => {
  const next = random(3);
  let [weighted, plain] = [0, 0];
  for (let run = 0; run < 300; run++) {
    const measurements: Measurement[] = Array.from({ length: 8 }, (_, i) => {
      const noise = i % 2 === 0 ? 0.01 : 0.4;
      const tokens = 10 ** (5 + i / 2);
      const groups = Array.from({ length: 20 }, () => 1 + 0.3 * Math.log10(tokens) + noise * gaussian(next));
      return { tokens, groups, accepted: groups.reduce((sum, value) => sum + value, 0) / 20 };
    });
    const law = fitLaw('data', measurements);
    expect(law.weighted).toBe(true);
    weighted += (law.coefficients[1] - 0.3) ** 2;
    plain +=
      (fitLaw(
        'data',
        measurements.map(({ tokens, accepted }) => ({ tokens, accepted })),
      ).coefficients[1] -
        0.3) **
      2;
  }
  expect(weighted).toBeLessThan(0.5 * plain);
});

test('an interaction is kept only where it is not by chance', () => {
  const next = random(4);
  const grid = (slope: number) =>
    [1e5, 1e6, 1e7, 1e8].flatMap((tokens) =>
      [1e5, 1e6, 1e7].map((parameters) => {
        const [d, n] = [Math.log10(tokens), Math.log10(parameters)];
        return { tokens, parameters, accepted: 1 + 0.2 * d + 0.1 * n + slope * d * n + 0.02 * gaussian(next) };
      }),
    );
  expect(fitLaw('joint', grid(0.05)).coefficients[3]).toBeCloseTo(0.05, 1);
  const kept = Array.from({ length: 200 }, () => fitLaw('joint', grid(0)).coefficients.length === 4);
  expect(kept.filter(Boolean).length).toBeLessThan(24);
});

test('acceptance that levels off is seen, and its limit found', () => {
  const next = random(5);
  const points = Array.from({ length: 12 }, (_, i) => 10 ** (4 + i / 2)).map((tokens) => ({
    tokens,
    accepted: 3.2 - 40 * tokens ** -0.35 + 0.005 * gaussian(next),
  }));
  const law = fitLaw('data', points);
  expect(law.saturation).toMatchObject({ wins: true });
  expect(law.saturation!.limit).toBeCloseTo(3.2, 1);
  expect(law.saturation!.beta).toBeCloseTo(0.35, 1);
  expect(law.warnings.join()).toContain('levels off');
  const line = points.map(({ tokens }) => ({ tokens, accepted: 0.2 * Math.log10(tokens) + 0.005 * gaussian(next) }));
  expect(fitLaw('data', line).saturation?.wins ?? false).toBe(false);
});

test('predictions are cut to what a round can give, and not made far from what was measured', () => {
  const law = fitLaw(
    'data',
    [1e5, 1e6, 1e7, 1e8].map((tokens) => ({ tokens, accepted: Math.log10(tokens) / 2 + (tokens % 7) / 1000 })),
  );
  expect(predictLaw(law, { tokens: 1e9 }).value).toBeCloseTo(4.5, 1);
  expect(predictLaw(law, { tokens: 1e9 }, { most: 4 })).toMatchObject({ value: 4, clipped: true });
  expect(() => predictLaw(law, { tokens: 1e10 })).toThrow(/more than a decade/);
  expect(predictLaw(law, { tokens: 1e10 }, { force: true }).value).toBeCloseTo(5, 1);
  expect(() => predictLaw(law, { parameters: 1e6 })).toThrow(/needs tokens/);
});

test('the next rung: what a law says of it, and what it costs', () => {
  const grid = [1e6, 1e7, 1e8].flatMap((tokens) =>
    [1e5, 1e6].map((parameters, i) => {
      const accepted = 1 + 0.3 * Math.log10(tokens) + 0.1 * Math.log10(parameters) + 1e-5 * i;
      return { tokens, parameters, accepted };
    }),
  );
  const [data, capacity] = nextRungs(fitLaw('joint', grid), { target: 1e9 });
  expect(data).toMatchObject({ tokens: 3e8, parameters: 1e6, operations: 2 * 1e9 * 3e8 + 6 * 1e6 * 3e8 });
  expect(data.gain).toBeCloseTo(0.3 * Math.log10(3), 3);
  expect(capacity).toMatchObject({ tokens: 1e8, parameters: 2e6, operations: 2 * 1e9 * 1e8 + 6 * 2e6 * 1e8 });
  expect(capacity.gain).toBeCloseTo(0.1 * Math.log10(2), 3);
  const [alone] = nextRungs(
    fitLaw(
      'data',
      grid.filter(({ parameters }) => parameters === 1e5),
    ),
    { most: 3 },
  );
  expect(alone).toMatchObject({ tokens: 3e8, accepted: 3, gain: 0 }); // cut to what a round can give
  expect(alone.operations).toBeUndefined();
});

test('what cannot be fitted is refused', () => {
  const two = [
    { tokens: 1, accepted: 1 },
    { tokens: 2, accepted: 2 },
  ];
  expect(() => fitLaw('data', two)).toThrow(/too few/);
  expect(() => fitLaw('data', [...two, { tokens: NaN, accepted: 1 }])).toThrow(
    /Measurement 3 has no positive number `tokens`/,
  );
  expect(() =>
    fitLaw(
      'data',
      [1, 2, 3].map((accepted) => ({ tokens: 5, accepted })),
    ),
  ).toThrow(/one place/);
  const flat = [1, 2, 3].map((tokens) => ({ tokens, accepted: 2 }));
  expect(() => fitLaw('data', flat)).toThrow(/accept the same/);
  expect(() => fitLaw('data', [...two, { tokens: 3, accepted: 1, setting: { temperature: 1 } }])).toThrow(
    /another setting/,
  );
});

test('a drafter that counts pairs of tokens follows a law of its data', () => {
  const tokens = [3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6];
  const wanted = [0.421, 0.445, 0.484, 0.545, 0.618, 0.702, 0.767];
  const accepted = acceptanceOfToy(tokens, 7);
  accepted.forEach((value, i) => expect(Math.abs(value - wanted[i])).toBeLessThan(0.01));
  const points = tokens.map((count, i) => ({ tokens: count, accepted: accepted[i] }));
  const straight = fitLaw('data', points.slice(2));
  expect(straight.coefficients[1]).toBeCloseTo(0.145, 2);
  expect(straight.r2).toBeGreaterThan(0.995);
  // All seven bend at the low end, which is said.
  const all = fitLaw('data', points);
  expect(Math.abs(all.r2 - 0.971)).toBeLessThan(0.01);
  expect(all.warnings.join()).toContain('bend');
});
