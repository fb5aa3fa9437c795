// A model that is built by hand to look things up: pairs of a key and a value somewhere in a long text, keys at its end. The
// first layer tells every token what came before it, the second finds the token that came behind the same key. With the full
// cache it knows every value; a compressed prompt keeps those that its end asks for, and the most recent tokens do not.
import { ProgramBuilder } from '../../../lib/program/builder.js';
import type { Executor, KvOptions } from '../../../lib/program/executor.js';
import { fullPattern, type SnapPolicy } from '../../../lib/program/kv-policy.js';
import { NativeExecutor } from '../../../lib/program/native-executor.js';
import { ReferenceExecutor } from '../../../lib/program/reference/executor.js';
import { Generator } from '../../fixtures/random/generator.js';

const pairs = 40;
const headDim = 64;
// What a token's vector says: which key it is, which value, which key came before it, 1, which value was found.
const [key, value, before, one, found] = [0, pairs, 2 * pairs, 3 * pairs, 3 * pairs + 1];
const hidden = found + pairs;
const filler = 2 * pairs; // tokens: keys, values, filler
const vocab = filler + 1;

/** A matrix [rows, columns] of some numbers. */
function matrix(rows: number, columns: number, entries: Iterable<readonly [number, number, number]>): Uint8Array {
  const data = new Float32Array(rows * columns);
  for (const [row, column, number] of entries) data[row * columns + column] = number;
  return new Uint8Array(data.buffer);
}
const each = (count: number, entry: (i: number) => readonly [number, number, number]) =>
  Array.from({ length: count }, (_, i) => entry(i));

// No common period within the text.
const frequencies = Float32Array.from({ length: headDim / 2 }, (_, i) => Math.PI * (((i + 1) * 0.618034) % 1));
const weights: Record<string, { shape: [number, number]; bytes: Uint8Array }> = {};
const define = (name: string, rows: number, columns: number, entries: Iterable<readonly [number, number, number]>) =>
  (weights[name] = { shape: [rows, columns], bytes: matrix(rows, columns, entries) });
define('embedding', vocab, hidden, [
  ...each(2 * pairs, (i) => [i, i, 1]), // a key's or a value's own place
  ...each(vocab, (i) => [i, one, 1]),
]);
// The same vector for every token, turned back by one position: rotated, it is nearest to what stands right before it.
define('0.q', headDim, hidden, [
  ...each(headDim / 2, (i) => [i, one, 4 * Math.cos(frequencies[i])]),
  ...each(headDim / 2, (i) => [headDim / 2 + i, one, -4 * Math.sin(frequencies[i])]),
]);
define(
  '0.k',
  headDim,
  hidden,
  each(headDim / 2, (i) => [i, one, 1]),
);
define(
  '0.v',
  headDim,
  hidden,
  each(pairs, (i) => [i, key + i, 1]),
);
define(
  '0.o',
  hidden,
  headDim,
  each(pairs, (i) => [before + i, i, 1]),
);
define(
  '1.q',
  headDim,
  hidden,
  each(pairs, (i) => [i, key + i, 5]),
);
define(
  '1.k',
  headDim,
  hidden,
  each(pairs, (i) => [i, before + i, 5]),
);
define(
  '1.v',
  headDim,
  hidden,
  each(pairs, (i) => [i, value + i, 1]),
);
define(
  '1.o',
  hidden,
  headDim,
  each(pairs, (i) => [found + i, i, 1]),
);
define(
  'output',
  vocab,
  hidden,
  each(pairs, (i) => [value + i, found + i, 1]),
);

