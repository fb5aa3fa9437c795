// attention gives what dense float64 attention gives: for every head size, grouping, page size and stored type, for
// prompts, single tokens and trees, with windows and soft caps, while everything unused in the cache is NaN.
import type { KvDType } from '../../../lib/program/executor.js';
import { Generator } from '../../fixtures/random/generator.js';
import { emulatedDevice, isaLevels } from '../executors.js';
import { expectClose } from '../op-case.js';
import { AttentionRun, oracle, seen, tokens } from './attention-runs.js';
import type { Place, Row, Shape } from './attention-runs.js';

/** Keys and values are rounded as in the cache, so what remains is f32 arithmetic. */
const absolute = 2e-5;
/** Every level, and the emulated device; that teams of any size give the same bits is attention-bits.test.ts. */
const device = emulatedDevice();
const teams: Place[] = [
  ...isaLevels().map((isa, index) => ({ isa, threads: 1 + (index % 2) })),
  ...(device ? [{ device }] : []),
];

/** A device rounds queries and weights of a prompt, 32 rows and more, to halves (docs/kernels/cuda-attention.md). */
const tolerance = (place: Place, chunk: number): number => (place.device && chunk >= 32 ? 3e-3 : absolute);

/** Runs the rows in the given chunks at every level; every row (or every n-th) must be what the oracle says. */
function expectOracle(shape: Shape, rows: readonly Row[], chunk: number, every = 1): void {
  const wanted = rows.map((row, index) => (index % every === 0 ? oracle(shape, row, rows.slice(0, index + 1)) : null));
  for (const variant of teams) {
    const run = new AttentionRun(shape, variant);
    const sequence = run.kv.create();
    const y = run.runInChunks(
      rows.map((row) => ({ ...row, sequence })),
      chunk,
    );
    y.forEach((row, index) => expectClose(row, wanted[index] ?? row, 1e-5, tolerance(variant, chunk)));
    run.dispose();
  }
}

const title = ({
  heads,
  kvHeads,
  keyDim,
  valueDim,
  pageSize = 16,
  keyType = 'F16',
  valueType = 'F16',
  ...rest
}: Shape) =>
  `${heads} heads on ${kvHeads}, ${keyDim}${valueDim ? `/${valueDim}` : ''} wide, pages of ${pageSize}, ${keyType}/${valueType}` +
  (Object.keys(rest).length > 0 ? `, ${JSON.stringify(rest)}` : '');

const groups = [
  [1, 1],
  [4, 2],
  [8, 1],
  [6, 3],
  [20, 1],
] as const;
const types: readonly (readonly [KvDType, KvDType])[] = [
  ['F16', 'F16'],
  ['F32', 'F32'],
  ['Q8_0', 'Q8_0'],
  ['F16', 'Q8_0'],
];

