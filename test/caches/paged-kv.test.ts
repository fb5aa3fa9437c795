// The paged cache against the plainest model of it: every sequence is a list of cells.
import fc from 'fast-check';
import { native, nativeCall } from '../../lib/native.js';
import type { NativeKvCache } from '../../lib/native.js';
import { dtypes } from '../../lib/program/dtype.js';
import type { VivaceError } from '../../lib/errors.js';

function cache(pageSize: number, maxPages: number, type: 'F16' | 'F32' | 'Q8_0' = 'F16'): NativeKvCache {
  const id = dtypes[type].id;
  return new (native().KvCache)({
    layers: 2,
    kvHeads: 3,
    keyDim: 32,
    valueDim: 64,
    pageSize,
    keyType: id,
    valueType: id,
    maxPages,
  });
}

const codeOf = (body: () => unknown): string => {
  try {
    nativeCall(body);
  } catch (error) {
    return (error as VivaceError).code;
  }
  return 'none';
};

/** `count` cells whose bytes tell them apart. */
function cells(kv: NativeKvCache, count: number, seed: number): Uint8Array {
  const { cellBytes } = kv.sizes();
  const out = new Uint8Array(count * cellBytes);
  let state = seed >>> 0;
  for (let i = 0; i < out.length; ++i) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[i] = state >>> 24;
  }
  return out;
}

function contents(kv: NativeKvCache, sequence: number): Uint8Array {
  const length = kv.length(sequence);
  const out = new Uint8Array(length * kv.sizes().cellBytes);
  kv.readCells(sequence, 0, length, out);
  return out;
}

describe('paged KV cache', () => {
  test.each([1, 3, 16])(
    'any history of append, fork, truncate and release reads back what was written (pages of %d)',
    (pageSize) => {
      const step = fc.oneof(
        fc.record({
          kind: fc.constant('append' as const),
          pick: fc.nat(),
          count: fc.integer({ min: 0, max: 40 }),
          seed: fc.nat(),
        }),
        fc.record({ kind: fc.constant('fork' as const), pick: fc.nat() }),
        fc.record({
          kind: fc.constant('truncate' as const),
          pick: fc.nat(),
          part: fc.double({ min: 0, max: 1, noNaN: true }),
        }),
        fc.record({ kind: fc.constant('release' as const), pick: fc.nat() }),
        fc.record({ kind: fc.constant('create' as const) }),
      );
      fc.assert(
        fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
          const kv = cache(pageSize, 4096);
          const { cellBytes } = kv.sizes();
          const model = new Map<number, Uint8Array>();
          const choose = (pick: number): number | undefined => [...model.keys()][pick % Math.max(1, model.size)];
          for (const action of steps) {
            if (action.kind === 'create') {
              model.set(kv.create(), new Uint8Array(0));
              continue;
            }
            const sequence = choose(action.pick);
            if (sequence === undefined) continue;
            const had = model.get(sequence) as Uint8Array;
            if (action.kind === 'append') {
              const added = cells(kv, action.count, action.seed);
              kv.writeCells(sequence, action.count, added);
              model.set(sequence, new Uint8Array([...had, ...added]));
            } else if (action.kind === 'fork') {
              model.set(kv.fork(sequence), had);
            } else if (action.kind === 'truncate') {
              const length = Math.floor((had.length / cellBytes) * action.part);
              kv.truncate(sequence, length);
              model.set(sequence, had.slice(0, length * cellBytes));
            } else {
              kv.release(sequence);
              model.delete(sequence);
            }
          }
          for (const [sequence, expected] of model)
            expect(Buffer.from(contents(kv, sequence)).equals(Buffer.from(expected))).toBe(true);
          // Never more pages than if nothing were shared, and none when nothing is left.
          let most = 0;
          for (const expected of model.values()) most += Math.ceil(expected.length / cellBytes / pageSize);
          expect(kv.sizes().pagesUsed).toBeLessThanOrEqual(most);
          for (const sequence of model.keys()) kv.release(sequence);
          expect(kv.sizes().pagesUsed).toBe(0);
          kv.close();
        }),
        { numRuns: 60 },
      );
    },
  );

  test('a fork shares all pages until one side writes, then copies one', () => {
    const kv = cache(16, 100);
    const first = kv.create();
    kv.writeCells(first, 40, cells(kv, 40, 1)); // 3 pages, the last half full
    const second = kv.fork(first);
    expect(kv.sizes().pagesUsed).toBe(3);
    kv.writeCells(second, 1, cells(kv, 1, 2));
    expect(kv.sizes().pagesUsed).toBe(4);
    kv.writeCells(first, 1, cells(kv, 1, 3)); // the only owner of its last page by now
    expect(kv.sizes().pagesUsed).toBe(4);
    kv.close();
  });

  test('a full cache is an error that changes nothing', () => {
    const kv = cache(16, 3);
    const sequence = kv.create();
    kv.writeCells(sequence, 33, cells(kv, 33, 1));
    const before = contents(kv, sequence);
    expect(codeOf(() => kv.writeCells(sequence, 16, cells(kv, 16, 2)))).toBe('OUT_OF_MEMORY');
    expect(kv.length(sequence)).toBe(33);
    expect(contents(kv, sequence)).toEqual(before);
    kv.writeCells(sequence, 15, cells(kv, 15, 2));
    expect(kv.sizes().pagesUsed).toBe(3);
    kv.close();
  });

  test('wrong calls are typed errors', () => {
    expect(codeOf(() => cache(0, 1))).toBe('INVALID_ARGUMENT');
    expect(codeOf(() => cache(16, 0))).toBe('INVALID_ARGUMENT');
    const odd = {
      layers: 1,
      kvHeads: 1,
      keyDim: 40,
      valueDim: 40,
      pageSize: 16,
      keyType: 8,
      valueType: 8,
      maxPages: 4,
    };
    expect(codeOf(() => new (native().KvCache)(odd))).toBe('UNSUPPORTED_FEATURE');
    const kv = cache(16, 8, 'Q8_0');
    expect(codeOf(() => kv.length(5))).toBe('INTERNAL');
    const sequence = kv.create();
    expect(codeOf(() => kv.truncate(sequence, 1))).toBe('INTERNAL');
    expect(codeOf(() => kv.readCells(sequence, 0, 1, new Uint8Array(kv.sizes().cellBytes)))).toBe('INTERNAL');
    expect(codeOf(() => kv.writeCells(sequence, 1, new Uint8Array(3)))).toBe('INTERNAL');
    kv.release(sequence);
    expect(codeOf(() => kv.fork(sequence))).toBe('INTERNAL');
    kv.close();
    expect(codeOf(() => kv.create())).toBe('DISPOSED');
  });
});
