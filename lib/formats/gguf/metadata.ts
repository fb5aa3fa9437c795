// Typed access to GGUF metadata: a key is absent, or has the kind of value that its reader expects.
import { VivaceError } from '../../errors.js';
import { configLimits } from '../model-config.js';
import type { GgufArray, GgufEntry, GgufScalarType } from './values.js';

export type Metadata = ReadonlyMap<string, GgufEntry>;

const integerTypes: ReadonlySet<GgufScalarType | 'array'> = new Set([
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'u64',
  'i64',
]);

const wrongType = (key: string, wanted: string, entry: GgufEntry): VivaceError =>
  new VivaceError(
    'FORMAT_INVALID',
    `Expected ${wanted} for the metadata key \`${key}\`, found ${entry.type === 'array' ? 'an array' : `${entry.type} ${String(entry.value).slice(0, 60)}`}`,
  );

/** A finite number; 32-bit floats as the shortest decimal that means the same (0.00001, not 0.0000099999997…). */
export function optionalNumber(metadata: Metadata, key: string): number | undefined {
  const entry = metadata.get(key);
  if (entry === undefined) return undefined;
  if (typeof entry.value !== 'number' || !Number.isFinite(entry.value)) throw wrongType(key, 'a finite number', entry);
  return entry.type === 'f32' ? shortest(entry.value) : entry.value;
}

function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === value) return candidate;
  }
  return value;
}

/** An integer from 0 to 2^53. */
export function optionalInteger(metadata: Metadata, key: string): number | undefined {
  const entry = metadata.get(key);
  if (entry === undefined) return undefined;
  if (!integerTypes.has(entry.type) || typeof entry.value !== 'number' || entry.value < 0) {
    throw wrongType(key, 'an integer ≥ 0', entry);
  }
  return entry.value;
}

export function optionalString(metadata: Metadata, key: string): string | undefined {
  const entry = metadata.get(key);
  if (entry === undefined) return undefined;
  if (typeof entry.value !== 'string') throw wrongType(key, 'a string', entry);
  return entry.value;
}

export function optionalBoolean(metadata: Metadata, key: string): boolean | undefined {
  const entry = metadata.get(key);
  if (entry === undefined) return undefined;
  if (typeof entry.value !== 'boolean') throw wrongType(key, 'a bool', entry);
  return entry.value;
}

export function optionalArray(metadata: Metadata, key: string): GgufArray | undefined {
  const entry = metadata.get(key);
  if (entry === undefined) return undefined;
  if (entry.type !== 'array') throw wrongType(key, 'an array', entry);
  return entry.value;
}

/** A key whose value is one integer, or one per layer: those must be equal, since vivace's layers all have one shape. */
export function optionalUniform(metadata: Metadata, key: string, layers: number): number | undefined {
  const entry = metadata.get(key);
  if (entry?.type !== 'array') return optionalInteger(metadata, key);
  const { elementType, length } = entry.value;
  if (!integerTypes.has(elementType) || length !== layers || layers > configLimits.layers) {
    throw wrongType(key, `an integer, or ${layers} of them`, entry);
  }
  const [first, ...rest] = entry.value.values();
  if (typeof first !== 'number' || first < 0) throw wrongType(key, 'integers ≥ 0', entry);
  const other = rest.findIndex((value) => value !== first);
  if (other >= 0) {
    throw new VivaceError(
      'UNSUPPORTED_FEATURE',
      `The layers of this model differ: \`${key}\` is ${first} in layer 0 and ${String(rest[other])} in layer ${other + 1}`,
      { remedy: 'Use a model whose layers all have the same shape.' },
    );
  }
  return first;
}

/** What a required key throws. */
export const missingKey = (key: string): VivaceError =>
  new VivaceError('FORMAT_INVALID', `The metadata key \`${key}\` is missing`, {
    remedy: 'The file is incomplete; convert the model again with a current tool.',
  });
