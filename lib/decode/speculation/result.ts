// What a generation says of its drafts.
import type { ReflectionResult } from './reflective/reflector.js';

/** How drafts went. */
export interface SpeculationResult {
  readonly drafter: string;
  /** Rounds of the model that drew tokens, with and without a draft. */
  readonly rounds: number;
  readonly draftedRounds: number;
  /** Tokens that were verified, and how many of them were kept. */
  readonly drafted: number;
  readonly accepted: number;
  /** Tokens per round, the one that every round gives included. */
  readonly tokensPerRound: number;
  /** Of the drafts that had a token so far behind the root (index 0: the first), the share that kept one there. */
  readonly acceptanceByPosition: readonly number[];
  readonly draftMs: number;
  /** Time of rounds, those without a draft included. */
  readonly verifyMs: number;
  /** Of the accepted tokens, those that only the judge kept, where there is one. */
  readonly judged?: number;
  /** How second readings went, where the verifier is reflective. */
  readonly reflection?: ReflectionResult;
}
