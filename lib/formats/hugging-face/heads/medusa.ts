// Medusa heads as their authors publish them: config.json and `medusa_lm_head.safetensors`.
import { VivaceError } from '../../../errors.js';
import type { ModelConfig } from '../../model-config.js';
import type { ModelSource, TensorSource } from '../../model-source.js';
import { plainTensor } from '../tensors.js';
import { openHeadDirectory } from './directory.js';

/** Tensors `medusa.<head>.<block>.weight` and `.bias`, `medusa.<head>.output.weight`. */
export interface MedusaHeads extends Pick<ModelSource, 'files' | 'tensors'> {
  /** How many there are: head i says the token i + 2 places behind a row's own. */
  readonly heads: number;
  /** Blocks x + SiLU(W x + b) of each. */
  readonly layers: number;
}

const wanted = /^(?:medusa_head\.)?(\d+)\.(\d+)\.(linear\.weight|linear\.bias|weight)$/;

/**
 * Heads of the model `target`: `<i>.<l>.linear.weight` [h, h] and `.bias`, and behind the last block `<i>.<layers>.weight`
 * [vocab, h]; heads without that multiply by the model's own output matrix. How many heads and blocks there are the tensors
 * say, for published configs do not always. Throws FILE_*, FORMAT_*, UNSUPPORTED_*, MISSING_TENSOR, and SHAPE_MISMATCH for
 * heads of a model of another width or vocabulary.
 */
export function openMedusaHeads(directory: string, { width, vocab }: ModelConfig): MedusaHeads {
  const { files, tensors } = openHeadDirectory(directory, 'medusa').set;
  const named = new Map<string, TensorSource>();
  const blocks = new Map<number, number>(); // of each head
  for (const tensor of tensors.values()) {
    const match = wanted.exec(tensor.name);
    if (!match) {
      throw new VivaceError('UNSUPPORTED_FEATURE', `${directory}: Medusa heads have no tensor \`${tensor.name}\``, {
        remedy: 'Name the directory of Medusa heads, not of a model.',
      });
    }
    const [head, block, part] = [Number(match[1]), Number(match[2]), match[3]];
    const name = part === 'weight' ? 'output.weight' : `${block}.${part.slice('linear.'.length)}`;
    const shape = part === 'weight' ? [vocab, width] : part === 'linear.bias' ? [width] : [width, width];
    if (tensor.shape.join() !== shape.join()) {
      throw new VivaceError(
        'SHAPE_MISMATCH',
        `${directory}: \`${tensor.name}\` is [${tensor.shape.join(', ')}], this model wants [${shape.join(', ')}]`,
        { remedy: 'Use heads that were trained for this model.' },
      );
    }
    const own = `medusa.${head}.${name}`;
    named.set(own, plainTensor(tensor, own));
    blocks.set(head, Math.max(blocks.get(head) ?? 0, part === 'weight' ? block : block + 1));
  }
  const heads = blocks.size;
  const layers = blocks.get(0) ?? 0;
  for (let head = 0; head < heads; head++) {
    if (blocks.get(head) !== layers)
      throw new VivaceError(
        'FORMAT_INVALID',
        `${directory}: head ${head} has ${blocks.get(head) ?? 'no'} blocks, not ${layers}`,
      );
    for (let block = 0; block < layers; block++) {
      for (const part of ['weight', 'bias']) {
        if (!named.has(`medusa.${head}.${block}.${part}`))
          throw new VivaceError(
            'MISSING_TENSOR',
            `${directory}: the tensor \`${head}.${block}.linear.${part}\` is missing`,
          );
      }
    }
  }
  if (heads === 0 || heads > 64) throw new VivaceError('FORMAT_INVALID', `${directory}: there are ${heads} heads`);
  return { files, tensors: named, heads, layers };
}
