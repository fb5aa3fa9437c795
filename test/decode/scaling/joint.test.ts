// Drafts of several sequences cut together: brute force, against each sequence deciding alone, and in the engine.
import { cutTogether, loadOf, type Share } from '../../../lib/decode/round-request.js';
import type { JobDraft, OpenDraft } from '../../../lib/decode/rounds.js';
import type { RunRequest, RunResult } from '../../../lib/program/executor.js';
import { paying } from '../../../lib/decode/speculation/planner.js';
import { DepthRates } from '../../../lib/decode/speculation/scaling/depth-rates.js';
import { jointly, type Bid } from '../../../lib/decode/speculation/scaling/joint.js';
import { random } from './random.js';

/** A tree's scores, parents first; `branches`: or a chain's. */
function randomBid(next: () => number, nodes: number, branches: boolean): Bid & { parents: number[] } {
  const parents: number[] = [];
  const scores: number[] = [];
  for (let i = 0; i < nodes; i++) {
    const parent = branches ? Math.floor((i + 1) * next()) - 1 : i - 1;
    parents.push(parent);
    scores.push((parent < 0 ? 1 : scores[parent]) * next());
  }
  return { parents, scores, calibration: 0.5 + next() };
}

/** [1 + n] of n drafted rows: stairs of four rows on a rising line. */
const randomCosts = (next: () => number, rows: number, slope = 0.5 * next()): Float64Array =>
  Float64Array.from({ length: rows + 2 }, (_, n) => 5 + slope * n + 2 * slope * Math.floor((n + 2) / 4) * next());

const gainOf = ({ scores, calibration }: Bid, node: number): number => Math.min(1, calibration * scores[node]);

function rateOf(bids: readonly Bid[], taken: readonly (readonly number[])[], sequences: number, costs: Float64Array) {
  const tokens = taken.flatMap((nodes, bid) => nodes.map((node) => gainOf(bids[bid], node)));
  return (sequences + tokens.reduce((sum, gain) => sum + gain, 0)) / costs[1 + tokens.length];
}

/** All sets of nodes that have their parents. */
function subtrees(parents: readonly number[]): number[][] {
  return parents.reduce<number[][]>(
    (sets, parent, node) => [
      ...sets,
      ...sets.filter((set) => parent < 0 || set.includes(parent)).map((set) => [...set, node]),
    ],
    [[]],
  );
}

test.each([false, true])('the best of all ways to cut three drafts (trees: %p)', (branches) => {
  const next = random(31);
  for (let run = 0; run < 100; run++) {
    const bids = [0, 1, 2].map(() => randomBid(next, 1 + Math.floor(4 * next()), branches));
    const sequences = 3 + (run % 2); // one more that has no draft
    const costs = randomCosts(next, 12, run % 4);
    const taken = jointly(bids, { sequences, costs });
    taken.forEach((nodes, bid) => {
      const has = new Set(nodes);
      for (const node of nodes) expect(bids[bid].parents[node] < 0 || has.has(bids[bid].parents[node])).toBe(true);
    });
    const [one, two, three] = bids.map(({ parents }) => subtrees(parents));
    let best = 0;
    for (const a of one)
      for (const b of two) for (const c of three) best = Math.max(best, rateOf(bids, [a, b, c], sequences, costs));
    expect(rateOf(bids, taken, sequences, costs)).toBeCloseTo(best, 12);
  }
});

test('together is at least as fast as each alone, whatever each believes of the others; the same for one', () => {
  const next = random(32);
  let better = 0;
  for (let run = 0; run < 200; run++) {
    const bids = Array.from({ length: 2 + (run % 7) }, () => randomBid(next, 8, false));
    const sequences = bids.length;
    const costs = randomCosts(next, 8 * sequences);
    const together = rateOf(bids, jointly(bids, { sequences, costs }), sequences, costs);
    for (const share of [1, sequences]) {
      // Alone: as if the round were its own, or as if the others had no drafts.
      const alone = bids.map((bid) => jointly([bid], { sequences: share, costs })[0]);
      const rate = rateOf(bids, alone, sequences, costs);
      expect(together).toBeGreaterThanOrEqual(rate * (1 - 1e-12));
      if (together > rate * 1.02) better++;
    }
    const [bid] = bids;
    const count = paying(bid.scores, costs, bid.calibration);
    expect(jointly([bid], { sequences: 1, costs })[0]).toEqual(Array.from({ length: count }, (_, i) => i));
  }
  expect(better).toBeGreaterThan(100);
});

