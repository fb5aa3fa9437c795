// The safetensors files of one model: a single file, or the shards that an index names.
import * as fs from 'node:fs';
import * as nodePath from 'node:path';
import { VivaceError } from '../../errors.js';
import { readSmallFile } from '../file.js';
import { openSafetensors, safetensorsLimits, type SafetensorsTensor } from '../safetensors.js';

export interface SafetensorsSet {
  /** Absolute paths. */
  readonly files: readonly string[];
  readonly tensors: ReadonlyMap<string, SafetensorsTensor & { readonly file: number }>;
}

/** Opens `model.safetensors`, or what `model.safetensors.index.json` lists, in a directory. */
export function openSafetensorsSet(directory: string, file = 'model.safetensors'): SafetensorsSet {
  const single = nodePath.resolve(directory, file);
  if (fs.existsSync(single)) return join([single], new Map());
  const indexPath = nodePath.resolve(directory, 'model.safetensors.index.json');
  const index = readSmallFile(indexPath, safetensorsLimits.headerBytes);
  if (index === undefined) {
    throw new VivaceError(
      'FILE_NOT_FOUND',
      `${directory} has neither model.safetensors nor model.safetensors.index.json`,
      {
        remedy: fs.readdirSync(directory).some((name) => /\.(bin|pth?)$/.test(name))
          ? 'Only safetensors files are read, no pickled PyTorch ones: use a version of the model that has them.'
          : 'Download the weights into the directory.',
      },
    );
  }
  const places = weightMap(indexPath, index);
  const names = [...new Set(places.values())].sort();
  return join(
    names.map((name) => nodePath.resolve(directory, name)),
    places,
  );
}

function weightMap(path: string, text: Buffer): Map<string, string> {
  const invalid = (message: string, cause?: unknown): VivaceError =>
    new VivaceError('FORMAT_INVALID', `${path}: ${message}`, { cause });
  let json: unknown;
  try {
    json = JSON.parse(text.toString('utf8'));
  } catch (cause) {
    throw invalid(`not valid JSON: ${String(cause)}`, cause);
  }
  const map = (json as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map)) throw invalid('`weight_map` is missing');
  const entries = Object.entries(map as Record<string, unknown>);
  if (entries.length === 0) throw invalid('`weight_map` is empty');
  for (const [name, file] of entries) {
    // Names must stay inside the directory on every system.
    if (typeof file !== 'string' || !/^[^/\\:\0]+\.safetensors$/.test(file)) {
      throw invalid(
        `the tensor ${JSON.stringify(name)} lies in ${JSON.stringify(file)}, expected the plain name of a safetensors file`,
      );
    }
  }
  return new Map(entries as [string, string][]);
}

function join(files: readonly string[], places: ReadonlyMap<string, string>): SafetensorsSet {
  const tensors = new Map<string, SafetensorsTensor & { readonly file: number }>();
  files.forEach((path, file) => {
    const { tensors: own } = openSafetensors(path, 'A shard of the model is missing; download it next to the others.');
    for (const tensor of own.values()) {
      const place = places.get(tensor.name);
      if (place !== undefined && place !== nodePath.basename(path)) continue;
      if (tensors.has(tensor.name)) {
        throw new VivaceError(
          'FORMAT_INVALID',
          `${path}: the tensor ${JSON.stringify(tensor.name)} is in another shard too`,
        );
      }
      tensors.set(tensor.name, { ...tensor, file });
    }
  });
  for (const [name, place] of places) {
    if (!tensors.has(name)) {
      throw new VivaceError(
        'MISSING_TENSOR',
        `The index places the tensor \`${name}\` in ${place}, which does not hold it`,
      );
    }
  }
  return { files, tensors };
}
