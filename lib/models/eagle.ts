// EAGLE-1 and 2 (Li et al. 2024, arXiv 2401.15077 and 2406.16858): a layer or more that foretell the target's next feature,
// from the feature of a token and the token that came after it.
import type { ModelConfig } from '../formats/model-config.js';
import type { ThirdHead } from '../formats/hugging-face/heads/directory.js';
import type { Program } from '../program/program.js';
import { Decoder, type BuildOptions, type BuildProgram, type WeightLookup } from './decoder.js';

/**
 * Row t has the token at t + 1 and, in `features` [rows, width], what the target's output matrix multiplied at t. `hidden`
 * [outputs, width] is what it would multiply at t + 1, as far as the head knows, and `logits` what that says. Unlike in a
 * Llama, nothing is normalised before the first layer and behind the last. `config`: the head's layers, the target's vocabulary.
 */
export const buildEagle: BuildProgram = (config, weights, options) => {
  const decoder = new Decoder(config, weights, options);
  const features = decoder.features(config.width);
  let x = decoder.map(decoder.beside(decoder.embed(), features), 'fc'); // [rows, width]
  for (let layer = 0; layer < config.layers; layer++) {
    const normed = layer === 0 ? x : decoder.norm(x, `blk.${layer}.attn_norm`);
    x = decoder.add(x, decoder.attention(normed, layer));
    if (layer === config.layers - 1) x = decoder.selectOutputs(x); // [outputs, width]
    x = decoder.add(x, decoder.feedForward(decoder.norm(x, `blk.${layer}.ffn_norm`), layer, 'silu'));
  }
  return decoder.finishHead(x, features);
};

/**
 * EAGLE-3 (Li et al. 2025, arXiv 2503.01840). Row t has the token at t + 1 and, in `features` [rows, layers · `width`], what went
 * into some of the target's layers at t, of which `fc` makes the feature that one layer reads beside the embedding. What comes
 * out of it is the next row's feature as it is, and normalised what an output matrix multiplies that may have fewer rows than
 * there are tokens.
 */
export function buildEagle3(
  config: ModelConfig,
  weights: WeightLookup,
  options: BuildOptions,
  { layers, tokens, normedResidual }: ThirdHead,
  width: number,
): Program {
  const decoder = new Decoder(config, weights, options);
  const feature = decoder.map(decoder.features(layers.length * width), 'fc'); // [rows, width of the head]
  const normed = decoder.norm(feature, 'blk.0.hidden_norm');
  const read = decoder.beside(decoder.norm(decoder.embed(), 'blk.0.attn_norm'), normed);
  let x = decoder.add(normedResidual ? normed : feature, decoder.attention(read, 0));
  x = decoder.selectOutputs(x); // [outputs, width of the head]
  x = decoder.add(x, decoder.feedForward(decoder.norm(x, 'blk.0.ffn_norm'), 0, 'silu'));
  return decoder.finishHead(x, feature, { hidden: decoder.norm(x, 'output_norm'), ...(tokens ? { tokens } : {}) });
}
