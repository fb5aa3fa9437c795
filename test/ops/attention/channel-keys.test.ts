// Keys quantised by channel, a page of 32 at a time: attention is that of the rule "a row sees the pages before its own as
// codes, and its own as it was", computed densely in float64; and a row has the same bits however it came about.
import { dequantiseChannels, quantiseChannels } from '../../../lib/program/reference/quantise.js';
import { isaLevels } from '../executors.js';
import { expectClose, expectSameBits, random } from '../op-case.js';
import { AttentionRun, oracle, rounded, tokens } from './attention-runs.js';
import type { Row, Shape } from './attention-runs.js';

const own = (rows: readonly Row[], sequence: number): Row[] => rows.map((row) => ({ ...row, sequence }));

/** The rows with keys as row `at` sees them. */
function seenAt(shape: Shape, rows: readonly Row[], at: number): Row[] {
  const { kvHeads, keyDim } = shape;
  const before = at - (at % 32);
  const coded = rows.slice(0, before).map((row) => ({ ...row, k: new Float32Array(row.k.length) }));
  for (let page = 0; page < before; page += 32) {
    for (let head = 0; head < kvHeads; ++head) {
      const exact = rows.slice(page, page + 32).map(({ k }) => rounded(k, head, keyDim, 'F16'));
      dequantiseChannels(quantiseChannels(exact)).forEach((key, i) => coded[page + i].k.set(key, head * keyDim));
    }
  }
  const halves = rows.slice(before, at + 1).map((row) => ({
    ...row,
    k: Float32Array.from(
      { length: row.k.length },
      (_, i) => rounded(row.k, Math.floor(i / keyDim), keyDim, 'F16')[i % keyDim],
    ),
  }));
  return [...coded, ...halves];
}

const shapes: readonly Shape[] = [
  { heads: 4, kvHeads: 2, keyDim: 64, valueType: 'F16' },
  { heads: 7, kvHeads: 1, keyDim: 32, valueDim: 20, valueType: 'F32', softcap: 9 },
  { heads: 6, kvHeads: 3, keyDim: 96, valueDim: 64, valueType: 'Q4_0' },
  { heads: 20, kvHeads: 1, keyDim: 128, valueType: 'Q8_0', window: 50 },
].map((shape) => ({ ...shape, keyType: 'KIVI4', pageSize: 32 }) as Shape);

const cases = isaLevels().flatMap((isa) => shapes.map((shape) => [isa, JSON.stringify(shape), shape] as const));

describe.each(cases)('%s, %s', (isa, _, shape) => {
  const rows = tokens('channels', 165, shape);
  const start = (threads: number): AttentionRun => new AttentionRun(shape, { isa, threads });
  const plain = (): Float32Array[] => {
    const run = start(1);
    const y = run.runInChunks(own(rows, run.kv.create()), 1);
    run.dispose();
    return y;
  };
  const wanted = plain();
  const expectRows = (y: readonly Float32Array[], from: number): void =>
    y.forEach((row, i) => expectSameBits(row, wanted[from + i], `row ${from + i}`));

  test('as dense attention', () => {
    const float = { ...shape, keyType: 'F32' as const };
    for (const at of [0, 1, 30, 31, 32, 33, 63, 64, 95, 96, 127, 150, 164]) {
      expectClose(wanted[at], oracle(float, rows[at], seenAt(shape, rows, at)), 1e-5, 4e-5);
    }
  });

  test('any chunks and threads', () => {
    for (const [threads, chunk] of [
      [1, 165],
      [2, 165],
      [2, 7],
      [1, 32],
      [2, 50],
      [1, 33],
    ]) {
      const run = start(threads);
      expectRows(run.runInChunks(own(rows, run.kv.create()), chunk), 0);
      run.dispose();
    }
  });

  test('forks, and cuts to anywhere', () => {
    const run = start(2);
    const trunk = run.kv.create();
    run.runInChunks(own(rows.slice(0, 150), trunk), 50);
    for (const length of [149, 129, 128, 127, 100, 96, 95, 33, 32, 5, 0]) {
      const branch = run.kv.fork(trunk);
      run.run(own(tokens('elsewhere', 3, shape), branch));
      run.kv.truncate(branch, length);
      const left = run.kv.length(branch);
      // A page whose keys were given up is computed again; its predecessors are not.
      expect(left).toBeLessThanOrEqual(length);
      expect(left).toBeGreaterThanOrEqual(length - (length % 32));
      expectRows(run.runInChunks(own(rows.slice(left), branch), 41), left);
      run.kv.release(branch);
    }
    expectRows(run.run(own(rows.slice(150), trunk)), 150);
    run.dispose();
  });

  test('sequences together', () => {
    const run = start(2);
    const [a, b] = [run.kv.create(), run.kv.create()];
    for (let from = 0; from < 160; from += 20) {
      const part = rows.slice(from, from + 20);
      const y = run.run(
        part.flatMap((row) => [
          { ...row, sequence: a },
          { ...row, sequence: b },
        ]),
      );
      expectRows(
        y.filter((__, i) => i % 2 === 0),
        from,
      );
      expectRows(
        y.filter((__, i) => i % 2 === 1),
        from,
      );
    }
    run.dispose();
  });
});

test('memory: keys as they were of a page or two, everything else in codes', () => {
  const shape: Shape = { heads: 2, kvHeads: 1, keyDim: 64, keyType: 'KIVI4', pageSize: 32 };
  const run = new AttentionRun(shape, {});
  const sequence = run.kv.create();
  run.runInChunks(own(tokens('long', 32 * 40, shape), sequence), 64);
  run.run(own(tokens('one', 1, shape), sequence));
  const { usedBytes } = run.kv.sizes();
  const [page, exact] = [3 * 32 * (40 + 128), 3 * 32 * 128];
  expect(usedBytes).toBeGreaterThanOrEqual(41 * page + exact);
  expect(usedBytes).toBeLessThanOrEqual(41 * page + 4 * exact);
  run.kv.release(sequence);
  expect(run.kv.sizes().usedBytes).toBe(0);
  run.dispose();
});

test('quantising errs by half a step, keeps constant channels, and hides nothing', () => {
  const dim = 8;
  const values = random('keys', 32 * dim, 3);
  const keys = Array.from({ length: 32 }, (_, t) => rounded(values.subarray(t * dim, (t + 1) * dim), 0, dim, 'F16'));
  keys.forEach((key) => key.set([0.375, 0], 2));
  keys[9][5] = Infinity;
  const back = dequantiseChannels(quantiseChannels(keys));
  for (let channel = 0; channel < dim; ++channel) {
    const own = keys.map((key) => key[channel]);
    const range = Math.max(...own) - Math.min(...own);
    back.forEach((key, t) => {
      if (channel === 5) expect(key[channel]).toBeNaN();
      else expect(Math.abs(key[channel] - own[t])).toBeLessThanOrEqual((range / 15) * (0.5 + 15 * 2 ** -11));
    });
  }
});
