// Metadata values of GGUF: the table of types, and arrays that stay bytes until someone asks for them.
import { VivaceError } from '../../errors.js';
import { native, nativeCall } from '../../native.js';

/** One row per type; the index is the id in the file. Strings and arrays have no fixed size. */
export const ggufTypes = [
  { name: 'u8', bytes: 1 },
  { name: 'i8', bytes: 1 },
  { name: 'u16', bytes: 2 },
  { name: 'i16', bytes: 2 },
  { name: 'u32', bytes: 4 },
  { name: 'i32', bytes: 4 },
  { name: 'f32', bytes: 4 },
  { name: 'bool', bytes: 1 },
  { name: 'string', bytes: 0 },
  { name: 'array', bytes: 0 },
  { name: 'u64', bytes: 8 },
  { name: 'i64', bytes: 8 },
  { name: 'f64', bytes: 8 },
] as const;

export type GgufType = (typeof ggufTypes)[number]['name'];
export type GgufScalarType = Exclude<GgufType, 'array'>;

/** 64-bit integers are numbers where exact and bigints beyond 2^53. */
export type GgufScalar = number | bigint | boolean | string;
export type GgufValue = GgufScalar | GgufArray;

/** One metadata entry with the type it has in the file. */
export type GgufEntry =
  { readonly type: GgufScalarType; readonly value: GgufScalar } | { readonly type: 'array'; readonly value: GgufArray };

export type NumericArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array;

const numericArrays = {
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  f32: Float32Array,
  bool: Uint8Array,
  u64: BigUint64Array,
  i64: BigInt64Array,
  f64: Float64Array,
};

/** A list of strings kept as one arena of bytes. */
export interface StringTable {
  readonly length: number;
  /** All strings' UTF-8 (possibly invalid) bytes, concatenated. */
  readonly bytes: Uint8Array;
  /** [length + 1] starts in `bytes`. */
  readonly offsets: Uint32Array;
  /** The strings as they lie in a file, each behind its length in 8 bytes: native code reads these as they are. */
  readonly list?: Uint8Array;
  /** The i-th string decoded as UTF-8. */
  get(index: number): string;
}

/** An array of the metadata: a view of the header's bytes, decoded on demand. */
export class GgufArray {
  private table?: StringTable;

  constructor(
    readonly elementType: GgufType,
    readonly length: number,
    /** The elements as they lie in the file: strings with their lengths, arrays with types and lengths. */
    readonly bytes: Buffer,
    private readonly inner: readonly GgufArray[] = [],
  ) {}

  /** The strings of a string array; their arena is built when one is first looked at. */
  strings(): StringTable {
    if (this.elementType !== 'string') throw this.mismatch('strings');
    return (this.table ??= new LazyStringTable(this.length, () => gatherStrings(this.bytes, this.length), this.bytes));
  }

  /** A copy of a numeric (or bool, as 0 and 1) array in its own type. */
  numbers(): NumericArray {
    if (this.elementType === 'string' || this.elementType === 'array') throw this.mismatch('numbers');
    const aligned = new Uint8Array(this.bytes.length);
    aligned.set(this.bytes);
    return new numericArrays[this.elementType](aligned.buffer);
  }

  /** The arrays of an array of arrays. */
  arrays(): readonly GgufArray[] {
    if (this.elementType !== 'array') throw this.mismatch('arrays');
    return this.inner;
  }

  /** The first `count` elements as plain values. */
  values(count = this.length): GgufValue[] {
    const end = Math.min(count, this.length);
    if (this.elementType === 'array') return this.inner.slice(0, end);
    if (this.elementType === 'string') {
      const table = end < this.length ? new LazyStringTable(end, () => gatherStrings(this.bytes, end)) : this.strings();
      return Array.from({ length: end }, (_, index) => table.get(index));
    }
    const type = this.elementType;
    const { bytes } = ggufTypes.find((row) => row.name === type) ?? ggufTypes[0];
    return Array.from({ length: end }, (_, index) => readScalar(type, this.bytes, index * bytes));
  }

  private mismatch(wanted: string): VivaceError {
    return new VivaceError(
      'FORMAT_INVALID',
      `Expected an array of ${wanted} in the metadata, found ${this.elementType}`,
    );
  }
}

/** One fixed-size value at `position`. */
export function readScalar(type: Exclude<GgufScalarType, 'string'>, bytes: Buffer, position: number): GgufScalar {
  switch (type) {
    case 'u8':
      return bytes.readUInt8(position);
    case 'i8':
      return bytes.readInt8(position);
    case 'u16':
      return bytes.readUInt16LE(position);
    case 'i16':
      return bytes.readInt16LE(position);
    case 'u32':
      return bytes.readUInt32LE(position);
    case 'i32':
      return bytes.readInt32LE(position);
    case 'f32':
      return bytes.readFloatLE(position);
    case 'bool':
      return bytes.readUInt8(position) === 1;
    case 'u64':
      return exact(bytes.readBigUInt64LE(position));
    case 'i64':
      return exact(bytes.readBigInt64LE(position));
    case 'f64':
      return bytes.readDoubleLE(position);
  }
}

const exact = (value: bigint): number | bigint => {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
};

interface Arena {
  readonly bytes: Buffer;
  readonly offsets: Uint32Array;
}

class LazyStringTable implements StringTable {
  private arena?: Arena;

  constructor(
    readonly length: number,
    private readonly gather: () => Arena,
    readonly list?: Uint8Array,
  ) {}

  get bytes(): Uint8Array {
    return (this.arena ??= this.gather()).bytes;
  }

  get offsets(): Uint32Array {
    return (this.arena ??= this.gather()).offsets;
  }

  get(index: number): string {
    const { bytes, offsets } = (this.arena ??= this.gather());
    return bytes.toString('utf8', offsets[index], offsets[index + 1]);
  }
}

/** The first `count` of length-prefixed strings, whose bounds the parser has checked, without their prefixes. */
function gatherStrings(list: Buffer, count: number): Arena {
  const end = new Float64Array(2);
  nativeCall(() => native().skipStrings(list, 0, count, list.length, end));
  const bytes = Buffer.allocUnsafeSlow(end[1] - 8 * count);
  const offsets = new Uint32Array(count + 1);
  nativeCall(() => native().gatherStrings(list, bytes, offsets));
  return { bytes, offsets };
}

/** A table over strings that are already in memory. */
export function stringTable(strings: readonly (string | Uint8Array)[]): StringTable {
  return new LazyStringTable(strings.length, () => {
    const parts = strings.map((text) => (typeof text === 'string' ? Buffer.from(text, 'utf8') : text));
    const offsets = new Uint32Array(parts.length + 1);
    parts.forEach((part, index) => (offsets[index + 1] = offsets[index] + part.length));
    return { bytes: Buffer.concat(parts), offsets };
  });
}
