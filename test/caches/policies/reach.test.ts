// What is far away is found by layers that still see it, and by no others: one token among a hundred thousand.
import { native, nativeCall } from '../../../lib/native.js';
import { ProgramBuilder } from '../../../lib/program/builder.js';
import { dtypes } from '../../../lib/program/dtype.js';
import { fullPattern, nativePolicy, type LayerPattern } from '../../../lib/program/kv-policy.js';
import { NativeProgram } from '../../../lib/program/native-program.js';

const dim = 4;

/** What a row at position 100,000 reads of its layer, where only the token at `planted` has anything that it looks for. */
function read(pattern: LayerPattern, planted: number): number {
  const builder = new ProgramBuilder('reach', () => undefined);
  const inputs = ['q', 'k', 'v'].map((name) => builder.input(name, 'F32', 'rows', dim));
  const [q, k, v] = inputs;
  builder.kvWrite(k, v, 0);
  const y = builder.attention(q, { layer: 0, heads: 1, valueDim: dim, scale: 1 });
  const shape = { layers: 1, kvHeads: 1, keyDim: dim, valueDim: dim };
  const compiled = new NativeProgram(builder.finish({ y }, shape), () => new Uint8Array(), { threads: 2 });
  const type = dtypes.F32.id;
  const kv = new (native().KvCache)({
    ...shape,
    pageSize: 16,
    keyType: type,
    valueType: type,
    maxPages: 8192,
    policy: nativePolicy({ layers: [pattern] }),
  });
  const sequence = kv.create();
  for (let begin = 0; begin < 100_000; begin += 2000) {
    const cells = new Float32Array(2000 * 2 * dim);
    const own = planted - begin;
    if (own >= 0 && own < 2000)
      cells.fill(40, own * 2 * dim, own * 2 * dim + 1).fill(7, own * 2 * dim + dim, own * 2 * dim + dim + 1);
    nativeCall(() => kv.writeCells(sequence, 2000, new Uint8Array(cells.buffer)));
  }
  const out = new Float32Array(dim).fill(NaN);
  compiled.runSync(
    { q: Float32Array.of(1, 0, 0, 0), k: new Float32Array(dim), v: new Float32Array(dim) },
    {
      tokens: new Int32Array(1),
      positions: Int32Array.of(100_000),
      sequences: Int32Array.of(sequence),
      outputRows: new Int32Array(0),
      kv,
    },
    { y: out },
  );
  kv.close();
  compiled.dispose();
  return out[0];
}

const windowed = { ...fullPattern, sinks: 4, window: 2048 };
const blocks = { ...fullPattern, block: 16, local: 8, stride: 8, headOffset: 3 };

test.each([
  ['a full layer', fullPattern, 31, 7],
  ['a window, far away', windowed, 31, 0],
  ['a window, among the sinks', windowed, 3, 7],
  ['a window, nearby', windowed, 99_000, 7],
  ['blocks, in one that stays', blocks, 16 * 13 + 5, 7], // (13 + 3) mod 8 = 0
  ['blocks, in one that goes', blocks, 16 * 14 + 5, 0],
  ['blocks, in one nearby', blocks, 99_990, 7],
  ['blocks, in the first', { ...blocks, alwaysFirst: true }, 2, 7],
] as const)('%s', (_, pattern, planted, found) => {
  expect(read(pattern, planted)).toBeCloseTo(found, 5);
});
