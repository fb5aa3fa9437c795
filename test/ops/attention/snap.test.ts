// Prompt compression keeps the cells that its definition keeps, in float64: for every head size, grouping, stored type, page
// size, pooling and team, however the prompt is cut into runs; and what attends to them afterwards sees these alone.
import type { KeyDType, KvDType } from '../../../lib/program/executor.js';
import { quantiseRow } from '../../../lib/program/reference/quantise.js';
import { chosen, pooled, votesOf } from '../../../lib/program/reference/snap.js';
import type { SnapPolicy } from '../../../lib/program/kv-policy.js';
import { emulatedDevice, isaLevels } from '../executors.js';
import { expectClose } from '../op-case.js';
import { AttentionRun, layer, layers, oracle, rounded, tokens, valueDimOf } from './attention-runs.js';
import type { Place, Row, Shape } from './attention-runs.js';

const plain: SnapPolicy = {
  ...{ budget: 40, window: 8, kernel: 5, pooling: 'max', aggregation: 'mean', keepFirst: 0, minPromptTokens: 40 },
  ...{ granularity: 'kvHead', poolBeforeGroup: false },
};
const device = emulatedDevice();
const cards: readonly Place[] = device ? [{ device }] : [];
/** Every level, with teams of one, two and three; and the card. */
const teams: readonly Place[] = [...isaLevels().map((isa, index) => ({ isa, threads: 1 + (index % 3) })), ...cards];

/** What a row's query head gives each of the cells, which are all it sees. */
function attended(shape: Shape, { q }: Row, head: number, cells: readonly Row[]): Float64Array {
  const { heads, kvHeads, keyDim, softcap = 0, keyType = 'F16' } = shape;
  const scores = cells.map(({ k }) => {
    const key = rounded(k, Math.floor((head * kvHeads) / heads), keyDim, keyType);
    const score = key.reduce((sum, value, i) => sum + value * q[head * keyDim + i], 0) / Math.sqrt(keyDim);
    return softcap > 0 ? softcap * Math.tanh(score / softcap) : score;
  });
  const top = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - top));
  const total = powers.reduce((a, b) => a + b, 0);
  return Float64Array.from(powers, (power) => power / total);
}

/** Per KV head: which of the cells stay, a list of rows per head with the last `voters` voting. */
function reference(shape: Shape, cells: readonly (readonly Row[])[], voters: number): number[][] {
  const { heads, kvHeads, window = 0, snap = plain } = shape;
  return cells.map((own, kvHead) => {
    const candidates = own.length - snap.window;
    const last = Array.from({ length: snap.window }, (_, i) => candidates + i);
    if (window > 0) return own.map((_, index) => index).slice(-snap.budget);
    const group = heads / kvHeads;
    const votes = Array.from({ length: group }, (_, h) =>
      votesOf(
        Array.from({ length: voters }, (_unused, i) => {
          const row = own.length - voters + i;
          return attended(shape, own[row], kvHead * group + h, own.slice(0, row + 1));
        }),
        candidates,
      ),
    );
    return [...chosen(votes, snap), ...last];
  });
}

/** Keys and values of a sequence's cells as they lie in the cache, per KV head and cell. */
function stored(run: AttentionRun, sequence: number): { keys: Buffer[][]; values: Buffer[][] } {
  const { kvHeads, keyDim, keyType = 'F16', valueType = 'F16' } = run.shape;
  const { cellBytes } = run.kv.sizes();
  const count = run.kv.cells(sequence);
  const bytes = new Uint8Array(count * cellBytes);
  run.kv.readCells(sequence, 0, count, bytes);
  const size = (dtype: KeyDType, dim: number): number => quantiseRow(dtype as KvDType, new Float64Array(dim)).length;
  const [key, value] = [size(keyType, keyDim), size(valueType, valueDimOf(run.shape))];
  const heads = (offset: number, width: number): Buffer[][] =>
    Array.from({ length: kvHeads }, (_, head) =>
      Array.from({ length: count }, (_unused, cell) => {
        const at = cell * cellBytes + (cellBytes / layers) * layer + offset + head * width;
        return Buffer.from(bytes.slice(at, at + width));
      }),
    );
  return { keys: heads(0, key), values: heads(kvHeads * key, value) };
}

/** The cells must be those of the rows at these places. */
function expectStored(run: AttentionRun, sequence: number, rows: readonly Row[], kept: readonly number[][]): void {
  const { kvHeads, keyDim, keyType = 'F16', valueType = 'F16' } = run.shape;
  const found = stored(run, sequence);
  const bytesOf = (row: Float32Array, dtype: KeyDType, dim: number, head: number): Buffer =>
    Buffer.from(quantiseRow(dtype as KvDType, Float64Array.from(row.subarray(head * dim, (head + 1) * dim))));
  for (let head = 0; head < kvHeads; ++head) {
    const places = rows.map(({ k }) => bytesOf(k, keyType, keyDim, head).toString('hex'));
    expect(found.keys[head].map((key) => places.indexOf(key.toString('hex')))).toEqual(kept[head]);
    const values = kept[head].map((place) => bytesOf(rows[place].v, valueType, valueDimOf(run.shape), head));
    expect(Buffer.concat(found.values[head]).equals(Buffer.concat(values))).toBe(true);
  }
}

