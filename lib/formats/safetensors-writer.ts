// Writes safetensors files as a stream, alone or as shards with their index.
import * as nodePath from 'node:path';
import { expected } from '../errors.js';
import { checkedChunks, writeFile, type Chunks } from './file.js';
import { safetensorsTypes, type SafetensorsType } from './safetensors.js';

export interface SafetensorsTensorInput {
  readonly name: string;
  readonly type: SafetensorsType;
  /** Slowest axis first; [] is a scalar. */
  readonly shape: readonly number[];
  readonly data: Chunks;
}

export interface SafetensorsContents {
  readonly tensors: Iterable<SafetensorsTensorInput>;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Write so many shards and an index; default 1 file. */
  readonly parts?: number;
}

/**
 * Writes one file, or for `parts` > 1 files `<path without .safetensors>-00001-of-0000N.safetensors` and the index
 * `<path>.index.json`. Returns the paths, the index last. Tensors are ordered by the size of their values, so that all
 * are aligned to it.
 */
export function writeSafetensors(path: string, contents: SafetensorsContents): string[] {
  const { metadata, parts = 1 } = contents;
  const tensors = [...contents.tensors].map((tensor) => ({ ...tensor, bytes: bytesOf(tensor) }));
  const names = new Set(tensors.map(({ name }) => name));
  if (names.size !== tensors.length || names.has('__metadata__')) {
    throw expected('different names, none of them __metadata__', 'tensors', tensors.map(({ name }) => name).join(', '));
  }
  if (!Number.isInteger(parts) || parts < 1 || parts > 99999)
    throw expected('an integer from 1 to 99999', 'parts', parts);
  if (parts === 1) {
    writeFile(path, fileParts(tensors, metadata));
    return [path];
  }
  const stem = path.replace(/\.safetensors$/, '');
  const five = (value: number): string => String(value).padStart(5, '0');
  const size = Math.ceil(tensors.length / parts);
  const weightMap: Record<string, string> = {};
  const paths = Array.from({ length: parts }, (_, index) => {
    const shard = `${stem}-${five(index + 1)}-of-${five(parts)}.safetensors`;
    const share = tensors.slice(index * size, (index + 1) * size);
    for (const { name } of share) weightMap[name] = nodePath.basename(shard);
    writeFile(shard, fileParts(share, metadata));
    return shard;
  });
  const total = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  const index = JSON.stringify({ metadata: { total_size: total }, weight_map: weightMap }, null, 2);
  writeFile(`${path}.index.json`, [Buffer.from(`${index}\n`)]);
  return [...paths, `${path}.index.json`];
}

/** The bytes of one file, part by part, and how many the tensors have. */
export function safetensorsFile(contents: Omit<SafetensorsContents, 'parts'>): {
  parts: Iterable<Uint8Array>;
  bytes: number;
} {
  const tensors = [...contents.tensors].map((tensor) => ({ ...tensor, bytes: bytesOf(tensor) }));
  return { parts: fileParts(tensors, contents.metadata), bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0) };
}

type SizedTensor = SafetensorsTensorInput & { readonly bytes: number };

function bytesOf({ name, type, shape }: SafetensorsTensorInput): number {
  if (!Object.hasOwn(safetensorsTypes, type)) {
    throw expected(`one of ${Object.keys(safetensorsTypes).join(', ')}`, `type of ${name}`, type);
  }
  if (!shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0)) {
    throw expected('dimensions ≥ 0', `shape of ${name}`, shape.join('×'));
  }
  const bits = shape.reduce((product, dimension) => product * dimension, safetensorsTypes[type]);
  if (bits % 8 !== 0) throw expected('a whole number of bytes', `shape of ${name}`, shape.join('×'));
  return bits / 8;
}

function* fileParts(given: readonly SizedTensor[], metadata?: Readonly<Record<string, string>>): Generator<Uint8Array> {
  const tensors = given.toSorted((a, b) => safetensorsTypes[b.type] - safetensorsTypes[a.type]);
  const entries: [string, unknown][] = metadata === undefined ? [] : [['__metadata__', metadata]];
  let offset = 0;
  for (const { name, type, shape, bytes } of tensors) {
    entries.push([name, { dtype: type, shape, data_offsets: [offset, offset + bytes] }]);
    offset += bytes;
  }
  // Joined by hand: an object would reorder names that look like numbers and lose __proto__.
  const text = `{${entries.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`;
  const length = Math.ceil(Buffer.byteLength(text) / 8) * 8;
  const header = Buffer.alloc(8 + length, ' ');
  header.writeBigUInt64LE(BigInt(length));
  header.write(text, 8);
  yield header;
  for (const { name, data, bytes } of tensors) yield* checkedChunks(name, data, bytes);
}
