// Gemma 2 and 3: scaled embeddings, norms before and after each block, soft caps (2), head norms and two rotations (3).
import { Decoder, type AttentionTraits, type BuildProgram } from './decoder.js';

const build =
  (traits: AttentionTraits): BuildProgram =>
  (config, weights, options) => {
    const decoder = new Decoder(config, weights, options);
    let x = decoder.embed(bf16(Math.sqrt(config.width))); // [rows, width]
    for (let layer = 0; layer < config.layers; layer++) {
      x = decoder.into(layer, x);
      const block = `blk.${layer}`;
      const mixed = decoder.attention(decoder.norm(x, `${block}.attn_norm`), layer, traits);
      x = decoder.add(x, decoder.norm(mixed, `${block}.post_attention_norm`));
      if (layer === config.layers - 1) x = decoder.selectOutputs(x); // [outputs, width]
      const fed = decoder.feedForward(decoder.norm(x, `${block}.ffn_norm`), layer, 'gelu_tanh');
      x = decoder.add(x, decoder.norm(fed, `${block}.post_ffw_norm`));
    }
    return decoder.finish(x);
  };

/** The models were trained with √width in bfloat16: 59.75 instead of 59.867 for a width of 3584. */
function bf16(value: number): number {
  const [bits] = new Uint32Array(Float32Array.of(value).buffer);
  const rounded = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(Uint32Array.of(rounded).buffer)[0];
}

export const buildGemma2 = build({});
export const buildGemma3 = build({ headNorms: true });
