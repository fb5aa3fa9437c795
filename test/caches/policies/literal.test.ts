// The attention of endless policies against their papers' words: vectors as they are before any rotation, turned by the
// distance or the place that the rule names, summed in float64. Nothing of the cache's own ways is known here.
import { native, nativeCall, type NativeKvCache } from '../../../lib/native.js';
import { ProgramBuilder } from '../../../lib/program/builder.js';
import { dtypes } from '../../../lib/program/dtype.js';
import { fullPattern, nativePolicy, type SinkRotation } from '../../../lib/program/kv-policy.js';
import { NativeProgram } from '../../../lib/program/native-program.js';
import { random } from '../../ops/op-case.js';

const [heads, dim, rotated] = [2, 8, 6];
const frequencies = Float32Array.of(1, 0.2, 0.013);

function program(): NativeProgram {
  const builder = new ProgramBuilder('endless', () => undefined);
  const q = builder.input('q', 'F32', 'rows', heads * dim);
  const k = builder.input('k', 'F32', 'rows', dim);
  const v = builder.input('v', 'F32', 'rows', dim);
  const positions = builder.input('positions', 'I32', 'rows');
  const table = builder.ropeTable(positions, builder.constant('frequencies', 1, rotated / 2, frequencies), 1);
  builder.kvWrite(builder.rope(k, table, 1, 'halves'), v, 0);
  const turned = builder.rope(q, table, heads, 'halves');
  const y = builder.attention(turned, { layer: 0, heads, valueDim: dim, scale: 1 });
  return new NativeProgram(
    builder.finish({ y }, { layers: 1, kvHeads: 1, keyDim: dim, valueDim: dim }),
    () => new Uint8Array(),
    {
      threads: 2,
    },
  );
}

interface Rule extends Pick<SinkRotation, 'distance' | 'limit'> {
  readonly sinks: number;
  readonly window: number;
}

function cacheOf({ sinks, window, distance, limit }: Rule): NativeKvCache {
  const id = dtypes.F32.id;
  const policy = {
    layers: [{ ...fullPattern, sinks, window }],
    rotation: { distance, limit, tables: [Float64Array.from(frequencies)], layers: [0] },
  };
  const sizes = { layers: 1, kvHeads: 1, keyDim: dim, valueDim: dim, pageSize: 8, maxPages: 2048 };
  return new (native().KvCache)({ ...sizes, keyType: id, valueType: id, policy: nativePolicy(policy) });
}

/** `rows` rows that follow what the sequence has; token t's vectors are those of t % period. */
const period = 997;
const vectors = {
  q: random('literal q', period * heads * dim, 1),
  k: random('literal k', period * dim, 1),
  v: random('literal v', period * dim, 1),
};
const at = (name: 'q' | 'k' | 'v', token: number, width: number): Float32Array =>
  vectors[name].subarray((token % period) * width, ((token % period) + 1) * width);
const rowsOf = (name: 'q' | 'k' | 'v', begin: number, rows: number, width: number): Float32Array =>
  Float32Array.from({ length: rows * width }, (_, i) => at(name, begin + Math.floor(i / width), width)[i % width]);

function feed(compiled: NativeProgram, kv: NativeKvCache, sequence: number, rows: number): Float32Array {
  const begin = kv.length(sequence);
  const y = new Float32Array(rows * heads * dim).fill(NaN);
  const positions = Int32Array.from({ length: rows }, (_, i) => begin + i);
  compiled.runSync(
    {
      q: rowsOf('q', begin, rows, heads * dim),
      k: rowsOf('k', begin, rows, dim),
      v: rowsOf('v', begin, rows, dim),
      positions,
    },
    {
      tokens: new Int32Array(rows),
      positions,
      sequences: new Int32Array(rows).fill(sequence),
      outputRows: new Int32Array(0),
      kv,
    },
    { y },
  );
  return y;
}

