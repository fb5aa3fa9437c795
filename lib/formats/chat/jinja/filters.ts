// What may stand after `|`.
import type { Budget } from './budget.js';
import { TemplateFault } from './fault.js';
import { argument, capitalize, replace, strip, title } from './methods.js';
import { memberOf, percent } from './operators.js';
import { str, toJson, type JsonOptions } from './print.js';
import { applyTest } from './tests.js';
import {
  compare,
  equal,
  Float,
  iterate,
  kind,
  lengthOf,
  numberOf,
  truth,
  Tuple,
  Undefined,
  type Arguments,
  type Value,
} from './values.js';

type Filter = (value: Value, args: Arguments, budget: Budget) => Value;

export function applyFilter(name: string, value: Value, args: Arguments, budget: Budget): Value {
  if (!Object.hasOwn(FILTERS, name)) throw new TemplateFault(`No filter named '${name}'`);
  budget.spend(1 + (sizeOf(value) >>> 4));
  return FILTERS[name](value, args, budget);
}

function sizeOf(value: Value): number {
  if (typeof value === 'string') return value.length;
  return Array.isArray(value) ? value.length : 1;
}

function flag(args: Arguments, index: number, name: string): boolean {
  const value = argument(args, index, name);
  return value !== undefined && truth(value);
}

function name(args: Arguments, index: number): string {
  const value = args.positional[index];
  if (typeof value === 'string') return value;
  throw new TemplateFault('a filter or test is missing its name');
}

/** `attribute` with dots and indices, from one item. */
function attributeOf(item: Value, path: Value): Value {
  if (typeof path === 'number') return memberOf(item, path, false);
  return str(path)
    .split('.')
    .reduce<Value>((value, part) => memberOf(value, /^\d+$/.test(part) ? Number(part) : part, false), item);
}

/** The key by which sort, unique and groupby compare: lower case unless told otherwise. */
function keyOf(args: Arguments, at: { attribute: number; caseSensitive: number }): (item: Value) => Value {
  const attribute = argument(args, at.attribute, 'attribute');
  const sensitive = flag(args, at.caseSensitive, 'case_sensitive');
  return (item) => {
    const value = attribute === undefined || attribute === null ? item : attributeOf(item, attribute);
    return typeof value === 'string' && !sensitive ? value.toLowerCase() : value;
  };
}

function sorted(items: readonly Value[], key: (item: Value) => Value, reverse: boolean): Value[] {
  const keyed = items.map((item) => ({ item, by: key(item) }));
  keyed.sort((a, b) => (reverse ? compare(b.by, a.by) : compare(a.by, b.by)));
  return keyed.map(({ item }) => item);
}

function unique(items: readonly Value[], key: (item: Value) => Value, budget: Budget): Value[] {
  const seen: Value[] = [];
  return items.filter((item) => {
    const by = key(item);
    budget.spend(seen.length >>> 3);
    if (seen.some((other) => equal(other, by))) return false;
    seen.push(by);
    return true;
  });
}

/** select, reject, selectattr, rejectattr. */
function choose(keep: boolean, byAttribute: boolean): Filter {
  return (value, args, budget) => {
    const [attribute, rest] = byAttribute
      ? [args.positional[0], args.positional.slice(1)]
      : [undefined, args.positional];
    const [test, ...more] = rest;
    return iterate(value).filter((item) => {
      budget.spend(1);
      const subject = attribute === undefined ? item : attributeOf(item, attribute);
      return (test === undefined ? truth(subject) : applyTest(str(test), subject, more)) === keep;
    });
  };
}

const map: Filter = (value, args, budget) => {
  const attribute = args.keyword.get('attribute');
  const fallback = args.keyword.get('default');
  const rest: Arguments = { positional: args.positional.slice(1), keyword: args.keyword };
  return iterate(value).map((item) => {
    if (attribute === undefined) return applyFilter(name(args, 0), item, rest, budget);
    const found = attributeOf(item, attribute);
    return found instanceof Undefined && fallback !== undefined ? fallback : found;
  });
};

