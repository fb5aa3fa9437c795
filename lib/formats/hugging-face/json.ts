// Reads the JSON files of a Hugging Face directory as Python writes them, and gives typed access to their fields.
import { VivaceError } from '../../errors.js';
import { readSmallFile } from '../file.js';

export type JsonObject = Readonly<Record<string, unknown>>;

/** Tokenizers of large vocabularies have about 35 MB. */
export const jsonLimit = 128 * 2 ** 20;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The object in a file, or undefined when there is no such file. */
export function readJson(path: string): JsonObject | undefined {
  const bytes = readSmallFile(path, jsonLimit);
  if (bytes === undefined) return undefined;
  const json = parseJson(path, bytes.toString('utf8').replace(/^\ufeff/, ''));
  if (!isObject(json)) throw new VivaceError('FORMAT_INVALID', `${path}: expected a JSON object`);
  return json;
}

/** JSON in which NaN and ±Infinity are allowed: NaN is read as null. */
export function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (strict) {
    if (/NaN|Infinity/.test(text)) {
      try {
        return JSON.parse(text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"|NaN|Infinity/gs, pythonLiteral));
      } catch {
        // The first error describes the text as it is.
      }
    }
    throw new VivaceError('FORMAT_INVALID', `${path} is not valid JSON: ${place(text, String(strict))}`, {
      cause: strict,
      remedy: 'Repair the file or download it again; comments and trailing commas are not allowed.',
    });
  }
}

const pythonLiteral = (token: string): string => (token === 'NaN' ? 'null' : token === 'Infinity' ? '1e999' : token);

/** The message, with line and column where the parser gives a position. */
function place(text: string, message: string): string {
  const position = /at position (\d+)/.exec(message);
  if (position === null) return message;
  const before = text.slice(0, Number(position[1])).split('\n');
  return `${message} (line ${before.length}, column ${(before.at(-1) ?? '').length + 1})`;
}

/** Typed access to an object: a field is absent (or null), or has the kind that its reader expects. */
export class Fields {
  constructor(
    readonly json: JsonObject,
    /** What errors call the object: a path, and a field inside the file. */
    private readonly where: string,
  ) {}

  /** Whether the field is there, be it null. */
  has(key: string): boolean {
    return Object.hasOwn(this.json, key);
  }

  value(key: string): unknown {
    return this.has(key) ? (this.json[key] ?? undefined) : undefined;
  }

  number(key: string): number | undefined {
    return this.checked(key, 'a finite number', (value): value is number => Number.isFinite(value));
  }

  /** An integer ≥ 0. */
  integer(key: string): number | undefined {
    return this.checked(
      key,
      'an integer ≥ 0',
      (value): value is number => Number.isSafeInteger(value) && (value as number) >= 0,
    );
  }

  string(key: string): string | undefined {
    return this.checked(key, 'a string', (value): value is string => typeof value === 'string');
  }

  boolean(key: string): boolean | undefined {
    return this.checked(key, 'a boolean', (value): value is boolean => typeof value === 'boolean');
  }

  list(key: string): readonly unknown[] | undefined {
    return this.checked(key, 'a list', (value): value is readonly unknown[] => Array.isArray(value));
  }

  numbers(key: string): readonly number[] | undefined {
    return this.checked(
      key,
      'a list of numbers',
      (value): value is readonly number[] => Array.isArray(value) && value.every(Number.isFinite),
    );
  }

  fields(key: string): Fields | undefined {
    const json = this.checked(key, 'an object', isObject);
    return json && new Fields(json, `${this.where}: ${key}`);
  }

  /** What a required field throws when it is absent. */
  missing(key: string): VivaceError {
    return new VivaceError('FORMAT_INVALID', `${this.where}: the field \`${key}\` is missing`);
  }

  private checked<T>(key: string, wanted: string, test: (value: unknown) => value is T): T | undefined {
    const value = this.value(key);
    if (value === undefined) return undefined;
    if (!test(value)) {
      const found = JSON.stringify(value) ?? String(value);
      throw new VivaceError(
        'FORMAT_INVALID',
        `${this.where}: expected ${wanted} for \`${key}\`, found ${found.length > 60 ? `${found.slice(0, 57)}…` : found}`,
      );
    }
    return value;
  }
}
