// What a caller may ask of a generation, with defaults and checks, and how tokens are drawn.
//
// The order of the steps, for each token:
//   1. logitBias is added to the logits;
//   2. repetitionPenalty divides positive and multiplies negative logits of tokens in prompt or answer (CTRL, Keskar et al.
//      2019), then frequencyPenalty × times + presencePenalty is subtracted for tokens in the answer (OpenAI's rule),
//      and tokens that the constraint forbids are left out;
//   3. logits are divided by the temperature; 0 takes the most probable token, of equals the lowest id;
//   4. topK, 5. typicalP, 6. topP, 7. minP leave out tokens; each looks at the distribution over what the one before it
//      left, and at least one token stays;
//   8. a token is drawn with a random number that belongs to (seed, number of tokens generated), so a seed gives the same
//      text whatever else the model is doing.
// This is the order of vLLM and transformers: temperature changes which tokens survive topP. llama.cpp's default chain
// applies the temperature after the truncations, so at temperatures far from 1 its topP keeps other tokens. vLLM's
// min-p comes before top-k; since it is relative to the most probable token, that changes nothing unless typicalP is used.
//
// Log-probabilities are natural logarithms under the model's own distribution: softmax of the unchanged logits, at
// temperature 1, before bias, penalties and truncation (as in OpenAI's API and vLLM's default).
import { expected } from '../errors.js';
import type { SamplerOptions } from '../program/executor.js';
import { checkConstraint, type Constraint } from './constraint.js';
import { checkNames, flag, integer, number, signal } from './option-checks.js';
import { resolveSpeculation, type ResolvedSpeculation, type SpeculationOptions } from './speculation/options.js';

export interface GenerateOptions {
  /** Tokens to generate at most. Default: until the context is full. */
  readonly maxTokens?: number;
  /** 0: always the most probable token. Default 0.8. */
  readonly temperature?: number;
  /** Only the so many most probable tokens; 0: all. Default 40. */
  readonly topK?: number;
  /** Only the most probable tokens that together hold this probability; 1: all. Default 0.95. */
  readonly topP?: number;
  /** Only tokens with at least this share of the most probable token's probability; 0: all. Default 0.05. */
  readonly minP?: number;
  /** Only tokens whose surprise is nearest to the entropy, holding this probability (Meister et al. 2022); 1: all. */
  readonly typicalP?: number;
  /** Above 1: tokens of prompt and answer become less probable. Default 1. */
  readonly repetitionPenalty?: number;
  /** Subtracted from the logits of tokens that the answer has. −2 to 2, default 0. */
  readonly presencePenalty?: number;
  /** Subtracted once for each time that the answer has the token. −2 to 2, default 0. */
  readonly frequencyPenalty?: number;
  /** Token id → what is added to its logit; `-Infinity` bans the token. */
  readonly logitBias?: ReadonlyMap<number, number> | Readonly<Record<number, number>>;
  /** 0 to 2^64 − 1. Default: a random one, which the result reports. */
  readonly seed?: number | bigint;
  /** The text ends before the first of these. */
  readonly stop?: string | readonly string[];
  /** Report log-probabilities: of each token (`true` or 0) and of so many of the most probable ones. Default false. */
  readonly logprobs?: boolean | number;
  /** What may be said at all, by a state that goes on with each token. It is asked in JavaScript for each round. */
  readonly constraint?: Constraint;
  /** Drafts tokens and verifies several at once (docs/speculation.md). Default: none. */
  readonly speculation?: SpeculationOptions;
  /** Take what other sessions have of the prompt, and leave this for later ones. Default: as the session does. */
  readonly prefixCache?: boolean;
  /** Stops within one round; the result's finishReason is then `abort`. */
  readonly signal?: AbortSignal;
}

/** A generation's options with every default applied. */
export interface ResolvedOptions {
  /** Undefined: until the context is full. */
  readonly maxTokens?: number;
  readonly stop: readonly string[];
  readonly logprobs: boolean;
  readonly constraint?: Constraint;
  readonly prefixCache: boolean;
  readonly signal?: AbortSignal;
  readonly speculation?: ResolvedSpeculation;
  readonly sampler: SamplerOptions;
}

