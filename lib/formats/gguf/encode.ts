// Metadata on its way into a GGUF file: plain JavaScript values get the type that readers expect, entries keep theirs.
import { expected } from '../../errors.js';
import {
  GgufArray,
  ggufTypes,
  stringTable,
  type GgufEntry,
  type GgufScalar,
  type GgufScalarType,
  type GgufType,
  type NumericArray,
  type StringTable,
} from './values.js';

/** An array to be written. */
export interface GgufArrayInput {
  readonly type: 'array';
  readonly of: GgufType;
  readonly values: readonly GgufScalar[] | NumericArray | StringTable | readonly GgufArrayInput[];
}

/**
 * A value to be written: a plain one, or an entry with an explicit type. Plain numbers become u32 (integers ≥ 0), i32 or
 * f32, bigints u64 or i64; plain arrays take the widest type that their numbers need; typed arrays keep their type.
 */
export type GgufInput = GgufEntry | GgufArrayInput | GgufScalar | readonly GgufScalar[] | NumericArray | StringTable;

const typedArrays: ReadonlyMap<string, GgufScalarType> = new Map([
  ['Uint8Array', 'u8'],
  ['Int8Array', 'i8'],
  ['Uint16Array', 'u16'],
  ['Int16Array', 'i16'],
  ['Uint32Array', 'u32'],
  ['Int32Array', 'i32'],
  ['Float32Array', 'f32'],
  ['Float64Array', 'f64'],
  ['BigUint64Array', 'u64'],
  ['BigInt64Array', 'i64'],
]);

const typedArrayType = (value: object): GgufScalarType | undefined =>
  ArrayBuffer.isView(value)
    ? typedArrays.get(value.constructor.name === 'Buffer' ? 'Uint8Array' : value.constructor.name)
    : undefined;

const isStringTable = (value: object): value is StringTable => 'offsets' in value && 'get' in value;

const isEntry = (value: object): value is GgufEntry | GgufArrayInput =>
  'type' in value && typeof value.type === 'string';

/** The narrowest of the types that converters use for a plain scalar. */
function scalarType(value: GgufScalar, key: string): GgufScalarType {
  if (typeof value === 'string') return 'string';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'bigint') return value < 0n ? 'i64' : 'u64';
  if (typeof value !== 'number') throw expected('a string, number, bigint or boolean', key, value);
  if (!Number.isInteger(value)) return 'f32';
  if (value < 0) return value >= -(2 ** 31) ? 'i32' : 'i64';
  return value < 2 ** 32 ? 'u32' : 'u64';
}

function elementType(values: readonly GgufScalar[], key: string): GgufScalarType {
  const types = new Set(values.map((value) => scalarType(value, key)));
  if (types.size <= 1) return types.values().next().value ?? 'u32';
  if ([...types].some((type) => type === 'string' || type === 'bool'))
    throw expected('elements of one kind', key, values);
  if (types.has('f32')) return 'f32';
  return values.some((value) => Number(value) >= 2 ** 31 || Number(value) < -(2 ** 31)) ? 'i64' : 'i32';
}

/** The bytes of one entry: its type, then its value. */
export function encodeEntry(input: GgufInput, key: string): Buffer {
  if (typeof input !== 'object') return encodeScalarEntry(scalarType(input, key), input, key);
  if (isEntry(input)) {
    if (input.type !== 'array') return encodeScalarEntry(input.type, input.value, key);
    return 'of' in input ? arrayEntry(encodeArray(input, key)) : arrayEntry(encodeReadArray(input.value));
  }
  if (isStringTable(input)) return arrayEntry(encodeArray({ type: 'array', of: 'string', values: input }, key));
  const typed = typedArrayType(input);
  if (typed !== undefined) {
    return arrayEntry(encodeArray({ type: 'array', of: typed, values: input as NumericArray }, key));
  }
  if (!Array.isArray(input)) throw expected('a GGUF value', key, input);
  const values: readonly GgufScalar[] = input;
  return arrayEntry(encodeArray({ type: 'array', of: elementType(values, key), values }, key));
}

