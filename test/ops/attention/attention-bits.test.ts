// A row's result has the same bits whatever else is in the batch, however the prompt is cut, wherever its pages lie and
// however many threads work on it; and a tree's rows have the bits of the chains they belong to.
import { isaLevels } from '../executors.js';
import { expectSameBits } from '../op-case.js';
import { AttentionRun, tokens } from './attention-runs.js';
import type { Row, Shape } from './attention-runs.js';

const shapes: readonly (readonly [string, Shape])[] = [
  ['grouped heads', { heads: 8, kvHeads: 2, keyDim: 64 }],
  ['one KV head', { heads: 3, kvHeads: 1, keyDim: 80, pageSize: 32 }],
  ['window and soft cap', { heads: 4, kvHeads: 2, keyDim: 32, window: 90, softcap: 15 }],
  ['Q8_0', { heads: 4, kvHeads: 2, keyDim: 32, keyType: 'Q8_0', valueType: 'Q8_0' }],
  ['Q8_0, groups of 7', { heads: 7, kvHeads: 1, keyDim: 64, window: 90, keyType: 'Q8_0', valueType: 'Q8_0' }],
  ['Q4_0', { heads: 4, kvHeads: 2, keyDim: 32, valueDim: 96, keyType: 'Q4_0', valueType: 'Q4_0' }],
  ['Q4_0, groups of 7', { heads: 7, kvHeads: 1, keyDim: 64, window: 90, keyType: 'Q4_0', valueType: 'Q4_0' }],
];
const cases = isaLevels().flatMap((isa) => shapes.map(([name, shape]) => [isa, name, shape] as const));

const own = (rows: readonly Row[], sequence: number): Row[] => rows.map((row) => ({ ...row, sequence }));

function expectRows(actual: readonly Float32Array[], wanted: readonly Float32Array[], what: string): void {
  expect(actual.length).toBe(wanted.length);
  actual.forEach((row, index) => expectSameBits(row, wanted[index], `${what}, row ${index}`));
}

describe.each(cases)('%s, %s', (isa, _, shape) => {
  /** One thread, one row a time: the plainest way. */
  const plain = (rows: readonly Row[]): Float32Array[] => {
    const run = new AttentionRun(shape, { isa, threads: 1 });
    const y = run.runInChunks(own(rows, run.kv.create()), 1);
    run.dispose();
    return y;
  };
  const rows = tokens('bits', 530, shape);
  const wanted = plain(rows);

  test.each([1, 2])('any chunks of the prompt, %i threads', (threads) => {
    const run = new AttentionRun(shape, { isa, threads });
    for (const chunk of [7, 64, 100, 530]) {
      const sequence = run.kv.create();
      expectRows(run.runInChunks(own(rows, sequence), chunk), wanted, `chunks of ${chunk}`);
      run.kv.release(sequence);
    }
    run.dispose();
  });

  test('sequences together, row by row in turns', () => {
    const others = [tokens('other', 150, shape), tokens('third', 31, shape)];
    const alone = others.map(plain);
    const run = new AttentionRun(shape, { isa, threads: 2 });
    const [a, b, c] = [run.kv.create(), run.kv.create(), run.kv.create()];
    const lanes = [own(rows.slice(0, 150), a), own(others[0], b), own(others[1], c)];
    const results: Float32Array[][] = [[], [], []];
    for (let from = 0; from < 150; from += 25) {
      const batch: { lane: number; row: Row }[] = [];
      for (let index = from; index < from + 25; ++index) {
        lanes.forEach((lane, at) => index < lane.length && batch.push({ lane: at, row: lane[index] }));
      }
      run.run(batch.map(({ row }) => row)).forEach((y, index) => results[batch[index].lane].push(y));
    }
    expectRows(results[0], wanted.slice(0, 150), 'first');
    expectRows(results[1], alone[0], 'second');
    expectRows(results[2], alone[1], 'third');
    run.dispose();
  });

  test('any page size, and pages in any order', () => {
    for (const pageSize of [1, 16, 32]) {
      const run = new AttentionRun({ ...shape, pageSize }, { isa, threads: 2 });
      const [a, b] = [run.kv.create(), run.kv.create()];
      // Growing in turns, then twice over released pages: tables are never in the order of addresses.
      for (let from = 0; from < 200; from += 20) {
        const part = rows.slice(from, from + 20);
        expectRows(run.run(own(part, a)), wanted.slice(from, from + 20), `pages of ${pageSize}`);
        run.run(own(part, b));
      }
      run.kv.release(a);
      const again = run.kv.create();
      expectRows(run.runInChunks(own(rows, again), 70), wanted, `pages of ${pageSize}, used before`);
      run.dispose();
    }
  });

  test('a fork goes on as the whole text would', () => {
    const run = new AttentionRun(shape, { isa, threads: 2 });
    const trunk = run.kv.create();
    run.run(own(rows.slice(0, 300), trunk));
    const branch = run.kv.fork(trunk);
    run.run(own(tokens('elsewhere', 9, shape), trunk));
    expectRows(run.runInChunks(own(rows.slice(300), branch), 50), wanted.slice(300), 'fork');
    run.dispose();
  });

  test.each([10, 61, 510])('a path of a tree after %i tokens, and what follows once it is kept', (committed) => {
    const run = new AttentionRun(shape, { isa, threads: 2 });
    const sequence = run.kv.create();
    run.run(own(rows.slice(0, committed), sequence));
    // The path is nodes 1, 3, 4, 8, 9; the others are wrong guesses.
    const path = [1, 3, 4, 8, 9];
    const parents = [-1, -1, 1, 1, 3, 2, 0, 4, 4, 8, 7];
    const wrong = tokens('wrong', parents.length, shape);
    const tree = parents.map((parent, node) => {
      const depth = path.indexOf(node);
      return { ...(depth < 0 ? wrong[node] : rows[committed + depth]), sequence, parent };
    });
    const y = run.run(tree);
    expectRows(
      path.map((node) => y[node]),
      wanted.slice(committed, committed + path.length),
      'path',
    );
    run.kv.keep(sequence, Int32Array.from(path));
    const next = committed + path.length;
    expectRows(run.run(own(rows.slice(next, next + 3), sequence)), wanted.slice(next, next + 3), 'after the path');
    run.dispose();
  });
});

test.each(isaLevels())('%s: few heads over a long context, where the team shares the keys', (isa) => {
  const shape: Shape = { heads: 2, kvHeads: 1, keyDim: 32, pageSize: 32 };
  const rows = tokens('long', 6300, shape);
  const results = [1, 2, 3, 4].map((threads) => {
    const run = new AttentionRun(shape, { isa, threads });
    const [long, short] = [run.kv.create(), run.kv.create()];
    run.runInChunks(own(rows.slice(0, 6290), long), 1000);
    const y = [...run.runInChunks(own(rows.slice(6290, 6295), long), 1), ...run.run(own(rows.slice(6295, 6298), long))];
    // A long and a short sequence in one batch.
    y.push(...run.run([...own(rows.slice(0, 2), short), ...own(rows.slice(6298), long)]));
    run.dispose();
    return y;
  });
  for (const y of results.slice(1)) expectRows(y, results[0], 'threads');
});
