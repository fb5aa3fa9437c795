// Operators, subscripts and slices with Python's semantics.
import type { Budget } from './budget.js';
import { TemplateFault } from './fault.js';
import { methodOf } from './methods.js';
import { str } from './print.js';
import {
  compare,
  dictKey,
  equal,
  Float,
  iterate,
  kind,
  listOf,
  Loop,
  Namespace,
  numberOf,
  truth,
  Tuple,
  Undefined,
  type Value,
} from './values.js';

export function unary(operator: string, value: Value): Value {
  if (operator === 'not') return !truth(value);
  const number = numberOf(value);
  if (number === undefined) throw new TemplateFault(`bad operand type for unary ${operator}: '${kind(value)}'`);
  const result = operator === '-' ? 0 - number : number;
  return value instanceof Float ? new Float(operator === '-' ? -number : number) : result;
}

export function binary(operator: string, left: Value, right: Value, budget: Budget): Value {
  switch (operator) {
    case '==':
      return equal(left, right);
    case '!=':
      return !equal(left, right);
    case '<':
      return compare(left, right) < 0;
    case '>':
      return compare(left, right) > 0;
    case '<=':
      return compare(left, right) <= 0;
    case '>=':
      return compare(left, right) >= 0;
    case 'in':
      return contains(right, left);
    case 'not in':
      return !contains(right, left);
    case '~':
      return str(left) + str(right);
  }
  for (const side of [left, right])
    if (side instanceof Undefined) throw new TemplateFault(`'${side.what}' is undefined`);
  const [x, y] = [numberOf(left), numberOf(right)];
  if (x !== undefined && y !== undefined)
    return arithmetic(operator, x, y, left instanceof Float || right instanceof Float);
  return sequences(operator, left, right, budget) ?? unsupported(operator, left, right);
}

function unsupported(operator: string, left: Value, right: Value): never {
  throw new TemplateFault(`unsupported operand type(s) for ${operator}: '${kind(left)}' and '${kind(right)}'`);
}

export function contains(container: Value, item: Value): boolean {
  if (typeof container === 'string') {
    if (typeof item === 'string') return container.includes(item);
    throw new TemplateFault(`'in <string>' requires string as left operand, not ${kind(item)}`);
  }
  if (container instanceof Map) {
    return item === null || typeof item !== 'object' || item instanceof Float ? container.has(dictKey(item)) : false;
  }
  return iterate(container).some((other) => equal(other, item));
}

function arithmetic(operator: string, x: number, y: number, float: boolean): Value {
  if (y === 0 && (operator === '/' || operator === '//' || operator === '%'))
    throw new TemplateFault('division by zero');
  switch (operator) {
    case '+':
      return number(x + y, float);
    case '-':
      return number(x - y, float);
    case '*':
      return number(x * y, float);
    case '/':
      return new Float(x / y);
    case '//':
      return number(Math.floor(x / y), float);
    case '%':
      return number(x - y * Math.floor(x / y), float);
    case '**':
      if (x === 0 && y < 0) throw new TemplateFault('0.0 cannot be raised to a negative power');
      return number(x ** y, float || y < 0);
    default:
      throw new TemplateFault(`unknown operator ${operator}`);
  }
}

function number(value: number, float: boolean): Value {
  if (float) return new Float(value);
  if (!Number.isFinite(value)) throw new TemplateFault('a number is too large');
  return value === 0 ? 0 : value; // ints have no -0
}

