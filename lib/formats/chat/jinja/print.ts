// Values as text: str(), repr() and json.dumps() of Python.
import { TemplateFault } from './fault.js';
import { Float, kind, Namespace, Tuple, Undefined, type Value } from './values.js';

/** What `{{ value }}` prints. */
export function str(value: Value): string {
  if (typeof value === 'string') return value;
  if (value instanceof Undefined) return '';
  return repr(value);
}

export function repr(value: Value): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') return intText(value);
  if (typeof value === 'string') return quote(value);
  if (value instanceof Float) return floatText(value.value);
  if (Array.isArray(value)) return `[${value.map(repr).join(', ')}]`;
  if (value instanceof Tuple) return `(${value.items.map(repr).join(', ')}${value.items.length === 1 ? ',' : ''})`;
  if (value instanceof Map) return `{${[...value].map(([key, item]) => `${repr(key)}: ${repr(item)}`).join(', ')}}`;
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Namespace) return `<Namespace ${repr(new Map(value.fields))}>`;
  return `<${kind(value)}>`;
}

function intText(value: number): string {
  return Number.isSafeInteger(value) ? String(value) : BigInt(value).toString();
}

/** The shortest digits that give the number back, in Python's layout. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const [digits, power] = value.toExponential().split('e');
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    return `${digits}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  if (exponent < 0) return value.toFixed(Math.min(100, digits.replace(/[-.]/g, '').length - 1 - exponent));
  const text = value.toString();
  return text.includes('.') ? text : `${text}.0`;
}

const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' };

function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const body = text.replace(/[\\\p{C}\p{Z}'"]/gu, (character) => {
    if (character === mark) return `\\${mark}`;
    if (character === ' ' || character === "'" || character === '"') return character;
    return NAMED[character] ?? escapeCode(character.codePointAt(0) ?? 0);
  });
  return mark + body + mark;
}

function escapeCode(code: number): string {
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\U${code.toString(16).padStart(8, '0')}`;
}

export interface JsonOptions {
  readonly indent?: string;
  readonly separators?: readonly [string, string];
  readonly sortKeys?: boolean;
  readonly ensureAscii?: boolean;
}

/** json.dumps(): ", " and ": " between items unless indented, keys in order, characters as they are. */
export function toJson(value: Value, options: JsonOptions = {}, depth = 0): string {
  if (value === null) return 'null';
  if (typeof value === 'boolean') return String(value);
  if (typeof value === 'number') return intText(value);
  if (typeof value === 'string') return jsonText(value, options);
  if (value instanceof Float) return floatText(value.value).replace('inf', 'Infinity').replace('nan', 'NaN');
  const [between, colon] = options.separators ?? [options.indent === undefined ? ', ' : ',', ': '];
  const items = Array.isArray(value) ? value : value instanceof Tuple ? value.items : undefined;
  if (items) {
    const parts = items.map((item) => toJson(item, options, depth + 1));
    return enclose('[', parts, ']', between, options.indent, depth);
  }
  if (value instanceof Map) {
    const entries = [...value].map(([key, item]) => [typeof key === 'string' ? key : toJson(key), item] as const);
    if (options.sortKeys) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    const parts = entries.map(([key, item]) => jsonText(key, options) + colon + toJson(item, options, depth + 1));
    return enclose('{', parts, '}', between, options.indent, depth);
  }
  throw new TemplateFault(`Object of type ${kind(value)} is not JSON serializable`);
}

function enclose(
  open: string,
  parts: readonly string[],
  close: string,
  between: string,
  indent: string | undefined,
  depth: number,
): string {
  if (indent === undefined || parts.length === 0) return open + parts.join(between) + close;
  const line = `\n${indent.repeat(depth + 1)}`;
  return `${open}${line}${parts.join(between + line)}\n${indent.repeat(depth)}${close}`;
}

function jsonText(text: string, options: JsonOptions): string {
  const quoted = JSON.stringify(text);
  if (!options.ensureAscii) return quoted;
  return quoted.replace(/[\x7f-\uffff]/g, (unit) =>
    unit === '\x7f' ? unit : `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
