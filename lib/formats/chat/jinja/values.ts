// The values of a template, which are Python's: how they compare, print and count as true.
import { TemplateFault } from './fault.js';

export type Value =
  | null
  | boolean
  | number // an int
  | Float
  | string
  | Value[]
  | Tuple
  | Dict
  | Undefined
  | Namespace
  | Callable
  | Loop;

/** A Python float, kept apart from ints because 2.0 prints differently from 2. */
export class Float {
  constructor(readonly value: number) {}
}

export class Tuple {
  constructor(readonly items: readonly Value[]) {}
}

/** Keys in order of insertion. */
export type Dict = Map<string | number | boolean | null, Value>;

/** What a name or key without a value gives: prints as nothing, is false, empty to loops, and fails elsewhere. */
export class Undefined {
  constructor(readonly what: string) {}
}

export class Namespace {
  readonly fields = new Map<string, Value>();
}

export type Arguments = { readonly positional: readonly Value[]; readonly keyword: ReadonlyMap<string, Value> };

export class Callable {
  constructor(
    readonly name: string,
    readonly call: (args: Arguments) => Value,
  ) {}
}

/** The variable `loop`. */
export class Loop {
  index0 = 0;
  changed: Value | undefined;
  constructor(
    readonly items: readonly Value[],
    readonly depth0: number,
    readonly recurse: (items: Value) => string,
  ) {}
}

/** What a caller passes in, as a template sees it. Fields that are undefined are absent. */
export function fromJavaScript(value: unknown): Value {
  if (value === null || value === undefined) return null;
  if (typeof value === 'boolean' || typeof value === 'string' || value instanceof Callable) return value;
  if (typeof value === 'number') return Number.isInteger(value) ? value : new Float(value);
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(fromJavaScript);
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [String(key), fromJavaScript(item)]));
  if (typeof value === 'object') {
    const fields = Object.entries(value).filter(([, item]) => item !== undefined && typeof item !== 'function');
    return new Map(fields.map(([key, item]) => [key, fromJavaScript(item)]));
  }
  throw new TemplateFault(`a ${typeof value} cannot be given to a template`);
}

export function truth(value: Value): boolean {
  if (value === null || value === false || value === 0 || value === '' || value instanceof Undefined) return false;
  if (value instanceof Float) return value.value !== 0;
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof Map) return value.size > 0;
  return !(value instanceof Tuple) || value.items.length > 0;
}

/** The number that a bool, int or float is, or undefined. */
export function numberOf(value: Value): number | undefined {
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return value ? 1 : 0;
  return value instanceof Float ? value.value : undefined;
}

export function equal(a: Value, b: Value): boolean {
  const x = numberOf(a);
  const y = numberOf(b);
  if (x !== undefined && y !== undefined) return x === y;
  if (a instanceof Undefined && b instanceof Undefined) return true;
  if (Array.isArray(a) && Array.isArray(b)) return equalItems(a, b);
  if (a instanceof Tuple && b instanceof Tuple) return equalItems(a.items, b.items);
  if (a instanceof Map && b instanceof Map) {
    return a.size === b.size && [...a].every(([key, item]) => b.has(key) && equal(item, b.get(key) ?? null));
  }
  return a === b;
}

function equalItems(a: readonly Value[], b: readonly Value[]): boolean {
  return a.length === b.length && a.every((item, i) => equal(item, b[i]));
}

/** Negative, zero or positive; fails on kinds that Python does not order. */
export function compare(a: Value, b: Value): number {
  const x = numberOf(a);
  const y = numberOf(b);
  if (x !== undefined && y !== undefined) return x - y;
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b);
  const [left, right] = [listOf(a), listOf(b)];
  if (left && right && Array.isArray(a) === Array.isArray(b)) {
    for (let i = 0; i < Math.min(left.length, right.length); i++) {
      if (!equal(left[i], right[i])) return compare(left[i], right[i]);
    }
    return left.length - right.length;
  }
  throw new TemplateFault(`'<' not supported between instances of '${kind(a)}' and '${kind(b)}'`);
}

/** By code points, as Python orders text; JavaScript's `<` compares UTF-16 units. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  const x = [...a];
  const y = [...b];
  for (let i = 0; i < Math.min(x.length, y.length); i++) {
    if (x[i] !== y[i]) return (x[i].codePointAt(0) ?? 0) - (y[i].codePointAt(0) ?? 0);
  }
  return x.length - y.length;
}

/** The items of a list or tuple, or undefined. */
export function listOf(value: Value): readonly Value[] | undefined {
  if (Array.isArray(value)) return value;
  return value instanceof Tuple ? value.items : undefined;
}

/** What a loop over the value sees. */
export function iterate(value: Value): readonly Value[] {
  if (value instanceof Map) return [...value.keys()];
  if (typeof value === 'string') return [...value];
  if (value instanceof Undefined) return [];
  const items = listOf(value);
  if (items) return items;
  throw new TemplateFault(`'${kind(value)}' object is not iterable`);
}

export function lengthOf(value: Value): number {
  if (typeof value === 'string') return codePoints(value);
  if (value instanceof Map) return value.size;
  if (value instanceof Undefined) return 0;
  const items = listOf(value);
  if (items) return items.length;
  throw new TemplateFault(`object of type '${kind(value)}' has no len()`);
}

function codePoints(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length; i++) if ((text.charCodeAt(i) & 0xfc00) === 0xdc00) count--;
  return count;
}

export function dictKey(value: Value): string | number | boolean | null {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return value;
  if (value instanceof Float) return value.value;
  throw new TemplateFault(`a '${kind(value)}' cannot be a key`);
}

/** Python's name of the type. */
export function kind(value: Value): string {
  if (value === null) return 'NoneType';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'number') return 'int';
  if (typeof value === 'string') return 'str';
  if (Array.isArray(value)) return 'list';
  if (value instanceof Map) return 'dict';
  if (value instanceof Float) return 'float';
  return value.constructor.name;
}
