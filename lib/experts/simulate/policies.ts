// Policies of a simulation by name: what is predicted, what stays, where it is placed, what happens to an expert that is not there.
import { placeExperts, type ExpertPlacement } from '../policies.js';
import type { Replacement } from './caches.js';

export interface Policy {
  /** Who says what the next layer needs: nobody, its router, earlier sequences, or one who knows. */
  readonly predictor: 'none' | 'router' | 'paths' | 'oracle';
  readonly replacement: Replacement;
  readonly placement: ExpertPlacement;
  /** Copied when it is needed; computed where it lies; or whichever of both is over sooner. */
  readonly onMiss: 'fetch' | 'there' | 'auto';
  /** Whether experts are computed as they arrive or all together when the last one is there. */
  readonly pipelined: boolean;
  /** Of predicted popularity, what is copied at low precision; 0: nothing ever is. */
  readonly lowShare: number;
  /** Whether what was needed and not predicted is copied at low precision, too. */
  readonly lowMisses: boolean;
}

const plain = { predictor: 'none', onMiss: 'fetch', pipelined: true, lowShare: 0, lowMisses: false } as const;

export const policies = {
  /** The same experts of each layer stay; all others are copied when they are needed. */
  'on-demand': { ...plain, replacement: 'fixed', placement: 'uniform', pipelined: false },
  /** The last used experts of each layer stay (mixtral-offloading). */
  lru: { ...plain, replacement: 'lru', placement: 'uniform' },
  /** Experts that were used in sequences like this one are copied ahead (MoE-Infinity). */
  'activation-path': { ...plain, predictor: 'paths', replacement: 'lru', placement: 'uniform' },
  /** The same experts stay; of others, some are copied and some computed where their weights are (Fiddler). */
  'compute-in-place': { ...plain, replacement: 'fixed', placement: 'uniform', onMiss: 'auto' },
  /** Whole layers stay, the experts of all others are computed where they are (llama.cpp). */
  static: { ...plain, replacement: 'fixed', placement: 'layers', onMiss: 'there' },
  /** The next layer's router predicts; ARC keeps; every layer has as many slots. */
  fate: { ...plain, predictor: 'router', replacement: 'arc', placement: 'uniform' },
  /** The same with the first layers complete. */
  'fate-shallow': { ...plain, predictor: 'router', replacement: 'arc', placement: 'shallow' },
  /** What perfect predictions would give. */
  oracle: { ...plain, predictor: 'oracle', replacement: 'arc', placement: 'uniform' },
} as const satisfies Record<string, Policy>;

export type PolicyName = keyof typeof policies;
export const policyNames = Object.keys(policies) as PolicyName[];

/** Slots of each layer: never more than `slots` together, nor more than `experts` each. */
export const place = (placement: ExpertPlacement, layers: number, experts: number, slots: number): number[] =>
  placeExperts(placement, layers, experts, Math.floor(slots));
