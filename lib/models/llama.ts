// Llama and its close relatives: pre-norm blocks of grouped-query attention and a SiLU-gated MLP, or many of them.
import { Decoder, type AttentionTraits, type BuildProgram } from './decoder.js';

const build =
  (traits: AttentionTraits): BuildProgram =>
  (config, weights, options) => {
    const decoder = new Decoder(config, weights, options);
    let x = decoder.embed(); // [rows, width]
    for (let layer = 0; layer < config.layers; layer++) {
      x = decoder.into(layer, x);
      x = decoder.add(x, decoder.attention(decoder.norm(x, `blk.${layer}.attn_norm`), layer, traits));
      if (layer === config.layers - 1) x = decoder.selectOutputs(x); // [outputs, width]
      x = decoder.addFeedForward(x, layer);
    }
    return decoder.finish(x);
  };

/** Llama 1 to 3.x, Mistral and Mixtral, DeepSeek-MoE; phi3 differs only in its fused tensors. */
export const buildLlama = build({});
/** Biases on q, k and v. */
export const buildQwen2 = build({ biases: true });
/** Norms over the heads of q and k. */
export const buildQwen3 = build({ headNorms: true });
