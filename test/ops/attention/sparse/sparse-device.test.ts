// Rows that choose by labels, on a card: the same cells as the reference chooses, attended to exactly, whatever the labels,
// types, groups and pages are, while everything unused is NaN; labels are the CPU's, so both choose the same.
import { native } from '../../../../lib/native.js';
import { Generator } from '../../../fixtures/random/generator.js';
import { cardName, emulatedDevice } from '../../executors.js';
import { expectClose, expectSameBits } from '../../op-case.js';
import { AttentionRun, seen, tokens } from '../attention-runs.js';
import type { Row, Shape } from '../attention-runs.js';
import { labelsOf, sparseOracle } from './sparse-cases.js';

const device = emulatedDevice();
const describeDevice = device ? describe : describe.skip;
const place = device ? { device } : {};
const absolute = 2e-5;
const own = (rows: readonly Row[], sequence: number): Row[] => rows.map((row) => ({ ...row, sequence }));

/** All rows but the last ones as a prompt, these one by one and then, after a rollback, all at once. */
function expectOracle(shape: Shape, length: number, last: number): void {
  const rows = tokens('sparse', length, shape);
  const wanted = rows
    .slice(-last)
    .map((row, index) => sparseOracle(shape, row, rows.slice(0, length - last + index + 1)));
  const run = new AttentionRun(shape, place);
  const sequence = run.kv.create();
  if (length > 1000) run.append(own(rows.slice(0, -last), sequence), sequence);
  else run.run(own(rows.slice(0, -last), sequence));
  const alone = own(rows.slice(-last), sequence).map((row) => run.run([row], true)[0]);
  alone.forEach((y, index) => {
    expectClose(y, wanted[index], 1e-5, absolute);
  });
  if (last > 1) {
    run.kv.truncate(sequence, length - last);
    run.run(own(rows.slice(-last), sequence), true).forEach((y, index) => {
      expectSameBits(y, alone[index], `row ${index} of a chain`);
    });
  }
  run.dispose();
}

describeDevice.each([2, 4, 8, 16])('labels of %i bits', (bits) => {
  test.each([8, 40])('%i channels', (channels) => {
    for (const grouped of [false, true]) {
      const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 48, pageSize: 16 };
      expectOracle({ ...shape, labels: labelsOf(shape, { channels, bits, grouped }) }, 103, 2);
    }
  });

  test.each([5, 48])('pages of %i', (pageSize) => {
    const shape: Shape = { heads: 6, kvHeads: 2, keyDim: 32, pageSize };
    const labels = labelsOf(shape, { bits, perHead: true, tokens: 17, grouped: pageSize === 48 });
    expectOracle({ ...shape, labels }, 110, 1);
  });
});

describeDevice('shapes', () => {
  test.each([
    ['F32', 3, 3, 64],
    ['F16', 7, 1, 96],
    ['F16', 20, 2, 128],
    ['Q8_0', 3, 3, 64],
    ['Q8_0', 11, 1, 160],
    ['Q4_0', 7, 1, 96],
    ['F32', 9, 1, 144],
  ] as const)('%s, %i heads on %i, %i wide', (type, heads, kvHeads, keyDim) => {
    const shape: Shape = { heads, kvHeads, keyDim, keyType: type, valueType: type, pageSize: 32 };
    const labels = labelsOf(shape, { channels: 32, tokens: 70, grouped: heads > 6 });
    expectOracle({ ...shape, labels }, 140, 1);
  });

  test.each([
    ['Q8_0', 'F16'],
    ['F16', 'Q8_0'],
    ['F16', 'Q4_0'],
    ['Q8_0', 'Q4_0'],
    ['F32', 'F16'],
  ] as const)('keys of %s, values of %s, soft cap', (keyType, valueType) => {
    const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 64, valueDim: 32, keyType, valueType, softcap: 15 };
    expectOracle({ ...shape, labels: labelsOf(shape, { bits: 8, tokens: 33 }) }, 90, 1);
  });

  test('forced cells, shares, thresholds and windows', () => {
    const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 32 };
    const options = [{ recent: 5, sinks: 4 }, { recent: 15 }, { share: 3, sinks: 2, threshold: 100 }];
    for (const option of options) {
      for (const window of [0, 90]) {
        const labels = labelsOf(shape, { ...option, grouped: window > 0 });
        expectOracle({ ...shape, window, labels }, 128, 2);
      }
    }
  });

  test('long texts: several parts of labels, several chunks of what is chosen', () => {
    const shape: Shape = { heads: 2, kvHeads: 1, keyDim: 16 };
    for (const [share, grouped] of [
      [2, true],
      [16, false],
    ] as const)
      expectOracle({ ...shape, labels: labelsOf(shape, { share, grouped }) }, 4403, 2);
  });

  test('equal scores: the first cells are chosen', () => {
    const shape: Shape = { heads: 2, kvHeads: 1, keyDim: 16 };
    const sparse: Shape = { ...shape, labels: labelsOf(shape, { tokens: 140 }) };
    const rows = tokens('equal', 2100, sparse);
    const same = rows.map((row, index) => ({ ...row, k: rows[index % 3].k }));
    const run = new AttentionRun(sparse, place);
    const sequence = run.kv.create();
    run.append(own(same.slice(0, -1), sequence), sequence);
    const [y] = run.run(own(same.slice(-1), sequence), true);
    expectClose(y, sparseOracle(sparse, same[2099], same), 1e-5, absolute);
    run.dispose();
  });
});

