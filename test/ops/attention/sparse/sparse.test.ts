// Rows that attend to few cells attend to those that the reference chooses by labels, exactly: for every size of labels, type
// and grouping, with windows, forced cells and trees, while everything unused in the cache is NaN.
import { Generator } from '../../../fixtures/random/generator.js';
import { isaLevels } from '../../executors.js';
import { expectClose, expectSameBits } from '../../op-case.js';
import { AttentionRun, seen, tokens } from '../attention-runs.js';
import type { Row, Shape } from '../attention-runs.js';
import { labelsOf, sparseOracle } from './sparse-cases.js';

const absolute = 2e-5;
const own = (rows: readonly Row[], sequence: number): Row[] => rows.map((row) => ({ ...row, sequence }));

/** All rows but the last ones as a prompt, these one by one; every level must give what the oracle says. */
function expectOracle(shape: Shape, length: number, last: number, label = 'sparse'): void {
  const rows = tokens(label, length, shape);
  const wanted = rows
    .slice(-last)
    .map((row, index) => sparseOracle(shape, row, rows.slice(0, length - last + index + 1)));
  isaLevels().forEach((isa, level) => {
    const run = new AttentionRun(shape, { isa, threads: 1 + (level % 2) });
    const sequence = run.kv.create();
    if (length > 1000) run.append(own(rows.slice(0, -last), sequence), sequence);
    else run.run(own(rows.slice(0, -last), sequence));
    own(rows.slice(-last), sequence).forEach((row, index) => {
      expectClose(run.run([row], true)[0], wanted[index], 1e-5, absolute);
    });
    run.dispose();
  });
}

describe.each([2, 4, 8, 16])('labels of %i bits', (bits) => {
  test.each([8, 24, 40])('%i channels', (channels) => {
    for (const grouped of [false, true]) {
      const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 48, pageSize: 16 };
      expectOracle({ ...shape, labels: labelsOf(shape, { channels, bits, grouped }) }, 103, 2);
    }
  });

  test.each([1, 5, 32, 48])('pages of %i', (pageSize) => {
    const shape: Shape = { heads: 6, kvHeads: 2, keyDim: 32, pageSize };
    const labels = labelsOf(shape, { bits, perHead: true, tokens: 17, grouped: pageSize === 48 });
    expectOracle({ ...shape, labels }, 110, 1);
  });

  test.each(['F32', 'F16', 'Q8_0', 'Q4_0'] as const)('%s keys and values', (type) => {
    for (const [heads, kvHeads] of [
      [3, 3],
      [7, 1],
      [20, 2],
    ]) {
      const shape: Shape = { heads, kvHeads, keyDim: 64, keyType: type, valueType: type };
      expectOracle(
        { ...shape, labels: labelsOf(shape, { bits, channels: 32, tokens: 70, grouped: heads > 6 }) },
        101,
        1,
      );
    }
  });
});

test('forced cells, shares, thresholds and windows', () => {
  const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 32 };
  const options = [
    { recent: 5, sinks: 4 },
    { recent: 15 },
    { sinks: 15 },
    { share: 4 },
    { share: 3, sinks: 2, threshold: 100 },
  ];
  for (const option of options) {
    for (const window of [0, 90]) {
      const labels = labelsOf(shape, { ...option, grouped: window > 0 });
      expectOracle({ ...shape, window, labels }, 128, 2);
    }
  }
});

test('long contexts, where a sample finds the threshold', () => {
  const shape: Shape = { heads: 2, kvHeads: 1, keyDim: 16 };
  for (const share of [2, 16]) expectOracle({ ...shape, labels: labelsOf(shape, { share }) }, 4403, 1);
});

test('equal scores: the first cells are chosen', () => {
  const shape: Shape = { heads: 2, kvHeads: 1, keyDim: 16 };
  const full: Shape = { ...shape, labels: labelsOf(shape, { tokens: 40 }) };
  const rows = tokens('equal', 5000, full);
  const same = rows.map((row, index) => ({ ...row, k: rows[index % 3].k }));
  const last = same.length - 1;
  const wanted = sparseOracle(full, same[last], same);
  for (const isa of isaLevels()) {
    const run = new AttentionRun(full, { isa });
    const sequence = run.kv.create();
    run.append(own(same.slice(0, -1), sequence), sequence);
    expectClose(run.run(own(same.slice(-1), sequence), true)[0], wanted, 1e-5, absolute);
    run.dispose();
  }
});

test.each(['F16', 'Q8_0', 'Q4_0'] as const)('who chooses all has the bits of plain attention, %s', (type) => {
  const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 32, keyType: type, valueType: type };
  const rows = tokens('all', 700, shape);
  for (const isa of isaLevels()) {
    const results = [
      shape,
      { ...shape, labels: labelsOf(shape, { tokens: 700 }) },
      { ...shape, labels: labelsOf(shape, { threshold: 700 }) },
      { ...shape, labels: { ...labelsOf(shape, {}), sparse: Uint8Array.of(1, 0, 1) } },
    ].map((one) => {
      const run = new AttentionRun(one, { isa, threads: 2 });
      const y = run.run(own(rows, run.kv.create()), true);
      run.dispose();
      return y;
    });
    for (const y of results.slice(1)) y.forEach((row, index) => expectSameBits(row, results[0][index], `row ${index}`));
  }
});

