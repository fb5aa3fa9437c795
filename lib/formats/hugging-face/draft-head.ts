// A head that drafts for a model, as EAGLE's authors publish it: config.json and safetensors, without the parts that the head
// shares with its model.
import * as nodePath from 'node:path';
import { VivaceError } from '../../errors.js';
import type { ModelConfig } from '../model-config.js';
import type { ModelSource } from '../model-source.js';
import { readArchitecture, readConfig } from './config.js';
import { Fields, readJson } from './json.js';
import { openSafetensorsSet } from './shards.js';
import { canonicalTensors, plainTensor } from './tensors.js';

/** Canonical names, and `fc.weight`, `fc.bias`; the config has the target's vocabulary. */
export type DraftHead = Pick<ModelSource, 'files' | 'config' | 'tensors'>;

/**
 * An EAGLE-1 or 2 head: `fc.weight` [h, 2h] over (embedding, feature), `fc.bias` perhaps, and layers of a Llama, the first
 * without `input_layernorm`. Throws FILE_*, FORMAT_*, UNSUPPORTED_*, MISSING_TENSOR, and SHAPE_MISMATCH for a head of a model
 * of another width or vocabulary.
 */
export function openEagleHead(directory: string, target: ModelConfig): DraftHead {
  const path = nodePath.resolve(directory, 'config.json');
  const json = readJson(path);
  if (json === undefined) {
    throw new VivaceError('FILE_NOT_FOUND', `${directory} has no config.json`, {
      remedy: 'Name the directory of a head: config.json and model.safetensors.',
    });
  }
  const fields = new Fields({ model_type: 'llama', ...json }, path);
  readArchitecture(fields);
  const { files, tensors } = openSafetensorsSet(directory);
  const [own, layered] = [[...tensors.values()], new Map(tensors)];
  for (const name of ['fc.weight', 'fc.bias', 'embed_tokens.weight']) layered.delete(name);
  if (!tensors.has('fc.weight')) {
    throw new VivaceError('MISSING_TENSOR', `${directory}: the tensor \`fc.weight\` is missing`, {
      remedy: own.some(({ name }) => /^\d+\.\d+\.(linear\.)?weight$/.test(name))
        ? 'These are Medusa heads, not an EAGLE head.'
        : 'Name the directory of an EAGLE head, not of a model.',
    });
  }
  if (tensors.has('d2t') || own.some(({ name }) => name.startsWith('midlayer.'))) {
    throw new VivaceError('UNSUPPORTED_FEATURE', `${directory} holds an EAGLE-3 head; EAGLE-1 and 2 are supported`, {
      remedy: 'Use an EAGLE-1 or 2 head of the same model.',
    });
  }
  const named = canonicalTensors(layered.values(), 'llama');
  for (const name of ['fc.weight', 'fc.bias']) {
    const tensor = tensors.get(name);
    if (tensor) named.set(name, plainTensor(tensor, name));
  }
  const odd = [...named.keys()].find((name) => name === 'blk.0.attn_norm.weight' || /^(output|token_embd)/.test(name));
  if (odd !== undefined) {
    throw new VivaceError('UNSUPPORTED_FEATURE', `${directory}: an EAGLE-1 head has no tensor \`${odd}\``);
  }
  const read = readConfig(fields, nodePath.basename(nodePath.resolve(directory)), target.vocab, true);
  checkLayers(directory, named.keys(), read.layers);
  const vocab = fields.integer('vocab_size') ?? target.vocab;
  if (read.width !== target.width || vocab !== target.vocab) {
    throw new VivaceError(
      'SHAPE_MISMATCH',
      `${directory} is a head for a model of width ${read.width} and ${vocab} tokens; this one has width ` +
        `${target.width} and ${target.vocab} tokens`,
      { remedy: 'Use a head that was trained for this model.' },
    );
  }
  const { finalSoftcap, tiedEmbedding } = target;
  const config = { ...read, architecture: 'llama' as const, tiedEmbedding, ...(finalSoftcap ? { finalSoftcap } : {}) };
  return { files, tensors: named, config };
}

/** The number of layers is that of the tensors. */
function checkLayers(directory: string, names: Iterable<string>, layers: number): void {
  const found = new Set(
    Array.from(names, (name) => /^blk\.(\d+)\./.exec(name)?.[1]).filter((layer) => layer !== undefined),
  );
  if (found.size === layers) return;
  throw new VivaceError(
    'FORMAT_INVALID',
    `${directory}: config.json says ${layers} layers, the tensors are of ${found.size}`,
  );
}
