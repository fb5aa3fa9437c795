// Options of cache policies: factories, command lines, what is refused and why.
import { full, lmInfinite, longGen, snapKv, window } from '../../../lib/index.js';
import { parseCache, cacheNames } from '../../../lib/caches/parse.js';
import type { CacheModel } from '../../../lib/caches/policy.js';
import { resolveCache } from '../../../lib/caches/resolve.js';
import { longGenDefaults } from '../../../lib/formats/model-config.js';
import { fullPattern } from '../../../lib/program/kv-policy.js';

const frequencies = Float32Array.of(1, 0.25);
const model: CacheModel = {
  name: 'cpu',
  kvShape: { layers: 3, kvHeads: 2, keyDim: 8, valueDim: 8 },
  kvLayers: [
    { heads: 4, window: 0, frequencies },
    { heads: 4, window: 6, frequencies },
    { heads: 4, window: 0 },
  ],
  contextLength: 64,
};

test('factories return storage and policy, and set what is not given', () => {
  expect(full()).toEqual({});
  expect(full({ keyType: 'q8_0', pageSize: 16 })).toEqual({ keyType: 'q8_0', pageSize: 16 });
  expect(window()).toEqual({ policy: { kind: 'window', sinks: 4 } });
  expect(window({ sinks: 2, recent: 30, valueType: 'f32' })).toEqual({
    valueType: 'f32',
    policy: { kind: 'window', sinks: 2, recent: 30 },
  });
  expect(lmInfinite({ window: 32, distance: 20 })).toEqual({
    policy: { kind: 'lmInfinite', sinks: 10, window: 32, distance: 20 },
  });
});

test.each([
  [() => window({ sinks: -1 }), /an integer from 0 to 65536 for `sinks`/],
  [() => window({ recent: 0 }), /an integer from 1 to 1073741824 for `recent`/],
  [() => window({ window: 3 } as never), /Unknown option `window` in the options of window/],
  [() => lmInfinite({ distance: 1.5 }), /for `distance`, received 1.5/],
  [() => full({ policy: 1 } as never), /Unknown option `policy` in the options of full/],
])('a mistake is named: %#', (make, message) => {
  expect(make).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) }));
});

test('StreamingLLM sees `recent` tokens beside the newest one, counted within what is kept', () => {
  const { native } = resolveCache(window({ sinks: 3, recent: 20 }), model);
  expect(native?.layers).toEqual([
    { ...fullPattern, sinks: 3, window: 21 },
    { ...fullPattern, window: 6 }, // the model's own window is smaller
    { ...fullPattern, sinks: 3, window: 21 },
  ]);
  expect(native?.rotation).toEqual({
    distance: 'cacheIndex',
    limit: 23,
    tables: [Float64Array.of(1, 0.25)],
    layers: [0, -1, -1],
  });
  expect(resolveCache(window(), model).native?.layers?.[0]).toEqual({ ...fullPattern, sinks: 4, window: 60 });
});

test('LM-Infinite takes its window and its distance from the training, unless told', () => {
  const { native } = resolveCache(lmInfinite(), model);
  expect(native?.layers?.[2]).toEqual({ ...fullPattern, sinks: 10, window: 64 });
  expect(native?.rotation).toMatchObject({ distance: 'ceiling', limit: 64 });
  expect(resolveCache(lmInfinite({ window: 16 }), model).native?.rotation?.limit).toBe(16);
  expect(resolveCache(lmInfinite({ window: 16, distance: 40 }), model).native?.rotation?.limit).toBe(40);
  expect(resolveCache(lmInfinite({ sinks: 0 }), model).native?.rotation).toBeUndefined();
});

test('LongGen keeps the middle third, and of the others a window or blocks', () => {
  const wide: CacheModel = { ...model, kvLayers: Array.from({ length: 32 }, () => ({ heads: 4, window: 0 })) };
  const deep = { ...wide, kvShape: { ...model.kvShape, layers: 32 } };
  const patterns = resolveCache(longGen({ sinks: 8, window: 100 }), deep).native?.layers ?? [];
  expect(patterns.flatMap((one, layer) => (one.window === 0 ? [layer] : []))).toEqual(
    Array.from({ length: 11 }, (_, i) => 10 + i),
  );
  expect(patterns[0]).toEqual({ ...fullPattern, sinks: 8, window: 100 });
  const blocks = resolveCache(longGen({ pattern: 'blockSparse', fullLayers: [1], stride: 9 }), model).native?.layers;
  expect(blocks).toEqual([
    { ...fullPattern, block: 64, local: 16, stride: 9, headStep: 4, alwaysFirst: true },
    { ...fullPattern, window: 6 }, // the model's own
    { ...fullPattern, block: 64, local: 16, stride: 9, headStep: 4, alwaysFirst: true },
  ]);
  expect(() => resolveCache(longGen({ fullLayers: [3] }), model)).toThrow(/layers below 3/);
  expect(() => longGen({ fullLayers: [0.5] })).toThrow(/a list of layers, or a share/);
});

test('a model trained for LongGen says itself what its layers keep', () => {
  expect(() => resolveCache(longGen(), model)).toThrow(/Expected a pattern/);
  const own: CacheModel = {
    ...model,
    kvLayers: [
      { heads: 4, window: 0 },
      { heads: 4, window: 0 },
      { heads: 4, window: 0 },
    ],
    longGen: {
      ...longGenDefaults,
      layers: ['sliding_attention', 'full_attention', 'block_sparse_attention'],
      homo_heads: 1,
    },
  };
  const wanted = [
    { ...fullPattern, sinks: 64, window: 2048 },
    fullPattern,
    { ...fullPattern, block: 64, local: 16, stride: 16, alwaysFirst: true },
  ];
  expect(resolveCache(longGen(), own).native?.layers).toEqual(wanted);
  expect(resolveCache(undefined, own).native?.layers).toEqual(wanted);
});

test('more than the model was trained on is refused', () => {
  expect(() => resolveCache(window({ sinks: 4, recent: 60 }), model)).toThrow(/sinks \+ recent below the model's/);
  expect(() => resolveCache(lmInfinite({ window: 65 }), model)).toThrow(
    /at most the model's context of 64 for `window`/,
  );
  expect(() => resolveCache({ policy: { kind: 'other' } as never }, model)).toThrow(/for `policy`/);
});

test('cards have every policy', () => {
  for (const cache of [window(), lmInfinite(), longGen({ window: 16 }), snapKv({ budget: 40 })])
    expect(resolveCache(cache, { ...model, name: 'cuda' })).toEqual(resolveCache(cache, model));
});

test('command lines name a policy and its options', () => {
  expect(cacheNames.map(({ name }) => name)).toEqual(expect.arrayContaining(['full', 'window', 'lm-infinite']));
  expect(parseCache(undefined, undefined)).toBeUndefined();
  expect(parseCache(undefined, 'keyType=q8_0')).toEqual({ keyType: 'q8_0' });
  expect(parseCache('window', 'sinks=4, recent=1024,pageSize=16')).toEqual(
    window({ sinks: 4, recent: 1024, pageSize: 16 }),
  );
  expect(() => parseCache('windows', undefined)).toThrow(/one of full, window, lm-infinite.* for `--cache`/);
  expect(() => parseCache('window', 'sinks')).toThrow(/Expected name=value/);
  expect(() => parseCache('window', 'sink=4')).toThrow(/Unknown option `sink`/);
});
