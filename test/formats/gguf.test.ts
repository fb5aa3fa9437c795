// What is written into a GGUF file is read back: every type of metadata and tensor, alignments, split sets, large vocabularies.
import * as fs from 'node:fs';
import { openGguf, stringTable, type GgufArray } from '../../lib/formats/gguf.js';
import { writeGguf, type GgufInput, type GgufTensorInput } from '../../lib/formats/gguf-writer.js';
import { printable } from '../../lib/formats/model-source.js';
import { dtypes, type DType } from '../../lib/program/dtype.js';
import { sharedData } from '../fixtures/shared-data.js';
import { entry, rawGguf, text } from './raw-gguf.js';
import { scratch, thrown } from './scratch.js';

const { at, write } = scratch();

const arrayOf = (path: string, key: string): GgufArray => {
  const found = openGguf(path).metadata.get(key);
  if (found?.type !== 'array') throw new Error(`${key} is no array`);
  return found.value;
};

describe('metadata', () => {
  const scalars: Record<string, GgufInput> = {
    u8: { type: 'u8', value: 255 },
    i8: { type: 'i8', value: -128 },
    u16: { type: 'u16', value: 65535 },
    i16: { type: 'i16', value: -32768 },
    u32: { type: 'u32', value: 4294967295 },
    i32: { type: 'i32', value: -2147483648 },
    f32: { type: 'f32', value: 0.5 },
    true: { type: 'bool', value: true },
    false: { type: 'bool', value: false },
    string: { type: 'string', value: 'Grüße, 世界 🎼' },
    empty: { type: 'string', value: '' },
    u64: { type: 'u64', value: 2n ** 64n - 1n },
    smallU64: { type: 'u64', value: 7 },
    i64: { type: 'i64', value: -(2n ** 63n) },
    f64: { type: 'f64', value: Math.PI },
  };

  test('every scalar type comes back with its type and value', () => {
    const { metadata } = openGguf(writeGguf(at('scalars.gguf'), { metadata: scalars })[0]);
    expect(Object.fromEntries(metadata)).toEqual(scalars);
  });

  test('plain values get the types that converters use', () => {
    const metadata = { a: 'x', b: true, c: 3, d: -3, e: 0.25, f: 2 ** 40, g: 5n, h: -5n };
    const read = openGguf(writeGguf(at('plain.gguf'), { metadata })[0]).metadata;
    expect([...read.values()].map(({ type }) => type)).toEqual([
      'string',
      'bool',
      'u32',
      'i32',
      'f32',
      'u64',
      'u64',
      'i64',
    ]);
    expect([...read.values()].map(({ value }) => value)).toEqual(['x', true, 3, -3, 0.25, 2 ** 40, 5, -5]);
  });

  test('numeric arrays of every type come back as typed arrays, at any alignment in the file', () => {
    const arrays = {
      u8: Uint8Array.of(0, 255),
      i8: Int8Array.of(-128, 127),
      u16: Uint16Array.of(0, 65535),
      i16: Int16Array.of(-32768, 1),
      u32: Uint32Array.of(1, 4294967295),
      i32: Int32Array.of(-1, 2),
      f32: Float32Array.of(-0.5, Infinity),
      f64: Float64Array.of(Math.E, -1),
      u64: BigUint64Array.of(2n ** 64n - 1n, 0n),
      i64: BigInt64Array.of(-1n, 1n),
    };
    const path = writeGguf(at('arrays.gguf'), { metadata: arrays })[0];
    for (const [key, array] of Object.entries(arrays)) {
      expect(arrayOf(path, key).elementType).toBe(key);
      expect(arrayOf(path, key).numbers()).toEqual(array);
      expect(arrayOf(path, key).values().map(Number)).toEqual(Array.from(array, Number));
    }
  });

  test('plain arrays take a type that holds all their elements', () => {
    const metadata = { a: [1, 2], b: [1, -2], c: [1, 2.5], d: [3e9, -1], e: [true, false], f: ['a', ''], g: [] };
    const path = writeGguf(at('plain-arrays.gguf'), { metadata })[0];
    const types = Object.keys(metadata).map((key) => arrayOf(path, key).elementType);
    expect(types).toEqual(['u32', 'i32', 'f32', 'i64', 'bool', 'string', 'u32']);
    for (const [key, values] of Object.entries(metadata)) expect(arrayOf(path, key).values()).toEqual(values);
    expect(arrayOf(path, 'e').numbers()).toEqual(Uint8Array.of(1, 0));
  });

  test('string arrays keep bytes that are not UTF-8', () => {
    const table = stringTable(['a', Uint8Array.of(0xff, 0xc0), '', '▁x']);
    const strings = arrayOf(writeGguf(at('strings.gguf'), { metadata: { tokens: table } })[0], 'tokens').strings();
    expect(strings.length).toBe(4);
    expect(Buffer.from(strings.bytes)).toEqual(Buffer.from(table.bytes));
    expect([...strings.offsets]).toEqual([0, 1, 3, 3, 7]);
    expect([strings.get(0), strings.get(2), strings.get(3)]).toEqual(['a', '', '▁x']);
  });

  test('arrays nest once', () => {
    const metadata: Record<string, GgufInput> = {
      nested: {
        type: 'array',
        of: 'array',
        values: [
          { type: 'array', of: 'i32', values: [1, -2] },
          { type: 'array', of: 'string', values: ['x', 'yz'] },
          { type: 'array', of: 'bool', values: [] },
        ],
      },
    };
    const nested = arrayOf(writeGguf(at('nested.gguf'), { metadata })[0], 'nested');
    expect(nested.arrays().map((inner) => [inner.elementType, inner.values()])).toEqual([
      ['i32', [1, -2]],
      ['string', ['x', 'yz']],
      ['bool', []],
    ]);
  });

  test('the wrong question to an array is an error', () => {
    const path = writeGguf(at('wrong.gguf'), { metadata: { n: [1], s: ['a'] } })[0];
    expect(thrown(() => arrayOf(path, 'n').strings()).code).toBe('FORMAT_INVALID');
    expect(thrown(() => arrayOf(path, 's').numbers()).code).toBe('FORMAT_INVALID');
    expect(thrown(() => arrayOf(path, 's').arrays()).code).toBe('FORMAT_INVALID');
  });

  test('a file that is read and written again is the same file', () => {
    const original = writeGguf(at('original.gguf'), { metadata: { ...scalars, list: ['a', 'b'], numbers: [1, 2] } })[0];
    const copy = writeGguf(at('copy.gguf'), { metadata: openGguf(original).metadata })[0];
    expect(fs.readFileSync(copy).equals(fs.readFileSync(original))).toBe(true);
  });

  test('printable metadata survives JSON and abbreviates long arrays', () => {
    const path = writeGguf(at('printable.gguf'), {
      metadata: { big: 2n ** 63n, short: [1, 2], long: Array.from({ length: 100 }, (_, i) => `t${i}`) },
    })[0];
    const printed = [...openGguf(path).metadata.values()].map(({ value }) => printable(value));
    expect(JSON.parse(JSON.stringify(printed))).toEqual([
      '9223372036854775808',
      [1, 2],
      'string[100]: "t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", …',
    ]);
  });
});

