// Checks of option objects: misspelled names are reported with the nearest right one, values by what was expected.
import { expected, VivaceError } from '../errors.js';

/** Throws INVALID_ARGUMENT when `given` is no object or has a name that is not among `names`. */
export function checkNames(given: unknown, names: readonly string[], what: string): void {
  if (given === undefined) return;
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw expected('an object', what, given);
  for (const name of Object.keys(given)) {
    if (names.includes(name)) continue;
    const near = nearest(name, names);
    throw new VivaceError('INVALID_ARGUMENT', `Unknown option \`${name}\` in ${what}`, {
      remedy: near === undefined ? `Known options: ${names.join(', ')}.` : `Did you mean \`${near}\`?`,
    });
  }
}

/** A number from `least` to `most`, or `fallback` where none is given. */
export function number(name: string, value: unknown, fallback: number, least: number, most: number): number {
  if (value === undefined) return fallback;
  if (typeof value === 'number' && value >= least && value <= most) return value;
  throw expected(range('a number', least, most), name, value);
}

/** As `number`, for whole numbers. */
export function integer(name: string, value: unknown, fallback: number, least: number, most: number): number {
  if (value === undefined) return fallback;
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return value as number;
  throw expected(range('an integer', least, most), name, value);
}

export function flag(name: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  throw expected('true or false', name, value);
}

/** One of a few words. */
export function word<T extends string>(name: string, value: unknown, fallback: T, words: readonly T[]): T {
  if (value === undefined) return fallback;
  if (words.includes(value as T)) return value as T;
  throw expected(`one of ${words.map((one) => `'${one}'`).join(', ')}`, name, value);
}

/** An AbortSignal of any realm. */
export function signal(name: string, value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined;
  const candidate = value as Partial<AbortSignal> | null;
  if (
    typeof candidate === 'object' &&
    typeof candidate?.aborted === 'boolean' &&
    typeof candidate.addEventListener === 'function'
  ) {
    return value as AbortSignal;
  }
  throw expected('an AbortSignal', name, value);
}

function range(kind: string, least: number, most: number): string {
  if (most === Infinity || most === Number.MAX_SAFE_INTEGER) return `${kind} of at least ${least}`;
  return `${kind} from ${least} to ${most}`;
}

/** The name at the smallest edit distance, if it is near enough to be a slip of the finger or another library's spelling. */
function nearest(name: string, names: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]/g, '');
  const ranked = names
    .map((known) => ({ known, distance: editDistance(plain(name), plain(known)) }))
    .sort((a, b) => a.distance - b.distance);
  const [best] = ranked;
  return best !== undefined && best.distance <= Math.max(1, Math.floor(best.known.length / 3)) ? best.known : undefined;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = previous[column - 1] + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, previous[column] + 1, current[column - 1] + 1));
    }
    previous = current;
  }
  return previous[b.length];
}

const units: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
};

/** Bytes, as a number or as a text like '2GiB'. */
export function byteCount(name: string, given: unknown): number {
  const wrong = expected("a number of bytes or a text as '2GiB'", name, given);
  if (typeof given === 'number') {
    if (Number.isSafeInteger(given) && given > 0) return given;
    throw wrong;
  }
  const [, number, unit] = (typeof given === 'string' && /^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$/.exec(given)) || [];
  const factor = unit === undefined ? undefined : units[unit];
  const bytes = factor === undefined ? NaN : Math.floor(Number(number) * factor);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw wrong;
}
