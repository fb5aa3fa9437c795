// Plans: the worked example of a card, brute force on random tables, a common budget, and a queue with changing load.
import { AdaptivePlan } from '../../../lib/decode/speculation/scaling/adaptive-plan.js';
import { allocateNodes, type ChildRates } from '../../../lib/decode/speculation/scaling/allocate.js';
import { checkCostTable, verifyMs, type CostTable } from '../../../lib/decode/speculation/scaling/cost-table.js';
import { none, planShape, priced } from '../../../lib/decode/speculation/scaling/plan.js';
import { kneeRows, verifySeconds } from '../../../lib/decode/speculation/scaling/roofline.js';
import { random } from './random.js';

const card = { bandwidth: 4.8e12, operations: 989e12, overhead: 0.2e-3 };
const model = { parameters: 8.03e9, weightBytes: 2 * 8.03e9, cacheBytes: 131072 };

test.each([
  [1024, { 1: 128, 4: 53, 16: 14, 32: 8, 64: 5, 128: 3, 256: 3, 512: 2 }],
  [16384, { 1: 128, 4: 79, 16: 40, 32: 34 }],
])('with %d tokens the best width shrinks with the batch, to the knee', (context, widths) => {
  for (const [text, wanted] of Object.entries(widths)) {
    const batch = Number(text);
    const rate = (rows: number): number =>
      (1 + 0.62 * Math.log2(rows)) / (verifySeconds(card, model, { batch, rows, context }) + (rows > 1 ? 1.5e-3 : 0));
    const best = Array.from({ length: 128 }, (_, i) => i + 1).reduce((a, b) => (rate(b) > rate(a) ? b : a));
    expect(Math.abs(best - wanted)).toBeLessThanOrEqual(1);
    const knee = kneeRows(card, model, { batch, context });
    if (best < 128 && best > 8) expect(Math.abs(best - knee)).toBeLessThanOrEqual(1);
  }
});

const rows = [1, 2, 4, 8, 16, 32];

/** Costs that rise in stairs with rows and batch, and drafters of some speed. */
function randomTable(next: () => number): CostTable {
  const batch = [1, 4, 16];
  const context = [1024, 8192];
  const width = [1, 2, 4];
  const row = 0.02 + 0.3 * next();
  const step = 0.05 + 2 * next();
  return {
    device: 'made up',
    model: '',
    batch,
    rows,
    context,
    width,
    verify: batch.map((b) =>
      rows.map((r, stair) => context.map((c) => 5 + c / 4096 + row * Math.max(0, b * r - 8) + 0.2 * (stair + next()))),
    ),
    step: batch.map((b) => width.map((w) => step * (1 + 0.01 * b * w))),
  };
}

const randomRates = (next: () => number): ChildRates =>
  Array.from({ length: 5 }, () => {
    let left = 1;
    let most = 1;
    return Array.from({ length: 4 }, () => {
      const rate = Math.min(most, left * next());
      left -= rate;
      most = rate;
      return rate;
    });
  });

/** Expected tokens by trying every tree. */
function bestTree(rates: ChildRates, depth: number, width: number, nodes: number): number {
  const grow = (open: readonly { depth: number; rank: number; path: number }[], left: number): number => {
    if (left === 0 || open.length === 0) return 0;
    const [{ depth: d, rank, path }, ...rest] = open;
    const rate = d < depth && rank < width ? (rates[d]?.[rank] ?? 0) : 0;
    const without = grow(rest, left);
    if (rate === 0) return without;
    const value = path * rate;
    const younger = { depth: d, rank: rank + 1, path };
    return Math.max(without, value + grow([{ depth: d + 1, rank: 0, path: value }, younger, ...rest], left - 1));
  };
  return 1 + grow([{ depth: 0, rank: 0, path: 1 }], nodes);
}

test('a plan is the best of all trees at all costs', () => {
  const next = random(11);
  for (let run = 0; run < 500; run++) {
    const costs = randomTable(next);
    const rates = randomRates(next);
    const options = { batch: [1, 3, 9, 16][run % 4], context: [1000, 5000, 9000][run % 3] };
    const plan = planShape(costs, rates, options);
    let best = 0;
    for (let depth = 0; depth <= rates.length; depth++) {
      for (const width of costs.width)
        for (const count of rows)
          best = Math.max(best, priced(costs, rates, { depth, width, rows: count }, options).tokensPerSecond);
    }
    expect(plan.tokensPerSecond).toBeGreaterThanOrEqual(0.999 * best);
    if (run < 60) {
      const { depth, width } = plan;
      const small = Math.min(plan.rows, 8) - 1;
      expect(allocateNodes([{ rates, depth, width }], small).expected).toBeCloseTo(
        bestTree(rates, depth, width, small),
        12,
      );
    }
  }
});

