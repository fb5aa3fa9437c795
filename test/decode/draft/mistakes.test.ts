// What callers get wrong is named before it reaches native code; what is disposed says so.
import { Datastore, DatastoreDrafter } from '../../../lib/decode/speculation/drafters/datastore.js';
import { InputCopyDrafter } from '../../../lib/decode/speculation/drafters/input-copy.js';
import { NGramDrafter } from '../../../lib/decode/speculation/drafters/n-gram.js';
import { SuffixCache, SuffixDrafter } from '../../../lib/decode/speculation/drafters/suffix.js';
import { native } from '../../../lib/native.js';

const invalid = expect.objectContaining({ code: 'INVALID_ARGUMENT' });
const disposed = expect.objectContaining({ code: 'DISPOSED' });

test.each<[string, () => unknown]>([
  ['minN 0', () => new NGramDrafter({ minN: 0 })],
  ['maxN below minN', () => new NGramDrafter({ minN: 4, maxN: 3 })],
  ['maxN 33', () => new NGramDrafter({ maxN: 33 })],
  ['prefer', () => new NGramDrafter({ prefer: 'newest' as 'latest' })],
  ['a misspelled name', () => new NGramDrafter({ maxn: 3 } as object)],
  ['input of another type', () => new InputCopyDrafter({ input: [1] as unknown as Int32Array })],
  ['branches 0', () => new InputCopyDrafter({ branches: 0 })],
  ['maxDepth 1', () => new SuffixDrafter({ maxDepth: 1 })],
  ['factor -1', () => new SuffixDrafter({ factor: -1 })],
  ['minProb NaN', () => new SuffixDrafter({ minProb: NaN })],
  ['a cache that is none', () => new SuffixDrafter({ cache: {} as SuffixCache })],
  ['maxCachedRequests 0', () => new SuffixCache({ maxCachedRequests: 0 })],
  ['an output of another type', () => new SuffixCache().add([1] as unknown as Int32Array)],
  ['a datastore that is none', () => new DatastoreDrafter({ datastore: {} as Datastore })],
  ['no datastore', () => new DatastoreDrafter({} as { datastore: Datastore })],
])('%s', (_, make) => expect(make).toThrow(invalid));

test.each([
  ['NGramDrafter', () => new NGramDrafter()],
  ['InputCopyDrafter', () => new InputCopyDrafter()],
  ['SuffixDrafter', () => new SuffixDrafter()],
])('%s checks what it is given, is empty at first, and is over when disposed', (_, make) => {
  const drafter = make();
  expect(drafter.draft(4, 4)).toEqual({
    tokens: new Int32Array(0),
    parents: new Int32Array(0),
    scores: new Float32Array(0),
  });
  expect(drafter.draft(0, 0).tokens).toHaveLength(0);
  for (const length of [-1, 0.5, NaN]) expect(() => drafter.truncate(length)).toThrow(invalid);
  for (const count of [-1, 4097, 1.5]) {
    expect(() => drafter.draft(count, 4)).toThrow(invalid);
    expect(() => drafter.draft(4, count)).toThrow(invalid);
  }
  expect(() => drafter.accept([1] as unknown as Int32Array)).toThrow(invalid);
  drafter.accept(new Int32Array(0));
  drafter.truncate(5);
  expect(drafter.bytes).toBeGreaterThanOrEqual(0);
  drafter.dispose();
  drafter.dispose();
  expect(drafter.bytes).toBe(0);
  for (const call of [
    () => drafter.accept(Int32Array.of(1)),
    () => drafter.truncate(0),
    () => drafter.draft(1, 1),
    () => drafter.fork(),
  ])
    expect(call).toThrow(disposed);
});

test('native code checks once more: sizes of arrays, kinds, and whose objects it gets', () => {
  const { Drafter } = native();
  const options = { kind: 'n-gram', minN: 1, maxN: 3, latest: true, branches: 8 } as const;
  const drafter = new Drafter(options);
  const draft = (nodes: number, room: number): unknown =>
    drafter.draft(4, nodes, new Int32Array(4), new Int32Array(room), new Float32Array(4));
  expect(draft(4, 4)).toBe(0);
  expect(() => draft(4, 3)).toThrow(invalid);
  expect(() => draft(-1, 4)).toThrow(invalid);
  expect(() => drafter.accept(new Float32Array(4) as unknown as Int32Array)).toThrow(invalid);
  expect(() => new Drafter({ ...options, maxN: 64 })).toThrow(invalid);
  expect(() => new Drafter({ ...options, kind: 'none' } as unknown as typeof options)).toThrow(invalid);
  const suffix = { kind: 'suffix', depth: 8, factor: 1, offset: 0, minProb: 0.1 } as const;
  expect(() => new Drafter({ ...suffix, cache: drafter as never })).toThrow(
    expect.objectContaining({ code: 'INTERNAL' }),
  );
});