test('room, rows that are there anyway, drafts to be tried, and nothing known', () => {
  const bids = [0.9, 0.5].map((score) => ({ scores: [score, score ** 2, score ** 3], calibration: 1 }));
  const flat = new Float64Array(9).fill(1);
  const counts = (terms: object): number[] =>
    jointly(bids, { sequences: 2, costs: flat, ...terms }).map(({ length }) => length);
  expect(counts({})).toEqual([3, 3]);
  expect(counts({ room: 3 })).toEqual([3, 0]);
  expect(counts({ fixed: { rows: 4, tokens: 1 } })).toEqual([3, 0]); // nothing is known of more rows
  expect(counts({ costs: [], room: 4 })).toEqual([3, 1]);
  const steep = Float64Array.from({ length: 9 }, (_, n) => n ** 2 + 1);
  expect(counts({ costs: steep })).toEqual([0, 0]);
  expect(jointly([bids[0], { ...bids[1], least: 2 }], { sequences: 2, costs: steep })).toEqual([[], [0, 1]]);
  expect(counts({ costs: flat.map((ms, n) => (n === 5 ? -ms : 9 * ms)) })).toEqual([3, 1]); // a guess is tried
});

test('rates of depths come from the drafts that reached them', () => {
  const rates = new DepthRates([0.5, 0.5, 0.5], 1e9, 0);
  for (const [depth, kept] of [
    [3, 0],
    [3, 1],
    [3, 2],
    [2, 2],
    [1, 1],
    [1, 0],
    [2, 2],
    [2, 1],
    [2, 2],
    [2, 1],
    [1, 1],
    [2, 2],
  ])
    rates.learn(depth, kept);
  const [first, second, third] = rates.paths(3);
  expect(first).toBeCloseTo(10 / 12, 5);
  expect(second).toBeCloseTo((10 / 12) * (5 / 8), 5);
  expect(third).toBeCloseTo((10 / 12) * (5 / 8) ** 2, 5); // hardly seen: as the depth before
});

test('the engine cuts the open drafts of a round together, beside those that stay whole', () => {
  const whole: JobDraft = { tokens: Int32Array.of(1, 2), rule: { name: 'ratio' }, cycle: 1 };
  const asked: number[][] = [];
  const open = (scores: number[]): OpenDraft => ({
    bid: { scores, calibration: 1 },
    costs: (sequences, rows) => {
      asked.push([sequences, rows]);
      return Float64Array.from({ length: 2 + rows }, (_, n) => 2 + 0.2 * n);
    },
    cut: (nodes) => (nodes.length > 0 ? { ...whole, tokens: Int32Array.from(nodes) } : undefined),
  });
  const share = (rest: Partial<Share>): Share => ({ entry: {} as Share['entry'], rows: 1, draft: undefined, ...rest });
  const shares = [
    share({ open: open([0.9, 0.8, 0.02]) }),
    share({ draft: whole }),
    share({}),
    share({ open: open([0.05]) }),
    share({ open: open([0.7]) }),
  ];
  const cut = (rows: number) => cutTogether(shares, rows).map(({ draft }) => draft && [...draft.tokens]);
  expect(cut(512)).toEqual([[0, 1], [1, 2], undefined, undefined, [0]]);
  expect(asked).toEqual([[5, 7]]);
  expect(cut(9)).toEqual([[0, 1], [1, 2], undefined, undefined, undefined]); // 7 rows are there
  expect(cut(6)).toEqual([undefined, [1, 2], undefined, undefined, undefined]);
  // What such a round did: 5 sequences, of which two said more than one token.
  const request = { tokens: new Int32Array(9) } as RunRequest;
  const result = { kept: Int32Array.of(1, 1, 0, 1, 0, 3, 0, 0, 0) } as unknown as RunResult;
  const load = loadOf(cutTogether(shares, 9), request, result);
  expect(load).toEqual({ sequences: 5, rows: 9, tokens: 4 + 3, prompt: false });
});