test('a common budget is spent as trying every split would', () => {
  const next = random(12);
  for (let run = 0; run < 60; run++) {
    const sequences = [0, 1, 2].map(() => ({
      rates: randomRates(next),
      depth: 1 + Math.floor(5 * next()),
      width: 1 + Math.floor(3 * next()),
    }));
    const budget = 1 + Math.floor(6 * next());
    let best = 0;
    for (let a = 0; a <= budget; a++) {
      for (let b = 0; a + b <= budget; b++) {
        const split = [a, b, budget - a - b];
        best = Math.max(
          best,
          split.reduce(
            (sum, nodes, i) => sum + bestTree(sequences[i].rates, sequences[i].depth, sequences[i].width, nodes),
            0,
          ),
        );
      }
    }
    const { nodes, expected } = allocateNodes(sequences, budget);
    expect(expected).toBeCloseTo(best, 12);
    expect(nodes.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(budget);
  }
});

test('no draft is planned where drafts cost more than they give, and none longer than a latency allows', () => {
  const costs = randomTable(random(13));
  const poor = [[0.01], [0.01]];
  expect(planShape(costs, poor, { batch: 16, context: 1024 })).toMatchObject(none);
  const rich = Array.from({ length: 8 }, () => [0.9]);
  const free = planShape(costs, rich, { batch: 1, context: 1024 });
  expect(free.depth).toBeGreaterThan(1);
  const short = planShape(costs, rich, { batch: 1, context: 1024, latencyMs: free.roundMs * 0.9 });
  expect(short.roundMs).toBeLessThanOrEqual(free.roundMs * 0.9);
});

test('tables are looked up in stairs of rows and lines of logarithms, and checked', () => {
  const costs = randomTable(random(14));
  expect(verifyMs(costs, { batch: 1, rows: 3, context: 1024 })).toBe(costs.verify[0][2][0]);
  expect(verifyMs(costs, { batch: 2, rows: 4, context: 1024 })).toBeCloseTo(
    (costs.verify[0][2][0] + costs.verify[1][2][0]) / 2,
    12,
  );
  expect(verifyMs(costs, { batch: 99, rows: 99, context: 1 })).toBe(costs.verify[2][5][0]);
  expect(checkCostTable(JSON.parse(JSON.stringify(costs)))).toEqual(costs);
  expect(() => checkCostTable({ ...costs, rows: [2, 1] })).toThrow(/ascending/);
  expect(() => checkCostTable({ ...costs, step: [[NaN]] })).toThrow(/step/);
  expect(() => checkCostTable({ ...costs, verify: costs.verify.slice(1) })).toThrow(/verify/);
  expect(() => checkCostTable(null)).toThrow(/no object/);
});

/** Rounds of `batch(time)` sequences, drafts kept as the true rates say; tokens per second. */
function serve(
  plan: { shape: AdaptivePlan['shape']; learn?: AdaptivePlan['learn'] },
  costs: CostTable,
  rates: ChildRates,
  batch: (ms: number) => number,
  rounds: number,
) {
  const next = random(21);
  let ms = 0;
  let tokens = 0;
  const shapes: string[] = [];
  for (let round = 0; round < rounds; round++) {
    const load = { batch: batch(ms), context: 1024 };
    const shape = plan.shape(load);
    shapes.push(JSON.stringify([shape.depth, shape.width, shape.rows]));
    ms += priced(costs, rates, shape, load).roundMs;
    for (let sequence = 0; sequence < load.batch; sequence++) {
      let kept = 0;
      // The tree that the plan has, walked.
      if (shape.depth > 0) {
        const { expected } = allocateNodes([{ rates, depth: shape.depth, width: shape.width }], shape.rows - 1);
        const chance = 1 - 1 / expected;
        while (kept < shape.depth && next() < (shape.width === 1 ? (rates[kept]?.[0] ?? 0) : chance)) kept++;
      }
      tokens += 1 + kept;
      if (shape.depth > 0) plan.learn?.(Math.min(shape.depth, shape.rows - 1), Math.min(kept, shape.rows - 1));
    }
  }
  return { tokensPerSecond: (1000 * tokens) / ms, shapes };
}

const chains = (next: () => number): CostTable => ({ ...randomTable(next), width: [1], step: [[0.4], [0.45], [0.6]] });

test('an adaptive plan is as good as the best fixed shape for every load, though it began with wrong rates', () => {
  const costs = chains(random(15));
  const truth = Array.from({ length: 6 }, () => [0.75]);
  for (const batch of [1, 4, 16]) {
    const adaptive = serve(
      new AdaptivePlan(
        costs,
        truth.map(() => [0.4]),
      ),
      costs,
      truth,
      () => batch,
      4000,
    );
    const fixed = [
      none,
      ...[1, 2, 3, 4, 5, 6].flatMap((depth) => rows.slice(1).map((count) => ({ depth, width: 1, rows: count }))),
    ];
    const best = Math.max(
      ...fixed.map((shape) => priced(costs, truth, shape, { batch, context: 1024 }).tokensPerSecond),
    );
    expect(adaptive.tokensPerSecond).toBeGreaterThan(0.97 * best);
  }
});

test('a step of the load is followed within 64 rounds, and a load that flutters does not make shapes flutter', () => {
  const costs = chains(random(16));
  const rates = Array.from({ length: 6 }, () => [0.75]);
  const [one, many] = [1, 16].map((batch) => planShape(costs, rates, { batch, context: 1024 }));
  expect(one.rows).not.toBe(many.rows);
  const plan = new AdaptivePlan(costs, rates);
  let round = 0;
  const step = serve(plan, costs, rates, () => (round++ < 200 ? 1 : 16), 400);
  expect(new Set(step.shapes.slice(264)).size).toBe(1);
  expect(step.shapes[263]).not.toBe(step.shapes[199]);
  let flutter = 0;
  const square = serve(new AdaptivePlan(costs, rates), costs, rates, () => (flutter++ % 10 < 5 ? 4 : 5), 640);
  const switches = square.shapes.filter((shape, i) => i > 0 && shape !== square.shapes[i - 1]).length;
  expect(switches).toBeLessThanOrEqual(640 / 32);
});
