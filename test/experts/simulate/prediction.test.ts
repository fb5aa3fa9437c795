// Predictors: recall of a random gate on noisy inputs, ties, precisions of what is copied, paths of whole sequences.
import { ActivationPaths, popularOrder, precisions } from '../../../lib/experts/simulate/prediction.js';
import { mulberry32 } from '../../../lib/experts/simulate/synthetic.js';
import { best, popularity, traceAccuracy, type RoutingTrace } from '../../../lib/experts/simulate/trace.js';

const { sqrt, log, cos, sin, PI } = Math; // looked up once: a test runner makes every look-up of a global slow

/** Two numbers of a normal distribution at a time (Box and Muller). */
function gaussian(seed: number): () => number {
  const random = mulberry32(seed);
  let spare: number | undefined;
  return () => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    const radius = sqrt(-2 * log(1 - random()));
    const angle = 2 * PI * random();
    spare = radius * sin(angle);
    return radius * cos(angle);
  };
}

const WIDTH = 512;
const SAMPLES = 10_000;
const GATES = 100;

/**
 * Logits of random inputs and of independent noise under random gates of WIDTH columns, [samples][experts] each: normal, and as wide as
 * the gate's row is long. That two rows are not quite perpendicular, by 1/√WIDTH, is left out.
 */
function logits(experts: number): [Float64Array[], Float64Array[]] {
  const draw = gaussian(7);
  const length = new Float64Array(experts);
  const signal: Float64Array[] = [];
  const noise: Float64Array[] = [];
  for (let sample = 0; sample < SAMPLES; sample++) {
    if (sample % (SAMPLES / GATES) === 0) {
      for (let id = 0; id < experts; id++) length[id] = sqrt(1 + sqrt(2 / WIDTH) * draw());
    }
    signal.push(length.map((value) => value * draw()));
    noise.push(length.map((value) => value * draw()));
  }
  return [signal, noise];
}

// Of the true best k on h, the share among the best k + m on ρh + √(1 - ρ²)·noise, for m = 0, 1, 2, 4.
const table: [experts: number, used: number, rows: [rho: number, recalls: number[]][]][] = [
  [
    60,
    4,
    [
      [0.8, [0.499, 0.569, 0.628, 0.719]],
      [0.9, [0.636, 0.719, 0.78, 0.863]],
      [0.95, [0.73, 0.814, 0.873, 0.938]],
      [0.98, [0.824, 0.902, 0.947, 0.983]],
      [0.99, [0.872, 0.942, 0.973, 0.994]],
      [1, [1, 1, 1, 1]],
    ],
  ],
  [
    8,
    2,
    [
      [0.9, [0.746, 0.888, 0.954, 0.995]],
      [0.98, [0.881, 0.971, 0.993, 1]],
      [1, [1, 1, 1, 1]],
    ],
  ],
  [
    128,
    8,
    [
      [0.9, [0.639, 0.682, 0.72, 0.779]],
      [0.98, [0.829, 0.875, 0.909, 0.953]],
      [0.99, [0.875, 0.921, 0.951, 0.982]],
      [1, [1, 1, 1, 1]],
    ],
  ],
  [
    64,
    6,
    [
      [0.9, [0.665, 0.722, 0.77, 0.842]],
      [0.98, [0.839, 0.899, 0.937, 0.977]],
      [1, [1, 1, 1, 1]],
    ],
  ],
];

test.each(table)('recall of a random gate with %d experts, %d used, within 0.01', (experts, used, rows) => {
  const [signal, noise] = logits(experts);
  const truth = signal.map((row) => new Set(best(row, used)));
  for (const [rho, wanted] of rows) {
    const found = [0, 0, 0, 0];
    signal.forEach((row, sample) => {
      const mixed = row.map((value, id) => rho * value + sqrt(1 - rho * rho) * noise[sample][id]);
      const order = best(mixed, used + 4);
      [0, 1, 2, 4].forEach((extra, column) => {
        found[column] += order.slice(0, used + extra).filter((id) => truth[sample].has(id)).length / used / SAMPLES;
      });
    });
    const apart = wanted.map((value, column) => Math.abs(found[column] - value));
    expect({ rho, apart: Math.max(...apart) <= 0.01, found }).toMatchObject({ rho, apart: true });
  }
});

test('of equal scores the lower number is better; what is no number is worst', () => {
  expect(best([1, 3, 3, NaN, 2], 3)).toEqual([1, 2, 4]);
  expect(best([NaN, NaN, NaN], 2)).toEqual([0, 1]);
  expect(best([5, 5, 5, 5], 2)).toEqual([0, 1]);
});

test('popularity counts rows; equally popular experts are in order', () => {
  expect(
    popularity([
      [3, 1],
      [3, 2],
      [0, 3],
    ]),
  ).toEqual([
    [3, 3],
    [0, 1],
    [1, 1],
    [2, 1],
  ]);
});

test('precisions: of five predictions of one row the last is low; of many rows the least popular ones', () => {
  const one = precisions(
    [
      [4, 1],
      [9, 1],
      [2, 1],
      [7, 1],
      [1, 1],
    ],
    0.3,
  );
  expect([...one].filter(([, precision]) => precision === 'low').map(([id]) => id)).toEqual([1]);
  // Of 20: 1 + 2 + 3 = 6 is 0.3 of them, the next would be more.
  const many = precisions(
    [
      [0, 8],
      [1, 6],
      [2, 3],
      [3, 2],
      [4, 1],
    ],
    0.3,
  );
  expect(
    [...many]
      .filter(([, precision]) => precision === 'low')
      .map(([id]) => id)
      .sort(),
  ).toEqual([2, 3, 4]);
  expect([
    ...precisions(
      [
        [0, 8],
        [1, 6],
      ],
      0,
    ).values(),
  ]).toEqual(['full', 'full']);
});

test('paths: the stored sequence most like this one says what comes', () => {
  const paths = new ActivationPaths(2, 6);
  const run = (first: number, second: number): void => {
    paths.observe(0, [[first, 1]]);
    paths.observe(1, [[second, 1]]);
  };
  expect(paths.predict(1, 2)).toEqual([]);
  run(0, 5);
  paths.endSequence();
  run(1, 4);
  run(1, 3);
  run(1, 3);
  paths.endSequence();
  paths.observe(0, [[1, 1]]);
  expect(paths.predict(1, 2)).toEqual([
    [3, 2],
    [4, 1],
  ]);
  paths.endSequence();
  paths.observe(0, [[0, 1]]);
  expect(paths.predict(1, 2)).toEqual([[5, 1]]);
});

test('popular order and accuracy count rows', () => {
  const trace: RoutingTrace = {
    experts: 4,
    used: 1,
    overfetch: 0,
    steps: [
      {
        rows: 3,
        layers: [
          {
            needed: [
              [2, 2],
              [1, 1],
            ],
            predicted: [],
          },
          { needed: [[3, 3]], predicted: [[3, 3]] },
        ],
      },
      {
        rows: 1,
        layers: [
          { needed: [[1, 1]], predicted: [] },
          { needed: [[0, 1]], predicted: [[3, 1]] },
        ],
      },
    ],
  };
  expect(popularOrder(trace.steps, 2, 4)).toEqual([
    [1, 2, 0, 3],
    [3, 0, 1, 2],
  ]);
  expect(traceAccuracy(trace)).toEqual([
    { accuracy: 0, reuse: 1 },
    { accuracy: 0.75, reuse: 0 },
  ]);
});
