// What a caller says of a model's experts, checked, with defaults filled in.
import { byteCount, checkNames, flag, integer, word } from '../decode/option-checks.js';
import { expected } from '../errors.js';
import {
  expertPlacements,
  expertPolicies,
  expertPolicyNames,
  type ExpertPlacement,
  type ExpertPolicy,
} from './policies.js';

export interface ExpertOptions {
  /**
   * Memory for experts: bytes, or a text as '2GiB'. Where not all of them fit, the others stay in their file and are read when they
   * are needed, or before (docs/experts.md); results are the same. Default: all are in memory.
   */
  readonly memory?: number | string;
  /** Which experts stay and which are read ahead. Default `fate`. */
  readonly policy?: ExpertPolicy;
  /**
   * How room is shared out among layers. Default: the policy's. `auto`: loadModel lets the model say some tokens, simulates `uniform`
   * and `shallow` with what they cost, and takes the faster one.
   */
  readonly placement?: ExpertPlacement | 'auto';
  /** Experts that are predicted for a row beyond those that it goes to. Default 1. */
  readonly overfetch?: number;
  /** Limit of all reads together, for measurements that others can repeat. Default: none. */
  readonly bytesPerSecond?: number;
  /** Threads that read. Default 2. */
  readonly readers?: number;
  /** Record which experts rows go to, and what the layer before predicts: `model.experts.routing()`. Default false. */
  readonly trace?: boolean;
  /** @internal Tests: every chunk of a copy takes up to so many microseconds more. */
  readonly delayUs?: number;
  /** @internal Tests: of a chunk. */
  readonly chunkBytes?: number;
  /** @internal Tests: [runs][layers with experts], what is predicted in place of what the policy would predict. */
  readonly script?: readonly (readonly (readonly number[])[])[];
}

export interface ResolvedExperts {
  /** Bytes; undefined: all are in memory. */
  readonly memory: number | undefined;
  readonly policy: ExpertPolicy;
  readonly placement: ExpertPlacement;
  readonly overfetch: number;
  readonly bytesPerSecond: number;
  readonly readers: number;
  readonly trace: boolean;
  readonly delayUs: number;
  readonly chunkBytes: number;
  readonly script: ExpertOptions['script'];
}

const names = [
  'memory',
  'policy',
  'placement',
  'overfetch',
  'bytesPerSecond',
  'readers',
  'trace',
  'delayUs',
  'chunkBytes',
  'script',
];

/** Of a file, what a copy of an expert is cut into: one that somebody waits for overtakes in between. */
const CHUNK_BYTES = 2 * 2 ** 20;
const BLOCK_BYTES = 4096;

/** Throws INVALID_ARGUMENT. */
export function resolveExperts(given: ExpertOptions | undefined): ResolvedExperts {
  if (given !== undefined && (typeof given !== 'object' || given === null))
    throw expected('an object', 'experts', given);
  const options = given ?? {};
  checkNames(options, names, 'the options of experts');
  const policy = word('experts.policy', options.policy, 'fate', expertPolicyNames);
  const own = expertPolicies[policy].placement;
  const placement = word('experts.placement', options.placement, own, [...expertPlacements, 'auto'] as const);
  const chunk = integer('experts.chunkBytes', options.chunkBytes, CHUNK_BYTES, BLOCK_BYTES, 2 ** 30);
  return {
    memory: options.memory === undefined ? undefined : memoryBytes(options.memory),
    policy,
    placement: placement === 'auto' ? 'uniform' : placement, // until something is known
    overfetch: integer('experts.overfetch', options.overfetch, 1, 0, 1024),
    bytesPerSecond: integer('experts.bytesPerSecond', options.bytesPerSecond, 0, 0, 2 ** 50),
    readers: integer('experts.readers', options.readers, 2, 1, 64),
    trace: flag('experts.trace', options.trace, false),
    delayUs: integer('experts.delayUs', options.delayUs, 0, 0, 10_000_000),
    chunkBytes: Math.ceil(chunk / BLOCK_BYTES) * BLOCK_BYTES,
    script: options.script,
  };
}

/** Throws INVALID_ARGUMENT. */
export const memoryBytes = (given: number | string): number => byteCount('experts.memory', given);
