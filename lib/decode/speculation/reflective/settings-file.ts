// Settings of the reflective verifier that were found for a model, in a file beside it: JSON, `reflect-v1`.
import { expected, VivaceError } from '../../../errors.js';
import { readText, writeFile } from '../../../formats/file.js';
import { checkReflectiveNames, reflectiveNames, resolveReflection } from './options.js';
import type { ReflectiveSettings } from './options.js';

const FORMAT = 'reflect-v1';

export interface ReflectionFile {
  readonly settings: ReflectiveSettings;
  /** The model's name, and `Model.fingerprint()`. */
  readonly model: string;
  readonly modelHash: string;
  /** What was measured with these settings: any JSON. */
  readonly evaluated?: unknown;
}

/** Throws FILE_*, and INVALID_ARGUMENT for settings that make no sense. */
export function writeReflection(path: string, { settings, model, modelHash, evaluated }: ReflectionFile): void {
  checkReflectiveNames(settings);
  resolveReflection(settings);
  if (typeof settings.reflectIn === 'function') {
    throw expected("'all', 'text' or 'thinking'", 'reflectIn', settings.reflectIn, 'Functions are not kept in files.');
  }
  const { prompt } = settings;
  const given = typeof prompt === 'object' ? { ...settings, prompt: Array.from(prompt) } : settings;
  const data = { format: FORMAT, model, model_hash: modelHash, ...given, evaluated };
  writeFile(path, [Buffer.from(`${JSON.stringify(data, undefined, 2)}\n`)]);
}

/** Throws FILE_*, FORMAT_INVALID. */
export function readReflection(path: string): ReflectionFile {
  const text = readText(path);
  try {
    const data = JSON.parse(text) as Record<string, unknown> | null;
    const { format, model, model_hash: modelHash, evaluated, ...rest } = data ?? {};
    if (format !== FORMAT) throw new Error(`its format is ${format === undefined ? 'not named' : String(format)}`);
    if (typeof model !== 'string' || typeof modelHash !== 'string') throw new Error('it names no model');
    const known = Object.keys(rest).every((name) => (reflectiveNames as readonly string[]).includes(name));
    if (!known) throw new Error('it has settings that are not known');
    resolveReflection(rest as ReflectiveSettings);
    return {
      settings: rest as ReflectiveSettings,
      model,
      modelHash,
      ...(evaluated === undefined ? {} : { evaluated }),
    };
  } catch (cause) {
    throw new VivaceError(
      'FORMAT_INVALID',
      `${path} has no settings to read drafts twice by: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
}