/** Concatenation, repetition and %-formatting; undefined where the kinds do not fit. */
function sequences(operator: string, left: Value, right: Value, budget: Budget): Value | undefined {
  if (operator === '+') {
    if (typeof left === 'string' && typeof right === 'string') return left + right;
    if (Array.isArray(left) && Array.isArray(right)) return [...left, ...right];
    if (left instanceof Tuple && right instanceof Tuple) return new Tuple([...left.items, ...right.items]);
    return undefined;
  }
  if (operator === '*') {
    const [sequence, times] = typeof right === 'number' ? [left, right] : [right, left];
    if (typeof times !== 'number') return undefined;
    const count = Math.max(0, times);
    if (typeof sequence === 'string') {
      budget.length(sequence.length * count);
      return sequence.repeat(count);
    }
    const items = listOf(sequence);
    if (!items) return undefined;
    budget.items(items.length * count);
    const repeated = Array.from({ length: count }, () => items).flat();
    return sequence instanceof Tuple ? new Tuple(repeated) : repeated;
  }
  return operator === '%' && typeof left === 'string' ? percent(left, listOf(right) ?? [right]) : undefined;
}

/** "%s and %d" with its values. */
export function percent(format: string, values: readonly Value[]): string {
  let next = 0;
  return format.replace(/%(?:%|([sdr]))/g, (_, conversion: string | undefined) => {
    if (conversion === undefined) return '%';
    if (next >= values.length) throw new TemplateFault('not enough arguments for format string');
    const value = values[next++];
    if (conversion === 'd') return String(Math.trunc(numberOf(value) ?? unsupported('%', format, value)));
    return str(value);
  });
}

/** `object.name` looks for methods first, `object["name"]` for items first. */
export function memberOf(object: Value, key: Value, attribute: boolean): Value {
  if (object instanceof Undefined) throw new TemplateFault(`'${object.what}' is undefined`);
  if (object instanceof Namespace) return object.fields.get(str(key)) ?? new Undefined(str(key));
  if (object instanceof Loop) return loopMember(object, str(key));
  const method = typeof key === 'string' ? methodOf(object, key) : undefined;
  if (attribute && method) return method;
  return itemOf(object, key) ?? method ?? new Undefined(str(key));
}

function itemOf(object: Value, key: Value): Value | undefined {
  if (object instanceof Map) return object.get(dictKey(key));
  const index = typeof key === 'boolean' ? Number(key) : key;
  if (typeof index !== 'number') return undefined;
  if (typeof object === 'string') return [...object].at(index);
  return listOf(object)?.at(index);
}

function loopMember(loop: Loop, name: string): Value {
  const { index0, items, depth0 } = loop;
  const outside = (at: number): Value => items[at] ?? new Undefined(name);
  switch (name) {
    case 'index':
      return index0 + 1;
    case 'index0':
      return index0;
    case 'revindex':
      return items.length - index0;
    case 'revindex0':
      return items.length - index0 - 1;
    case 'first':
      return index0 === 0;
    case 'last':
      return index0 === items.length - 1;
    case 'length':
      return items.length;
    case 'previtem':
      return outside(index0 - 1);
    case 'nextitem':
      return outside(index0 + 1);
    case 'depth':
      return depth0 + 1;
    case 'depth0':
      return depth0;
    default:
      return methodOf(loop, name) ?? new Undefined(name);
  }
}

export function slice(object: Value, start?: Value, stop?: Value, step?: Value): Value {
  const items = typeof object === 'string' ? [...object] : listOf(object);
  if (!items) throw new TemplateFault(`'${kind(object)}' object is not subscriptable by a slice`);
  const by = bound(step) ?? 1;
  if (by === 0) throw new TemplateFault('slice step cannot be zero');
  const count = items.length;
  const clamp = (at: number): number => {
    const place = at < 0 ? at + count : at;
    return by > 0 ? Math.min(Math.max(place, 0), count) : Math.min(Math.max(place, -1), count - 1);
  };
  const first = bound(start);
  const last = bound(stop);
  const from = first === undefined ? (by > 0 ? 0 : count - 1) : clamp(first);
  const to = last === undefined ? (by > 0 ? count : -1) : clamp(last);
  const picked: Value[] = [];
  for (let i = from; by > 0 ? i < to : i > to; i += by) picked.push(items[i]);
  if (typeof object === 'string') return picked.join('');
  return object instanceof Tuple ? new Tuple(picked) : picked;
}

function bound(value: Value | undefined): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number') return value;
  throw new TemplateFault('slice indices must be integers or None');
}
