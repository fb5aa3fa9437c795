// What a caller may ask of speculative decoding, with defaults and checks.
import { expected } from '../../errors.js';
import { measures, type Measure, type SamplerOptions, type VerifyRule } from '../../program/executor.js';
import { checkNames, integer, number, word } from '../option-checks.js';
import type { Drafter } from './drafter.js';
import { resolveJudge, type JudgeVerifier, type ResolvedJudge } from './judge/options.js';
import { checkReflectiveNames, resolveReflection } from './reflective/options.js';
import type { ReflectiveSettings, ResolvedReflection } from './reflective/options.js';
import { checkWhere, type Where } from './where.js';

/**
 * Which drafted tokens stay. Lossless ones leave the text (greedy) or its law (sampled) as it is; the others are faster and
 * change it, so they are asked for by name. lib/decode/speculation/rules.ts says what each does.
 */
export type Verifier = BaseVerifier | JudgeVerifier | ReflectiveVerifier;
export type BaseVerifier = 'lossless' | 'match' | 'block' | TypicalVerifier | RelaxedVerifier | DivergenceVerifier;

/** Keeps tokens with p > min(epsilon, delta · e^−entropy), Cai et al. 2024 (Medusa), section 2.3.1. Lossy. */
export interface TypicalVerifier {
  readonly name: 'typical';
  /** 0 to 1, default 0.09. */
  readonly epsilon?: number;
  /** 0 to 1, default 0.3. */
  readonly delta?: number;
}

/** Keeps one of the `top` most probable tokens, if it is less probable than the first by `gap` at most. Lossy. */
export interface RelaxedVerifier {
  readonly name: 'relaxed';
  /** 1 to 1000, default 3. */
  readonly top?: number;
  /** 0 to 1, default 0.1. */
  readonly gap?: number;
  /** Where in the answer; elsewhere it is `lossless`. Default `all`. */
  readonly within?: Where;
}

/**
 * Keeps what was drawn, whatever it is, where the laws of model and drafter are near to each other; elsewhere `lossless`, and so
 * wherever tokens were chosen and not drawn. What a judge is compared with: it needs no training (arXiv 2601.04766). Lossy.
 */
export interface DivergenceVerifier {
  readonly name: 'divergence';
  /** In nats; near is what is less. 0 or more; 0 is `lossless`. There is no default: `vivace evaluate` finds one for a task. */
  readonly bound: number;
  /** Default `p from q`: Σ p · ln(p / q), p being the model's law. Of laws as they are drawn from. */
  readonly measure?: Measure;
}

/** Any other one, applied to what the model says when it has read the draft twice. Lossy. */
export interface ReflectiveVerifier extends ReflectiveSettings {
  readonly name: 'reflective';
  /** Default `lossless`. */
  readonly rule?: BaseVerifier | JudgeVerifier;
}

export interface SpeculationOptions {
  /** Where drafts come from, for instance `nGram()` or `draftModel(model)`. */
  readonly drafter: Drafter;
  /** Default `lossless`: by the ratio of the laws where tokens were drawn, else by matching. */
  readonly verifier?: Verifier;
  /** Tokens of a draft from its root to a leaf at most, 0 to 64. Default 16, of `inputCopy` chains 64. */
  readonly maxDraft?: number;
  /** Tokens of a draft at most; more than `maxDraft` allow a tree. 0 to 512. Default `maxDraft`: a chain. */
  readonly maxNodes?: number;
  /**
   * Drafts are cut to what pays, by acceptance and by what rows have cost so far, or, where they decide what is said, by costs
   * that are assumed, so that a seed gives the same text. Default true.
   */
  readonly adaptive?: boolean;
}

export interface ResolvedSpeculation {
  readonly drafter: Drafter;
  readonly rule: VerifyRule;
  /** Where the rule is in use; elsewhere the ratio is. Absent: everywhere. */
  readonly within?: Where;
  readonly reflection?: ResolvedReflection;
  readonly judge?: ResolvedJudge;
  readonly maxDraft: number;
  readonly maxNodes: number;
  readonly adaptive: boolean;
}

