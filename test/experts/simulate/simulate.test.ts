// The simulator against timelines worked out by hand and against closed forms.
import { fixedCosts } from '../../../lib/experts/simulate/machine.js';
import { policies, type Policy } from '../../../lib/experts/simulate/policies.js';
import { simulate, type SimulationOptions } from '../../../lib/experts/simulate/simulate.js';
import type { Popularity, RoutingTrace } from '../../../lib/experts/simulate/trace.js';

const list = (ids: readonly number[]): Popularity => ids.map((id) => [id, 1]);

/** One token through layers that need these, each predicted as said; the first layer is never predicted. */
function trace(needed: readonly number[][], predicted: readonly number[][] = []): RoutingTrace {
  const layers = needed.map((ids, layer) => ({
    needed: list(ids),
    predicted: layer === 0 ? [] : list(predicted[layer] ?? []),
  }));
  return { experts: 64, used: needed[0].length, overfetch: 0, steps: [{ rows: 1, layers }] };
}

const plain: Policy = {
  predictor: 'none',
  replacement: 'fixed',
  placement: 'none',
  onMiss: 'fetch',
  pipelined: true,
  lowShare: 0,
  lowMisses: false,
};
const barrier: Policy = { ...plain, pipelined: false };
const gate: Policy = { ...plain, predictor: 'router' };

const seconds = (given: RoutingTrace, options: Partial<SimulationOptions>): number =>
  simulate(given, { costs: fixedCosts(1, 1, 4), policy: plain, slots: 0, ...options }).seconds;

describe('three layers, two experts each; a = 1, e = 1, c = 4', () => {
  const needs = [
    [0, 1],
    [2, 3],
    [4, 5],
  ];

  test('nothing predicted: 33 behind a barrier, 30 as experts arrive', () => {
    expect(seconds(trace(needs), { policy: barrier })).toBe(33);
    expect(seconds(trace(needs), {})).toBe(30);
  });

  test('predicted perfectly: 26', () => {
    expect(seconds(trace(needs, needs), { policy: gate })).toBe(26);
    expect(seconds(trace(needs, needs), { policy: { ...plain, predictor: 'oracle' } })).toBe(26);
  });

  test('a wrong prediction that has not begun is cancelled: 26; one under way delays: 30', () => {
    expect(seconds(trace(needs, [[], [2, 9], [4, 5]]), { policy: gate })).toBe(26);
    expect(seconds(trace(needs, [[], [9, 2], [4, 5]]), { policy: gate })).toBe(30);
  });

  test('one useless prediction per layer, placed last, costs nothing', () => {
    expect(seconds(trace(needs, [[], [2, 3, 9], [4, 5, 9]]), { policy: gate })).toBe(26);
  });

  test('the first layer there: 18; with a = 4 and c = 2 all copies are hidden', () => {
    const first = { policy: gate, capacities: [64, 0, 0] };
    expect(seconds(trace(needs, needs), first)).toBe(18);
    expect(seconds(trace(needs, needs), { ...first, costs: fixedCosts(4, 1, 2) })).toBe(18);
  });

  test('a copy in two pieces lets what is needed overtake a wrong prediction', () => {
    const wrong = trace(needs, [[], [9, 2], [4, 5]]);
    // 9 has 9 to 11 and 11 to 13 otherwise; its second half is never copied, since layer 1 does not need it at 11.
    expect(seconds(wrong, { policy: gate, pieces: 2 })).toBe(28);
  });
});

describe('closed forms per layer', () => {
  const layers = 24;
  const many = (experts: number): number[][] =>
    Array.from({ length: layers }, (_, layer) => Array.from({ length: experts }, (_, at) => (layer * 7 + at) % 60));

  test.each([
    [1, 0.05, 0.24, 4],
    [0.3, 0.05, 0.24, 4],
    [2, 1, 3, 2],
    [0.5, 0.25, 0.125, 8],
  ])('a %d, e %d, c %d, k %d', (a, e, c, k) => {
    const costs = fixedCosts(a, e, c);
    const needs = many(k);
    expect(seconds(trace(needs), { policy: barrier, costs }) / layers).toBeCloseTo(a + k * (c + e), 9);
    if (e <= c) expect(seconds(trace(needs), { costs }) / layers).toBeCloseTo(a + k * c + e, 9);
    const predicted = seconds(trace(needs, needs), { policy: { ...barrier, predictor: 'router' }, costs });
    if (a + k * e >= k * c) {
      // Bound by compute: only the first layer, which nobody predicts, waits for its copies.
      expect(predicted / layers).toBeCloseTo(a + k * e + (k * c) / layers, 9);
    } else {
      // Bound by the link, which rests only before its first copy and after its last.
      expect(predicted).toBeCloseTo(layers * k * c + a + k * e, 9);
    }
  });

  test('one more layer costs max(a + k·e, k·c) where layers are predicted', () => {
    for (const [a, e, c] of [
      [1, 0.05, 0.24],
      [0.3, 0.05, 0.24],
    ]) {
      const time = (count: number): number => {
        const needs = many(4).slice(0, count);
        return seconds(trace(needs, needs), {
          policy: { ...barrier, predictor: 'router' },
          costs: fixedCosts(a, e, c),
        });
      };
      expect(time(24) - time(23)).toBeCloseTo(Math.max(a + 4 * e, 4 * c), 9);
    }
  });

  test('with a hit rate r, copies are k(1 - r)', () => {
    const needs = many(4);
    const resident = needs.map((ids) => ids.slice(0, 3)); // r = 3/4
    const before = [{ rows: 1, layers: resident.map((ids) => ({ needed: list(ids), predicted: [] })) }];
    const policy = { ...barrier, replacement: 'fixed' as const };
    const capacities = resident.map(() => 3);
    const costs = fixedCosts(1, 0.05, 0.24);
    expect(seconds(trace(needs), { policy, capacities, before, costs }) / layers).toBeCloseTo(1 + 4 * 0.05 + 0.24, 9);
  });
});

