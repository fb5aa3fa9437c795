// EAGLE heads as their authors publish them: config.json and safetensors, without the parts that a head shares with its model.
import { VivaceError } from '../../../errors.js';
import type { ModelConfig } from '../../model-config.js';
import type { SafetensorsSet } from '../shards.js';
import { readArchitecture, readConfig } from '../config.js';
import { canonicalTensors, plainTensor } from '../tensors.js';
import { checkTarget, openHeadDirectory, type DraftHead, type HeadDirectory } from './directory.js';
import { isThird, readThirdHead } from './eagle3.js';

/**
 * An EAGLE head of the model `target`. EAGLE-1 and 2: `fc.weight` [h, 2h] over (embedding, feature), `fc.bias` perhaps, and
 * layers of a Llama, the first without `input_layernorm`. EAGLE-3: see eagle3.ts. Throws FILE_*, FORMAT_*, UNSUPPORTED_*,
 * MISSING_TENSOR, and SHAPE_MISMATCH for a head of a model of another width or vocabulary.
 */
export function openEagleHead(directory: string, target: ModelConfig): DraftHead {
  const opened = openHeadDirectory(directory, 'eagle');
  checkFc(directory, opened.set.tensors);
  return isThird(opened.set.tensors) ? readThirdHead(directory, opened, target) : readHead(directory, opened, target);
}

function readHead(directory: string, { fields, set, name }: HeadDirectory, target: ModelConfig): DraftHead {
  readArchitecture(fields);
  const { files, tensors } = set;
  const layered = new Map(tensors);
  for (const own of ['fc.weight', 'fc.bias', 'embed_tokens.weight']) layered.delete(own);
  const named = canonicalTensors(layered.values(), 'llama');
  for (const own of ['fc.weight', 'fc.bias']) {
    const tensor = tensors.get(own);
    if (tensor) named.set(own, plainTensor(tensor, own));
  }
  const odd = [...named.keys()].find((own) => own === 'blk.0.attn_norm.weight' || /^(output|token_embd)/.test(own));
  if (odd !== undefined) {
    throw new VivaceError('UNSUPPORTED_FEATURE', `${directory}: an EAGLE-1 head has no tensor \`${odd}\``);
  }
  const read = readConfig(fields, name, target.vocab, true);
  checkLayers(directory, named.keys(), read.layers);
  checkTarget(directory, { width: read.width, vocab: fields.integer('vocab_size') ?? target.vocab }, target);
  const { finalSoftcap, tiedEmbedding } = target;
  const config = { ...read, architecture: 'llama' as const, tiedEmbedding, ...(finalSoftcap ? { finalSoftcap } : {}) };
  return { files, tensors: named, config };
}

function checkFc(directory: string, tensors: SafetensorsSet['tensors']): void {
  if (tensors.has('fc.weight')) return;
  throw new VivaceError('MISSING_TENSOR', `${directory}: the tensor \`fc.weight\` is missing`, {
    remedy: [...tensors.keys()].some((name) => /^\d+\.\d+\.(linear\.)?weight$/.test(name))
      ? 'These are Medusa heads, not an EAGLE head.'
      : 'Name the directory of an EAGLE head, not of a model.',
  });
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
