// attention under patterns of layers, on a card and, to see that the oracle is right, on the CPU: sinks at other distances and strided blocks against a
// float64 oracle, with the same bits in any batch; pages that hold nothing that is seen are gone, others are poisoned.
import { fullPattern, sees } from '../../../lib/program/kv-policy.js';
import type { LayerPattern, SinkRotation } from '../../../lib/program/kv-policy.js';
import { emulatedDevice } from '../executors.js';
import { expectClose, expectSameBits } from '../op-case.js';
import { AttentionRun, layer, layers, rounded, tokens, valueDimOf } from './attention-runs.js';
import type { Row, Shape } from './attention-runs.js';

const device = emulatedDevice();

interface Case {
  readonly shape: Shape;
  readonly pattern: LayerPattern;
  readonly rotation?: SinkRotation;
}

/** Only the layer that is tested has the pattern. `turned`: pairs of a query that are turned for sinks. */
function caseOf(
  shape: Shape,
  own: Partial<LayerPattern>,
  turn?: { distance: SinkRotation['distance']; limit: number; turned: number },
): Case {
  const pattern = { ...fullPattern, ...own };
  const patterns = Array.from({ length: layers }, (_, index) => (index === layer ? pattern : fullPattern));
  if (!turn) return { shape: { ...shape, policy: { layers: patterns } }, pattern };
  const { distance, limit, turned } = turn;
  const other = Float64Array.from({ length: 2 }, () => 0.3); // a table of another layer comes before
  const own_table = Float64Array.from({ length: turned }, (_, i) => 100 ** (-i / turned));
  const rotation = {
    distance,
    limit,
    tables: [other, own_table],
    layers: patterns.map((_, i) => (i === layer ? 1 : -1)),
  };
  return { shape: { ...shape, policy: { layers: patterns, rotation } }, pattern, rotation };
}

const turnedBy = (x: Float64Array, table: Float64Array, positions: number): Float64Array => {
  const y = x.slice();
  table.forEach((frequency, i) => {
    const [a, b] = [x[i], x[i + table.length]];
    const [cosine, sine] = [Math.cos(positions * frequency), Math.sin(positions * frequency)];
    y[i] = a * cosine - b * sine;
    y[i + table.length] = b * cosine + a * sine;
  });
  return y;
};

/** Dense attention of the last of these cells over those that it sees. */
function oracle({ shape, pattern, rotation }: Case, cells: readonly Row[]): Float64Array {
  const { heads, kvHeads, keyDim, softcap = 0, keyType = 'F16', valueType = 'F16' } = shape;
  const valueDim = valueDimOf(shape);
  const y = new Float64Array(heads * valueDim);
  const position = cells.length - 1;
  const { q } = cells[position];
  const table = rotation?.tables[rotation.layers[layer]];
  const far = rotation?.distance === 'ceiling' ? rotation.limit : Math.min(position, rotation?.limit ?? 0);
  for (let head = 0; head < heads; ++head) {
    const kvHead = Math.floor((head * kvHeads) / heads);
    const query = Float64Array.from(q.subarray(head * keyDim, (head + 1) * keyDim));
    const farQuery = table ? turnedBy(query, table, far - position) : query;
    const seen = cells.flatMap((cell, j) => (sees(pattern, position, j, kvHead, kvHeads) ? [{ cell, j }] : []));
    const scores = seen.map(({ cell, j }) => {
      let key = rounded(cell.k, kvHead, keyDim, keyType);
      const beyond = pattern.window > 0 && position - j >= pattern.window;
      if (beyond && table && rotation?.distance === 'ceiling') key = turnedBy(key, table, -j);
      const dot = key.reduce((sum, value, i) => sum + value * (beyond ? farQuery : query)[i], 0);
      const score = dot / Math.sqrt(keyDim);
      return softcap > 0 ? softcap * Math.tanh(score / softcap) : score;
    });
    const largest = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - largest));
    const total = weights.reduce((a, b) => a + b, 0);
    seen.forEach(({ cell }, index) => {
      const value = rounded(cell.v, kvHead, valueDim, valueType);
      for (let i = 0; i < valueDim; ++i) y[head * valueDim + i] += (weights[index] / total) * value[i];
    });
  }
  return y;
}