const tojson: Filter = (value, args) => {
  const indent = argument(args, 1, 'indent');
  const separators = argument(args, 2, 'separators');
  const pair = separators === undefined || separators === null ? undefined : iterate(separators).map(str);
  const options: JsonOptions = {
    ensureAscii: flag(args, 0, 'ensure_ascii'),
    // transformers' filter takes ensure_ascii first; Jinja's own takes indent first.
    indent: indentOf(indent ?? (typeof args.positional[0] === 'number' ? args.positional[0] : undefined)),
    separators: pair && [pair[0] ?? ', ', pair[1] ?? ': '],
    sortKeys: flag(args, 3, 'sort_keys'),
  };
  return toJson(value, typeof args.positional[0] === 'number' ? { ...options, ensureAscii: false } : options);
};

function indentOf(value: Value | undefined): string | undefined {
  if (value === undefined || value === null) return undefined;
  return typeof value === 'string' ? value : ' '.repeat(Math.min(64, Math.max(0, numberOf(value) ?? 0)));
}

const toInt: Filter = (value, args) => {
  const fallback = argument(args, 0, 'default') ?? 0;
  const number = typeof value === 'string' ? parse(value) : numberOf(value);
  return number === undefined || !Number.isFinite(number) ? fallback : Math.trunc(number) + 0;
};

const toFloat: Filter = (value, args) => {
  const number = typeof value === 'string' ? parse(value) : numberOf(value);
  return number === undefined ? (argument(args, 0, 'default') ?? new Float(0)) : new Float(number);
};

function parse(text: string): number | undefined {
  const trimmed = text.trim();
  return /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(trimmed) ? Number(trimmed) : undefined;
}

/** round(): half to even, as Python does it. */
const round: Filter = (value, args) => {
  const number = numberOf(value);
  if (number === undefined) throw new TemplateFault(`cannot round a '${kind(value)}'`);
  const precision = argument(args, 0, 'precision');
  const method = argument(args, 1, 'method') ?? 'common';
  const scale = 10 ** (typeof precision === 'number' ? precision : 0);
  const scaled = number * scale;
  if (method === 'ceil') return new Float(Math.ceil(scaled) / scale);
  if (method === 'floor') return new Float(Math.floor(scaled) / scale);
  const near = Math.round(scaled);
  const tie = Math.abs(scaled % 1) === 0.5 && near % 2 !== 0;
  const rounded = (tie ? near - 1 : near) / scale;
  return value instanceof Float ? new Float(rounded) : rounded;
};

const indent: Filter = (value, args) => {
  const width = argument(args, 0, 'width');
  const pad = typeof width === 'string' ? width : ' '.repeat(Math.min(256, typeof width === 'number' ? width : 4));
  const blank = flag(args, 2, 'blank');
  const lines = str(value).split('\n');
  return lines
    .map((line, i) => ((i > 0 || flag(args, 1, 'first')) && (blank || line !== '') ? pad + line : line))
    .join('\n');
};

const dictsort: Filter = (value, args) => {
  if (!(value instanceof Map)) throw new TemplateFault(`dictsort needs a dict, not '${kind(value)}'`);
  const at = argument(args, 1, 'by') === 'value' ? 1 : 0;
  const sensitive = flag(args, 0, 'case_sensitive');
  const key = (pair: Value): Value => {
    const by = (pair as Tuple).items[at];
    return typeof by === 'string' && !sensitive ? by.toLowerCase() : by;
  };
  return sorted(
    [...value].map(([name, item]) => new Tuple([name, item])),
    key,
    flag(args, 2, 'reverse'),
  );
};

const groupby: Filter = (value, args) => {
  const attribute = argument(args, 0, 'attribute') ?? '';
  const groups: { by: Value; items: Value[] }[] = [];
  for (const item of sorted(iterate(value), (one) => attributeOf(one, attribute), false)) {
    const by = attributeOf(item, attribute);
    const last = groups.at(-1);
    if (last && equal(last.by, by)) last.items.push(item);
    else groups.push({ by, items: [item] });
  }
  return groups.map(({ by, items }) => new Tuple([by, items]));
};

const extreme =
  (sign: number): Filter =>
  (value, args) => {
    const key = keyOf(args, { attribute: 1, caseSensitive: 0 });
    const items = iterate(value);
    if (items.length === 0) return new Undefined('no item');
    return items.reduce((best, item) => (sign * compare(key(item), key(best)) > 0 ? item : best));
  };

const escape: Filter = (value) =>
  str(value)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll("'", '&#39;')
    .replaceAll('"', '&#34;');

const fallback: Filter = (value, args) => {
  const missing = value instanceof Undefined || (flag(args, 1, 'boolean') && !truth(value));
  return missing ? (argument(args, 0, 'default_value') ?? '') : value;
};

