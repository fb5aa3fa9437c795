// Parses the header of one GGUF file: metadata, tensor table, alignment. Every count and length is hostile until checked.
import { VivaceError } from '../../errors.js';
import { dtypeOfId, dtypes, foreignDtypes, type DType } from '../../program/dtype.js';
import { withFile } from '../file.js';
import { HeaderBytes } from './header-bytes.js';
import { GgufArray, ggufTypes, readScalar, type GgufEntry, type GgufScalar } from './values.js';

export const ggufLimits = {
  tensors: 2 ** 20,
  entries: 2 ** 20,
  keyBytes: 65535,
  /** llama.cpp reserves 64 bytes for a name, the terminating zero included; files are accepted up to 64. */
  tensorNameBytes: 64,
  stringBytes: 64 * 2 ** 20,
  arrayElements: 2 ** 28,
  arrayNesting: 2,
  dimensions: 4,
} as const;

export const defaultAlignment = 32;

export interface HeaderTensor {
  readonly name: string;
  readonly dtype: DType;
  /** Slowest axis first. */
  readonly shape: readonly number[];
  /** Absolute. */
  readonly offset: number;
  readonly bytes: number;
}

export interface Header {
  readonly version: number;
  readonly alignment: number;
  readonly metadata: ReadonlyMap<string, GgufEntry>;
  readonly tensors: readonly HeaderTensor[];
}

const magic = 0x46554747; // "GGUF", little-endian

export const readHeader = (path: string, remedy?: string): Header =>
  withFile(path, (fd, size) => parse(new HeaderBytes(path, fd, size)), remedy);

function parse(input: HeaderBytes): Header {
  if (input.fileSize < 4 || input.u32('the magic number') !== magic) {
    throw new VivaceError('FORMAT_UNKNOWN', `${input.path} is not a GGUF file: it does not begin with "GGUF"`);
  }
  const version = readVersion(input);
  const tensorCount = count(input, 'the tensor count', ggufLimits.tensors, 24);
  const entryCount = count(input, 'the metadata count', ggufLimits.entries, 13);

  const metadata = new Map<string, GgufEntry>();
  for (let i = 0; i < entryCount; i++) {
    const key = input.name(ggufLimits.keyBytes, `metadata key ${i}`);
    if (key === '') throw input.fail(`metadata key ${i} is empty`);
    if (metadata.has(key)) throw input.fail(`the metadata key ${JSON.stringify(key)} appears twice`);
    metadata.set(key, readEntry(input, key));
  }
  const alignment = readAlignment(input, metadata);

  const infos = Array.from({ length: tensorCount }, (_, index) => readTensor(input, index, alignment));
  const names = new Set<string>();
  for (const { name } of infos) {
    if (names.has(name)) throw input.fail(`the tensor ${JSON.stringify(name)} appears twice`);
    names.add(name);
  }
  const start = Math.ceil(input.position / alignment) * alignment;
  const tensors = infos.map((info) => ({ ...info, offset: start + info.offset }));
  checkPlacement(input, tensors);
  return { version, alignment, metadata, tensors };
}

function readVersion(input: HeaderBytes): number {
  const version = input.u32('the version');
  if (version === 2 || version === 3) return version;
  if (version === 1) {
    throw new VivaceError(
      'UNSUPPORTED_FEATURE',
      `${input.path} is a GGUF file of version 1; versions 2 and 3 are read`,
      {
        remedy: 'Convert the model again with a current tool.',
      },
    );
  }
  if ((version & 0xffff) === 0) {
    throw new VivaceError(
      'UNSUPPORTED_FEATURE',
      `${input.path} is a big-endian GGUF file; little-endian files are read`,
      {
        remedy: 'Convert the model again without the big-endian option.',
      },
    );
  }
  throw new VivaceError(
    'UNSUPPORTED_FEATURE',
    `${input.path} is a GGUF file of version ${version}; versions 2 and 3 are read`,
  );
}

/** A count of records of at least `size` bytes each: too many for the rest of the file is a truncated file. */
function count(input: HeaderBytes, what: string, limit: number, size: number): number {
  const value = input.u64(what);
  if (value * size > input.remaining) {
    throw new VivaceError('FORMAT_TRUNCATED', `${input.path}: ${what} is ${value}, more than the file can hold`, {
      remedy: 'The file is cut off or damaged; download it again.',
    });
  }
  if (value > limit) throw input.fail(`${what} is ${value}, more than the limit of ${limit}`, 'FORMAT_LIMIT');
  return value;
}

function readEntry(input: HeaderBytes, key: string): GgufEntry {
  const what = `the value of ${JSON.stringify(key)}`;
  const { name: type, bytes } = typeOf(input, input.u32(what), what);
  if (type === 'array') return { type, value: readArray(input, what, 1) };
  if (type === 'string') {
    const start = input.skipString(ggufLimits.stringBytes, what);
    return { type, value: input.bytes.toString('utf8', start, input.position) };
  }
  const start = input.position;
  input.skip(bytes, what);
  if (type === 'bool') checkBools(input, start, what);
  const value: GgufScalar = readScalar(type, input.bytes, start);
  return { type, value };
}

