// How a drafter learns from what its target says: settings, with defaults and checks.
import { expected } from '../../../errors.js';
import { checkNames, integer, number, word } from '../../option-checks.js';
import { distilLosses, type DistilLoss } from './distillation.js';

export interface OnlineAdaptationOptions {
  /** Rank of the addition to the output matrix, 1 to 256. Default 16. */
  readonly rank?: number;
  /** AdamW's rate, 0 to 1. Default 0.01. */
  readonly rate?: number;
  /** How far the drafter's law is from the target's. Default `reverse-kl`, as in the paper. */
  readonly loss?: DistilLoss;
  /** Weight of tokens that the drafter says as a run, 0 to 1. Default 0.2. */
  readonly lambda?: number;
  /** Each of these counts the same (`fixed`, default), or as much as the target found it probable. */
  readonly runWeight?: 'fixed' | 'dynamic';
  /** Most probable tokens of the target that are learned of each row, 1 to 100. Default 64. */
  readonly laws?: number;
  /** Rows that are kept for learning again, 64 to 2^20. Default 2048. */
  readonly replay?: number;
  /** Share of the time that learning may take, 0.01 to 1. Default 0.2. */
  readonly maxShare?: number;
  /** Every so many drafts one is made without what was learned, to see what that is worth; 0: none. Default 50. */
  readonly probeEvery?: number;
  /**
   * A head learns which drafted tokens are kept, and a draft ends where the probability that one of them is refused is above
   * this, 0 to 1, once 512 tokens have been judged. The paper's successors use 0.7. Default: drafts end by `minProbability`.
   */
  readonly stopThreshold?: number;
  /** A file of `save`, to go on from; it must be there. Default: none. */
  readonly restore?: string;
}

export type ResolvedAdaptation = Required<Omit<OnlineAdaptationOptions, 'restore' | 'stopThreshold'>> &
  Pick<OnlineAdaptationOptions, 'restore' | 'stopThreshold'>;

const names = [
  'rank',
  'rate',
  'loss',
  'lambda',
  'runWeight',
  'laws',
  'replay',
  'maxShare',
  'probeEvery',
  'stopThreshold',
  'restore',
];

/** Throws INVALID_ARGUMENT. */
export function resolveAdaptation(given: OnlineAdaptationOptions = {}): ResolvedAdaptation {
  checkNames(given, names, 'the options of onlineAdaptation');
  const { restore } = given;
  if (restore !== undefined && (typeof restore !== 'string' || restore === ''))
    throw expected('a path', 'restore', restore);
  return {
    rank: integer('rank', given.rank, 16, 1, 256),
    rate: number('rate', given.rate, 0.01, 0, 1),
    loss: word('loss', given.loss, 'reverse-kl', distilLosses),
    lambda: number('lambda', given.lambda, 0.2, 0, 1),
    runWeight: word('runWeight', given.runWeight, 'fixed', ['fixed', 'dynamic']),
    laws: integer('laws', given.laws, 64, 1, 100),
    replay: integer('replay', given.replay, 2048, 64, 2 ** 20),
    maxShare: number('maxShare', given.maxShare, 0.2, 0.01, 1),
    probeEvery: integer('probeEvery', given.probeEvery, 50, 0, Number.MAX_SAFE_INTEGER),
    ...(given.stopThreshold === undefined
      ? {}
      : { stopThreshold: number('stopThreshold', given.stopThreshold, 0.7, 0, 1) }),
    ...(restore === undefined ? {} : { restore }),
  };
}
