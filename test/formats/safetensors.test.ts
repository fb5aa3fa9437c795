// safetensors files: what is written comes back, and every rule of the format is enforced.
import * as fs from 'node:fs';
import { openSafetensorsSet } from '../../lib/formats/hugging-face/shards.js';
import {
  duplicateKey,
  openSafetensors,
  safetensorsTypes,
  type SafetensorsType,
} from '../../lib/formats/safetensors.js';
import { writeSafetensors, type SafetensorsTensorInput } from '../../lib/formats/safetensors-writer.js';
import { scratch, thrown } from './scratch.js';

const { at, write, json } = scratch();

const tensor = (name: string, type: SafetensorsType, shape: number[], seed = 1): SafetensorsTensorInput => ({
  name,
  type,
  shape,
  data: Uint8Array.from(
    { length: (shape.reduce((a, b) => a * b, 1) * safetensorsTypes[type]) / 8 },
    (_, i) => (i * 7 + seed) % 256,
  ),
});

const stored = (path: string, name: string): Buffer => {
  const found = openSafetensors(path).tensors.get(name);
  if (found === undefined) throw new Error(`${name} is not in ${path}`);
  return fs.readFileSync(path).subarray(found.offset, found.offset + found.bytes);
};

describe('round trips', () => {
  test('every type, aligned to its values', () => {
    const types = Object.keys(safetensorsTypes) as SafetensorsType[];
    const tensors = types.map((type, index) => tensor(`t.${type}`, type, [3, 8], index));
    const path = writeSafetensors(at('types.safetensors'), { tensors, metadata: { format: 'pt' } })[0];
    const read = openSafetensors(path);
    expect(Object.fromEntries(read.metadata)).toEqual({ format: 'pt' });
    expect(read.tensors.size).toBe(types.length);
    for (const { name, type, shape, data } of tensors) {
      const found = read.tensors.get(name);
      expect(found).toMatchObject({ name, type, shape });
      expect(stored(path, name).equals(Buffer.from(data as Uint8Array))).toBe(true);
      if (safetensorsTypes[type] >= 8) expect((found?.offset ?? 1) % (safetensorsTypes[type] / 8)).toBe(0);
    }
  });

  test('scalars, empty tensors, and names that objects treat in their own way', () => {
    const tensors = [
      tensor('scalar', 'F32', []),
      tensor('empty', 'F16', [0, 5]),
      tensor('12', 'U8', [2]),
      tensor('__proto__', 'U8', [3]),
      tensor('Ä "quoted" \\ name', 'U8', [1]),
    ];
    const { tensors: read } = openSafetensors(writeSafetensors(at('odd.safetensors'), { tensors })[0]);
    expect(new Set(read.keys())).toEqual(new Set(tensors.map(({ name }) => name)));
    expect(read.get('scalar')).toMatchObject({ shape: [], bytes: 4 });
    expect(read.get('empty')).toMatchObject({ shape: [0, 5], bytes: 0 });
  });

  test('a file without tensors', () => {
    expect(openSafetensors(writeSafetensors(at('none.safetensors'), { tensors: [] })[0]).tensors.size).toBe(0);
  });

  test('shards and their index', () => {
    fs.mkdirSync(at('set'));
    const tensors = ['a', 'b', 'c', 'd'].map((name, index) => tensor(name, 'F16', [4], index));
    const files = writeSafetensors(at('set/model.safetensors'), { tensors, parts: 3 });
    expect(files).toHaveLength(4);
    expect(JSON.parse(fs.readFileSync(files[3], 'utf8')).metadata).toEqual({ total_size: 32 });
    const set = openSafetensorsSet(at('set'));
    expect([...set.tensors.keys()].sort()).toEqual(['a', 'b', 'c', 'd']);
    for (const { name, data } of tensors) {
      const found = set.tensors.get(name);
      const bytes = fs.readFileSync(set.files[found?.file ?? 0]).subarray(found?.offset, (found?.offset ?? 0) + 8);
      expect(bytes.equals(Buffer.from(data as Uint8Array))).toBe(true);
    }
  });
});