/** Feeds a prompt in runs of these sizes; the last one compresses. */
function feed(run: AttentionRun, rows: readonly Row[], sizes: readonly number[], voters: number): Float32Array[] {
  const { sequence } = rows[0];
  let from = 0;
  return sizes.flatMap((size, index) => {
    const end = index + 1 === sizes.length ? rows.length : from + size;
    const y = run.run(rows.slice(from, end), false, end === rows.length ? new Map([[sequence, voters]]) : undefined);
    from = end;
    return y;
  });
}

const shapes: readonly Shape[] = [
  { heads: 4, kvHeads: 2, keyDim: 64, snap: plain },
  { heads: 1, kvHeads: 1, keyDim: 80, pageSize: 7, snap: { ...plain, pooling: 'avg', kernel: 7 } },
  { heads: 6, kvHeads: 3, keyDim: 32, valueDim: 96, keyType: 'Q8_0', valueType: 'Q8_0', snap: plain },
  { heads: 6, kvHeads: 3, keyDim: 64, valueDim: 32, keyType: 'Q4_0', valueType: 'Q4_0', snap: plain },
  { heads: 8, kvHeads: 1, keyDim: 128, keyType: 'F32', snap: { ...plain, window: 20, aggregation: 'max' } },
  { heads: 20, kvHeads: 1, keyDim: 33, pageSize: 32, snap: { ...plain, pooling: 'none', aggregation: 'sum' } },
  { heads: 4, kvHeads: 4, keyDim: 96, softcap: 3, snap: { ...plain, window: 1, kernel: 13, keepFirst: 4 } },
  { heads: 70, kvHeads: 1, keyDim: 16, snap: { ...plain, budget: 9, minPromptTokens: 9, window: 8 } },
];
const title = ({ heads, kvHeads, keyDim, keyType = 'F16', softcap = 0, snap }: Shape): string =>
  `${heads} heads on ${kvHeads}, ${keyDim} wide, ${keyType}, soft cap ${softcap}, ${JSON.stringify(snap)}`;

test.each(shapes.map((shape) => [title(shape), shape] as const))('%s', (_, shape) => {
  const { snap = plain, kvHeads } = shape;
  for (const length of [snap.budget + 1, 131]) {
    const rows = tokens(`snap ${length}`, length, shape);
    const voters = Math.min(snap.window, length);
    const kept = reference(
      shape,
      Array.from({ length: kvHeads }, () => rows),
      voters,
    );
    for (const team of teams) {
      const run = new AttentionRun(shape, team);
      run.kv.create(); // somebody else
      const sequence = run.kv.create();
      const own = rows.map((row) => ({ ...row, sequence }));
      const first = Math.max(1, length - snap.window - 3);
      const y = feed(run, own, length % 2 === 0 ? [length] : [first, length - first], voters);
      expect([run.kv.length(sequence), run.kv.cells(sequence)]).toEqual([length, snap.budget]);
      // The prompt itself is read whole.
      expectClose(y[length - 1], oracle(shape, rows[length - 1], rows), 1e-5, 2e-5);
      expectStored(run, sequence, rows, kept);
      run.dispose();
    }
  }
});

test('long prompts: several spans, any team and chunking keeps the same cells', () => {
  const shape: Shape = {
    heads: 4,
    kvHeads: 2,
    keyDim: 32,
    pageSize: 32,
    snap: { ...plain, budget: 300, minPromptTokens: 300, window: 16 },
  };
  const rows = tokens('long snap', 1400, shape);
  const kept = reference(shape, [rows, rows], 16);
  const runs: (readonly [Place, readonly number[]])[] = [
    [{ threads: 1 }, [1400]],
    [{ threads: 2 }, [700, 700]],
    [{ threads: 5 }, [3, 1300, 97]],
    [{ threads: 3 }, [1384, 16]],
  ];
  for (const [place, sizes] of runs) {
    const run = new AttentionRun(shape, place);
    const sequence = run.kv.create();
    const own = rows.map((row) => ({ ...row, sequence }));
    feed(run, own, sizes, 16);
    expectStored(run, sequence, rows, kept);
    run.dispose();
  }
  for (const card of cards) {
    const run = new AttentionRun(shape, card);
    const sequence = run.kv.create();
    const own = rows.map((row) => ({ ...row, sequence }));
    run.append(own.slice(0, 1384), sequence);
    run.run(own.slice(1384), false, new Map([[sequence, 16]]));
    expectStored(run, sequence, rows, kept);
    run.dispose();
  }
});

