// Opens GGUF files, v2 and v3, alone or as a split set: metadata and tensor table, but never the weights.
import * as nodePath from 'node:path';
import { VivaceError } from '../errors.js';
import { readHeader, type Header } from './gguf/header.js';
import { optionalInteger } from './gguf/metadata.js';
import type { GgufEntry } from './gguf/values.js';
import type { TensorSource } from './model-source.js';

export { ggufLimits } from './gguf/header.js';
export { GgufArray, ggufTypes, stringTable } from './gguf/values.js';
export type {
  GgufEntry,
  GgufScalar,
  GgufScalarType,
  GgufType,
  GgufValue,
  NumericArray,
  StringTable,
} from './gguf/values.js';

/** An open GGUF file or split set. Nothing is held open: the header's bytes live in memory, tensors are places in files. */
export interface Gguf {
  readonly version: number;
  readonly alignment: number;
  /** Absolute paths; several for a split set. */
  readonly files: readonly string[];
  /** Of the first part; long arrays stay undecoded until asked for. */
  readonly metadata: ReadonlyMap<string, GgufEntry>;
  readonly tensors: ReadonlyMap<string, TensorSource>;
}

/** Any part of a split set may be named; all parts must be there. Throws FILE_*, FORMAT_* and UNSUPPORTED_* errors. */
export function openGguf(path: string): Gguf {
  const named = nodePath.resolve(path);
  const parts = splitParts(named, readHeader(named));
  const tensors = new Map<string, TensorSource>();
  parts.forEach(({ path: file, header }, index) => {
    for (const tensor of header.tensors) {
      if (tensors.has(tensor.name)) {
        throw invalid(file, `the tensor ${JSON.stringify(tensor.name)} is already in an earlier part of the set`);
      }
      tensors.set(tensor.name, { ...tensor, file: index });
    }
  });
  const [{ header }] = parts;
  const expectedTensors = optionalInteger(header.metadata, 'split.tensors.count');
  if (parts.length > 1 && expectedTensors !== undefined && expectedTensors !== tensors.size) {
    throw invalid(named, `the set holds ${tensors.size} tensors, but split.tensors.count is ${expectedTensors}`);
  }
  return {
    version: header.version,
    alignment: header.alignment,
    files: parts.map((part) => part.path),
    metadata: header.metadata,
    tensors,
  };
}

interface Part {
  readonly path: string;
  readonly header: Header;
}

const splitName = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/s;

/** The name of one part of a split set, counted from 0. */
export const splitPartName = (stem: string, index: number, parts: number): string =>
  `${stem}-${String(index + 1).padStart(5, '0')}-of-${String(parts).padStart(5, '0')}.gguf`;

function splitParts(path: string, header: Header): Part[] {
  const parts = optionalInteger(header.metadata, 'split.count') ?? 1;
  if (parts <= 1) return [{ path, header }];
  const match = splitName.exec(path);
  if (match === null || Number(match[3]) !== parts) {
    throw new VivaceError('FORMAT_INVALID', `${path} is one of ${parts} parts, but its name does not say which`, {
      remedy: `Give the parts their original names back: ${splitPartName('name', 0, parts)} and so on.`,
    });
  }
  const given = Number(match[2]) - 1;
  return Array.from({ length: parts }, (_, index) => {
    const file = splitPartName(match[1], index, parts);
    const part =
      index === given
        ? header
        : readHeader(file, `It is part ${index + 1} of ${parts} of the model: put it next to ${path}.`);
    const no = optionalInteger(part.metadata, 'split.no');
    if (no !== index || optionalInteger(part.metadata, 'split.count') !== parts) {
      throw invalid(
        file,
        `its metadata says part ${no === undefined ? 'unknown' : no + 1}, its name part ${index + 1} of ${parts}`,
      );
    }
    return { path: file, header: part };
  });
}

const invalid = (path: string, message: string): VivaceError =>
  new VivaceError('FORMAT_INVALID', `${path}: ${message}`);