describe('tensors', () => {
  const bytesFor = (dtype: DType, values: number): Uint8Array =>
    Uint8Array.from(
      { length: (values / dtypes[dtype].block) * dtypes[dtype].bytes },
      (_, i) => (i * 31 + dtypes[dtype].id) % 256,
    );
  const one = (dtype: DType, shape: number[]): GgufTensorInput => ({
    name: `t.${dtype}`,
    dtype,
    shape,
    data: bytesFor(
      dtype,
      shape.reduce((a, b) => a * b, 1),
    ),
  });
  const stored = (path: string): Record<string, Buffer> => {
    const { tensors, files } = openGguf(path);
    const read = ({ file, offset, bytes }: { file: number; offset: number; bytes: number }): Buffer =>
      fs.readFileSync(files[file]).subarray(offset, offset + bytes);
    return Object.fromEntries([...tensors].map(([name, tensor]) => [name, read(tensor)]));
  };

  test.each([8, 32, 64])('every type comes back byte for byte with alignment %d', (alignment) => {
    const ofFiles = (Object.keys(dtypes) as DType[]).filter((dtype) => dtypes[dtype].id < 1000); // the others are made by loaders
    const tensors = ofFiles.map((dtype) => one(dtype, [3, 256]));
    const path = writeGguf(at(`types-${alignment}.gguf`), { metadata: {}, tensors, alignment })[0];
    const gguf = openGguf(path);
    expect(gguf.alignment).toBe(alignment);
    for (const tensor of gguf.tensors.values()) expect(tensor.offset % alignment).toBe(0);
    expect([...gguf.tensors.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape }))).toEqual(
      tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
    );
    for (const [name, bytes] of Object.entries(stored(path))) {
      expect(bytes.equals(Buffer.from(tensors.find((tensor) => tensor.name === name)?.data as Uint8Array))).toBe(true);
    }
  });

  test('shapes of 0 to 4 dimensions, empty tensors among them', () => {
    const shapes = [[], [5], [2, 3], [0, 4], [2, 0], [2, 3, 4], [1, 2, 3, 4]];
    const tensors = shapes.map((shape, index): GgufTensorInput => ({ ...one('F32', shape), name: `t${index}` }));
    const path = writeGguf(at('shapes.gguf'), { metadata: {}, tensors })[0];
    expect([...openGguf(path).tensors.values()].map(({ shape }) => shape)).toEqual(shapes);
    expect(Object.values(stored(path)).map(({ length }) => length)).toEqual([4, 20, 24, 0, 0, 96, 96]);
  });

  test('chunks are written as they are made', () => {
    function* chunks(): Generator<Uint8Array> {
      for (let i = 0; i < 8; i++) yield Uint8Array.of(i);
    }
    const path = writeGguf(at('chunks.gguf'), {
      metadata: {},
      tensors: [{ name: 'c', dtype: 'F32', shape: [2], data: chunks }],
    })[0];
    expect([...stored(path).c]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test('version 2 is read like version 3', () => {
    const path = writeGguf(at('v2.gguf'), { metadata: { a: 1 }, tensors: [one('F32', [4])] })[0];
    const bytes = fs.readFileSync(path);
    bytes.writeUInt32LE(2, 4);
    const read = openGguf(write('v2.gguf', bytes));
    expect(read.version).toBe(2);
    expect(read.tensors.size).toBe(1);
  });
});

describe('split sets', () => {
  const tensors = Array.from({ length: 7 }, (_, i): GgufTensorInput => ({
    name: `t${i}`,
    dtype: 'F32',
    shape: [8],
    data: new Uint8Array(32).fill(i),
  }));
  const writeSet = (name: string): string[] =>
    writeGguf(at(name), { metadata: { 'general.name': 'set' }, tensors, parts: 3 });

  test('any of 3 parts opens the whole set', () => {
    const files = writeSet('whole.gguf');
    expect(files).toEqual([1, 2, 3].map((part) => at(`whole-0000${part}-of-00003.gguf`)));
    for (const file of files) {
      const set = openGguf(file);
      expect(set.files).toEqual(files);
      expect(set.metadata.get('general.name')?.value).toBe('set');
      expect([...set.tensors.keys()]).toEqual(tensors.map(({ name }) => name));
      for (const [name, { file: index, offset }] of set.tensors) {
        expect(fs.readFileSync(files[index])[offset]).toBe(Number(name.slice(1)));
      }
    }
    expect(new Set([...openGguf(files[0]).tensors.values()].map(({ file }) => file))).toEqual(new Set([0, 1, 2]));
  });

  test.each([0, 1, 2])('a missing part %d is named', (missing) => {
    const files = writeSet(`missing${missing}.gguf`);
    fs.rmSync(files[missing]);
    const error = thrown(() => openGguf(files[(missing + 1) % 3]));
    expect(error.code).toBe('FILE_NOT_FOUND');
    expect(error.message).toContain(files[missing]);
    expect(error.remedy).toContain(`part ${missing + 1} of 3`);
  });

  test('a part with another name is refused', () => {
    const files = writeSet('renamed.gguf');
    fs.renameSync(files[0], at('other.gguf'));
    expect(thrown(() => openGguf(at('other.gguf'))).code).toBe('FORMAT_INVALID');
  });

  test('a part in the place of another is refused', () => {
    const files = writeSet('swapped.gguf');
    fs.copyFileSync(files[0], files[1]);
    expect(thrown(() => openGguf(files[0])).code).toBe('FORMAT_INVALID');
  });
});

test('a vocabulary of 150000 tokens and 280000 merges opens in well under 100 ms', () => {
  const tokens = Array.from({ length: 150_000 }, (_, i) => `Ġtok${i}`);
  const merges = Array.from({ length: 280_000 }, (_, i) => `Ġt${i} ok${i}`);
  const path = writeGguf(at('vocabulary.gguf'), {
    metadata: {
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.token_type': new Int32Array(tokens.length).fill(1),
      'tokenizer.ggml.merges': merges,
    },
  })[0];
  const timed = (action: () => void): { wall: number; cpu: number } => {
    const start = performance.now();
    const before = process.cpuUsage();
    action();
    const { user, system } = process.cpuUsage(before);
    return { wall: performance.now() - start, cpu: (user + system) / 1000 };
  };
  const times = Array.from({ length: 5 }, () => timed(() => openGguf(path)));
  const strings = arrayOf(path, 'tokenizer.ggml.merges').strings();
  const table = timed(() => expect(strings.get(279_999)).toBe(merges[279_999]));
  console.log(
    `opened 150000 tokens and 280000 merges (${(fs.statSync(path).size / 1e6).toFixed(1)} MB) in ` +
      `${times.map(({ wall }) => wall.toFixed(0)).join(', ')} ms; the table of merges took ${table.wall.toFixed(0)} ms`,
  );
  // Processor time, because other processes may hold the cores.
  expect(Math.min(...times.map(({ cpu }) => cpu))).toBeLessThan(100);
});

/** Bytes that this process has read so far, where Linux tells. */
function bytesRead(): number | undefined {
  if (!fs.existsSync('/proc/self/io')) return undefined;
  return Number(/rchar: (\d+)/.exec(fs.readFileSync('/proc/self/io', 'utf8'))?.[1]);
}

test('only the header of a file is read, whatever the size of its weights', () => {
  const path = write('sparse.gguf', rawGguf({ entries: [entry('a', 8, text('b'))] }));
  const header = fs.statSync(path).size;
  fs.truncateSync(path, 8 * 2 ** 30);
  const before = bytesRead();
  if (before === undefined) return console.log('skipped: this system does not count the bytes that a process reads');
  openGguf(path);
  const read = bytesRead()! - before;
  expect(read).toBeGreaterThanOrEqual(header);
  expect(read).toBeLessThan(2 * 64 * 1024);
  fs.rmSync(path);
});

test('a real file opens, and its copy is the same file', () => {
  const path = sharedData('models/stories260K.gguf');
  if (path === undefined) return console.log('skipped: no models/stories260K.gguf in the shared data');
  const { metadata, tensors } = openGguf(path);
  expect(metadata.get('llama.block_count')).toEqual({ type: 'u32', value: 5 });
  expect(tensors.get('blk.4.ffn_down.weight')).toMatchObject({ dtype: 'F32', shape: [64, 172] });
  const bytes = fs.readFileSync(path);
  const copy = writeGguf(at('stories.gguf'), {
    metadata,
    tensors: [...tensors.values()].map((tensor) => ({
      ...tensor,
      data: bytes.subarray(tensor.offset, tensor.offset + tensor.bytes),
    })),
  })[0];
  expect(fs.readFileSync(copy).equals(bytes)).toBe(true);
});

test.each(['bert-bge', 'deepseek-coder', 'gpt-2', 'llama-spm', 'phi-3'])('the real vocabulary %s opens', (name) => {
  const path = sharedData(`vocab/${name}.gguf`);
  if (path === undefined) return console.log(`skipped: no vocab/${name}.gguf in the shared data`);
  const tokens = arrayOf(path, 'tokenizer.ggml.tokens');
  expect(tokens.strings().length).toBe(tokens.length);
  expect(tokens.length).toBeGreaterThan(30_000);
});