function program() {
  const builder = new ProgramBuilder('recall', (tensor) => ({ dtype: 'F32', shape: weights[tensor].shape }));
  const weight = (tensor: string) => builder.weight(tensor, weights[tensor].shape);
  const tokens = builder.input('tokens', 'I32', 'rows');
  const positions = builder.input('positions', 'I32', 'rows');
  const outputRows = builder.input('output_rows', 'I32', 'outputs');
  const table = builder.ropeTable(positions, builder.constant('frequencies', 1, headDim / 2, frequencies));
  let x = builder.embedding(weight('embedding'), tokens);
  for (const layer of [0, 1]) {
    const rotated = (v: Parameters<typeof builder.rope>[0]) => (layer === 0 ? builder.rope(v, table, 1, 'halves') : v);
    const q = rotated(builder.linear(x, weight(`${layer}.q`)));
    builder.kvWrite(rotated(builder.linear(x, weight(`${layer}.k`))), builder.linear(x, weight(`${layer}.v`)), layer);
    const y = builder.attention(q, { layer, heads: 1, valueDim: headDim, scale: 1 });
    x = builder.add(x, builder.linear(y, weight(`${layer}.o`)));
  }
  const logits = builder.linear(builder.rowSelect(x, outputRows), weight('output'));
  return builder.finish({ logits }, { layers: 2, kvHeads: 1, keyDim: headDim, valueDim: headDim });
}

const generator = new Generator(5, 'recall');
const values = Array.from({ length: pairs }, (_, i) => (7 * i + 3) % pairs);
/** All pairs, far from the text's end, between fillers; then the keys that are asked for. */
const asked = [3, 17, 22, 36];
const text: number[] = [];
for (let pair = 0; pair < pairs; pair++) {
  text.push(key + pair, value + values[pair], ...Array.from({ length: generator.integer(3, 12) }, () => filler));
}
text.push(...Array.from({ length: 100 }, () => filler), ...asked, filler);

/** The value behind each of these keys, as the model says it after the text. */
async function recall(executor: Executor, options: Partial<KvOptions>, keys: readonly number[]): Promise<number[]> {
  const kv = executor.createKvCache({ keyType: 'F32', valueType: 'F32', pageSize: 16, maxPages: 1000, ...options });
  const sequence = kv.create();
  const run = async (tokens: readonly number[], own: number, voters = 0): Promise<Float32Array> => {
    const logits = new Float32Array(vocab);
    await executor.run(kv, {
      tokens: Int32Array.from(tokens),
      positions: Int32Array.from(tokens, (_, i) => kv.length(own) + i),
      sequences: new Int32Array(tokens.length).fill(own),
      outputs: Int32Array.of(tokens.length - 1),
      logits,
      ...(voters > 0 ? { compress: new Map([[own, voters]]) } : {}),
    });
    if (voters > 0) kv.compact?.(own);
    return logits;
  };
  await run(text, sequence, kv.voters?.(sequence, text.length));
  const said: number[] = [];
  for (const one of keys) {
    const logits = await run([key + one], kv.fork(sequence));
    const best = logits.indexOf(Math.max(...logits));
    said.push(logits[best] > 0.1 ? best - value : -1);
  }
  kv.dispose();
  executor.dispose();
  return said;
}

const bytes = (tensor: string): Uint8Array => weights[tensor].bytes;
const native = (): Executor => new NativeExecutor(program(), bytes, { threads: 2 });
const reference = (): Executor =>
  new ReferenceExecutor(program(), (tensor) => ({ dtype: 'F32', shape: weights[tensor].shape, bytes: bytes(tensor) }));
const snap: SnapPolicy = {
  ...{ budget: 64, minPromptTokens: 64, window: 8, kernel: 5, pooling: 'max', aggregation: 'mean', keepFirst: 0 },
  ...{ granularity: 'kvHead', poolBeforeGroup: false },
};

test('values that the end of the prompt asks for are found in a tenth of it, and nothing else', async () => {
  expect(text.length).toBeGreaterThan(450);
  const all = Array.from({ length: pairs }, (_, i) => i);
  expect(await recall(native(), {}, all)).toEqual(values);
  const wanted = asked.map((one) => values[one]);
  expect(await recall(native(), { policy: { snap } }, asked)).toEqual(wanted);
  const others = all.filter((one) => !asked.includes(one));
  const lost = (await recall(native(), { policy: { snap } }, others)).filter((said, i) => said !== values[others[i]]);
  expect(lost.length).toBeGreaterThan(others.length / 2);
});

test('the first and the most recent tokens do not tell', async () => {
  const window = { ...fullPattern, sinks: 4, window: 60 };
  expect(await recall(reference(), { policy: { snap } }, asked)).toEqual(asked.map((one) => values[one]));
  expect(await recall(reference(), { policy: { layers: [window, window] } }, asked)).toEqual([-1, -1, -1, -1]);
});
