// Native caches under patterns of layers against the float64 reference: sinks and windows at other distances, strided blocks.
import { lmInfinite, window } from '../../../lib/index.js';
import { resolveCache } from '../../../lib/caches/resolve.js';
import type { CacheOptions } from '../../../lib/caches/policy.js';
import type { Executor, KvCache, KvDType } from '../../../lib/program/executor.js';
import { fullPattern, kvLayers, type KvPolicy, type LayerPattern } from '../../../lib/program/kv-policy.js';
import { NativeExecutor } from '../../../lib/program/native-executor.js';
import { ReferenceExecutor } from '../../../lib/program/reference/executor.js';
import { tinyModel, vocab } from '../../program/tiny-model.js';

const tiny = tinyModel();
const reference = new ReferenceExecutor(tiny.program, (tensor) => ({
  dtype: 'F32',
  shape: tiny.shape(tensor),
  bytes: tiny.bytes(tensor),
}));
const natives = [1, 3].map((threads) => new NativeExecutor(tiny.program, (tensor) => tiny.bytes(tensor), { threads }));
afterAll(() => natives.forEach((executor) => executor.dispose()));

const text = Array.from({ length: 240 }, (_, i) => (i * 31 + ((i * i) % 7)) % vocab);
const policyOf = (options: CacheOptions): KvPolicy =>
  resolveCache(options, {
    name: 'cpu',
    contextLength: 4096,
    kvShape: reference.kvShape,
    kvLayers: kvLayers(tiny.program),
  }).native as KvPolicy;
const layers = (...patterns: Partial<LayerPattern>[]): KvPolicy => ({
  layers: patterns.map((one) => ({ ...fullPattern, ...one })),
});

interface Place {
  readonly keyType?: KvDType;
  readonly valueType?: KvDType;
  readonly pageSize?: number;
  readonly maxPages?: number;
}
const cacheOf = (executor: Executor, policy: KvPolicy | undefined, place: Place = {}): KvCache =>
  executor.createKvCache({
    keyType: 'F32',
    valueType: 'F32',
    pageSize: 4,
    maxPages: 256,
    ...place,
    ...(policy ? { policy } : {}),
  });

/** Logits of all rows of tokens put behind a sequence, in runs of `chunk`. */
async function feed(
  executor: Executor,
  kv: KvCache,
  sequence: number,
  tokens: readonly number[],
  chunk: number,
): Promise<Float32Array> {
  const all = new Float32Array(tokens.length * vocab);
  for (let from = 0; from < tokens.length; from += chunk) {
    const part = tokens.slice(from, from + chunk);
    const begin = kv.length(sequence);
    await executor.run(kv, {
      tokens: Int32Array.from(part),
      positions: Int32Array.from(part, (_, i) => begin + i),
      sequences: new Int32Array(part.length).fill(sequence),
      outputs: Int32Array.from(part, (_, i) => i),
      logits: all.subarray(from * vocab, (from + part.length) * vocab),
    });
  }
  return all;
}

async function whole(
  executor: Executor,
  policy: KvPolicy | undefined,
  tokens: readonly number[],
  chunk: number,
  place: Place = {},
): Promise<Float32Array> {
  const kv = cacheOf(executor, policy, place);
  const logits = await feed(executor, kv, kv.create(), tokens, chunk);
  kv.dispose();
  return logits;
}

function expectNear(found: Float32Array, wanted: Float32Array, most: number): void {
  expect(found).toHaveLength(wanted.length);
  let worst = 0;
  for (let i = 0; i < found.length; ++i) worst = Math.max(worst, Math.abs(found[i] - wanted[i]));
  expect(worst).toBeLessThan(most); // NaN fails
}

/** Bit for bit; where not, only how many differ is said. */
function expectSame(found: Float32Array, wanted: Float32Array): void {
  expect(found).toHaveLength(wanted.length);
  expect(found.filter((value, i) => value !== wanted[i]).length).toBe(0);
}