describeDevice.each(['F16', 'Q8_0'] as const)('%s', (type) => {
  const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 32, keyType: type, valueType: type };

  test('who chooses all has the bits of plain attention', () => {
    const rows = tokens('all', 200, shape);
    const results = [
      shape,
      { ...shape, labels: labelsOf(shape, { tokens: 200 }) },
      { ...shape, labels: { ...labelsOf(shape, {}), sparse: Uint8Array.of(1, 0, 1) } },
    ].map((one) => {
      const run = new AttentionRun(one, place);
      const sequence = run.kv.create();
      run.run(own(rows.slice(0, 195), sequence));
      const y = run.run(own(rows.slice(195), sequence), true);
      run.dispose();
      return y;
    });
    for (const y of results.slice(1)) y.forEach((row, index) => expectSameBits(row, results[0][index], `row ${index}`));
  });

  test('a row has the same bits beside prompts and others, after forks and rollbacks, and the CPU chooses the same', () => {
    const sparse: Shape = { ...shape, labels: labelsOf(shape, { channels: 16, tokens: 40, recent: 3 }) };
    const rows = tokens('alone', 100, sparse);
    const plain = (at: typeof place): Float32Array[] => {
      const run = new AttentionRun(sparse, at);
      const sequence = run.kv.create();
      run.run(own(rows.slice(0, 90), sequence));
      const y = own(rows.slice(90), sequence).map((row) => run.run([row], true)[0]);
      run.dispose();
      return y;
    };
    const wanted = plain(place);
    plain({}).forEach((y, index) => expectClose(wanted[index], Float64Array.from(y), 1e-5, absolute));
    const expectRows = (actual: readonly Float32Array[], from: number, what: string): void =>
      actual.forEach((row, index) => expectSameBits(row, wanted[from + index], `${what}, row ${index}`));
    const run = new AttentionRun(sparse, place);
    const [a, b] = [run.kv.create(), run.kv.create()];
    const short = own(tokens('short', 80, sparse), b);
    run.run(own(rows.slice(0, 90), a));
    expectRows(run.run([...short.slice(0, 60), ...own(rows.slice(90, 95), a)], true).slice(60), 0, 'beside a prompt');
    const fork = run.kv.fork(a);
    run.run(own(tokens('elsewhere', 40, sparse), a), true);
    const mixed = run.run([...short.slice(60, 63), ...own(rows.slice(95), fork)], true);
    expectRows(mixed.slice(3), 5, 'fork');
    run.kv.truncate(fork, 93);
    run.run(own(tokens('refused', 20, sparse), fork), true);
    run.kv.truncate(fork, 93);
    expectRows(run.run(own(rows.slice(93), fork), true), 3, 'rolled back');
    const cells = new Uint8Array(91 * run.kv.sizes().cellBytes);
    run.kv.readCells(fork, 0, 91, cells);
    const restored = run.kv.create();
    run.kv.writeCells(restored, 91, cells);
    expectRows(run.run(own(rows.slice(91), restored), true), 1, 'restored');
    // A prompt's last row chooses, the others do not.
    const prompt = run.kv.create();
    const y = run.run(own(rows.slice(0, 91), prompt), true);
    expectSameBits(y[90], wanted[0], 'last row of a prompt');
    run.dispose();
  });
});

describeDevice('trees', () => {
  test.each([3, 20])('%i nodes, and the path that is kept', (size) => {
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
      const run = new AttentionRun(sparse, place);
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
  });
});

describeDevice('which kernel', () => {
  test('labels are written, scanned and chosen from; chosen cells are gathered and merged', () => {
    if (cardName !== 'cuda-emulated') return; // others keep no list
    const kernels = native()
      .deviceKernels(device?.library ?? '')
      .split('\n');
    const wanted = ['make_labels', 'scan_labels', 'take_cells', 'gather_chunks', 'merge_chosen'];
    expect(kernels).toEqual(expect.arrayContaining(wanted));
  });
});
