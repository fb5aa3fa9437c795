// Lists of named numbers on the command line, as in copy=0.24,expert=0.05.
import { VivaceError } from '../../../errors.js';

/** The defaults with what a list gives. Throws INVALID_ARGUMENT for other names, and for what is no number of at least 0. */
export function parseNumbers<T extends Readonly<Record<string, number>>>(
  option: string,
  list: string | undefined,
  defaults: T,
): T {
  const found: Record<string, number> = { ...defaults };
  for (const part of (list ?? '').split(',').filter((text) => text.trim() !== '')) {
    const [, name, text] = /^\s*([a-z]+)\s*=\s*(\d+(?:\.\d+)?(?:e-?\d+)?)\s*$/i.exec(part) ?? [];
    if (name === undefined || !Object.hasOwn(defaults, name)) {
      throw new VivaceError('INVALID_ARGUMENT', `${option} has \`${part.trim()}\``, {
        remedy: `Name numbers of at least 0, with commas between: ${Object.keys(defaults).join(', ')}.`,
      });
    }
    found[name] = Number(text);
  }
  return found as T;
}

/** As `parseNumbers` reads them. */
export const listed = (numbers: Readonly<Record<string, number>>): string =>
  Object.entries(numbers)
    .map(([name, value]) => `${name}=${value}`)
    .join(',');