const arrayEntry = (array: Buffer): Buffer => Buffer.concat([u32(typeId('array')), array]);

const encodeReadArray = (array: GgufArray): Buffer =>
  Buffer.concat([u32(typeId(array.elementType)), u64(array.length), array.bytes]);

function encodeScalarEntry(type: GgufScalarType, value: GgufScalar, key: string): Buffer {
  return Buffer.concat([u32(typeId(type)), encodeScalar(type, value, key)]);
}

function encodeArray({ of, values }: GgufArrayInput, key: string): Buffer {
  if ('offsets' in values) {
    if (of !== 'string') throw expected(`values of type ${of}`, key, values);
    return encodeStrings(values);
  }
  if (of === 'string' && Array.isArray(values) && values.every((value) => typeof value === 'string')) {
    return encodeStrings(stringTable(values));
  }
  const head = [u32(typeId(of)), u64(values.length)];
  if (ArrayBuffer.isView(values) && typedArrayType(values) === of) {
    return Buffer.concat([...head, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)]);
  }
  const parts: Buffer[] = [];
  for (const value of values) {
    if (typeof value === 'object') {
      if (of !== 'array') throw expected(`values of type ${of}`, key, value);
      parts.push(encodeArray(value, key));
    } else {
      if (of === 'array') throw expected('arrays', key, value);
      parts.push(encodeScalar(of, value, key));
    }
  }
  return Buffer.concat([...head, ...parts]);
}

/** One allocation for all strings: vocabularies have hundreds of thousands. */
function encodeStrings({ length, bytes, offsets }: StringTable): Buffer {
  const out = Buffer.alloc(12 + 8 * length + offsets[length]);
  out.writeUInt32LE(typeId('string'), 0);
  out.writeBigUInt64LE(BigInt(length), 4);
  for (let i = 0, to = 12; i < length; i++) {
    out.writeUInt32LE(offsets[i + 1] - offsets[i], to);
    to += 8;
    for (let from = offsets[i]; from < offsets[i + 1]; from++) out[to++] = bytes[from];
  }
  return out;
}

const ranges: Readonly<Record<string, readonly [bigint, bigint]>> = {
  u8: [0n, 2n ** 8n - 1n],
  i8: [-(2n ** 7n), 2n ** 7n - 1n],
  u16: [0n, 2n ** 16n - 1n],
  i16: [-(2n ** 15n), 2n ** 15n - 1n],
  u32: [0n, 2n ** 32n - 1n],
  i32: [-(2n ** 31n), 2n ** 31n - 1n],
  u64: [0n, 2n ** 64n - 1n],
  i64: [-(2n ** 63n), 2n ** 63n - 1n],
};

function encodeScalar(type: GgufScalarType, value: GgufScalar, key: string): Buffer {
  if (type === 'string') {
    if (typeof value !== 'string') throw expected('a string', key, value);
    const text = Buffer.from(value, 'utf8');
    return Buffer.concat([u64(text.length), text]);
  }
  if (type === 'bool') {
    if (typeof value !== 'boolean') throw expected('a boolean', key, value);
    return Buffer.from([value ? 1 : 0]);
  }
  if (typeof value !== 'number' && typeof value !== 'bigint') throw expected(`a number of type ${type}`, key, value);
  if (type === 'f32' || type === 'f64') {
    const bytes = Buffer.alloc(type === 'f32' ? 4 : 8);
    if (type === 'f32') bytes.writeFloatLE(Math.fround(Number(value)));
    else bytes.writeDoubleLE(Number(value));
    return bytes;
  }
  const [low, high] = ranges[type];
  if (typeof value === 'number' && !Number.isInteger(value)) throw expected(`an integer of type ${type}`, key, value);
  const integer = BigInt(value);
  if (integer < low || integer > high) throw expected(`an integer of type ${type}`, key, value);
  const whole = Buffer.alloc(8);
  whole.writeBigUInt64LE(BigInt.asUintN(64, integer));
  return whole.subarray(0, ggufTypes[typeId(type)].bytes);
}

const typeId = (type: GgufType): number => ggufTypes.findIndex(({ name }) => name === type);

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
