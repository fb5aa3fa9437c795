// Every way in which a GGUF file can be wrong has its own error code, and is found before anything is allocated for it.
import * as fs from 'node:fs';
import { openGguf } from '../../lib/formats/gguf.js';
import { foreignDtypes } from '../../lib/program/dtype.js';
import { entry, info, rawGguf, text, u32, u64, type RawGguf } from './raw-gguf.js';
import { scratch, thrown } from './scratch.js';

const { write } = scratch();
const u16 = (value: number): Buffer => u32(value).subarray(0, 2);
const kib = Buffer.alloc(1024);
const f32 = (name: string, offset: number, count = 8): Buffer => info(name, [count], 0, offset);

const errorOf = (parts: RawGguf | Buffer): ReturnType<typeof thrown> => {
  const path = write('malformed.gguf', Buffer.isBuffer(parts) ? parts : rawGguf(parts));
  return thrown(() => openGguf(path));
};

type Case = [name: string, code: string, parts: RawGguf | Buffer, message?: RegExp];

test.each<Case>([
  ['no bytes', 'FORMAT_UNKNOWN', Buffer.alloc(0)],
  ['another magic number', 'FORMAT_UNKNOWN', { magic: 'GGML' }],
  ['version 1', 'UNSUPPORTED_FEATURE', { version: u32(1) }, /version 1/],
  ['version 4', 'UNSUPPORTED_FEATURE', { version: u32(4) }, /version 4/],
  ['big-endian version 3', 'UNSUPPORTED_FEATURE', { version: Buffer.from([0, 0, 0, 3]) }, /big-endian/],
  ['more tensors than bytes', 'FORMAT_TRUNCATED', { tensorCount: 1000 }],
  ['2^64 - 1 tensors', 'FORMAT_TRUNCATED', { tensorCount: 2n ** 64n - 1n }],
  ['2^64 - 1 entries', 'FORMAT_TRUNCATED', { entryCount: 2n ** 64n - 1n }],
  ['2^53 + 1 entries', 'FORMAT_TRUNCATED', { entryCount: 2n ** 53n + 1n }],
  ['an empty key', 'FORMAT_INVALID', { entries: [entry('', 0, Buffer.of(1))] }],
  [
    'a key twice',
    'FORMAT_INVALID',
    { entries: [entry('a', 0, Buffer.of(1)), entry('a', 0, Buffer.of(1))] },
    /"a" appears twice/,
  ],
  ['a key of 65536 bytes', 'FORMAT_LIMIT', { entries: [entry('k'.repeat(65536), 0, Buffer.of(1))] }, /65536/],
  ['a key beyond the file', 'FORMAT_TRUNCATED', { entryCount: 1, entries: [u64(2n ** 63n), kib] }],
  ['a key that is not UTF-8', 'FORMAT_INVALID', { entries: [entry(Buffer.of(0x61, 0xff), 0, Buffer.of(1))] }, /UTF-8/],
  ['an unknown type', 'FORMAT_INVALID', { entries: [entry('a', 13, kib)] }, /type 13/],
  ['a bool of 2', 'FORMAT_INVALID', { entries: [entry('a', 7, Buffer.of(2))] }, /bool of 2/],
  [
    'a bool of 2 in an array',
    'FORMAT_INVALID',
    { entries: [entry('a', 9, u32(7), u64(2), Buffer.of(1, 2))] },
    /bool of 2/,
  ],
  ['a string of 2^64 - 1 bytes', 'FORMAT_TRUNCATED', { entries: [entry('a', 8, u64(2n ** 64n - 1n))] }],
  ['an array of 2^64 - 1 bytes', 'FORMAT_TRUNCATED', { entries: [entry('a', 9, u32(0), u64(2n ** 64n - 1n))] }],
  ['an array of 2^61 u64', 'FORMAT_TRUNCATED', { entries: [entry('a', 9, u32(10), u64(2n ** 61n))] }],
  ['an array of 2^40 strings', 'FORMAT_TRUNCATED', { entries: [entry('a', 9, u32(8), u64(2n ** 40n))] }],
  ['an array of 2^40 arrays', 'FORMAT_TRUNCATED', { entries: [entry('a', 9, u32(9), u64(2n ** 40n))] }],
  ['an array of unknown type', 'FORMAT_INVALID', { entries: [entry('a', 9, u32(77), u64(1), kib)] }],
  [
    'a string of an array beyond the file',
    'FORMAT_TRUNCATED',
    { entries: [entry('a', 9, u32(8), u64(2), text('x'), u64(2n ** 60n))] },
  ],
  [
    'arrays nested three deep',
    'FORMAT_LIMIT',
    { entries: [entry('a', 9, u32(9), u64(1), u32(9), u64(1), u32(0), u64(1), kib)] },
  ],
  ['an alignment of 0', 'FORMAT_INVALID', { entries: [entry('general.alignment', 4, u32(0))] }, /alignment/],
  ['an alignment of 12', 'FORMAT_INVALID', { entries: [entry('general.alignment', 4, u32(12))] }, /alignment/],
  ['an alignment that is a string', 'FORMAT_INVALID', { entries: [entry('general.alignment', 8, text('32'))] }],
  ['5 dimensions', 'FORMAT_INVALID', { infos: [info('t', [1, 1, 1, 1, 1], 0, 0)], data: kib }, /5 dimensions/],
  ['2^32 - 1 dimensions', 'FORMAT_INVALID', { infos: [Buffer.concat([text('t'), u32(2 ** 32 - 1), kib])] }],
  ['a tensor name of 65 bytes', 'FORMAT_LIMIT', { infos: [f32('n'.repeat(65), 0)], data: kib }, /65/],
  ['a tensor name that is not UTF-8', 'FORMAT_INVALID', { infos: [info(Buffer.of(0xc0, 0x80), [8], 0, 0)], data: kib }],
  ['a tensor twice', 'FORMAT_INVALID', { infos: [f32('t', 0), f32('t', 32)], data: kib }, /"t" appears twice/],
  ['overlapping tensors', 'FORMAT_INVALID', { infos: [f32('a', 0, 9), f32('b', 32)], data: kib }, /overlap/],
  ['tensors in one place', 'FORMAT_INVALID', { infos: [f32('a', 0), f32('b', 0)], data: kib }, /overlap/],
  ['a tensor beyond the file', 'FORMAT_TRUNCATED', { infos: [f32('t', 1024)], data: kib }, /ends at byte/],
  ['a tensor that ends beyond the file', 'FORMAT_TRUNCATED', { infos: [f32('t', 1024 - 32, 9)], data: kib }],
  ['an offset of 2^64 - 32', 'FORMAT_TRUNCATED', { infos: [info('t', [8], 0, 2n ** 64n - 32n)], data: kib }],
  ['an unaligned offset', 'FORMAT_INVALID', { infos: [f32('t', 4)], data: kib }, /alignment/],
  [
    'dimensions whose product overflows',
    'FORMAT_TRUNCATED',
    { infos: [info('t', [2 ** 32, 2 ** 32], 0, 0)], data: kib },
  ],
  [
    'dimensions whose product wraps to 0',
    'FORMAT_TRUNCATED',
    { infos: [info('t', [2n ** 40n, 2n ** 40n, 2n ** 40n], 0, 0)], data: kib },
  ],
  ['a dimension of 2^64 - 1', 'FORMAT_INVALID', { infos: [info('t', [2n ** 64n - 1n], 0, 0)], data: kib }],
  ['a dimension of 2^63 beside a 0', 'FORMAT_INVALID', { infos: [info('t', [2n ** 63n, 0], 0, 0)], data: kib }],
  [
    'rows of 48 in blocks of 32',
    'FORMAT_INVALID',
    { infos: [info('t', [48], 8, 0)], data: kib },
    /48 values.*Q8_0.*32/,
  ],
  ['rows of 128 in blocks of 256', 'FORMAT_INVALID', { infos: [info('t', [128, 2], 12, 0)], data: kib }],
  ['a split set under another name', 'FORMAT_INVALID', { entries: [entry('split.count', 2, u16(2))] }, /parts/],
])('%s: %s', (_, code, parts, message = /./) => {
  const error = errorOf(parts);
  expect(error.code).toBe(code);
  expect(error.message).toMatch(message);
});

