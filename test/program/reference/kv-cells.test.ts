// The reference's cache and the native one do the same under any order of calls.
import fc from 'fast-check';
import { native } from '../../../lib/native.js';
import { dtypes } from '../../../lib/program/dtype.js';
import { ReferenceKv } from '../../../lib/program/reference/kv-cells.js';

const shape = { layers: 2, kvHeads: 2, keyDim: 4, valueDim: 6 };

test('lengths and contents agree after any calls', () => {
  const step = fc.record({
    call: fc.constantFrom('create', 'fork', 'release', 'truncate', 'write', 'write'),
    which: fc.nat(7),
    amount: fc.nat(9),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const id = dtypes.F16.id;
      const ours = new ReferenceKv(shape, { pageSize: 4, maxPages: 1000 });
      const theirs = new (native().KvCache)({ ...shape, pageSize: 4, keyType: id, valueType: id, maxPages: 1000 });
      expect(theirs.sizes()).toMatchObject({ cellBytes: ours.cellBytes, pageBytes: ours.pageBytes });
      const alive: number[] = [];
      let written = 0;
      for (const { call, which, amount } of steps) {
        if (call === 'create' || alive.length === 0) {
          alive.push(ours.create());
          expect(theirs.create()).toBe(alive.at(-1));
          continue;
        }
        const at = which % alive.length;
        const sequence = alive[at];
        if (call === 'fork') {
          alive.push(ours.fork(sequence));
          expect(theirs.fork(sequence)).toBe(alive.at(-1));
        } else if (call === 'release') {
          for (const kv of [ours, theirs]) kv.release(sequence);
          alive.splice(at, 1);
        } else if (call === 'truncate') {
          const length = Math.min(ours.length(sequence), 2 * amount);
          for (const kv of [ours, theirs]) kv.truncate(sequence, length);
        } else {
          const cells = Uint8Array.from({ length: amount * ours.cellBytes }, () => ++written);
          for (const kv of [ours, theirs]) kv.writeCells(sequence, amount, cells);
        }
      }
      for (const sequence of alive) {
        const length = ours.length(sequence);
        expect(theirs.length(sequence)).toBe(length);
        const [left, right] = [ours, theirs].map((kv) => {
          const out = new Uint8Array(length * ours.cellBytes);
          kv.readCells(sequence, 0, length, out);
          return out;
        });
        expect(left).toEqual(right);
      }
      theirs.close();
    }),
    { numRuns: 200, seed: 1 },
  );
});

test('forks share their pages until one writes', () => {
  const kv = new ReferenceKv(shape, { pageSize: 4, maxPages: 5 });
  const trunk = kv.create();
  kv.writeCells(trunk, 10, new Uint8Array(10 * kv.cellBytes));
  const branch = kv.fork(trunk);
  expect(kv.usedBytes()).toBe(3 * kv.pageBytes);
  kv.writeCells(branch, 1, new Uint8Array(kv.cellBytes));
  expect(kv.usedBytes()).toBe(4 * kv.pageBytes);
  expect(() => kv.writeCells(trunk, 9, new Uint8Array(9 * kv.cellBytes))).toThrow(
    expect.objectContaining({ code: 'OUT_OF_MEMORY' }),
  );
  expect(kv.length(trunk)).toBe(10);
  kv.release(trunk);
  expect(kv.usedBytes()).toBe(3 * kv.pageBytes);
});
