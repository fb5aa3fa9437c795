// Metadata as `vivace inspect` prints it: every value survives JSON.stringify, and long arrays show only their beginning.
import { GgufArray } from './gguf/values.js';

/** Longer arrays are abbreviated. */
const shown = 8;

/** Numbers, strings, booleans and null stay; bigints become decimal text; long arrays become `string[32000]: "a", "b", …`. */
export function printable(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (value instanceof GgufArray) {
    const first = value.values(shown).map(printable);
    return value.length <= shown ? first : abbreviated(value.elementType, value.length, first);
  }
  if (Array.isArray(value)) {
    const first = value.slice(0, shown).map(printable);
    return value.length <= shown ? first : abbreviated('', value.length, first);
  }
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, printable(inner)]));
  }
  return value;
}

const abbreviated = (type: string, length: number, first: readonly unknown[]): string =>
  `${type}[${length}]: ${first.map((element) => JSON.stringify(element)).join(', ')}, …`;
