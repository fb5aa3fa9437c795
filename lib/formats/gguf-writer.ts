// Writes GGUF v3 files as a stream: the header first, then one tensor after the other, so weights never pile up in memory.
import * as nodePath from 'node:path';
import { expected } from '../errors.js';
import { dtypes, inGguf, rowBytes, type DType } from '../program/dtype.js';
import { checkedChunks, writeFile, type Chunks } from './file.js';
import { splitPartName } from './gguf.js';
import { encodeEntry, u32, u64, type GgufInput } from './gguf/encode.js';
import { defaultAlignment, ggufLimits } from './gguf/header.js';

export type { GgufArrayInput, GgufInput } from './gguf/encode.js';

export interface GgufTensorInput {
  readonly name: string;
  readonly dtype: DType;
  /** Slowest axis first: a linear weight is [out, in]. */
  readonly shape: readonly number[];
  /** Bytes in the file's layout. */
  readonly data: Chunks;
}

export interface GgufContents {
  readonly metadata: Readonly<Record<string, GgufInput>> | ReadonlyMap<string, GgufInput>;
  readonly tensors?: Iterable<GgufTensorInput>;
  /** Bytes between tensors are padded to this multiple of 8; default `general.alignment` or 32. */
  readonly alignment?: number;
  /** Write a split set of so many files, with about the same number of bytes each; default 1. */
  readonly parts?: number;
}

/** Bytes of a tensor in a file. Throws INVALID_ARGUMENT when the type cannot store such rows. */
export function tensorBytes(name: string, dtype: DType, shape: readonly number[]): number {
  const info = dtypes[dtype];
  if (info === undefined || !inGguf(dtype)) throw expected('a type of GGUF', `dtype of ${name}`, dtype);
  if (!shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0)) {
    throw expected('dimensions ≥ 0', `shape of ${name}`, shape.join('×'));
  }
  const columns = shape.at(-1) ?? 1;
  if (columns % info.block !== 0) {
    throw expected(
      `rows of a multiple of ${info.block} values, as ${dtype} stores them`,
      `shape of ${name}`,
      shape.join('×'),
    );
  }
  return shape.slice(0, -1).reduce((product, dimension) => product * dimension, 1) * rowBytes(dtype, columns);
}

/** The bytes of one file, part by part, and how many there will be. */
export function ggufFile(contents: Omit<GgufContents, 'parts'>): { parts: Iterable<Uint8Array>; bytes: number } {
  const { metadata, tensors, alignment } = prepare(contents);
  const data = tensors.reduce((sum, { bytes }) => sum + bytes + padding(bytes, alignment), 0);
  return { parts: fileParts(metadata, tensors, alignment), bytes: data };
}

/**
 * Writes one file, or `parts` files named `<path without .gguf>-00001-of-0000N.gguf`, and returns their paths.
 * Each file appears under its name only when it is complete.
 */
export function writeGguf(path: string, contents: GgufContents): string[] {
  const { metadata, tensors, alignment } = prepare(contents);
  const { parts = 1 } = contents;
  if (!Number.isInteger(parts) || parts < 1 || parts > 65535)
    throw expected('an integer from 1 to 65535', 'parts', parts);
  if (parts === 1) {
    writeFile(path, fileParts(metadata, tensors, alignment));
    return [path];
  }
  const stem = path.replace(/\.gguf$/, '');
  return distribute(tensors, parts).map((share, index) => {
    const own = new Map<string, GgufInput>(index === 0 ? metadata : []);
    if (alignment !== defaultAlignment) own.set('general.alignment', alignment);
    own.set('split.no', { type: 'u16', value: index });
    own.set('split.count', { type: 'u16', value: parts });
    own.set('split.tensors.count', { type: 'i32', value: tensors.length });
    const file = splitPartName(stem, index, parts);
    writeFile(file, fileParts(own, share, alignment));
    return nodePath.normalize(file);
  });
}

function prepare(contents: GgufContents) {
  const metadata = new Map(contents.metadata instanceof Map ? contents.metadata : Object.entries(contents.metadata));
  const alignment = chooseAlignment(metadata, contents.alignment);
  const tensors = [...(contents.tensors ?? [])].map((tensor) => ({
    ...tensor,
    bytes: tensorBytes(tensor.name, tensor.dtype, tensor.shape),
  }));
  checkNames(metadata, tensors);
  return { metadata, tensors, alignment };
}

type SizedTensor = GgufTensorInput & { readonly bytes: number };

function chooseAlignment(metadata: Map<string, GgufInput>, wanted: number | undefined): number {
  const given = metadata.get('general.alignment');
  const found = typeof given === 'object' && 'value' in given ? given.value : given;
  const alignment = wanted ?? found ?? defaultAlignment;
  if (typeof alignment !== 'number' || !Number.isInteger(alignment) || alignment <= 0 || alignment % 8 !== 0) {
    throw expected('a multiple of 8', 'alignment', alignment);
  }
  if (alignment !== defaultAlignment || given !== undefined)
    metadata.set('general.alignment', { type: 'u32', value: alignment });
  return alignment;
}

function checkNames(metadata: ReadonlyMap<string, GgufInput>, tensors: readonly SizedTensor[]): void {
  for (const key of metadata.keys()) {
    const bytes = Buffer.byteLength(key);
    if (bytes === 0 || bytes > ggufLimits.keyBytes)
      throw expected(`1 to ${ggufLimits.keyBytes} bytes`, 'metadata key', key);
  }
  const names = new Set<string>();
  for (const { name, shape } of tensors) {
    // One byte less than readers accept: llama.cpp counts a terminating zero.
    if (Buffer.byteLength(name) >= ggufLimits.tensorNameBytes)
      throw expected('a name of at most 63 bytes', 'tensor', name);
    if (names.has(name)) throw expected('different names', 'tensors', name);
    if (shape.length > ggufLimits.dimensions)
      throw expected('at most 4 dimensions', `shape of ${name}`, shape.join('×'));
    names.add(name);
  }
}

const padding = (bytes: number, alignment: number): number => (alignment - (bytes % alignment)) % alignment;

function* fileParts(
  metadata: ReadonlyMap<string, GgufInput>,
  tensors: readonly SizedTensor[],
  alignment: number,
): Generator<Uint8Array> {
  const head: Buffer[] = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(metadata.size)];
  for (const [key, value] of metadata) head.push(text(key), encodeEntry(value, key));
  let offset = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    head.push(text(name), u32(shape.length), ...shape.toReversed().map(u64), u32(dtypes[dtype].id), u64(offset));
    offset += bytes + padding(bytes, alignment);
  }
  const header = Buffer.concat(head);
  yield header;
  yield Buffer.alloc(padding(header.length, alignment));
  for (const { name, data, bytes } of tensors) {
    yield* checkedChunks(name, data, bytes);
    yield Buffer.alloc(padding(bytes, alignment));
  }
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8');
  return Buffer.concat([u64(bytes.length), bytes]);
}

/** Tensors in order, cut into `parts` runs of about the same size; a run may be empty. */
function distribute(tensors: readonly SizedTensor[], parts: number): SizedTensor[][] {
  const total = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  const shares = Array.from({ length: parts }, (): SizedTensor[] => []);
  let before = 0;
  for (const tensor of tensors) {
    const middle = before + tensor.bytes / 2;
    shares[total === 0 ? 0 : Math.min(parts - 1, Math.floor((middle / total) * parts))].push(tensor);
    before += tensor.bytes;
  }
  return shares;
}