const block = { block: 8, local: 2, stride: 3 };
const policies: [string, KvPolicy, Place?][] = [
  ['StreamingLLM, 1 + 7', policyOf(window({ sinks: 1, recent: 6 }))],
  ['StreamingLLM, 4 + 16', policyOf(window({ sinks: 4, recent: 15 })), { pageSize: 16 }],
  ['StreamingLLM without sinks', policyOf(window({ sinks: 0, recent: 12 }))],
  ['StreamingLLM, more sinks than text', policyOf(window({ sinks: 300, recent: 9 }))],
  ['LM-Infinite, 4 + 16', policyOf(lmInfinite({ sinks: 4, window: 16 }))],
  ['LM-Infinite, 1 + 33, distance 20', policyOf(lmInfinite({ sinks: 1, window: 33, distance: 20 })), { pageSize: 3 }],
  ['LM-Infinite, 70 sinks', policyOf(lmInfinite({ sinks: 70, window: 7 }))],
  [
    'LM-Infinite on Q8_0',
    policyOf(lmInfinite({ sinks: 5, window: 24 })),
    { keyType: 'Q8_0', valueType: 'Q8_0', pageSize: 32 },
  ],
  [
    'strided blocks on Q4_0',
    layers({ ...block, headStep: 1 }, block),
    { keyType: 'Q4_0', valueType: 'Q4_0', pageSize: 8 },
  ],
  ['LM-Infinite on F16', policyOf(lmInfinite({ sinks: 5, window: 24 })), { keyType: 'F16', valueType: 'F16' }],
  ['sinks and window in one layer', layers({}, { sinks: 6, window: 20 })],
  ['strided blocks', layers({ ...block, headStep: 1 }, block)],
  ['strided blocks, first always', layers({ ...block, headOffset: 2, alwaysFirst: true }, {}), { pageSize: 8 }],
  ['blocks of half a page', layers({ ...block, stride: 8, local: 1 }, block), { pageSize: 16 }],
  ['a stride beyond the text', layers({ ...block, stride: 1000, headOffset: 5, headStep: 3 }, {})],
  ['dense heads', layers({ ...block, stride: 4, denseHeads: 1 }, { sinks: 1, window: 8 })],
  ['blocks as long as chunks', layers({ block: 64, local: 1, stride: 3, headOffset: 1 }, {}), { pageSize: 32 }],
];

test.each(policies.map(([name, policy, place = {}]) => [name, policy, place] as const))(
  '%s: as the reference, whatever the chunks',
  async (_, policy, place) => {
    const tokens = text.slice(0, 150);
    const wanted = await whole(reference, policy, tokens, 150, place);
    const bits = await whole(natives[0], policy, tokens, 150, place);
    expectNear(bits, wanted, place.keyType === undefined ? 2e-4 : 2e-2);
    for (const [chunk, native] of [[1, 0] as const, [7, 1] as const, [64, 1] as const]) {
      expectSame(await whole(natives[native], policy, tokens, chunk, place), bits);
    }
  },
);

test('settings under which everything is seen give the bits of the full cache', async () => {
  const full = await whole(natives[0], undefined, text, 100);
  for (const policy of [
    policyOf(window({ sinks: 4, recent: 239 })),
    policyOf(lmInfinite({ sinks: 4, window: 240 })),
    layers({ block: 8, local: 1, stride: 1 }, { block: 8, local: 30, stride: 7 }),
    layers({ block: 16, local: 1, stride: 5, denseHeads: 2 }, { sinks: 240, window: 240 }),
  ]) {
    expectSame(await whole(natives[0], policy, text, 100), full);
    expectSame(await whole(natives[1], policy, text, 33), full);
  }
});