function readArray(input: HeaderBytes, what: string, depth: number): GgufArray {
  const { name: type, bytes } = typeOf(input, input.u32(what), what);
  const smallest = type === 'string' ? 8 : type === 'array' ? 12 : bytes;
  const length = count(input, `the length of ${what}`, ggufLimits.arrayElements, smallest);
  const start = input.position;
  const inner: GgufArray[] = [];
  if (type === 'array') {
    if (depth === ggufLimits.arrayNesting) {
      throw input.fail(`${what} nests arrays deeper than ${ggufLimits.arrayNesting}`, 'FORMAT_LIMIT');
    }
    for (let i = 0; i < length; i++) inner.push(readArray(input, what, depth + 1));
  } else if (type === 'string') {
    input.skipStrings(length, ggufLimits.stringBytes, what);
  } else {
    input.skip(length * bytes, what);
    if (type === 'bool') checkBools(input, start, what);
  }
  return new GgufArray(type, length, input.bytes.subarray(start, input.position), inner);
}

function typeOf(input: HeaderBytes, id: number, what: string): (typeof ggufTypes)[number] {
  const type = ggufTypes[id];
  if (type === undefined) throw input.fail(`${what} has the unknown type ${id}`);
  return type;
}

function checkBools(input: HeaderBytes, start: number, what: string): void {
  for (let i = start; i < input.position; i++) {
    if (input.bytes[i] > 1) throw input.fail(`${what} is a bool of ${input.bytes[i]}, expected 0 or 1`);
  }
}

function readAlignment(input: HeaderBytes, metadata: ReadonlyMap<string, GgufEntry>): number {
  const entry = metadata.get('general.alignment');
  if (entry === undefined) return defaultAlignment;
  const { type, value } = entry;
  if ((type !== 'u32' && type !== 'u64') || typeof value !== 'number' || value === 0 || value % 8 !== 0) {
    const found = type === 'array' ? type : `${type} ${String(value)}`;
    throw input.fail(`general.alignment is ${found}, expected a u32 multiple of 8`);
  }
  return value;
}

/** One row of the tensor table; its offset is still relative to the data section. */
function readTensor(input: HeaderBytes, index: number, alignment: number): HeaderTensor {
  const name = input.name(ggufLimits.tensorNameBytes, `the name of tensor ${index}`);
  const what = `tensor ${JSON.stringify(name)}`;
  const dimensions = input.u32(what);
  if (dimensions > ggufLimits.dimensions) {
    throw input.fail(`${what} has ${dimensions} dimensions, at most ${ggufLimits.dimensions} are allowed`);
  }
  const shape = Array.from({ length: dimensions }, () => input.u64(what));
  const dtype = tensorType(input, name, input.u32(what));
  const offset = input.u64(what);
  if (offset % alignment !== 0) {
    throw input.fail(`${what} begins at ${offset}, which is not a multiple of the alignment ${alignment}`);
  }
  if (shape.some((dimension) => dimension > Number.MAX_SAFE_INTEGER)) {
    throw input.fail(`${what} has the impossible shape [${shape.join(', ')}]`);
  }
  const { block, bytes: blockBytes } = dtypes[dtype];
  const columns = shape[0] ?? 1;
  if (columns % block !== 0) {
    throw input.fail(`${what} has rows of ${columns} values, which ${dtype} cannot store: its blocks hold ${block}`);
  }
  // Products beyond 2^53 lose digits, but stay larger than any file, so the check of placement still catches them.
  const bytes = (shape.reduce((product, dimension) => product * dimension, 1) / block) * blockBytes;
  return { name, dtype, shape: shape.reverse(), offset, bytes };
}

function tensorType(input: HeaderBytes, name: string, id: number): DType {
  const dtype = dtypeOfId(id);
  if (dtype !== undefined) return dtype;
  const foreign = foreignDtypes[id];
  throw new VivaceError(
    'UNSUPPORTED_TENSOR_TYPE',
    `${input.path}: tensor ${JSON.stringify(name)} has the type ${foreign ?? `with the id ${id}`}, which vivace cannot compute with`,
    { remedy: `Use a version of the model quantised to one of ${Object.keys(dtypes).join(', ')}.` },
  );
}

/** Every tensor lies inside the file, and no two share a byte. */
function checkPlacement(input: HeaderBytes, tensors: readonly HeaderTensor[]): void {
  const ordered = tensors.filter(({ bytes }) => bytes > 0).sort((a, b) => a.offset - b.offset);
  let previous: HeaderTensor | undefined;
  for (const tensor of ordered) {
    const end = tensor.offset + tensor.bytes;
    if (end > input.fileSize) {
      throw new VivaceError(
        'FORMAT_TRUNCATED',
        `${input.path}: tensor ${JSON.stringify(tensor.name)} ends at byte ${end}, but the file has ${input.fileSize}`,
        { remedy: 'The file is cut off or damaged; download it again.' },
      );
    }
    if (previous !== undefined && previous.offset + previous.bytes > tensor.offset) {
      throw input.fail(`tensors ${JSON.stringify(previous.name)} and ${JSON.stringify(tensor.name)} overlap`);
    }
    previous = tensor;
  }
}
