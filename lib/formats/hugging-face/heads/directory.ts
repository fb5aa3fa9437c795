// A directory with a head that drafts for a model: its config.json and its tensors, as published.
import * as fs from 'node:fs';
import * as nodePath from 'node:path';
import { VivaceError } from '../../../errors.js';
import type { ModelConfig } from '../../model-config.js';
import type { ModelSource } from '../../model-source.js';
import type { WeightStore } from '../../weight-store.js';
import { Fields, readJson } from '../json.js';
import { openSafetensorsSet, type SafetensorsSet } from '../shards.js';

/** Canonical names, and `fc.weight`, `fc.bias`; the config has the target's vocabulary. */
export interface DraftHead extends Pick<ModelSource, 'files' | 'config' | 'tensors'> {
  /** Of an EAGLE-3 head. */
  readonly third?: ThirdHead;
}

export interface ThirdHead {
  /** The target's layers whose inputs are its features, side by side in this order. */
  readonly layers: readonly number[];
  /** Which token of the target each of its own is; undefined: the same. */
  readonly tokens: Int32Array | undefined;
  /** What its layer adds to is the normalised feature. */
  readonly normedResidual: boolean;
}

export interface HeadDirectory {
  readonly name: string;
  readonly fields: Fields;
  readonly set: SafetensorsSet;
}

const medusaFile = 'medusa_lm_head.safetensors';

/** By its files. */
export const kindOfHead = (directory: string): 'eagle' | 'medusa' =>
  fs.existsSync(nodePath.resolve(directory, medusaFile)) ? 'medusa' : 'eagle';

/** Throws FILE_* and FORMAT_*. */
export function openHeadDirectory(directory: string, kind: 'eagle' | 'medusa'): HeadDirectory {
  const path = nodePath.resolve(directory, 'config.json');
  const json = readJson(path);
  if (json === undefined) {
    throw new VivaceError('FILE_NOT_FOUND', `${directory} has no config.json`, {
      remedy: 'Name the directory of a head: config.json and its safetensors file.',
    });
  }
  const file = kind === 'medusa' ? medusaFile : 'model.safetensors';
  const pickled = fs.readdirSync(directory).find((one) => /\.(bin|pth?)$/.test(one));
  const hasTensors = fs.readdirSync(directory).some((one) => /\.safetensors(\.index\.json)?$/.test(one));
  if (pickled !== undefined && !hasTensors) {
    throw new VivaceError('FILE_NOT_FOUND', `${directory} has ${pickled}, which is pickled, and no ${file}`, {
      remedy:
        `Convert it in Python: t = torch.load('${pickled}', map_location='cpu'); safetensors.torch.save_file(` +
        `{n: v.clone().contiguous() for n, v in t.items()}, '${file}')`,
    });
  }
  const name = nodePath.basename(nodePath.resolve(directory));
  // Medusa heads are also published under models' usual name.
  const set = openSafetensorsSet(directory, fs.existsSync(nodePath.resolve(directory, file)) ? file : undefined);
  return { name, fields: new Fields({ model_type: 'llama', ...json }, path), set };
}

/** Throws SHAPE_MISMATCH unless the head is for this model. */
export function checkTarget(
  directory: string,
  { width, vocab }: { width: number; vocab: number },
  target: ModelConfig,
): void {
  if (width === target.width && vocab === target.vocab) return;
  throw new VivaceError(
    'SHAPE_MISMATCH',
    `${directory} is a head for a model of width ${width} and ${vocab} tokens; this one has width ` +
      `${target.width} and ${target.vocab} tokens`,
    { remedy: 'Use a head that was trained for this model.' },
  );
}

/** Where a head's tensors are: embedding and output matrix are the target's where it has none of its own. */
export const headWeights =
  (own: WeightStore, target: WeightStore) =>
  (tensor: string): WeightStore =>
    /^(token_embd|output)\./.test(tensor) && own.info(tensor) === undefined ? target : own;
