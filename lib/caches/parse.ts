// Cache options as command lines write them: `--cache window --cache-options sinks=4,recent=1024`.
import { expected, VivaceError } from '../errors.js';
import { full } from './full.js';
import { policyRows } from './policies.js';
import type { CacheOptions } from './policy.js';

const rows = [
  { name: 'full', what: 'every token', make: full },
  ...Object.values(policyRows).map(({ name, what, make }) => ({ name, what, make })),
];

/** Names and what they mean, for help texts. */
export const cacheNames: readonly { readonly name: string; readonly what: string }[] = rows;

/** Options are the factory's, as name=value with commas between them. Throws INVALID_ARGUMENT. */
export function parseCache(name: string | undefined, options: string | undefined): CacheOptions | undefined {
  if (name === undefined && options === undefined) return undefined;
  const wanted = name ?? 'full';
  const row = rows.find((one) => one.name === wanted);
  if (!row) throw expected(`one of ${rows.map((one) => one.name).join(', ')}`, '--cache', wanted);
  return row.make(valuesOf(options ?? '') as never);
}

function valuesOf(text: string): Record<string, unknown> {
  const parts = text.split(',').filter((part) => part.trim() !== '');
  return Object.fromEntries(
    parts.map((part) => {
      const [, name, value] = /^\s*(\w+)=(\S+)\s*$/.exec(part) ?? [];
      if (name === undefined) {
        throw new VivaceError('INVALID_ARGUMENT', `Expected name=value in --cache-options, received ${part.trim()}`, {
          remedy: 'Put commas between options, as in sinks=4,recent=1024.',
        });
      }
      return [name, valueOf(value)];
    }),
  );
}

function valueOf(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true';
  if (/^[\d.]+(\/[\d.]+)+$/.test(text)) return text.split('/').map(valueOf);
  return Number.isNaN(Number(text)) ? text : Number(text);
}
