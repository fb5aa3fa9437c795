// Models with random weights over trained vocabularies, of which one can be another with its tokens in another order.
import type { GgufTensorInput } from '../../../../lib/formats/gguf-writer.js';
import { writeGguf } from '../../../../lib/formats/gguf-writer.js';
import { loadModel } from '../../../../lib/index.js';
import type { LoadOptions, Model } from '../../../../lib/index.js';
import { randomModel } from '../../../fixtures/random-model.js';
import { ggufMetadata } from '../../../fixtures/random/gguf.js';
import { randomTensors } from '../../../fixtures/random/tensors.js';
import { trainBpe } from '../../../formats/tokenizer/toys.js';
import { story } from './vocabularies.js';

const specials = ['<|begin|>', '<|end|>'];

/** The last tokens are the control tokens. `order`: the token that is put at each place. `padding`: rows without a token. */
export async function bpeModel(
  file: string,
  merges: number,
  {
    seed = 1,
    order,
    padding = 0,
    layers = 2,
    ...load
  }: { seed?: number; order?: (count: number) => number[]; padding?: number; layers?: number } & LoadOptions = {},
): Promise<Model> {
  const toy = trainBpe(story, merges);
  const count = toy.tokens.length + specials.length;
  const places = order?.(count) ?? Array.from({ length: count }, (_, i) => i);
  const texts = [...toy.tokens, ...specials];
  const base = randomModel('llama');
  const sizes = { width: 64, hidden: 128, heads: 2, kvHeads: 1, headDim: 32, valueDim: 32, contextLength: 256 };
  const config = {
    ...base.config,
    ...sizes,
    layers,
    vocab: count + padding,
    rope: { ...base.config.rope, dimensions: 32 },
  };
  const random = { ...base, name: `bpe ${merges}`, seed, config };
  const tensors = randomTensors(random, 'F32').map((tensor): GgufTensorInput => {
    if (!/^(token_embd|output)\.weight$/.test(tensor.name)) return tensor;
    const [bytes] = tensor.data();
    const row = bytes.length / (count + padding);
    const out = bytes.slice();
    places.forEach((from, to) => out.set(bytes.subarray(from * row, (from + 1) * row), to * row));
    return { ...tensor, data: () => [out] };
  });
  const end = (text: string): number => places.indexOf(texts.indexOf(text));
  writeGguf(file, {
    metadata: {
      ...ggufMetadata(random, 'F32'),
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'gpt-2',
      'tokenizer.ggml.tokens': places.map((from) => texts[from]),
      'tokenizer.ggml.token_type': Int32Array.from(places, (from) => (from < toy.tokens.length ? 1 : 3)),
      'tokenizer.ggml.merges': toy.merges.map((pair) => pair.join(' ')),
      'tokenizer.ggml.bos_token_id': end(specials[0]),
      'tokenizer.ggml.eos_token_id': end(specials[1]),
      'tokenizer.ggml.add_bos_token': true,
    },
    tensors,
  });
  return loadModel(file, { threads: 1, ...load });
}
