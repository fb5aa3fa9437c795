// The picture of a simulation, and traces as the simulation reads them.
import { fixedCosts } from '../../../lib/experts/simulate/machine.js';
import { policies } from '../../../lib/experts/simulate/policies.js';
import { simulate } from '../../../lib/experts/simulate/simulate.js';
import { syntheticTrace } from '../../../lib/experts/simulate/synthetic.js';
import { timelineSvg } from '../../../lib/experts/simulate/timeline.js';
import { traceAccuracy, traceOf } from '../../../lib/experts/simulate/trace.js';
import { joinPrompts, type RoutedRun } from '../../../lib/experts/trace.js';

const shape = { layers: 5, experts: 12, used: 3, tokens: 40, zipf: 0.8, reuse: 0.3, seed: 4 };

test('every span between the two times has its rectangle, none lies outside', () => {
  const trace = syntheticTrace({ ...shape, accuracy: 0.9 });
  const result = simulate(trace, { costs: fixedCosts(1, 0.2, 0.5), policy: policies.fate, slots: 20, record: true });
  const [from, to] = [10, 20];
  const svg = timelineSvg(result, { from, to, width: 900 });
  const shown = result.spans.filter(({ start, end }) => end > from && start < to);
  expect(svg.match(/<title>/g)).toHaveLength(shown.length);
  expect(shown.some(({ lane }) => lane === 'copy')).toBe(true);
  for (const [, x, width] of svg.matchAll(/<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"/g)) {
    expect(Number(x)).toBeGreaterThanOrEqual(110);
    expect(Number(x) + Number(width)).toBeLessThanOrEqual(900 + 0.5);
  }
  expect(svg).toContain('copies');
  expect(svg).not.toContain('computed there</text>');
  expect(svg.match(/<svg|<\/svg>/g)).toHaveLength(2);
});

test('an empty simulation has an empty picture', () => {
  const empty = simulate(
    { experts: 4, used: 1, overfetch: 0, steps: [] },
    { costs: fixedCosts(1, 1, 1), policy: policies.lru, slots: 2, record: true },
  );
  expect(empty.seconds).toBe(0);
  expect(timelineSvg(empty)).not.toMatch(/NaN|Infinity/);
});

test('synthetic traces have the accuracy and the popularity that were asked for, and the same seed gives the same', () => {
  const trace = syntheticTrace({ ...shape, tokens: 1500, accuracy: 0.8 });
  expect(syntheticTrace({ ...shape, tokens: 1500, accuracy: 0.8 })).toEqual(trace);
  for (const { accuracy } of traceAccuracy(trace).slice(1)) expect(Math.abs(accuracy - 0.8)).toBeLessThan(0.03);
  const uses = Array.from({ length: shape.experts }, () => 0);
  for (const { layers } of trace.steps) for (const [id] of layers[2].needed) uses[id]++;
  const sorted = uses.sort((a, b) => b - a);
  expect(sorted[0]).toBeGreaterThan(2 * sorted[shape.experts - 1]);
  const other = syntheticTrace({ ...shape, tokens: 10, accuracy: 0.8, seed: 5 });
  expect(other.steps[0]).not.toEqual(trace.steps[0]);
});

test('what was recorded is counted; a layer may have no rows', () => {
  const trace = traceOf({
    experts: 8,
    used: 2,
    predicted: 3,
    runs: [
      {
        rows: 2,
        begins: true,
        layers: [
          { chosen: Int32Array.of(5, 1, 1, 7) },
          { chosen: Int32Array.of(0, 2, 2, 3), predicted: Int32Array.of(0, 4, 2, 4, 3, 2) },
        ],
      },
      { rows: 1, begins: false, layers: [{ chosen: Int32Array.of(1, 2) }, { chosen: new Int32Array(0) }] },
    ],
  });
  expect(trace).toEqual({
    experts: 8,
    used: 2,
    overfetch: 1,
    steps: [
      {
        rows: 2,
        layers: [
          {
            needed: [
              [1, 2],
              [5, 1],
              [7, 1],
            ],
            predicted: [],
          },
          {
            needed: [
              [2, 2],
              [0, 1],
              [3, 1],
            ],
            predicted: [
              [4, 2], // as popular as 2, but likelier
              [2, 2],
              [0, 1],
              [3, 1],
            ],
          },
        ],
      },
      {
        rows: 1,
        layers: [
          {
            needed: [
              [1, 1],
              [2, 1],
            ],
            predicted: [],
          },
          { needed: [], predicted: [] },
        ],
      },
    ],
  });
  // Whoever replays it waits for nothing there.
  const { seconds } = simulate(trace, { costs: fixedCosts(1, 1, 0), policy: policies['on-demand'], slots: 16 });
  expect(seconds).toBe(4 + 6 + 2);
});

test('runs of a prompt are joined up to so many rows; tokens and other prompts stay apart', () => {
  const run = (rows: number, begins: boolean, first: number): RoutedRun => {
    const chosen = Int32Array.from({ length: rows }, (_, row) => first + row);
    return { rows, begins, layers: [{ chosen }, { chosen: new Int32Array(0), predicted: chosen }] };
  };
  const runs = [
    run(2, true, 0),
    run(3, false, 2),
    run(2, false, 5),
    run(1, false, 7),
    run(4, true, 0),
    run(2, false, 4),
  ];
  const joined = joinPrompts({ experts: 8, used: 1, predicted: 1, runs }, 6);
  expect(joined.runs).toEqual([run(5, true, 0), run(2, false, 5), run(1, false, 7), run(6, true, 0)]);
});
