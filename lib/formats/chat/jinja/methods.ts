// The methods of text, lists, dicts and loops.
import { TemplateFault } from './fault.js';
import { percent } from './operators.js';
import { str } from './print.js';
import {
  Callable,
  dictKey,
  equal,
  kind,
  listOf,
  Loop,
  Tuple,
  iterate,
  type Arguments,
  type Dict,
  type Value,
} from './values.js';

type Method<Self> = (self: Self, args: Arguments) => Value;

/** The bound method, or undefined where the kind has none of that name. */
export function methodOf(object: Value, name: string): Callable | undefined {
  const bind = <Self>(table: Readonly<Record<string, Method<Self>>>, self: Self): Callable | undefined =>
    Object.hasOwn(table, name) ? new Callable(name, (args) => table[name](self, args)) : undefined;
  if (typeof object === 'string') return bind(TEXT, object);
  if (Array.isArray(object)) return bind(LIST, object);
  if (object instanceof Map) return bind(DICT, object);
  if (object instanceof Tuple) return name === 'append' ? undefined : bind(SEQUENCE, object.items);
  return object instanceof Loop ? bind(LOOP, object) : undefined;
}

/** An argument by position or name. */
export function argument(args: Arguments, index: number, name: string): Value | undefined {
  return args.positional[index] ?? args.keyword.get(name);
}

function text(args: Arguments, index: number, name: string): string {
  const value = argument(args, index, name);
  if (typeof value === 'string') return value;
  throw new TemplateFault(`${name} must be str, not ${value === undefined ? 'missing' : kind(value)}`);
}

function integer(args: Arguments, index: number, name: string, fallback: number): number {
  const value = argument(args, index, name);
  if (value === undefined || value === null) return fallback;
  if (typeof value === 'number') return value;
  throw new TemplateFault(`${name} must be int, not ${kind(value)}`);
}

const SPACE = /[\s\x1c-\x1f\x85]/;

/** str.strip(): of white space, or of any of the given characters. */
export function strip(value: string, characters: Value | undefined, left: boolean, right: boolean): string {
  const set = typeof characters === 'string' ? new Set(characters) : undefined;
  const drops = (character: string): boolean =>
    set ? set.has(character) : character !== '\ufeff' && SPACE.test(character);
  let start = 0;
  let end = value.length;
  if (left) while (start < end && drops(value[start])) start++;
  if (right) while (end > start && drops(value[end - 1])) end--;
  return value.slice(start, end);
}

export function title(value: string): string {
  return value.replace(/\p{L}+/gu, (word) => capitalize(word));
}

export function capitalize(value: string): string {
  const [first = '', ...rest] = value;
  return first.toUpperCase() + rest.join('').toLowerCase();
}

/** str.replace(): of an empty text, between all characters. */
export function replace(value: string, from: string, to: string, count: number): string {
  const parts = from === '' ? ['', ...value, ''] : value.split(from);
  if (count < 0 || count >= parts.length - 1) return parts.join(to);
  return [...parts.slice(0, count), ''].join(to) + parts.slice(count).join(from);
}

function split(value: string, args: Arguments, fromRight: boolean): Value {
  const separator = argument(args, 0, 'sep');
  const most = integer(args, 1, 'maxsplit', -1);
  if (separator === undefined || separator === null) return splitAtSpace(value, most, fromRight);
  if (typeof separator !== 'string' || separator === '') throw new TemplateFault('empty separator');
  const parts = value.split(separator);
  if (most < 0 || parts.length <= most + 1) return parts;
  if (fromRight) {
    const kept = parts.length - most;
    return [parts.slice(0, kept).join(separator), ...parts.slice(kept)];
  }
  return [...parts.slice(0, most), parts.slice(most).join(separator)];
}

function splitAtSpace(value: string, most: number, fromRight: boolean): Value {
  const words = [...value.matchAll(/\S+/g)];
  if (most < 0 || words.length <= most + 1) return words.map(([word]) => word);
  if (fromRight) {
    const kept = words.slice(words.length - most);
    const end = kept[0]?.index ?? value.length;
    return [strip(value.slice(0, end), undefined, true, true), ...kept.map(([word]) => word)];
  }
  const rest = strip(value.slice(words[most].index), undefined, false, true);
  return [...words.slice(0, most).map(([word]) => word), rest];
}

function affix(test: (affix: string) => boolean, value: Value | undefined): boolean {
  if (typeof value === 'string') return test(value);
  const options = value === undefined ? undefined : listOf(value);
  if (!options) throw new TemplateFault('startswith and endswith need a str or a tuple of str');
  return options.some((option) => affix(test, option));
}

function cut(value: string, separator: string, at: number): Tuple {
  return at < 0
    ? new Tuple([value, '', ''])
    : new Tuple([value.slice(0, at), separator, value.slice(at + separator.length)]);
}