/** Throws INVALID_ARGUMENT. */
export function resolveSpeculation(given: SpeculationOptions | undefined): ResolvedSpeculation | undefined {
  if (given === undefined) return undefined;
  checkNames(given, ['drafter', 'verifier', 'maxDraft', 'maxNodes', 'adaptive'], 'the speculation options');
  const { drafter, adaptive = true } = given;
  if (typeof drafter?.start !== 'function') {
    throw expected('a drafter', 'speculation.drafter', drafter, 'For instance `nGram()`, or `draftModel(model)`.');
  }
  if (typeof adaptive !== 'boolean') throw expected('true or false', 'speculation.adaptive', adaptive);
  const usual = given.maxNodes === undefined ? drafter.maxDraft : undefined; // trees are allowed by what is above it
  const maxDraft = integer('speculation.maxDraft', given.maxDraft, usual ?? 16, 0, 64);
  return {
    drafter,
    ...verifierOf(given.verifier),
    maxDraft,
    maxNodes: integer('speculation.maxNodes', given.maxNodes, maxDraft, 0, 512),
    adaptive,
  };
}

type Resolved = Pick<ResolvedSpeculation, 'rule' | 'within' | 'reflection' | 'judge'>;

function verifierOf(verifier: Verifier | undefined): Resolved {
  if (typeof verifier === 'object' && verifier?.name === 'reflective') {
    checkReflectiveNames(verifier);
    return { ...baseOf(verifier.rule), reflection: resolveReflection(verifier) };
  }
  return baseOf(verifier);
}

function baseOf(verifier: BaseVerifier | JudgeVerifier | undefined): Resolved {
  if (typeof verifier !== 'object' || verifier?.name !== 'judge') {
    const rule = ruleOf(verifier);
    const within = typeof verifier === 'object' && verifier.name === 'relaxed' ? verifier.within : undefined;
    const where = checkWhere('within', within);
    return { rule, ...(where === 'all' ? {} : { within: where }) };
  }
  return { judge: resolveJudge(verifier), rule: ruleOf(verifier.rule) };
}

function ruleOf(verifier: BaseVerifier = 'lossless'): VerifyRule {
  if (verifier === 'lossless') return { name: 'ratio' };
  if (verifier === 'match' || verifier === 'block') return { name: verifier };
  if (typeof verifier === 'object' && verifier?.name === 'typical') {
    checkNames(verifier, ['name', 'epsilon', 'delta'], 'the typical verifier');
    return {
      name: 'typical',
      epsilon: number('epsilon', verifier.epsilon, 0.09, 0, 1),
      delta: number('delta', verifier.delta, 0.3, 0, 1),
    };
  }
  if (typeof verifier === 'object' && verifier?.name === 'relaxed') {
    checkNames(verifier, ['name', 'top', 'gap', 'within'], 'the relaxed verifier');
    return {
      name: 'relaxed',
      top: integer('top', verifier.top, 3, 1, 1000),
      gap: number('gap', verifier.gap, 0.1, 0, 1),
    };
  }
  if (typeof verifier === 'object' && verifier?.name === 'divergence') {
    checkNames(verifier, ['name', 'bound', 'measure'], 'the divergence verifier');
    const { bound } = verifier;
    if (!(typeof bound === 'number' && bound >= 0)) throw expected('a number from 0', 'bound', bound);
    return { name: 'divergence', bound, measure: word('measure', verifier.measure, 'p from q', measures) };
  }
  const words =
    "'lossless', 'match', 'block', or { name } of typical, relaxed, divergence, judge or reflective with its settings";
  throw expected(words, 'speculation.verifier', verifier);
}

/** How the target's most probable tokens are found, for probes. */
export const plainly: Omit<SamplerOptions, 'logitBias' | 'vocab' | 'seed'> = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  typicalP: 1,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logprob: false,
  topLogprobs: 0,
};