function turned(x: ArrayLike<number>, positions: number): number[] {
  const y = Array.from(x);
  frequencies.forEach((frequency, i) => {
    const angle = positions * frequency;
    y[i] = x[i] * Math.cos(angle) - x[i + rotated / 2] * Math.sin(angle);
    y[i + rotated / 2] = x[i + rotated / 2] * Math.cos(angle) + x[i] * Math.sin(angle);
  });
  return y;
}
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, x, i) => sum + x * b[i], 0);

/** What head `head` of the row at `position` attends to: StreamingLLM by places in its cache, LM-Infinite by distances. */
function literal({ sinks, window, distance, limit }: Rule, position: number, head: number): number[] {
  const near = Array.from({ length: Math.min(window, position + 1) }, (_, i) => position - i);
  const far = Array.from({ length: sinks }, (_, j) => j).filter((j) => position - j >= window);
  const cells = [...far, ...near.reverse()];
  const query = at('q', position, heads * dim).subarray(head * dim, (head + 1) * dim);
  const scores = cells.map((cell, place) => {
    const key = at('k', cell, dim);
    if (distance === 'cacheIndex') return dot(turned(query, cells.length - 1), turned(key, place));
    return dot(turned(query, place < far.length ? limit : position - cell), key);
  });
  const most = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - most));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return Array.from({ length: dim }, (_, i) =>
    cells.reduce((total, cell, k) => total + (weights[k] / sum) * at('v', cell, dim)[i], 0),
  );
}

function expectLiteral(rule: Rule, y: Float32Array, begin: number): void {
  let worst = 0;
  for (let row = 0; row < y.length / (heads * dim); ++row) {
    for (let head = 0; head < heads; ++head) {
      literal(rule, begin + row, head).forEach((wanted, i) => {
        worst = Math.max(worst, Math.abs(y[(row * heads + head) * dim + i] - wanted));
      });
    }
  }
  expect(worst).toBeLessThan(2e-5); // NaN fails
}

const rules: [string, Rule][] = [
  ['StreamingLLM, 4 + 12 + 1', { sinks: 4, window: 13, distance: 'cacheIndex', limit: 16 }],
  ['StreamingLLM, 1 + 30 + 1', { sinks: 1, window: 31, distance: 'cacheIndex', limit: 31 }],
  ['LM-Infinite, 5 + 16', { sinks: 5, window: 16, distance: 'ceiling', limit: 16 }],
  ['LM-Infinite, 70 + 9, distance 40', { sinks: 70, window: 9, distance: 'ceiling', limit: 40 }],
];

test.each(rules)('%s: as its rule says, in one run and row by row', (_, rule) => {
  const compiled = program();
  for (const chunk of [200, 1]) {
    const kv = cacheOf(rule);
    const sequence = kv.create();
    for (let begin = 0; begin < 200; begin += chunk) expectLiteral(rule, feed(compiled, kv, sequence, chunk), begin);
    kv.close();
  }
  compiled.dispose();
});

test.each(rules)('%s: behind millions of tokens too, in the same memory', (_, rule) => {
  const compiled = program();
  const kv = cacheOf(rule);
  const sequence = kv.create();
  feed(compiled, kv, sequence, 128); // the sinks
  const { cellBytes, pageBytes } = kv.sizes();
  const nothing = new Uint8Array(8192 * cellBytes).fill(255); // NaN
  const kept: number[] = [];
  while (kv.length(sequence) < 2 ** 21) {
    nativeCall(() => kv.writeCells(sequence, 8192, nothing));
    kept.push(kv.sizes().usedBytes);
  }
  expect(new Set(kept.slice(2)).size).toBe(1);
  feed(compiled, kv, sequence, 64); // the window
  const begin = kv.length(sequence);
  expectLiteral(rule, feed(compiled, kv, sequence, 40), begin);
  expect(kv.sizes().usedBytes).toBeLessThanOrEqual(30 * pageBytes);
  kv.close();
  compiled.dispose();
});