describe('large files, sparse on disk', () => {
  const mib = 2 ** 20;
  /** A file of `size` zeros with bytes at some places. */
  const sparse = (size: number, ...pieces: [position: number, bytes: Buffer][]): string => {
    const path = write('sparse.gguf', Buffer.alloc(0));
    fs.truncateSync(path, size);
    const fd = fs.openSync(path, 'r+');
    for (const [position, bytes] of pieces) fs.writeSync(fd, bytes, 0, bytes.length, position);
    fs.closeSync(fd);
    return path;
  };
  const head = (tensors: number, entries: number): Buffer =>
    rawGguf({ tensorCount: tensors, entryCount: entries }).subarray(0, 24);

  test('a header of more than 100 MB: two strings, each within the limit', () => {
    const first = Buffer.concat([head(0, 2), text('a'), u32(8), u64(60 * mib)]);
    const second = Buffer.concat([text('b'), u32(8), u64(60 * mib)]);
    const path = sparse(130 * mib, [0, first], [first.length + 60 * mib, second]);
    const error = thrown(() => openGguf(path));
    expect([error.code, error.message]).toEqual(['FORMAT_LIMIT', expect.stringContaining('header is larger')]);
  });

  test('a string of more than 64 MB', () => {
    const path = sparse(70 * mib, [0, Buffer.concat([head(0, 1), text('a'), u32(8), u64(64 * mib + 1)])]);
    expect(thrown(() => openGguf(path)).code).toBe('FORMAT_LIMIT');
  });

  test('more tensors or entries than any model has', () => {
    expect(thrown(() => openGguf(sparse(64 * mib, [0, head(mib + 1, 0)]))).code).toBe('FORMAT_LIMIT');
    expect(thrown(() => openGguf(sparse(64 * mib, [0, head(0, mib + 1)]))).code).toBe('FORMAT_LIMIT');
  });

  test('an array of more than 2^28 elements', () => {
    const array = Buffer.concat([head(0, 1), text('a'), u32(9), u32(0), u64(2 ** 28 + 1)]);
    expect(thrown(() => openGguf(sparse(2 ** 28 + 4096, [0, array]))).code).toBe('FORMAT_LIMIT');
  });
});

