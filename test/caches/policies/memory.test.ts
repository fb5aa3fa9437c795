// Memory of sessions under cache policies: what is foretold for a length is what is allocated, page for page.
import { loadModel, type CacheOptions, type Model } from '../../../lib/index.js';
import { longGen, lmInfinite, window } from '../../../lib/index.js';
import { scratch } from '../../formats/scratch.js';
import { kinds, writeModel } from './setting.js';

const { at } = scratch();
let model: Model;
beforeAll(async () => {
  writeModel(at('model.gguf'));
  model = await loadModel(at('model.gguf'), { threads: 1, contextLength: 1024, prefixCache: false });
});
afterAll(() => model.dispose());

const tokens = (count: number): number[] => Array.from({ length: count }, (_, i) => 261 + ((i * 17) % 90));

const more: readonly (readonly [string, CacheOptions])[] = [
  ['a window within a page', window({ sinks: 0, recent: 5, pageSize: 16 })],
  ['no sinks', lmInfinite({ sinks: 0, window: 33, pageSize: 8 })],
  [
    'blocks smaller than pages',
    longGen({ pattern: 'blockSparse', blockSize: 4, localBlocks: 3, stride: 5, pageSize: 8 }),
  ],
  [
    'blocks larger than pages',
    longGen({ pattern: 'blockSparse', blockSize: 16, localBlocks: 2, stride: 3, pageSize: 4, denseHeads: 1 }),
  ],
  [
    'homogeneous',
    longGen({
      pattern: 'blockSparse',
      blockSize: 8,
      localBlocks: 2,
      stride: 4,
      headOffset: 3,
      pageSize: 8,
      homogeneous: true,
      alwaysFirst: false,
    }),
  ],
];
const policies = [...kinds.map(([name, { cache }]) => [name, cache] as const), ...more];

test.each(policies)('%s', async (_, cache) => {
  for (const length of [1, 7, 30, 47, 64, 65, 130, 201, 230]) {
    for (const types of [{}, { keyType: 'q8_0', valueType: 'f32' }] as const) {
      using session = model.createSession({ cache: { ...cache, ...types } });
      const all = tokens(length);
      if (cache.policy?.kind === 'snapKv') {
        for await (const _piece of session.generate(all, { maxTokens: 1 }));
      } else {
        if (length > 1) await session.forward(all.slice(0, -1));
        await session.forward(all.slice(-1));
      }
      const { kv, kvMost = kv } = model.estimateMemory({ contextLength: length, cache: { ...cache, ...types } });
      if (cache.policy !== undefined) expect(model.memoryUsage().kv).toBe(kv);
      expect(kvMost).toBeGreaterThanOrEqual(kv);
    }
  }
});

test('what a long prompt takes while it is read', () => {
  const cache = window({ sinks: 4, recent: 60, pageSize: 8 });
  const [short, long] = [10_000, 1_000_000].map((contextLength) => model.estimateMemory({ contextLength, cache }));
  expect(long.kv).toBe(short.kv);
  expect(long.kvMost).toBe(short.kvMost);
  expect(long.kv).toBeLessThanOrEqual((8 + 61 + 8 + 8) * model.estimateMemory().kvPerToken);
});