/** A team, and the card. */
const some: (readonly [string, Place])[] = [
  ['a team', { threads: 2 }],
  ...cards.map((card) => ['card', card] as const),
];

test.each(some)(
  'afterwards rows see what stayed, and a second turn chooses among it and what came since, %s',
  (_, place) => {
    const shape: Shape = {
      heads: 4,
      kvHeads: 2,
      keyDim: 32,
      snap: { ...plain, budget: 24, minPromptTokens: 24, window: 6, kernel: 3 },
    };
    const rows = tokens('turns', 120, shape);
    const run = new AttentionRun(shape, place);
    const sequence = run.kv.create();
    const other = run.kv.create();
    const own = rows.map((row) => ({ ...row, sequence }));
    const first = reference(shape, [rows.slice(0, 70), rows.slice(0, 70)], 6);
    feed(run, own.slice(0, 70), [70], 6);
    // Alone and beside somebody else's prompt.
    const alone = tokens('other', 30, shape, other);
    const y = own
      .slice(70, 90)
      .flatMap((row, i) => run.run(i % 2 === 0 ? [row] : [...alone.slice(i, i + 1), row]).slice(-1));
    const head = { ...shape, heads: 2, kvHeads: 1 };
    const ofHead = ({ q, k, v, sequence: s }: Row, kvHead: number): Row => ({
      q: q.slice(kvHead * 64, (kvHead + 1) * 64),
      k: k.slice(kvHead * 32, (kvHead + 1) * 32),
      v: v.slice(kvHead * 32, (kvHead + 1) * 32),
      sequence: s,
    });
    const cellsOf = (kvHead: number, end: number): Row[] => [
      ...first[kvHead].map((place) => rows[place]),
      ...rows.slice(70, end),
    ];
    y.forEach((row, i) => {
      for (const kvHead of [0, 1]) {
        const cells = cellsOf(kvHead, 71 + i).map((cell) => ofHead(cell, kvHead));
        const wanted = oracle(head, ofHead(rows[70 + i], kvHead), cells);
        expectClose(row.slice(kvHead * 64, (kvHead + 1) * 64), wanted, 1e-5, 2e-5);
      }
    });
    // The new turn has fewer rows than the window: as many vote.
    feed(run, own.slice(90, 94), [4], 4);
    const second = reference(shape, [cellsOf(0, 94), cellsOf(1, 94)], 4);
    const places = second.map((kept, kvHead) => kept.map((index) => rows.indexOf(cellsOf(kvHead, 94)[index])));
    expect([run.kv.length(sequence), run.kv.cells(sequence)]).toEqual([94, 24]);
    expectStored(run, sequence, rows, places);
    run.dispose();
  },
);

test('equal votes: the first cells stay', () => {
  const shape: Shape = {
    heads: 2,
    kvHeads: 1,
    keyDim: 16,
    snap: { ...plain, budget: 12, minPromptTokens: 12, window: 4 },
  };
  const rows = tokens('equal', 60, shape).map((row, _, all) => ({ ...row, k: all[0].k }));
  for (const team of teams) {
    const run = new AttentionRun(shape, team);
    const sequence = run.kv.create();
    feed(
      run,
      rows.map((row) => ({ ...row, sequence })),
      [60],
      4,
    );
    const { values } = stored(run, sequence);
    const all = rows.map(({ v }) => Buffer.from(quantiseRow('F16', Float64Array.from(v))).toString('hex'));
    expect(values[0].map((value) => all.indexOf(value.toString('hex')))).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7, 56, 57, 58, 59,
    ]);
    run.dispose();
  }
});

