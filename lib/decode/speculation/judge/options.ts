// What a caller may ask of the judge verifier, with defaults and checks.
import { expected } from '../../../errors.js';
import { checkNames, integer, number, word } from '../../option-checks.js';
import type { WalkJudge } from '../../../program/executor.js';
import { checkHead, judgeFeatures, tapOf, type JudgeHead } from './head.js';

/** Also keeps tokens that a trained head finds right, though the model would not have said them. Lossy: docs/systems/judge.md. */
export interface JudgeVerifier {
  readonly name: 'judge';
  /** From `loadJudge(file, model)`. */
  readonly head: JudgeHead;
  /** 0: everything that is not protected is right, 1: nothing, which is the base rule. Default: the head's own. */
  readonly threshold?: number;
  /** Tokens that only the base rule may keep, besides special ones, ends of turns and what completes a stop string. */
  readonly protect?: readonly number[];
  /** Tokens in a row that only the judge keeps, at most; 0 to 64, default 0: any number. */
  readonly maxJudgedRun?: number;
  /** Default `lossless`. */
  readonly rule?: 'lossless' | 'match';
}

export interface ResolvedJudge {
  readonly feature: WalkJudge['feature'];
  readonly weights: Float32Array;
  readonly bias: number;
  readonly bound: number;
  readonly protect: ReadonlySet<number>;
  readonly longest: number;
}

/** Throws INVALID_ARGUMENT. */
export function resolveJudge(given: JudgeVerifier): ResolvedJudge {
  checkNames(given, ['name', 'head', 'threshold', 'protect', 'maxJudgedRun', 'rule'], 'the judge verifier');
  const head = checkHead(given.head);
  const { protect = [] } = given;
  if (given.rule !== undefined && given.rule !== 'lossless' && given.rule !== 'match') {
    throw expected("'lossless' or 'match'", 'rule', given.rule, 'A judge joins a rule that is exact by itself.');
  }
  if (!Array.isArray(protect) || !protect.every((token) => Number.isInteger(token) && token >= 0)) {
    throw expected('a list of token ids', 'protect', protect);
  }
  const threshold = number('threshold', given.threshold, head.threshold, 0, 1);
  return {
    feature: tapOf(word('feature', head.feature, 'final_norm', judgeFeatures)),
    weights: head.weights,
    bias: head.bias,
    bound: Math.log(threshold / (1 - threshold)), // −∞ at 0, ∞ at 1
    protect: new Set(protect),
    longest: integer('maxJudgedRun', given.maxJudgedRun, 0, 0, 64),
  };
}
