// What may stand after `is`.
import { TemplateFault } from './fault.js';
import { contains } from './operators.js';
import { Callable, compare, equal, Float, kind, listOf, numberOf, Tuple, Undefined, type Value } from './values.js';

type Test = (value: Value, args: readonly Value[]) => boolean;

function whole(value: Value): number {
  const number = numberOf(value);
  if (number === undefined) throw new TemplateFault(`not a number: '${kind(value)}'`);
  return number;
}

const first = (args: readonly Value[]): Value => args[0] ?? null;
const same: Test = (value, args) => equal(value, first(args));
const below: Test = (value, args) => compare(value, first(args)) < 0;
const above: Test = (value, args) => compare(value, first(args)) > 0;

const TESTS: Readonly<Record<string, Test>> = {
  defined: (value) => !(value instanceof Undefined),
  undefined: (value) => value instanceof Undefined,
  none: (value) => value === null,
  boolean: (value) => typeof value === 'boolean',
  true: (value) => value === true,
  false: (value) => value === false,
  integer: (value) => typeof value === 'number',
  float: (value) => value instanceof Float,
  number: (value) => numberOf(value) !== undefined,
  string: (value) => typeof value === 'string',
  mapping: (value) => value instanceof Map,
  sequence: (value) =>
    typeof value === 'string' || value instanceof Map || listOf(value) !== undefined || value instanceof Undefined,
  iterable: (value) =>
    typeof value === 'string' || value instanceof Map || listOf(value) !== undefined || value instanceof Undefined,
  callable: (value) => value instanceof Callable,
  odd: (value) => whole(value) % 2 !== 0,
  even: (value) => whole(value) % 2 === 0,
  divisibleby: (value, args) => whole(value) % whole(first(args)) === 0,
  lower: (value) => typeof value === 'string' && value === value.toLowerCase() && value !== value.toUpperCase(),
  upper: (value) => typeof value === 'string' && value === value.toUpperCase() && value !== value.toLowerCase(),
  in: (value, args) => contains(first(args), value),
  sameas: (value, args) => (value instanceof Tuple ? value === args[0] : value === args[0]),
  escaped: () => false,
  equalto: same,
  eq: same,
  '==': same,
  ne: (value, args) => !same(value, args),
  '!=': (value, args) => !same(value, args),
  lt: below,
  lessthan: below,
  '<': below,
  gt: above,
  greaterthan: above,
  '>': above,
  le: (value, args) => !above(value, args),
  '<=': (value, args) => !above(value, args),
  ge: (value, args) => !below(value, args),
  '>=': (value, args) => !below(value, args),
};

export function applyTest(name: string, value: Value, args: readonly Value[]): boolean {
  if (!Object.hasOwn(TESTS, name)) throw new TemplateFault(`No test named '${name}'`);
  return TESTS[name](value, args);
}
