// When drafts are worth a try: by what rounds took, and what drafts took besides.
import { Costs, ShapeRates } from '../../../lib/decode/speculation/scaling/costs.js';
import { Planner } from '../../../lib/decode/speculation/planner.js';

const draft = (count: number, score: number) => ({
  tokens: new Int32Array(count),
  parents: Int32Array.from({ length: count }, (_, i) => i - 1),
  scores: Float32Array.from({ length: count }, (_, i) => score ** (i + 1)),
});

test('costs lie on lines between what was measured', () => {
  const costs = new Costs();
  expect(costs.table(4)).toHaveLength(0);
  costs.add(1, 2);
  expect(costs.table(3)[3]).toBeCloseTo(2.2, 9);
  costs.add(5, 6);
  // Four rows may be as fast as one: to be tried.
  expect([...costs.table(5).subarray(1)]).toEqual([2, 3, 4, -2, 6]);
  costs.add(4, 5);
  expect([...costs.table(5).subarray(1)]).toEqual([2, 3, 4, 5, 6]);
  expect(costs.table(16)[8]).toBe(-6);
  costs.add(5, 16); // had to wait for something else
  expect(costs.table(5)[5]).toBeCloseTo(7, 9);
  costs.add(5, 3);
  expect(costs.table(5)[5]).toBe(3);
});

test('where nothing is known, plain rounds are measured after two drafts', () => {
  const planner = new Planner(new Costs());
  expect([planner.rests(), planner.horizon]).toEqual([false, 2]);
  expect(planner.choose(draft(8, 0.01))).toHaveLength(8);
  planner.learn(5, 1, 1, 0, 0);
  planner.learn(5, 1, 1, 0, 0);
  expect(planner.rests()).toBe(true);
  expect(planner.pause).toBeGreaterThan(1);
  planner.learn(1, 1, 0, 0, 0);
  expect([planner.rests(), planner.horizon]).toEqual([false, Infinity]);
});

test('drafts that are slower than none rest, for longer each time', () => {
  const planner = new Planner(new Costs());
  planner.learn(1, 1, 0, 0, 0);
  for (let i = 0; i < 4; i++) planner.learn(5, 1.01, 3, 0, 0);
  expect(planner.rests()).toBe(true);
  const { pause } = planner;
  for (let i = 0; i < 2; i++) planner.learn(5, 1.01, 3, 0, 0);
  expect(planner.rests()).toBe(true);
  expect(planner.pause).toBe(2 * pause);
});

test('a rest is as long as what drafts have lost is 3 % of it', () => {
  const planner = new Planner(new Costs());
  planner.learn(1, 1, 0, 0, 0);
  for (let i = 0; i < 4; i++) planner.learn(5, 1.5, 3, 0, 0.5); // 1 ms lost, each
  expect(planner.rests()).toBe(true);
  expect(planner.pause).toBe(Math.ceil(4 / 0.03));
  for (let i = 0; i < 2; i++) planner.learn(5, 50, 3, 0, 0); // had to wait
  expect(planner.rests()).toBe(true);
  expect(planner.pause).toBe(Math.ceil((2 * 3) / 0.03));
  for (let i = 0; i < 8; i++) planner.learn(5, 2, 3, 4, 0); // three rounds won
  expect(planner.rests()).toBe(false);
});

test('what a draft takes counts, also when none of it is verified', () => {
  const planner = new Planner(new Costs());
  planner.learn(1, 1, 0, 0, 0);
  for (let i = 0; i < 4; i++) planner.learn(1, 1, 0, 0, 0.4); // asked, and cut to nothing
  expect(planner.rests()).toBe(true);
  const trifling = new Planner(new Costs());
  for (let i = 0; i < 9; i++) trifling.learn(1, 1, 0, 0, 0.002);
  expect(trifling.rests()).toBe(false);
});

test('chosen are the nodes that pay, and a few after long without any', () => {
  const planner = new Planner(new Costs());
  for (let rows = 1; rows < 10; rows++) planner.learn(rows, 1 + rows / 5, 0, 0, 0);
  expect(planner.choose(draft(8, 0.99))).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(planner.choose(draft(8, 0.05))).toEqual([]);
  for (let i = 0; i < 64; i++) planner.learn(1, 1.2, 0, 0, 0);
  expect(planner.choose(draft(8, 0.05))).toEqual([0, 1, 2, 3]);
});

test('trees or chains: two of each, then what was faster, and now and then the other one', () => {
  const shapes = new ShapeRates();
  const chosen: string[] = [];
  for (let turn = 0; turn < 40; turn++) {
    const shape = shapes.choose();
    shapes.learn(shape, shape === 'tree' ? 1 : 1.2);
    chosen.push(shape);
  }
  expect(chosen.slice(0, 6)).toEqual(['tree', 'chain', 'chain', 'tree', 'chain', 'chain']);
  expect(chosen.slice(4).filter((shape) => shape === 'tree')).toHaveLength(1);
});