describe('refused', () => {
  const file = (header: string | Buffer, data = 0, length?: bigint): string => {
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(length ?? BigInt(Buffer.byteLength(header)));
    return write('refused.safetensors', Buffer.concat([prefix, Buffer.from(header), Buffer.alloc(data)]));
  };
  const entries = (...list: [string, string, number[], number, number][]): string =>
    JSON.stringify(
      Object.fromEntries(
        list.map(([name, dtype, shape, begin, end]) => [name, { dtype, shape, data_offsets: [begin, end] }]),
      ),
    );

  test.each<[string, string, () => string]>([
    ['7 bytes', 'FORMAT_TRUNCATED', () => write('short', Buffer.alloc(7))],
    ['a header beyond the file', 'FORMAT_TRUNCATED', () => file('{}', 0, 3n)],
    ['a header of 2^64 - 1 bytes', 'FORMAT_TRUNCATED', () => file('{}', 0, 2n ** 64n - 1n)],
    ['an empty header', 'FORMAT_INVALID', () => file('')],
    ['a header that begins with a space', 'FORMAT_INVALID', () => file(' {}')],
    ['a list', 'FORMAT_INVALID', () => file('[]')],
    ['half a header', 'FORMAT_INVALID', () => file('{"a":')],
    ['text after the header', 'FORMAT_INVALID', () => file('{} x')],
    ['a header that is not UTF-8', 'FORMAT_INVALID', () => file(Buffer.from('{"\xff":1}', 'latin1'))],
    ['a tensor that is a number', 'FORMAT_INVALID', () => file('{"a":1}')],
    ['a tensor that is null', 'FORMAT_INVALID', () => file('{"a":null}')],
    ['an unknown type', 'FORMAT_INVALID', () => file(entries(['a', 'F128', [1], 0, 16]), 16)],
    ['a type of Object.prototype', 'FORMAT_INVALID', () => file(entries(['a', 'toString', [1], 0, 4]), 4)],
    ['a negative dimension', 'FORMAT_INVALID', () => file(entries(['a', 'F32', [-1], 0, 4]), 4)],
    ['a fractional dimension', 'FORMAT_INVALID', () => file(entries(['a', 'F32', [1.5], 0, 6]), 6)],
    ['offsets in the wrong order', 'FORMAT_INVALID', () => file(entries(['a', 'F32', [1], 4, 0]), 4)],
    ['one offset', 'FORMAT_INVALID', () => file('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}', 1)],
    ['a shape that needs more bytes', 'FORMAT_INVALID', () => file(entries(['a', 'F32', [2], 0, 4]), 4)],
    [
      'a shape whose product overflows',
      'FORMAT_INVALID',
      () => file(entries(['a', 'F32', [2 ** 52, 2 ** 52], 0, 4]), 4),
    ],
    ['half a byte', 'FORMAT_INVALID', () => file(entries(['a', 'F4', [3], 0, 2]), 2)],
    ['a hole', 'FORMAT_INVALID', () => file(entries(['a', 'U8', [1], 0, 1], ['b', 'U8', [1], 2, 3]), 3)],
    ['a hole at the start', 'FORMAT_INVALID', () => file(entries(['a', 'U8', [1], 1, 2]), 2)],
    ['an overlap', 'FORMAT_INVALID', () => file(entries(['a', 'U8', [2], 0, 2], ['b', 'U8', [2], 1, 3]), 3)],
    ['bytes after the last tensor', 'FORMAT_INVALID', () => file(entries(['a', 'U8', [1], 0, 1]), 2)],
    ['a tensor beyond the file', 'FORMAT_TRUNCATED', () => file(entries(['a', 'U8', [4], 0, 4]), 3)],
    ['a name twice', 'FORMAT_INVALID', () => file('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0061":1}')],
    [
      'a field twice',
      'FORMAT_INVALID',
      () => file('{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
    ],
    ['metadata that is a list', 'FORMAT_INVALID', () => file('{"__metadata__":[]}')],
    ['metadata with a number', 'FORMAT_INVALID', () => file('{"__metadata__":{"a":1}}')],
  ])('%s: %s', (_, code, make) => {
    expect(thrown(() => openSafetensors(make())).code).toBe(code);
  });

  test('a header of more than 100 MB', () => {
    const path = file('{}', 0, 100_000_001n);
    fs.truncateSync(path, 100_000_100);
    expect(thrown(() => openSafetensors(path)).code).toBe('FORMAT_LIMIT');
  });

  test('spaces after the header are allowed', () => {
    expect(openSafetensors(file('{}    ')).tensors.size).toBe(0);
  });

  const index = (name: string, weightMap: unknown): string => {
    json(`${name}/model.safetensors.index.json`, { weight_map: weightMap });
    writeSafetensors(at(`${name}/m.safetensors`), { tensors: [tensor('a', 'U8', [1])] });
    return at(name);
  };

  test.each([
    '../m.safetensors',
    'x/m.safetensors',
    'x\\m.safetensors',
    '/m.safetensors',
    'C:m.safetensors',
    'm.bin',
    '',
    3,
  ])('a shard called %j', (name) => {
    const error = thrown(() => openSafetensorsSet(index('separators', { a: name })));
    expect([error.code, error.message]).toEqual(['FORMAT_INVALID', expect.stringContaining(JSON.stringify(name))]);
  });

  test.each<[string, string, unknown]>([
    ['no map', 'FORMAT_INVALID', undefined],
    ['an empty map', 'FORMAT_INVALID', {}],
    ['a missing shard', 'FILE_NOT_FOUND', { a: 'n.safetensors' }],
    ['a tensor that its shard lacks', 'MISSING_TENSOR', { a: 'm.safetensors', b: 'm.safetensors' }],
  ])('an index with %s: %s', (_, code, map) => {
    expect(thrown(() => openSafetensorsSet(index('index', map))).code).toBe(code);
  });

  test('a directory of pickles says what to do', () => {
    write('pickles/pytorch_model.bin', 'PK');
    const error = thrown(() => openSafetensorsSet(at('pickles')));
    expect([error.code, error.remedy]).toEqual(['FILE_NOT_FOUND', expect.stringContaining('safetensors')]);
  });

  test.each<[string, SafetensorsTensorInput[]]>([
    ['a name twice', [tensor('a', 'U8', [1]), tensor('a', 'U8', [1])]],
    ['a reserved name', [tensor('__metadata__', 'U8', [1])]],
    ['half a byte', [{ name: 'a', type: 'F4', shape: [3], data: new Uint8Array(2) }]],
  ])('the writer refuses %s', (_, tensors) => {
    expect(thrown(() => writeSafetensors(at('never'), { tensors })).code).toBe('INVALID_ARGUMENT');
    expect(fs.existsSync(at('never'))).toBe(false);
  });
});

test('duplicate names are found at every depth, and only those', () => {
  expect(duplicateKey('{"a":[{"b":1,"b":2}]}')).toBe('b');
  expect(duplicateKey('{"a":{"c":1},"b":{"c":1},"\\u0061":2}')).toBe('a');
  expect(duplicateKey('{"a":{"a":{"a":["a","a",{"a":"a"}]}},"b":"a\\"a","c":"\\\\"}')).toBeUndefined();
  expect(duplicateKey('[1,"a","a",{},[]]')).toBeUndefined();
});
