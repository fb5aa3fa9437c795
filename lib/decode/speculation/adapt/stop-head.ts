// The head that ends drafts, as it learns from verified ones: AdamW on the weighted cross-entropy of what was kept, in small
// batches from the newest tokens. A step takes a fraction of a millisecond.
import { philoxUniform } from '../../philox.js';
import { keptBy, STOP_PARAMETERS, STOP_WIDTH, stopFeatures, StopRule } from './stop-rule.js';

/** Tokens of a step, and of those that are kept to learn from again. */
const BATCH = 64;
const MEMORY = 4096;
/** Tokens before the head is trusted. */
const ENOUGH = 512;
const ADAMW = { rate: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, decay: 0.001 } as const;

export interface StopOptions {
  /** A draft ends where the probability that some of its tokens is refused is above this. */
  readonly threshold: number;
  /** How many kept tokens a refused one counts as. */
  readonly rejectionWeight: number;
}

interface Row {
  readonly x: Float64Array;
  readonly kept: boolean;
}

/** Adds a token's loss, −log of what the head says of what happened, to the mean's gradient; gives the loss. */
export function stopGradient(
  parameters: ArrayLike<number>,
  x: ArrayLike<number>,
  kept: boolean,
  weight: number,
  gradient: Float64Array,
): number {
  const b = STOP_WIDTH * STOP_WIDTH;
  const v = b + STOP_WIDTH;
  const f = keptBy(parameters, x);
  const slope = weight * (f - Number(kept)); // by the sum within σ
  gradient[v + STOP_WIDTH] += slope;
  for (let i = 0; i < STOP_WIDTH; i++) {
    let z = parameters[b + i];
    for (let j = 0; j < STOP_WIDTH; j++) z += parameters[i * STOP_WIDTH + j] * x[j];
    const gate = 1 / (1 + Math.exp(-z));
    gradient[v + i] += slope * (x[i] + z * gate);
    const inner = slope * parameters[v + i] * gate * (1 + z * (1 - gate));
    gradient[b + i] += inner;
    for (let j = 0; j < STOP_WIDTH; j++) gradient[i * STOP_WIDTH + j] += inner * x[j];
  }
  return -weight * Math.log(Math.max(kept ? f : 1 - f, 1e-300));
}

export class StopHead {
  readonly parameters = new Float32Array(STOP_PARAMETERS);
  /** Of gradients: means and mean squares. */
  readonly moments = new Float32Array(2 * STOP_PARAMETERS);
  steps = 0;
  /** Tokens that were learned from, those of an earlier use included. */
  rows = 0;
  private readonly memory: Row[] = [];
  private next = 0; // in `memory`
  private fresh = 0; // tokens that no step has begun with
  private known: StopRule | undefined;

  constructor(readonly options: StopOptions) {
    // Begins with what a probability says by itself; W is small and not zero.
    for (let i = 0; i < STOP_WIDTH * STOP_WIDTH; i++)
      this.parameters[i] = 0.5 * (philoxUniform(1n, BigInt(i), 0n) - 0.5);
    this.parameters[STOP_WIDTH * STOP_WIDTH + STOP_WIDTH] = 2;
    this.parameters[STOP_PARAMETERS - 1] = 1;
  }

  /** The rule of the next draft; undefined: too little is known. The same one until the next step. */
  rule(): StopRule | undefined {
    if (this.rows < ENOUGH) return undefined;
    return (this.known ??= new StopRule(Float64Array.of(this.options.threshold, ...this.parameters)));
  }

  /** Tokens of a generation's drafts, from which it learns. */
  watch(): DraftEnds {
    return new DraftEnds(this);
  }

  /** Of a verified chain the first `kept` tokens stayed; the next one, where there is one, was refused. */
  hear(logprobs: readonly number[], kept: number): void {
    for (const [place, x] of stopFeatures(logprobs)
      .slice(0, kept + 1)
      .entries()) {
      this.memory[this.next] = { x, kept: place < kept };
      this.next = (this.next + 1) % MEMORY;
      this.rows++;
      this.fresh = Math.min(MEMORY, this.fresh + 1);
    }
  }

  /** At most so many steps: of as many as half a batch's new tokens allow. */
  learn(most: number): void {
    for (let i = 0; i < most && this.fresh >= BATCH / 2; i++) {
      this.fresh -= BATCH / 2;
      this.step();
    }
  }

  /** Forgets tokens; what was learned stays. */
  clear(): void {
    this.memory.length = 0;
    this.next = 0;
    this.fresh = 0;
  }

  private step(): void {
    const { parameters, moments, options, memory } = this;
    const gradient = new Float64Array(STOP_PARAMETERS);
    const step = ++this.steps;
    for (let i = 0; i < BATCH; i++) {
      // Any of the newest: what was just said resembles itself.
      const row = memory[Math.floor(philoxUniform(2n, BigInt(step), BigInt(i)) * memory.length)];
      stopGradient(parameters, row.x, row.kept, (row.kept ? 1 : options.rejectionWeight) / BATCH, gradient);
    }
    const { rate, beta1, beta2, epsilon, decay } = ADAMW;
    for (let i = 0; i < STOP_PARAMETERS; i++) {
      const second = STOP_PARAMETERS + i;
      moments[i] = beta1 * moments[i] + (1 - beta1) * gradient[i];
      moments[second] = beta2 * moments[second] + (1 - beta2) * gradient[i] ** 2;
      const mean = moments[i] / (1 - beta1 ** step);
      const size = Math.sqrt(moments[second] / (1 - beta2 ** step));
      parameters[i] -= rate * (mean / (size + epsilon) + decay * parameters[i]);
    }
    this.known = undefined;
  }
}

/** The ends of one generation's drafts: the rule for the next one, and what the head hears of the last one. */
export class DraftEnds {
  private tokens: ArrayLike<number> = [];
  private logprobs: readonly number[] = [];

  constructor(private readonly head: StopHead) {}

  get rule(): StopRule | undefined {
    return this.head.rule();
  }

  /** Tokens of the drafter, whatever became of them for the target. */
  drafted(tokens: ArrayLike<number>, logprobs: readonly number[]): void {
    this.tokens = tokens;
    this.logprobs = logprobs;
  }

  /**
   * The draft was verified, and the text has this behind the draft's root, in the drafter's tokens. So far as both go, their
   * first difference is what was refused; what of the draft goes further was not looked at.
   */
  judged(said: readonly number[]): void {
    const { tokens, logprobs } = this;
    const most = Math.min(tokens.length, said.length);
    let kept = 0;
    while (kept < most && tokens[kept] === said[kept]) kept++;
    this.head.hear(logprobs.slice(0, kept < most ? kept + 1 : kept), kept);
    this.drafted([], []);
  }
}
