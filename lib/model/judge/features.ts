// What a model knows of a text, token by token: the hidden states that judges read.
import { tapOf, type JudgeFeature } from '../../decode/speculation/judge/head.js';
import type { Model } from '../model.js';

/** The hidden state at each token's own row, after the final norm or before it, [tokens, width]. Throws what runs throw. */
export async function hiddenStates(
  model: Model,
  tokens: ArrayLike<number>,
  feature?: JudgeFeature,
): Promise<Float32Array> {
  const { rounds, kv, sequence } = model.lend();
  const width = model.hiddenWidth();
  const states = new Float32Array(tokens.length * width);
  let done = 0;
  try {
    await rounds.submit({
      kv,
      sequence,
      tokens: Int32Array.from(tokens),
      taps: {
        names: [tapOf(feature)],
        hear: ([values], rows) => {
          states.set(values.subarray(0, rows * width), done * width);
          done += rows;
        },
      },
    }).done;
  } finally {
    rounds.release(kv, sequence);
  }
  return states;
}