const q4 = { keyType: 'Q4_0', valueType: 'Q4_0' } as const;
const q8 = { keyType: 'Q8_0', valueType: 'Q8_0' } as const;
const block = { block: 16, local: 2, stride: 3 };
const cases: readonly (readonly [string, Case])[] = [
  [
    'LM-Infinite',
    caseOf(
      { heads: 4, kvHeads: 2, keyDim: 32 },
      { sinks: 5, window: 40 },
      { distance: 'ceiling', limit: 40, turned: 16 },
    ),
  ],
  [
    'StreamingLLM, Q8_0, more sinks than a page has, half of a head turned',
    caseOf(
      { heads: 3, kvHeads: 1, keyDim: 96, softcap: 15, ...q8 },
      { sinks: 20, window: 150 },
      { distance: 'cacheIndex', limit: 169, turned: 24 },
    ),
  ],
  [
    'LM-Infinite on F32, large values',
    caseOf(
      { heads: 2, kvHeads: 1, keyDim: 48, valueDim: 144, keyType: 'F32', valueType: 'F32', pageSize: 32 },
      { sinks: 1, window: 33 },
      { distance: 'ceiling', limit: 20, turned: 24 },
    ),
  ],
  [
    'StreamingLLM, Q4_0',
    caseOf(
      { heads: 2, kvHeads: 1, keyDim: 64, pageSize: 32, ...q4 },
      { sinks: 9, window: 40 },
      { distance: 'cacheIndex', limit: 48, turned: 32 },
    ),
  ],
  ['sinks where they are', caseOf({ heads: 11, kvHeads: 1, keyDim: 16, pageSize: 48 }, { sinks: 70, window: 130 })],
  ['strided blocks', caseOf({ heads: 4, kvHeads: 2, keyDim: 32 }, { ...block, headStep: 1, alwaysFirst: true })],
  [
    'blocks of several pages, dense heads, Q8_0',
    caseOf(
      { heads: 3, kvHeads: 3, keyDim: 32, ...q8 },
      { block: 64, local: 1, stride: 3, headOffset: 1, denseHeads: 1 },
    ),
  ],
  [
    'several blocks in a page, 128 wide',
    caseOf({ heads: 2, kvHeads: 2, keyDim: 128, pageSize: 32 }, { ...block, stride: 5, local: 1, headStep: 2 }),
  ],
  [
    'odd dims and pages',
    caseOf(
      { heads: 2, kvHeads: 1, keyDim: 20, pageSize: 3 },
      { sinks: 5, window: 33 },
      { distance: 'ceiling', limit: 33, turned: 8 },
    ),
  ],
  ['small blocks', caseOf({ heads: 2, kvHeads: 2, keyDim: 16 }, { block: 8, local: 3, stride: 4, headStep: 2 })],
];

const places = [['cpu', {}] as const, ...(device ? [['card', { device }] as const] : [])];

const runs = cases.flatMap(([name, one]) =>
  places
    .filter(([where]) => where === 'card' || name === 'LM-Infinite' || name === 'strided blocks')
    .map(([where, place]) => [where, name, one, place] as const),
);

describe.each(runs)('%s, %s', (where, _, one, place) => {
  const { shape } = one;
  const text = tokens('patterns', 340, shape);
  const begun = (...lengths: readonly number[]) => {
    const run = new AttentionRun(shape, place);
    const sequences = lengths.map((length) => {
      const sequence = run.kv.create();
      run.append(text.slice(0, length), sequence);
      return sequence;
    });
    return { run, sequences };
  };
  const own = (from: number, end: number, sequence: number): Row[] =>
    text.slice(from, end).map((row) => ({ ...row, sequence }));
  /** Row by row, alone. */
  const alone = (from: number, end: number): Float32Array[] => {
    const { run, sequences } = begun(from);
    const y = run.runInChunks(own(from, end, sequences[0]), 1);
    run.dispose();
    return y;
  };

  test('tokens: what float64 says, with the same bits beside others and in drafts', () => {
    const lengths = [0, 16, 41, 128, 170, 320];
    const wanted = lengths.map((length) => {
      const [y] = alone(length, length + 1);
      expectClose(y, oracle(one, text.slice(0, length + 1)), 1e-5, 3e-5);
      return y;
    });
    const { run, sequences } = begun(...lengths);
    const y = run.run(lengths.flatMap((length, i) => own(length, length + 1, sequences[i])));
    y.forEach((row, i) => expectSameBits(row, wanted[i], `after ${lengths[i]}`));
    run.dispose();
    for (const from of [35, 270]) {
      const chain = begun(from, 200);
      const rows = [...own(200, 201, chain.sequences[1]), ...own(from, from + 11, chain.sequences[0])];
      const single = alone(from, from + 11);
      chain.run
        .run(rows)
        .slice(1)
        .forEach((row, i) => expectSameBits(row, single[i], `drafted after ${from}`));
      chain.run.dispose();
    }
  });

  test('a tree: the path that is kept has the bits of its tokens', () => {
    const from = 270;
    const { run, sequences } = begun(from);
    const [path, parents] = [
      [1, 3, 4],
      [-1, -1, 1, 1, 3, 2],
    ];
    const wrong = tokens('wrong', parents.length, shape);
    const tree = parents.map((parent, node) => {
      const depth = path.indexOf(node);
      return { ...(depth < 0 ? wrong[node] : text[from + depth]), sequence: sequences[0], parent };
    });
    const y = run.run(tree);
    const wanted = alone(from, from + 5);
    path.forEach((node, i) => expectSameBits(y[node], wanted[i], `node ${node}`));
    run.kv.keep(sequences[0], Int32Array.from(path));
    run.run(own(from + 3, from + 5, sequences[0])).forEach((row, i) => expectSameBits(row, wanted[3 + i], 'behind it'));
    run.dispose();
  });

  test('prompts: what float64 says, with the same bits in any chunks', () => {
    const end = 230;
    const first = begun(0);
    const wanted = first.run.run(own(0, end, first.sequences[0]));
    first.run.dispose();
    const most = where === 'cpu' ? 3e-5 : 4e-3; // halves
    wanted.forEach((y, row) => {
      if (row % 7 === 3 || row > 220) expectClose(y, oracle(one, text.slice(0, row + 1)), 0, most);
    });
    const { run, sequences } = begun(0);
    const y = run.runInChunks(own(0, end, sequences[0]), 77);
    y.slice(0, 154).forEach((row, i) => expectSameBits(row, wanted[i], `row ${i}`));
    run.dispose();
  });
});