test('planted needles stay with their neighbours, and are found as in the whole cache', () => {
  const shape: Shape = {
    heads: 2,
    kvHeads: 1,
    keyDim: 64,
    snap: { ...plain, budget: 64, minPromptTokens: 64, window: 8, kernel: 5 },
  };
  const needles = [3, 77, 200, 311];
  const rows = tokens('needles', 400, shape);
  // The window's queries have a logit of about 15 with these keys; others' are noise.
  const direction = tokens('direction', 1, shape)[0].k;
  const size = Math.hypot(...direction);
  const towards = (x: Float32Array, times: number): Float32Array =>
    x.map((value, i) => (times * direction[i % 64]) / size + 0.1 * value);
  const planted = rows.map((row, index) => ({
    ...row,
    k: needles.includes(index) ? towards(row.k, 11) : row.k.map((value) => 0.1 * value),
    q: index >= 392 ? towards(row.q, 11) : row.q,
  }));
  const run = new AttentionRun(shape, { threads: 2 });
  const sequence = run.kv.create();
  const own = planted.map((row) => ({ ...row, sequence }));
  feed(run, own, [400], 8);
  const keys = planted.map(({ k }) => Buffer.from(quantiseRow('F16', Float64Array.from(k))).toString('hex'));
  const kept = stored(run, sequence).keys[0].map((key) => keys.indexOf(key.toString('hex')));
  for (const needle of needles) for (let near = needle - 2; near <= needle + 2; ++near) expect(kept).toContain(near);
  const probe = { ...own[399], q: towards(rows[0].q, 11) };
  const whole = oracle(shape, probe, [...planted, probe]);
  expectClose(run.run([probe])[0], whole, 0, 1e-3);
  // Other cells would not do.
  const random = [...planted.filter((_, index) => index % 7 === 0 && !needles.includes(index)), probe];
  const wrong = oracle(shape, probe, random);
  expect(Math.max(...wrong.map((value, i) => Math.abs(value - whole[i])))).toBeGreaterThan(0.1);
  run.dispose();
});

test.each(some)('layers with a sliding window keep their last cells, %s', (_, place) => {
  const shape: Shape = {
    heads: 2,
    kvHeads: 1,
    keyDim: 32,
    window: 20,
    snap: { ...plain, budget: 24, minPromptTokens: 24 },
  };
  const rows = tokens('sliding', 90, shape);
  const run = new AttentionRun(shape, place);
  const sequence = run.kv.create();
  const own = rows.map((row) => ({ ...row, sequence }));
  feed(run, own.slice(0, 60), [60], 8);
  expectStored(run, sequence, rows, [Array.from({ length: 24 }, (_, i) => 36 + i)]);
  run.run(own.slice(60)).forEach((row, i) => {
    expectClose(row, oracle(shape, rows[60 + i], rows.slice(0, 61 + i)), 1e-5, 2e-5);
  });
  run.dispose();
});

test.each(some)(
  'a fork keeps what the prompt had; nothing is lost when compression is begun and not finished, %s',
  (_, place) => {
    const shape: Shape = { heads: 2, kvHeads: 1, keyDim: 32, snap: { ...plain, budget: 24, minPromptTokens: 24 } };
    const rows = tokens('fork', 90, shape);
    const run = new AttentionRun(shape, place);
    const { pagesUsed } = run.kv.sizes();
    const sequence = run.kv.create();
    const own = rows.map((row) => ({ ...row, sequence }));
    run.run(own.slice(0, 70));
    const fork = run.kv.fork(sequence);
    feed(run, own.slice(70), [20], 8);
    expect([run.kv.cells(sequence), run.kv.cells(fork), run.kv.length(sequence)]).toEqual([24, 70, 90]);
    expectStored(run, fork, rows, [Array.from({ length: 70 }, (_, i) => i)]);
    // A prompt that was compressed can only be forgotten whole; what came behind it token by token.
    run.run([
      { ...rows[0], sequence },
      { ...rows[1], sequence },
    ]);
    run.kv.truncate(sequence, 91);
    expect([run.kv.cells(sequence), run.kv.length(sequence)]).toEqual([25, 91]);
    const second = run.kv.fork(sequence);
    run.kv.truncate(sequence, 89);
    expect([run.kv.cells(sequence), run.kv.length(sequence), run.kv.length(second)]).toEqual([0, 0, 91]);
    for (const one of [sequence, fork, second]) run.kv.release(one);
    expect(run.kv.sizes().pagesUsed).toBe(pagesUsed);
    run.dispose();
  },
);

test('votes of a row are all of its attention, and the average counts what does not exist as nothing', () => {
  const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 32, keyType: 'F16' };
  const rows = tokens('sum', 50, shape);
  const all = votesOf(
    Array.from({ length: 8 }, (_, i) => {
      const seen = attended(shape, rows[42 + i], 3, rows.slice(0, 43 + i));
      return Float64Array.from({ length: 50 }, (_unused, j) => seen[j] ?? 0);
    }),
    50,
  );
  expect(all.reduce((a, b) => a + b, 0)).toBeCloseTo(8, 9);
  expect([...pooled([3, 6, 9, 0], { kernel: 3, pooling: 'avg' })]).toEqual([3, 6, 5, 3]);
  expect([...pooled([3, 6, 9, 0], { kernel: 3, pooling: 'max' })]).toEqual([6, 9, 9, 9]);
});

test('options that make no sense are refused', () => {
  for (const wrong of [{ budget: 8 }, { window: 0 }, { kernel: 4 }, { keepFirst: 40 }]) {
    const shape: Shape = { heads: 2, kvHeads: 1, keyDim: 32, snap: { ...plain, ...wrong } };
    expect(() => new AttentionRun(shape, { threads: 1 })).toThrow(/out of range/);
  }
});
