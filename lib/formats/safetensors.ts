// Reads safetensors files: the header is checked by every rule of the format, the data are left where they lie.
import { VivaceError } from '../errors.js';
import { readExactly, withFile } from './file.js';

/** Bits per value of every type of the format. */
export const safetensorsTypes = {
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  I64: 64,
  U64: 64,
  F64: 64,
  C64: 64,
} as const;

export type SafetensorsType = keyof typeof safetensorsTypes;

export const safetensorsLimits = { headerBytes: 100_000_000, tensors: 2 ** 20 } as const;

export interface SafetensorsTensor {
  readonly name: string;
  readonly type: SafetensorsType;
  readonly shape: readonly number[];
  /** Absolute; not necessarily aligned. */
  readonly offset: number;
  readonly bytes: number;
}

export interface Safetensors {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
  /** `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** Throws FILE_*, FORMAT_TRUNCATED, FORMAT_INVALID or FORMAT_LIMIT. */
export function openSafetensors(path: string, remedy?: string): Safetensors {
  return withFile(
    path,
    (fd, size) => {
      if (size < 8) throw truncated(path, `it has ${size} bytes, the length of its header alone needs 8`);
      const prefix = Buffer.alloc(8);
      readExactly(path, fd, prefix, 0);
      const length = Number(prefix.readBigUInt64LE());
      if (length > size - 8)
        throw truncated(path, `its header should have ${length} bytes, but only ${size - 8} follow`);
      if (length > safetensorsLimits.headerBytes) {
        throw invalid(
          path,
          `its header has ${length} bytes, more than the limit of ${safetensorsLimits.headerBytes}`,
          'FORMAT_LIMIT',
        );
      }
      const header = Buffer.allocUnsafeSlow(length);
      readExactly(path, fd, header, 8);
      return parse(path, header, size - 8 - length);
    },
    remedy,
  );
}

const damaged = 'The file is damaged or was written by a faulty tool; download it again.';

const truncated = (path: string, message: string): VivaceError =>
  new VivaceError('FORMAT_TRUNCATED', `${path}: ${message}`, {
    remedy: 'The file is cut off or damaged; download it again.',
  });

const invalid = (
  path: string,
  message: string,
  code: 'FORMAT_INVALID' | 'FORMAT_LIMIT' = 'FORMAT_INVALID',
): VivaceError => new VivaceError(code, `${path}: ${message}`, { remedy: damaged });

function parse(path: string, header: Buffer, dataBytes: number): Safetensors {
  if (header[0] !== 0x7b) throw invalid(path, 'its header does not begin with {');
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
    json = JSON.parse(text);
  } catch (cause) {
    throw new VivaceError('FORMAT_INVALID', `${path}: its header is not valid JSON: ${String(cause)}`, {
      cause,
      remedy: damaged,
    });
  }
  const duplicate = duplicateKey(text);
  if (duplicate !== undefined) throw invalid(path, `the name ${JSON.stringify(duplicate)} appears twice in its header`);
  const entries = Object.entries(json as Record<string, unknown>);
  if (entries.length > safetensorsLimits.tensors + 1) {
    throw invalid(path, `it holds more than ${safetensorsLimits.tensors} tensors`, 'FORMAT_LIMIT');
  }
  const metadata = new Map<string, string>();
  const tensors = new Map<string, SafetensorsTensor>();
  for (const [name, value] of entries) {
    if (name === '__metadata__') readMetadata(path, value, metadata);
    else tensors.set(name, readTensor(path, name, value, 8 + header.length));
  }
  checkPlacement(path, [...tensors.values()], 8 + header.length, dataBytes);
  return { path, tensors, metadata };
}

function readMetadata(path: string, value: unknown, metadata: Map<string, string>): void {
  if (!isObject(value)) throw invalid(path, '__metadata__ is not an object');
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw invalid(path, `__metadata__.${key} is not a string`);
    metadata.set(key, text);
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isLength = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function readTensor(path: string, name: string, value: unknown, dataStart: number): SafetensorsTensor {
  const what = `tensor ${JSON.stringify(name)}`;
  if (!isObject(value)) throw invalid(path, `${what} is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !Object.hasOwn(safetensorsTypes, dtype)) {
    throw invalid(path, `${what} has the unknown type ${JSON.stringify(dtype)}`);
  }
  if (!Array.isArray(shape) || !shape.every(isLength))
    throw invalid(path, `the shape of ${what} is not a list of lengths`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isLength) || offsets[0] > offsets[1]) {
    throw invalid(path, `the data_offsets of ${what} are not a begin and an end`);
  }
  const type = dtype as SafetensorsType;
  const bytes: number = offsets[1] - offsets[0];
  // A product beyond 2^53 loses digits, but stays larger than any file.
  const bits = shape.reduce((product: number, dimension: number) => product * dimension, safetensorsTypes[type]);
  if (bits !== bytes * 8) {
    throw invalid(
      path,
      `${what} of type ${type} and shape [${shape.join(', ')}] needs ${bits / 8} bytes, its data_offsets span ${bytes}`,
    );
  }
  return { name, type, shape, offset: dataStart + offsets[0], bytes };
}

/** Tensors follow each other without holes and fill the rest of the file. */
function checkPlacement(path: string, tensors: SafetensorsTensor[], dataStart: number, dataBytes: number): void {
  tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let position = dataStart;
  for (const { name, offset, bytes } of tensors) {
    if (offset !== position) {
      throw invalid(
        path,
        `${offset < position ? 'an overlap' : 'a hole'} before tensor ${JSON.stringify(name)} at byte ${offset}`,
      );
    }
    position += bytes;
  }
  const end = dataStart + dataBytes;
  if (position > end) throw truncated(path, `its tensors end at byte ${position}, the file at byte ${end}`);
  if (position < end) throw invalid(path, `${end - position} bytes after the last tensor belong to none`);
}

/**
 * A name that appears twice in one object of a valid JSON text, which JSON.parse silently resolves in favour of the last;
 * undefined when there is none.
 */
export function duplicateKey(text: string): string | undefined {
  /** Names seen in each open object; undefined for an open array. */
  const open: (Set<string> | undefined)[] = [];
  let nameNext = false;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x7b: // {
        open.push(new Set());
        nameNext = true;
        break;
      case 0x5b: // [
        open.push(undefined);
        nameNext = false;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        nameNext = false;
        break;
      case 0x2c: // ,
        nameNext = open.at(-1) !== undefined;
        break;
      case 0x22: {
        const end = endOfString(text, i);
        const names = open.at(-1);
        if (nameNext && names !== undefined) {
          // Escapes make different texts of one name.
          const name: string = JSON.parse(text.slice(i, end + 1));
          if (names.has(name)) return name;
          names.add(name);
        }
        nameNext = false;
        i = end;
        break;
      }
    }
  }
  return undefined;
}

/** The index of the quote that closes the string opened at `start`. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (text.charCodeAt(i) !== 0x22) i += text.charCodeAt(i) === 0x5c ? 2 : 1;
  return i;
}
