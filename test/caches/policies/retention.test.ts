// Which pages a patterned cache keeps, against the rule itself: those, and only those, of which a later row sees a cell.
import fc from 'fast-check';
import { native, nativeCall, type NativeKvCache } from '../../../lib/native.js';
import { dtypes } from '../../../lib/program/dtype.js';
import { fullPattern, nativePolicy, sees, type LayerPattern } from '../../../lib/program/kv-policy.js';

const heads = 3;

function cacheOf(patterns: readonly LayerPattern[], pageSize: number, maxPages = 512): NativeKvCache {
  const type = dtypes.F32.id;
  return new (native().KvCache)({
    layers: patterns.length,
    kvHeads: heads,
    keyDim: 2,
    valueDim: 3,
    pageSize,
    keyType: type,
    valueType: type,
    maxPages,
    policy: nativePolicy({ layers: patterns }),
  });
}

/** Pages below `end` that rows from `horizon` on may see: rows far behind see what all later ones do. */
function kept(pattern: LayerPattern, head: number, pageSize: number, end: number, horizon: number): Set<number> {
  const found = new Set<number>();
  const rows = [...Array.from({ length: 2 * pageSize + 64 }, (_, i) => horizon + i), horizon + 1e6];
  for (let page = 0; page < end; ++page) {
    const cells = Array.from({ length: pageSize }, (_, i) => page * pageSize + i);
    const seen = (row: number, cell: number) => cell > row || sees(pattern, row, cell, head, heads);
    if (rows.some((row) => cells.some((cell) => seen(row, cell)))) found.add(page);
  }
  return found;
}

/** The plainest model: per layer and head a set of pages. */
class Model {
  length = 0;
  pages: Set<number>[];
  constructor(
    readonly patterns: readonly LayerPattern[],
    readonly pageSize: number,
  ) {
    this.pages = this.parts(() => new Set<number>());
  }
  parts<T>(body: (pattern: LayerPattern, head: number, index: number) => T): T[] {
    return this.patterns.flatMap((pattern, layer) =>
      Array.from({ length: heads }, (_, head) => body(pattern, head, layer * heads + head)),
    );
  }
  append(count: number): void {
    const horizon = Math.max(0, this.length - this.pageSize);
    const end = Math.ceil((this.length + count) / this.pageSize);
    const old = Math.ceil(this.length / this.pageSize);
    this.pages = this.parts((pattern, head, index) => {
      const wanted = kept(pattern, head, this.pageSize, old, horizon);
      const still = [...this.pages[index]].filter((page) => wanted.has(page));
      return new Set([...still, ...Array.from({ length: end - old }, (_, i) => old + i)]);
    });
    this.length += count;
  }
  truncate(length: number): void {
    const end = Math.ceil(length / this.pageSize);
    const whole = this.parts((pattern, head, index) =>
      [...kept(pattern, head, this.pageSize, end, length)].every((page) => this.pages[index].has(page)),
    ).every(Boolean);
    this.length = whole ? length : 0;
    const least = whole ? end : 0;
    this.pages = this.pages.map((pages) => new Set([...pages].filter((page) => page < least)));
  }
  bytes(): number {
    return this.pages.reduce((sum, pages) => sum + pages.size, 0) * this.pageSize * 4 * (2 + 3);
  }
}

const pattern = fc.oneof(
  fc.constant(fullPattern),
  fc
    .record({ sinks: fc.integer({ min: 0, max: 30 }), window: fc.integer({ min: 1, max: 40 }) })
    .map((one) => ({ ...fullPattern, ...one })),
  fc
    .record({
      block: fc.constantFrom(2, 4, 8, 16),
      local: fc.integer({ min: 1, max: 4 }),
      stride: fc.integer({ min: 1, max: 9 }),
      headStep: fc.integer({ min: 0, max: 4 }),
      headOffset: fc.integer({ min: 0, max: 9 }),
      denseHeads: fc.integer({ min: 0, max: 2 }),
      alwaysFirst: fc.boolean(),
    })
    .map((one) => ({ ...fullPattern, ...one })),
);
const step = fc.oneof(
  fc.record({ kind: fc.constant('append' as const), count: fc.integer({ min: 1, max: 60 }) }),
  fc.record({ kind: fc.constant('append' as const), count: fc.constant(1) }),
  fc.record({ kind: fc.constant('truncate' as const), back: fc.integer({ min: 0, max: 20 }) }),
);

test('pages that a later row may see are there, and no others', () => {
  fc.assert(
    fc.property(
      fc.array(pattern, { minLength: 1, maxLength: 3 }),
      fc.constantFrom(1, 4, 8),
      fc.array(step, { minLength: 1, maxLength: 25 }),
      (patterns, pageSize, steps) => {
        const kv = cacheOf(patterns, pageSize);
        const sequence = kv.create();
        const model = new Model(patterns, pageSize);
        const { cellBytes } = kv.sizes();
        for (const one of steps) {
          if (one.kind === 'append') {
            nativeCall(() => kv.writeCells(sequence, one.count, new Uint8Array(one.count * cellBytes)));
            model.append(one.count);
          } else {
            const length = Math.max(0, kv.length(sequence) - one.back);
            kv.truncate(sequence, length);
            model.truncate(length);
          }
          expect(kv.length(sequence)).toBe(model.length);
          expect(kv.sizes().usedBytes).toBe(model.bytes());
        }
        kv.release(sequence);
        expect(kv.sizes()).toMatchObject({ usedBytes: 0, pagesUsed: 0 });
        kv.close();
      },
    ),
    { numRuns: 150 },
  );
});

test('forks share what is left, and leave nothing behind', () => {
  fc.assert(
    fc.property(
      fc.array(pattern, { minLength: 2, maxLength: 2 }),
      fc.array(fc.record({ who: fc.nat(5), what: fc.nat(9), count: fc.integer({ min: 1, max: 40 }) }), {
        minLength: 5,
        maxLength: 40,
      }),
      (patterns, steps) => {
        const kv = cacheOf(patterns, 4);
        const { cellBytes } = kv.sizes();
        const alive = [kv.create()];
        for (const { who, what, count } of steps) {
          const sequence = alive[who % alive.length];
          if (what < 5) nativeCall(() => kv.writeCells(sequence, count, new Uint8Array(count * cellBytes)));
          else if (what < 7) alive.push(kv.fork(sequence));
          else if (what < 9) kv.truncate(sequence, Math.max(0, kv.length(sequence) - count));
          else if (alive.length > 1) kv.release(alive.splice(who % alive.length, 1)[0]);
        }
        for (const sequence of alive) kv.release(sequence);
        expect(kv.sizes()).toMatchObject({ usedBytes: 0, pagesUsed: 0 });
        kv.close();
      },
    ),
    { numRuns: 100 },
  );
});

test('blocks must fit pages, and patterns the layers', () => {
  const blocks = { ...fullPattern, block: 6, local: 1, stride: 2 };
  expect(() => nativeCall(() => cacheOf([blocks], 4))).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  expect(() => nativeCall(() => cacheOf([{ ...blocks, block: 8, window: 3 }], 4))).toThrow(/does not fit/);
});