describe('what is computed where its weights lie', () => {
  const needs = [[0, 1, 2, 3]];

  test('all of it, one after the other, while the fast side waits', () => {
    const result = simulate(trace(needs), {
      costs: fixedCosts(1, 1, 4, 4, 2),
      policy: { ...plain, onMiss: 'there' },
      slots: 0,
    });
    expect(result.seconds).toBe(1 + 4 * 2);
    expect(result).toMatchObject({ computedThere: 4, copies: 0, stallSeconds: 8 });
  });

  test('both sides share: three there in 6, one copied and computed in 5', () => {
    const result = simulate(trace(needs), {
      costs: fixedCosts(1, 1, 4, 4, 2),
      policy: { ...plain, onMiss: 'auto' },
      slots: 0,
    });
    expect(result.seconds).toBe(7);
    expect(result).toMatchObject({ computedThere: 3, copies: 1 });
  });

  test('what was computed there is not kept', () => {
    const twice = { ...trace(needs), steps: [trace(needs).steps[0], trace(needs).steps[0]] };
    const policy: Policy = { ...plain, replacement: 'lru', placement: 'uniform', onMiss: 'there' };
    const result = simulate(twice, { costs: fixedCosts(1, 1, 4, 4, 2), policy, slots: 4, before: [] });
    expect(result.hits).toBe(8); // 0 … 3 are there from the start
    const other = simulate(twice, { costs: fixedCosts(1, 1, 4, 4, 2), policy, slots: 0 });
    expect(other).toMatchObject({ hits: 0, computedThere: 8 });
  });
});

test('low precision: the last of five predictions and whatever was not foreseen', () => {
  const needs = [
    [0, 1, 2, 3],
    [10, 11, 12, 13],
  ];
  const given = trace(needs, [[], [10, 11, 12, 13, 20]]);
  const policy: Policy = { ...gate, lowShare: 0.3, lowMisses: true };
  // The first layer, at 2 s each: 8 s. Of the second, all four in full: 4 s each; the fifth is cancelled or never begun.
  const result = simulate(given, { costs: fixedCosts(1, 0, 4, 2), policy, slots: 0, record: true });
  const lengths = result.spans.filter(({ lane }) => lane === 'copy').map(({ start, end }) => end - start);
  expect(lengths).toEqual([2, 2, 2, 2, 4, 4, 4, 4]);
  // A needed fifth comes at low precision.
  const five = simulate(
    trace(
      [
        [0, 1, 2, 3],
        [10, 11, 12, 20],
      ],
      [[], [10, 11, 12, 13, 20]],
    ),
    {
      costs: fixedCosts(1, 0, 4, 2),
      policy,
      slots: 0,
      record: true,
    },
  );
  const last = five.spans.filter(({ lane }) => lane === 'copy').find(({ expert }) => expert === 20);
  expect(last && last.end - last.start).toBe(2);
});

test('every policy has finite costs, its spans do not overlap in a lane, and what it lost is what its compute lane lacks', () => {
  const steps = Array.from({ length: 12 }, (_, at) => ({
    rows: at === 0 ? 5 : 1,
    layers: Array.from({ length: 6 }, (_, layer) => ({
      needed: list([(at + layer) % 16, (at * 3 + layer + 5) % 16].filter((id, i, all) => all.indexOf(id) === i)),
      predicted:
        layer === 0
          ? []
          : list([(at + layer) % 16, (at + layer + 7) % 16, 3].filter((id, i, all) => all.indexOf(id) === i)),
    })),
  }));
  const given: RoutingTrace = { experts: 16, used: 2, overfetch: 1, steps };
  for (const [name, policy] of Object.entries(policies)) {
    for (const slots of [0, 7, 40, 96]) {
      const result = simulate(given, { costs: fixedCosts(1, 0.3, 2, 1.5, 0.9), policy, slots, record: true });
      for (const lane of ['compute', 'copy', 'there']) {
        const spans = result.spans
          .filter((span) => span.lane === lane)
          .sort((a, b) => a.start - b.start || a.end - b.end);
        for (let at = 1; at < spans.length; at++) {
          expect({ name, lane, start: spans[at].start + 1e-9 >= spans[at - 1].end }).toEqual({
            name,
            lane,
            start: true,
          });
        }
      }
      const busy = result.spans
        .filter(({ lane }) => lane === 'compute')
        .reduce((sum, { start, end }) => sum + end - start, 0);
      expect(result.seconds - result.stallSeconds).toBeCloseTo(busy, 6);
      expect(result.hits + result.predicted + result.missed).toBe(result.needed);
      if (slots === 96) expect(result.hits).toBe(result.needed);
    }
  }
});

test('a layer that needs more copies than there is room for leaves its cache as it is, but for free room', () => {
  const steps = [
    [2, 3],
    [4, 5, 6, 7],
    [2, 3],
  ].map((ids) => ({ rows: 1, layers: [{ needed: list(ids), predicted: [] }] }));
  const given = { experts: 8, used: 2, overfetch: 0, steps };
  const policy: Policy = { ...plain, replacement: 'lru' };
  const hits = (capacity: number, staging?: number): number =>
    simulate(given, {
      costs: fixedCosts(1, 1, 4),
      policy,
      slots: 0,
      capacities: [capacity],
      ...(staging === undefined ? {} : { staging }),
    }).hits;
  expect(hits(2)).toBe(0);
  expect(hits(2, 2)).toBe(2);
  expect(hits(2, 4)).toBe(0);
});
