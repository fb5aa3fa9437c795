// EAGLE-1 and 2 (Li et al. 2024, arXiv 2401.15077 and 2406.16858): a layer or more that foretell the target's next feature,
// from the feature of a token and the token that came after it.
import { Decoder, type BuildProgram } from './decoder.js';

/**
 * Row t has the token at t + 1 and, in `features` [rows, width], what the target's output matrix multiplied at t. `hidden`
 * [outputs, width] is what it would multiply at t + 1, as far as the head knows, and `logits` what that says. Unlike in a
 * Llama, nothing is normalised before the first layer and behind the last. `config`: the head's layers, the target's vocabulary.
 */
export const buildEagle: BuildProgram = (config, weights, options) => {
  const decoder = new Decoder(config, weights, options);
  const features = decoder.features(config.width);
  let x = decoder.join(decoder.embed(), features, 'fc'); // [rows, width]
  for (let layer = 0; layer < config.layers; layer++) {
    const normed = layer === 0 ? x : decoder.norm(x, `blk.${layer}.attn_norm`);
    x = decoder.add(x, decoder.attention(normed, layer));
    if (layer === config.layers - 1) x = decoder.selectOutputs(x); // [outputs, width]
    x = decoder.add(x, decoder.feedForward(decoder.norm(x, `blk.${layer}.ffn_norm`), layer, 'silu'));
  }
  return decoder.finishHead(x, features);
};
