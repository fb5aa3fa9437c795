// Medusa (Cai et al. 2024, arXiv 2401.10774): heads that read what the output matrix multiplies, and each say one token further.
import type { MedusaHeads } from '../formats/hugging-face/heads/medusa.js';
import type { ModelConfig } from '../formats/model-config.js';
import { ProgramBuilder } from '../program/builder.js';
import type { Program, Value } from '../program/program.js';
import { constantLike, type WeightLookup } from './decoder.js';

/**
 * Head i of a row with the feature x says softmax(W_i · (x + SiLU(V_i x + b_i)), with as many blocks as it has. `features` [rows,
 * width]; `logits` [outputs, heads · vocab], those of head 0 first. `config`: the target's.
 */
export function buildMedusa(
  { width, vocab, tiedEmbedding, finalSoftcap }: ModelConfig,
  weights: WeightLookup,
  { heads, layers }: Pick<MedusaHeads, 'heads' | 'layers'>,
): Program {
  const builder = new ProgramBuilder('medusa', weights);
  const features = builder.input('features', 'F32', 'rows', width);
  const x = builder.rowSelect(features, builder.input('output_rows', 'I32', 'outputs')); // [outputs, width]
  const ones = constantLike(builder, x, 1); // SiLU(y) is what gated layers make of y and of these
  const shared = tiedEmbedding ? 'token_embd.weight' : 'output.weight';
  let logits: Value | undefined;
  for (let head = 0; head < heads; head++) {
    let y = x;
    for (let layer = 0; layer < layers; layer++) {
      const block = `medusa.${head}.${layer}`;
      const bias = builder.weight(`${block}.bias`, [width]);
      const inner = builder.linear(y, builder.weight(`${block}.weight`, [width, width]), bias);
      y = builder.add(y, builder.gatedActivation(inner, ones, 'silu'));
    }
    const own = `medusa.${head}.output.weight`;
    const has = builder.has(own);
    let said = builder.linear(y, builder.weight(has ? own : shared, [vocab, width]));
    if (!has && finalSoftcap) said = builder.softCap(said, finalSoftcap);
    logits = logits ? builder.concat(logits, said) : said;
  }
  // Nothing is kept of a row: the cache, which every run has, is as small as one can be.
  return builder.finish({ logits: logits as Value }, { layers: 1, kvHeads: 1, keyDim: 1, valueDim: 1 });
}