test('sequences beside each other and forks keep their own', async () => {
  const policy = policyOf(lmInfinite({ sinks: 2, window: 12 }));
  const kv = cacheOf(natives[1], policy);
  const [one, two] = [kv.create(), kv.create()];
  await feed(natives[1], kv, one, text.slice(0, 61), 20);
  await feed(natives[1], kv, two, text.slice(100, 120), 20);
  const three = kv.fork(one);
  const rest = await feed(natives[1], kv, one, text.slice(61, 120), 9);
  const other = await feed(natives[1], kv, three, text.slice(161, 200), 1);
  expectSame(rest, (await whole(natives[0], policy, text.slice(0, 120), 120)).subarray(61 * vocab));
  const changed = [...text.slice(0, 61), ...text.slice(161, 200)];
  expectSame(other, (await whole(natives[0], policy, changed, 100)).subarray(61 * vocab));
  for (const sequence of [one, two, three]) kv.release(sequence);
  expect(kv.usedBytes()).toBe(0);
  kv.dispose();
});

test('branches of a tree see what a chain in their place would', async () => {
  for (const policy of [policyOf(window({ sinks: 3, recent: 6 })), layers({ ...block, stride: 4 }, block)]) {
    const results = await Promise.all(
      [reference, natives[1]].map(async (executor) => {
        const kv = cacheOf(executor, policy);
        const sequence = kv.create();
        await feed(executor, kv, sequence, text.slice(0, 45), 45);
        const logits = new Float32Array(7 * vocab);
        await executor.run(kv, {
          tokens: Int32Array.from([1, 2, 3, 4, 5, 6, 7]),
          positions: Int32Array.from([45, 46, 46, 47, 47, 47, 48]),
          parents: Int32Array.from([-1, 0, 0, 1, 1, 2, 4]),
          sequences: new Int32Array(7).fill(sequence),
          outputs: Int32Array.from([0, 1, 2, 3, 4, 5, 6]),
          logits,
        });
        kv.keep(sequence, Int32Array.of(0, 1, 4, 6));
        const after = await feed(executor, kv, sequence, [8, 9], 2);
        kv.dispose();
        return [logits, after];
      }),
    );
    expectNear(results[1][0], results[0][0], 2e-4);
    expectNear(results[1][1], results[0][1], 2e-4);
    const chain = await whole(natives[0], policy, [...text.slice(0, 45), 1, 2, 5, 7, 8, 9], 51);
    expectSame(results[1][1], chain.subarray(49 * vocab));
  }
});

test('rolled back by less than a page a text goes on; by more it is given up, and computed again', async () => {
  const policy = policyOf(window({ sinks: 2, recent: 10 }));
  const fresh = await whole(natives[0], policy, text.slice(0, 60), 60);
  const kv = cacheOf(natives[0], policy);
  const sequence = kv.create();
  await feed(natives[0], kv, sequence, text.slice(0, 50), 5);
  kv.truncate(sequence, 41); // the last run began at 45
  expect(kv.length(sequence)).toBe(41);
  expectSame(await feed(natives[0], kv, sequence, text.slice(41, 60), 3), fresh.subarray(41 * vocab));
  kv.truncate(sequence, 30);
  expect(kv.length(sequence)).toBe(0);
  expect(kv.usedBytes()).toBe(0);
  expectSame(await feed(natives[0], kv, sequence, text.slice(0, 60), 60), fresh);
  kv.dispose();
});

test('memory does not grow once the window is full, and tables begin again', async () => {
  const policy = policyOf(lmInfinite({ sinks: 3, window: 20 }));
  const kv = cacheOf(natives[0], policy, { maxPages: 14 });
  const sequence = kv.create();
  const used: number[] = [];
  const logits: number[] = [];
  for (let i = 0; i < 240; i += 4) {
    logits.push(...(await feed(natives[0], kv, sequence, text.slice(i, i + 4), 4)));
    used.push(kv.usedBytes() / kv.pageBytes);
  }
  // A page of sinks, and for rows from a page before the last run on what they see.
  expect(used.slice(0, 8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(new Set(used.slice(8))).toEqual(new Set([8]));
  expectSame(Float32Array.from(logits), await whole(natives[1], policy, text, 100));
  kv.dispose();
});
