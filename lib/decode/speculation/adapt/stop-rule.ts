// Where a draft ends: a small head guesses from what the drafter says of a token whether it will be kept, and the draft ends
// behind the token with which a refusal has become likely (OmniDraft, Ramakrishnan et al. 2025, section 4.3, after SpecDec++).
// That token is verified, too, so that the rule drops nothing after looking at it. cpp/decode/draft/adapt/stop_rule.h is its twin.

/** What is known of a drafted token: its logarithmic probability, its probability, that of its path, its depth. */
export const STOP_WIDTH = 4;
/** W, b, v and c of f = σ(v · (x + silu(W x + b)) + c). */
export const STOP_PARAMETERS = STOP_WIDTH * STOP_WIDTH + 2 * STOP_WIDTH + 1;

/** The features of a chain's tokens: [count][4]. */
export function stopFeatures(logprobs: readonly number[]): Float64Array[] {
  let path = 0;
  return logprobs.map((logprob, depth) => {
    path += logprob;
    return Float64Array.of(Math.max(logprob, -12) / 4, Math.exp(logprob), Math.max(path, -24) / 8, depth / 8);
  });
}

/** The probability that a token of these features is kept, says a head of these parameters. */
export function keptBy(parameters: ArrayLike<number>, x: ArrayLike<number>): number {
  const v = STOP_WIDTH * STOP_WIDTH + STOP_WIDTH;
  let sum = parameters[v + STOP_WIDTH];
  for (let i = 0; i < STOP_WIDTH; i++) {
    let z = parameters[STOP_WIDTH * STOP_WIDTH + i];
    for (let j = 0; j < STOP_WIDTH; j++) z += parameters[i * STOP_WIDTH + j] * x[j];
    sum += parameters[v + i] * (x[i] + z / (1 + Math.exp(-z)));
  }
  return 1 / (1 + Math.exp(-sum));
}

/** A head as it was when a draft began; `values`: the threshold, then the parameters, as native code reads them. */
export class StopRule {
  constructor(readonly values: Float64Array) {}

  /** Tokens of a chain up to where it ends. */
  length(logprobs: readonly number[]): number {
    const end = this.end(logprobs);
    return end < 0 ? logprobs.length : end + 1;
  }

  /** The token behind which a chain ends, −1: it goes on. */
  end(logprobs: readonly number[]): number {
    const [threshold] = this.values;
    const parameters = this.values.subarray(1);
    let kept = 1;
    return stopFeatures(logprobs).findIndex((x) => {
      kept *= keptBy(parameters, x);
      return 1 - kept > threshold;
    });
  }
}
