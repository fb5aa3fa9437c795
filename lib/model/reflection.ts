// Settings of the reflective verifier and the models that they belong to: loading, with checks, saving, and where they lie.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { ReflectiveVerifier } from '../decode/speculation/options.js';
import { promptTokens, type ReflectiveSettings } from '../decode/speculation/reflective/options.js';
import { readReflection, writeReflection } from '../decode/speculation/reflective/settings-file.js';
import { expected, VivaceError } from '../errors.js';
import { Model } from './model.js';

/** Where a model's settings are looked for: `reflect.json` in its directory, or beside a file `name.gguf` `name.reflect.json`. */
export function reflectionFileOf(modelPath: string): string {
  const isDirectory = statSync(modelPath, { throwIfNoEntry: false })?.isDirectory() === true;
  return isDirectory ? join(modelPath, 'reflect.json') : modelPath.replace(/(\.gguf)?$/, '.reflect.json');
}

/**
 * Reads settings for `speculation.verifier`, and checks that they were found for the model and that its tokenizer knows the request.
 *
 * Throws FILE_*, FORMAT_INVALID, and INVALID_ARGUMENT for settings of another model, unless `force`.
 */
export function loadReflection(
  file: string,
  model: Model,
  options: { readonly force?: boolean } = {},
): ReflectiveVerifier {
  if (typeof file !== 'string' || file === '') throw expected('a path', 'file', file);
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  const found = readReflection(file);
  if (options.force !== true && found.modelHash !== model.fingerprint()) {
    throw new VivaceError('INVALID_ARGUMENT', `${file} is for another model (${found.model})`, {
      remedy: 'Find settings for this one with `vivace evaluate`, or load them with `force: true`.',
    });
  }
  const { prompt } = found.settings;
  if (prompt !== undefined) promptTokens(typeof prompt === 'string' ? prompt : Array.from(prompt), model.tokenizer);
  return { name: 'reflective', ...found.settings };
}

/** Writes settings that were found for a model; `evaluated`: what was measured with them. Throws FILE_*, INVALID_ARGUMENT. */
export function saveReflection(file: string, model: Model, settings: ReflectiveSettings, evaluated?: unknown): void {
  if (typeof file !== 'string' || file === '') throw expected('a path', 'file', file);
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  writeReflection(file, { settings, model: model.info.name ?? '', modelHash: model.fingerprint(), evaluated });
}