const TEXT: Readonly<Record<string, Method<string>>> = {
  upper: (self) => self.toUpperCase(),
  lower: (self) => self.toLowerCase(),
  title: (self) => title(self),
  capitalize: (self) => capitalize(self),
  strip: (self, args) => strip(self, argument(args, 0, 'chars'), true, true),
  lstrip: (self, args) => strip(self, argument(args, 0, 'chars'), true, false),
  rstrip: (self, args) => strip(self, argument(args, 0, 'chars'), false, true),
  split: (self, args) => split(self, args, false),
  rsplit: (self, args) => split(self, args, true),
  splitlines: (self) =>
    self
      .replace(/\r\n?|\n$/g, (end) => (end === '\n' ? '' : '\n'))
      .split('\n')
      .filter((_, i, all) => i < all.length - 1 || all[i] !== ''),
  startswith: (self, args) => affix((start) => self.startsWith(start), args.positional[0]),
  endswith: (self, args) => affix((end) => self.endsWith(end), args.positional[0]),
  removeprefix: (self, args) =>
    self.startsWith(text(args, 0, 'prefix')) ? self.slice(text(args, 0, 'prefix').length) : self,
  removesuffix: (self, args) => {
    const suffix = text(args, 0, 'suffix');
    return suffix !== '' && self.endsWith(suffix) ? self.slice(0, -suffix.length) : self;
  },
  replace: (self, args) => replace(self, text(args, 0, 'old'), text(args, 1, 'new'), integer(args, 2, 'count', -1)),
  find: (self, args) => self.indexOf(text(args, 0, 'sub')),
  rfind: (self, args) => self.lastIndexOf(text(args, 0, 'sub')),
  index: (self, args) => {
    const at = self.indexOf(text(args, 0, 'sub'));
    if (at < 0) throw new TemplateFault('substring not found');
    return at;
  },
  count: (self, args) => self.split(text(args, 0, 'sub')).length - 1,
  join: (self, args) =>
    iterate(args.positional[0] ?? [])
      .map(str)
      .join(self),
  partition: (self, args) => cut(self, text(args, 0, 'sep'), self.indexOf(text(args, 0, 'sep'))),
  rpartition: (self, args) => {
    const at = self.lastIndexOf(text(args, 0, 'sep'));
    return at < 0 ? new Tuple(['', '', self]) : cut(self, text(args, 0, 'sep'), at);
  },
  isdigit: (self) => /^\p{Nd}+$/u.test(self),
  isalpha: (self) => /^\p{L}+$/u.test(self),
  isalnum: (self) => /^[\p{L}\p{N}]+$/u.test(self),
  isspace: (self) => /^\s+$/.test(self),
  isupper: (self) => self === self.toUpperCase() && self !== self.toLowerCase(),
  islower: (self) => self === self.toLowerCase() && self !== self.toUpperCase(),
  format: (self, { positional, keyword }) => {
    let next = 0;
    return self.replace(/\{\{|\}\}|\{(\w*)\}/g, (whole, name: string | undefined) => {
      if (name === undefined) return whole[0];
      const value = name === '' ? positional[next++] : (positional[Number(name)] ?? keyword.get(name));
      if (value === undefined) throw new TemplateFault('format() lacks an argument');
      return str(value);
    });
  },
  __mod__: (self, args) => percent(self, args.positional),
};

const SEQUENCE: Readonly<Record<string, Method<readonly Value[]>>> = {
  index: (self, args) => {
    const at = self.findIndex((item) => equal(item, args.positional[0]));
    if (at < 0) throw new TemplateFault('the value is not in the list');
    return at;
  },
  count: (self, args) => self.filter((item) => equal(item, args.positional[0])).length,
};

const LIST: Readonly<Record<string, Method<Value[]>>> = {
  ...SEQUENCE,
  append: (self, args) => {
    self.push(args.positional[0] ?? null);
    return null;
  },
  extend: (self, args) => {
    for (const item of iterate(args.positional[0] ?? [])) self.push(item);
    return null;
  },
  insert: (self, args) => {
    self.splice(integer(args, 0, 'index', 0), 0, args.positional[1] ?? null);
    return null;
  },
  pop: (self, args) => {
    const [item] = self.splice(integer(args, 0, 'index', -1), 1);
    if (item === undefined) throw new TemplateFault('pop from empty list');
    return item;
  },
  remove: (self, args) => {
    const at = self.findIndex((item) => equal(item, args.positional[0]));
    if (at < 0) throw new TemplateFault('the value is not in the list');
    self.splice(at, 1);
    return null;
  },
  reverse: (self) => {
    self.reverse();
    return null;
  },
  copy: (self) => [...self],
};

const DICT: Readonly<Record<string, Method<Dict>>> = {
  get: (self, args) => self.get(dictKey(args.positional[0] ?? null)) ?? argument(args, 1, 'default') ?? null,
  items: (self) => [...self].map(([key, value]) => new Tuple([key, value])),
  keys: (self) => [...self.keys()],
  values: (self) => [...self.values()],
  copy: (self) => new Map(self),
  pop: (self, args) => {
    const key = dictKey(args.positional[0] ?? null);
    const value = self.get(key) ?? args.positional[1];
    if (value === undefined) throw new TemplateFault(`KeyError: ${str(key)}`);
    self.delete(key);
    return value;
  },
  update: (self, { positional, keyword }) => {
    const [other] = positional;
    if (other instanceof Map) for (const [key, value] of other) self.set(key, value);
    for (const [key, value] of keyword) self.set(key, value);
    return null;
  },
  setdefault: (self, args) => {
    const key = dictKey(args.positional[0] ?? null);
    const value = self.get(key) ?? args.positional[1] ?? null;
    self.set(key, value);
    return value;
  },
};

const LOOP: Readonly<Record<string, Method<Loop>>> = {
  cycle: (self, { positional }) => {
    if (positional.length === 0) throw new TemplateFault('no items for cycling given');
    return positional[self.index0 % positional.length];
  },
  changed: (self, { positional }) => {
    const now: Value = [...positional];
    const changed = self.changed === undefined || !equal(self.changed, now);
    self.changed = now;
    return changed;
  },
};