describe('a row alone says what it chooses', () => {
  const shape: Shape = { heads: 8, kvHeads: 2, keyDim: 64 };
  const sparse: Shape = { ...shape, labels: labelsOf(shape, { channels: 16, tokens: 50, recent: 3 }) };
  const rows = tokens('alone', 400, sparse);

  test.each(isaLevels())('%s: in any chunks, with others and any threads, after forks and rollbacks', (isa) => {
    const plain = (of: readonly Row[]): Float32Array[] => {
      const run = new AttentionRun(sparse, { isa });
      const sequence = run.kv.create();
      const y = own(of, sequence).map((row) => run.run([row], true)[0]);
      run.dispose();
      return y;
    };
    const expectRows = (actual: readonly Float32Array[], wanted: readonly Float32Array[], what: string): void =>
      actual.forEach((row, index) => expectSameBits(row, wanted[index], `${what}, row ${index}`));
    const wanted = plain(rows);
    const short = tokens('short', 60, sparse);
    const others = plain(short);
    for (const threads of [1, 3]) {
      const run = new AttentionRun(sparse, { isa, threads });
      const [a, b] = [run.kv.create(), run.kv.create()];
      expectRows(run.run(own(rows.slice(0, 390), a), true), wanted.slice(0, 390), 'at once');
      const mixed = run.run([...own(short, b), ...own(rows.slice(390, 395), a)], true);
      expectRows(mixed.slice(0, 60), others, 'others');
      expectRows(mixed.slice(60), wanted.slice(390, 395), 'beside others');
      const fork = run.kv.fork(a);
      run.run(own(tokens('elsewhere', 40, sparse), a), true);
      expectRows(run.run(own(rows.slice(395), fork), true), wanted.slice(395), 'fork');
      run.kv.truncate(fork, 201);
      run.run(own(tokens('refused', 60, sparse), fork), true);
      run.kv.truncate(fork, 203 - 2);
      expectRows(run.run(own(rows.slice(201), fork), true), wanted.slice(201), 'rolled back');
      // Restored cells have their labels, too.
      const cells = new Uint8Array(300 * run.kv.sizes().cellBytes);
      run.kv.readCells(fork, 0, 300, cells);
      const restored = run.kv.create();
      run.kv.writeCells(restored, 300, cells);
      expectRows(run.run(own(rows.slice(300), restored), true), wanted.slice(300), 'restored');
      run.dispose();
    }
  });

  test('rows without logits attend to all', () => {
    const [with_, without] = [sparse, shape].map((one) => {
      const run = new AttentionRun(one, {});
      const y = run.run(own(rows, run.kv.create()));
      run.dispose();
      return y;
    });
    with_.forEach((row, index) => expectSameBits(row, without[index], `row ${index}`));
  });
});

describe('trees', () => {
  test.each([3, 30, 70])('%i nodes, and the path that is kept', (size) => {
    const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 32 };
    for (const grouped of [false, true]) {
      const sparse: Shape = { ...shape, labels: labelsOf(shape, { grouped, tokens: 20, bits: 8 }) };
      const generator = new Generator(size, 'tree');
      const committed = 45;
      const all = tokens('tree', committed + size + 1, sparse);
      const nodes = all
        .slice(committed, -1)
        .map((row, node) => ({ ...row, parent: generator.integer(Math.max(-1, node - 5), node - 1) }));
      const rows: Row[] = [...all.slice(0, committed), ...nodes];
      const pathTo = (node: number): number[] => seen(rows, committed + node, committed);
      for (const isa of isaLevels()) {
        const run = new AttentionRun(sparse, { isa, threads: 2 });
        const sequence = run.kv.create();
        run.run(own(rows.slice(0, committed), sequence));
        run.run(own(nodes, sequence), true).forEach((row, node) => {
          const cells = pathTo(node).map((cell) => rows[cell]);
          expectClose(row, sparseOracle(sparse, nodes[node], cells), 1e-5, absolute);
        });
        const path = pathTo(size - 1);
        run.kv.keep(
          sequence,
          Int32Array.from(path.slice(committed), (cell) => cell - committed),
        );
        const next = all[all.length - 1];
        const wanted = sparseOracle(sparse, next, [...path.map((cell) => rows[cell]), next]);
        expectClose(run.run(own([next], sequence), true)[0], wanted, 1e-5, absolute);
        run.dispose();
      }
    }
  });
});

test('associative recall: of 4096 pairs the one that is asked for is found among 32', () => {
  const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 64 };
  const sparse: Shape = { ...shape, labels: labelsOf(shape, { channels: 16, tokens: 32 }) };
  const pairs = tokens('pairs', 4096, shape).map((pair) => ({
    ...pair,
    k: pair.k.map((value) => (value < 0 ? -1 : 1)),
  }));
  const last = pairs[4095];
  const runs = [sparse, shape].map((one) => {
    const run = new AttentionRun(one, {});
    const sequence = run.kv.create();
    run.runInChunks(own(pairs.slice(0, -1), sequence), 1024);
    return { run, sequence };
  });
  for (const asked of [0, 7, 1500, 2048, 4000, 4094]) {
    // Each query head asks for the key of one cell.
    const q = Float32Array.from(last.q, (_, i) => 4 * pairs[asked].k[Math.floor(i / 128) * 64 + (i % 64)]);
    const [found, wanted] = runs.map(({ run, sequence }) => {
      const [y] = run.run(own([{ ...last, q }], sequence), true);
      run.kv.truncate(sequence, 4095);
      return y;
    });
    expectClose(found, Float64Array.from(wanted), 0, 1e-3);
    expectClose(
      found,
      Float64Array.from(q, (_, i) => pairs[asked].v[Math.floor(i / 128) * 64 + (i % 64)]),
      0,
      2e-2,
    );
  }
  for (const { run } of runs) run.dispose();
});