/** The names of all options, for command lines and for checks. */
export const generateOptionNames = [
  'maxTokens',
  'temperature',
  'topK',
  'topP',
  'minP',
  'typicalP',
  'repetitionPenalty',
  'presencePenalty',
  'frequencyPenalty',
  'logitBias',
  'seed',
  'stop',
  'logprobs',
  'constraint',
  'speculation',
  'prefixCache',
  'signal',
] as const satisfies readonly (keyof GenerateOptions)[];

export const generateDefaults = { temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05 } as const;

const MOST_TOP_LOGPROBS = 100;

/** Throws INVALID_ARGUMENT. `vocab` is the number of tokens that may be drawn. */
export function resolveOptions(given: GenerateOptions | undefined, vocab: number): ResolvedOptions {
  checkNames(given, generateOptionNames, 'the generation options');
  const options = given ?? {};
  const most = Number.MAX_SAFE_INTEGER;
  const { maxTokens, logprobs = false } = options;
  const topLogprobs =
    typeof logprobs === 'boolean' ? 0 : integer('logprobs', logprobs, 0, 0, Math.min(MOST_TOP_LOGPROBS, vocab));
  const abortSignal = signal('signal', options.signal);
  const speculation = resolveSpeculation(options.speculation);
  const constraint = checkConstraint(options.constraint);
  return {
    ...(maxTokens === undefined ? {} : { maxTokens: integer('maxTokens', maxTokens, 0, 1, most) }),
    ...(abortSignal === undefined ? {} : { signal: abortSignal }),
    ...(speculation === undefined ? {} : { speculation }),
    ...(constraint === undefined ? {} : { constraint }),
    stop: stopStrings(options.stop),
    logprobs: logprobs !== false,
    prefixCache: flag('prefixCache', options.prefixCache, true),
    sampler: {
      temperature: number('temperature', options.temperature, generateDefaults.temperature, 0, 100),
      topK: integer('topK', options.topK, generateDefaults.topK, 0, most),
      topP: number('topP', options.topP, generateDefaults.topP, Number.MIN_VALUE, 1),
      minP: number('minP', options.minP, generateDefaults.minP, 0, 1),
      typicalP: number('typicalP', options.typicalP, 1, Number.MIN_VALUE, 1),
      repetitionPenalty: number('repetitionPenalty', options.repetitionPenalty, 1, 0.01, 100),
      presencePenalty: number('presencePenalty', options.presencePenalty, 0, -2, 2),
      frequencyPenalty: number('frequencyPenalty', options.frequencyPenalty, 0, -2, 2),
      logitBias: biases(options.logitBias, vocab),
      seed: seedOf(options.seed),
      logprob: logprobs !== false,
      topLogprobs,
      vocab,
    },
  };
}

function stopStrings(given: unknown): readonly string[] {
  if (given === undefined) return [];
  const list: unknown[] = Array.isArray(given) ? given : [given];
  for (const one of list) {
    if (typeof one !== 'string' || one === '') throw expected('a string of at least one character', 'stop', one);
  }
  return list as string[];
}

function biases(given: GenerateOptions['logitBias'], vocab: number): ReadonlyMap<number, number> {
  const result = new Map<number, number>();
  if (given === undefined) return result;
  if (typeof given !== 'object' || given === null) throw expected('a Map or an object', 'logitBias', given);
  const isMap = typeof (given as ReadonlyMap<number, number>).entries === 'function';
  const entries = isMap ? (given as ReadonlyMap<number, number>).entries() : Object.entries(given);
  for (const [key, bias] of entries) {
    const token = Number(key);
    if (!Number.isInteger(token) || token < 0 || token >= vocab) {
      throw expected(`token ids from 0 to ${vocab - 1}`, 'logitBias', key);
    }
    if (typeof bias !== 'number' || Number.isNaN(bias) || bias === Infinity) {
      throw expected('a number or -Infinity', `logitBias[${token}]`, bias);
    }
    result.set(token, bias);
  }
  return result;
}

function seedOf(given: unknown): bigint {
  if (given === undefined) return randomSeed();
  if (typeof given === 'bigint' && given >= 0n && given < 1n << 64n) return given;
  if (Number.isSafeInteger(given) && (given as number) >= 0) return BigInt(given as number);
  throw expected('an integer from 0 to 2^64 − 1', 'seed', given);
}

const seeds = new BigUint64Array(64);
let used = seeds.length;

/** The system is asked for many at a time: for one it takes as long as a small model's round. */
function randomSeed(): bigint {
  if (used === seeds.length) {
    crypto.getRandomValues(seeds);
    used = 0;
  }
  return seeds[used++];
}