describe('prompts and single tokens', () => {
  const dims = [16, 64, 80, 96, 128, 256];
  const shapes = dims.flatMap((keyDim, d) =>
    [1, 16, 32].flatMap((pageSize, p) =>
      [0, 1].map((turn): Shape => {
        const [heads, kvHeads] = groups[(d + 2 * p + 3 * turn) % groups.length];
        const [keyType, valueType] = types[(d + p + 2 * turn) % types.length];
        const fits = keyDim % 32 === 0;
        return {
          heads,
          kvHeads,
          keyDim,
          pageSize,
          keyType: fits ? keyType : 'F16',
          valueType: fits ? valueType : 'F32',
        };
      }),
    ),
  );
  test.each(shapes.map((shape) => [title(shape), shape]))('%s', (_, shape) => {
    const { pageSize = 16 } = shape;
    for (const length of [1, pageSize - 1, pageSize, pageSize + 1, 37]) {
      const rows = tokens('prompt', length, shape);
      expectOracle(shape, rows, Math.max(1, length));
      if (length > 1) expectOracle(shape, rows, 1);
    }
  });

  test.each([3, 5, 12, 33, 100, 120])('a head size of %i, which no vector width divides', (keyDim) => {
    for (const valueType of ['F16', 'F32'] as const) {
      const shape: Shape = { heads: 6, kvHeads: 2, keyDim, valueDim: keyDim + 7, keyType: valueType, valueType };
      expectOracle(shape, tokens('odd', 41, shape), 7);
    }
  });

  test('values wider and narrower than keys', () => {
    for (const [keyDim, valueDim] of [
      [192, 128],
      [32, 96],
    ]) {
      const shape: Shape = { heads: 4, kvHeads: 1, keyDim, valueDim, keyType: 'Q8_0', valueType: 'Q8_0' };
      expectOracle(shape, tokens('unequal', 45, shape), 45);
    }
  });

  test.each([
    ['Q4_0', 'Q4_0', 96, 96],
    ['Q4_0', 'Q4_0', 160, 32],
    ['Q4_0', 'F16', 32, 20],
    ['F16', 'Q4_0', 12, 224],
    ['Q4_0', 'Q8_0', 64, 64],
    ['Q8_0', 'Q4_0', 128, 256],
  ] as const)('%s keys and %s values, %i and %i wide', (keyType, valueType, keyDim, valueDim) => {
    for (const [heads, kvHeads] of [
      [4, 2],
      [7, 1],
    ]) {
      const shape: Shape = { heads, kvHeads, keyDim, valueDim, keyType, valueType, pageSize: heads > 4 ? 7 : 32 };
      const rows = tokens('four bits', 67, shape);
      expectOracle(shape, rows, 67, 9);
      expectOracle(shape, rows, heads, 9);
    }
  });

  test('contexts of several spans, alone and in one prompt', () => {
    const shape: Shape = { heads: 4, kvHeads: 1, keyDim: 32, pageSize: 32 };
    expectOracle(shape, tokens('long', 1301, shape), 433, 20);
  });
});

describe('windows and soft caps', () => {
  test.each([1, 5, 64, 100])('a window of %i', (window) => {
    const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 32, window };
    const rows = tokens('window', 211, shape);
    expectOracle(shape, rows, 211);
    expectOracle(shape, rows, 13);
  });

  test('a window over several spans', () => {
    const shape: Shape = { heads: 2, kvHeads: 1, keyDim: 16, window: 700 };
    expectOracle(shape, tokens('far', 1500, shape), 500, 20);
  });

  test.each([0.5, 20])('a soft cap of %d, with and without a window', (softcap) => {
    for (const window of [0, 33]) {
      const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 64, softcap, window };
      expectOracle(shape, tokens('cap', 97, shape), 97);
    }
  });
});

describe('trees', () => {
  const cases = [3, 17, 64, 65, 130].flatMap((size) => [0, 5].map((window) => [size, window] as const));
  test.each(cases)('%i nodes, window %i', (size, window) => {
    const shape: Shape = { heads: 4, kvHeads: 2, keyDim: 32, window };
    const generator = new Generator(size, 'tree');
    const committed = 50;
    const all = tokens('tree', committed + size, shape);
    const nodes = all.slice(committed).map((row, node) => ({ ...row, parent: generator.integer(-1, node - 1) }));
    const rows: Row[] = [...all.slice(0, committed), ...nodes];
    const wanted = nodes.map((node, index) =>
      oracle(
        shape,
        node,
        seen(rows, committed + index, committed).map((cell) => rows[cell]),
      ),
    );
    for (const variant of teams) {
      const run = new AttentionRun(shape, variant);
      const sequence = run.kv.create();
      const owned = rows.map((row) => ({ ...row, sequence }));
      run.run(owned.slice(0, committed));
      const y = run.run(owned.slice(committed));
      y.forEach((row, index) => expectClose(row, wanted[index], 1e-5, absolute));
      run.dispose();
    }
  });
});