const join: Filter = (value, args) => {
  const attribute = argument(args, 1, 'attribute');
  const items = iterate(value).map((item) => (attribute === undefined ? item : attributeOf(item, attribute)));
  return items.map(str).join(str(argument(args, 0, 'd') ?? ''));
};

const items: Filter = (value) => {
  if (value instanceof Undefined) return [];
  if (!(value instanceof Map)) throw new TemplateFault('Can only get item pairs from a mapping.');
  return [...value].map(([key, item]) => new Tuple([key, item]));
};

const batch: Filter = (value, args) => {
  const size = Math.max(1, numberOf(argument(args, 0, 'linecount') ?? 1) ?? 1);
  const all = iterate(value);
  const rows = Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.slice(i * size, (i + 1) * size));
  const fill = argument(args, 1, 'fill_with');
  return rows.map((row) => (fill === undefined ? row : [...row, ...Array<Value>(size - row.length).fill(fill)]));
};

const FILTERS: Readonly<Record<string, Filter>> = {
  abs: (value) => {
    const number = numberOf(value);
    if (number === undefined) throw new TemplateFault(`bad operand type for abs(): '${kind(value)}'`);
    return value instanceof Float ? new Float(Math.abs(number)) : Math.abs(number);
  },
  attr: (value, args) => attributeOf(value, args.positional[0] ?? ''),
  batch,
  capitalize: (value) => capitalize(str(value)),
  count: (value) => lengthOf(value),
  d: fallback,
  default: fallback,
  dictsort,
  e: escape,
  escape,
  first: (value) => iterate(value)[0] ?? new Undefined('first item'),
  float: toFloat,
  format: (value, args) => percent(str(value), args.positional),
  groupby,
  indent,
  int: toInt,
  items,
  join,
  last: (value) => iterate(value).at(-1) ?? new Undefined('last item'),
  length: (value) => lengthOf(value),
  list: (value) => [...iterate(value)],
  lower: (value) => str(value).toLowerCase(),
  map,
  max: extreme(1),
  min: extreme(-1),
  reject: choose(false, false),
  rejectattr: choose(false, true),
  replace: (value, args) => {
    const count = argument(args, 2, 'count');
    const [from, to] = [argument(args, 0, 'old'), argument(args, 1, 'new')].map((part) => str(part ?? ''));
    return replace(str(value), from, to, typeof count === 'number' ? count : -1);
  },
  reverse: (value) => (typeof value === 'string' ? [...value].reverse().join('') : [...iterate(value)].reverse()),
  round,
  safe: (value) => value,
  select: choose(true, false),
  selectattr: choose(true, true),
  sort: (value, args) =>
    sorted(iterate(value), keyOf(args, { attribute: 2, caseSensitive: 1 }), flag(args, 0, 'reverse')),
  string: (value) => str(value),
  sum: (value, args) => {
    const attribute = argument(args, 0, 'attribute');
    const numbers = iterate(value).map((item) => (attribute === undefined ? item : attributeOf(item, attribute)));
    const terms = [argument(args, 1, 'start') ?? 0, ...numbers];
    const total = terms.reduce<number>((sum, item) => sum + (numberOf(item) ?? NaN), 0);
    if (Number.isNaN(total)) throw new TemplateFault('sum needs numbers');
    return terms.some((item) => item instanceof Float) ? new Float(total) : total;
  },
  title: (value) => title(str(value)),
  tojson,
  trim: (value, args) => strip(str(value), argument(args, 0, 'chars'), true, true),
  truncate: (value, args) => {
    const length = numberOf(argument(args, 0, 'length') ?? 255) ?? 255;
    const end = str(argument(args, 2, 'end') ?? '...');
    const leeway = numberOf(argument(args, 3, 'leeway') ?? 5) ?? 5;
    const text = str(value);
    if (text.length <= length + leeway) return text;
    const cut = text.slice(0, Math.max(0, length - end.length));
    return (flag(args, 1, 'killwords') ? cut : cut.replace(/ [^ ]*$/, '')) + end;
  },
  unique: (value, args, budget) => unique(iterate(value), keyOf(args, { attribute: 1, caseSensitive: 0 }), budget),
  upper: (value) => str(value).toUpperCase(),
  wordcount: (value) => str(value).match(/\w+/g)?.length ?? 0,
};