test.each(Object.entries(foreignDtypes))('type %s is refused by its name %s', (id, name) => {
  const error = errorOf({ infos: [info('blk.0.ffn_up.weight', [256], Number(id), 0)], data: kib });
  expect(error.code).toBe('UNSUPPORTED_TENSOR_TYPE');
  expect(error.message).toContain('blk.0.ffn_up.weight');
  expect(error.message).toContain(name);
  expect(error.remedy).toContain('Q4_K');
});

test.each([4, 5, 31, 38, 40, 2 ** 32 - 1])('the unknown type %d is refused by its number', (id) => {
  const error = errorOf({ infos: [info('t', [256], id, 0)], data: kib });
  expect([error.code, error.message.includes(String(id))]).toEqual(['UNSUPPORTED_TENSOR_TYPE', true]);
});

test('empty tensors may share a place with others', () => {
  const path = write('empty.gguf', rawGguf({ infos: [info('e', [0, 4], 0, 0), f32('t', 0)], data: kib }));
  expect(openGguf(path).tensors.size).toBe(2);
});

test('a key of 65535 bytes and a name of 64 are accepted', () => {
  const parts = { entries: [entry('k'.repeat(65535), 0, Buffer.of(1))], infos: [f32('n'.repeat(64), 0)], data: kib };
  expect(openGguf(write('long-names.gguf', rawGguf(parts))).tensors.size).toBe(1);
});
