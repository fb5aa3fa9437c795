// What a cache policy is: its options, what follows from them for a model, and what cannot be done under it.
import { checkNames } from '../decode/option-checks.js';
import type { LongGenConfig } from '../formats/model-config.js';
import type { Executor } from '../program/executor.js';
import type { KvPolicy } from '../program/kv-policy.js';
import type { CachePolicy } from './policies.js';

export type CacheType = 'f16' | 'q8_0' | 'q4_0' | 'f32';
/** kivi: four bits by channel instead of by token, over groups of 32 tokens (docs/systems/kv-quantization.md). */
export type KeyType = CacheType | 'kivi';

/** How keys and values of past tokens are stored. */
export interface CacheStorage {
  /** Default f16; q8_0 takes about half of its memory and loses a little accuracy, q4_0 a quarter and loses more. */
  readonly keyType?: KeyType;
  readonly valueType?: CacheType;
  /** Tokens per page, the unit of memory. Default 32. */
  readonly pageSize?: number;
}

/** How keys and values of past tokens are kept. */
export interface CacheOptions extends CacheStorage {
  /** Which of them, and which of those are read; made by `full`, `window` and the like. Default: all. */
  readonly policy?: CachePolicy;
}

export const storageNames = ['keyType', 'valueType', 'pageSize'] as const;

/** What policies need to know of a model. */
export interface CacheModel extends Pick<Executor, 'kvShape' | 'kvLayers' | 'name'> {
  /** Tokens that it was trained on, or stretched to. */
  readonly contextLength: number;
  /** The schedule of its layers, if it was trained with one. */
  readonly longGen?: LongGenConfig;
}

/** One row per kind of policy. */
export interface PolicyRow<P> {
  /** As command lines write it. */
  readonly name: string;
  /** In a few words, for help texts. */
  readonly what: string;
  /** The factory, for options that came as text. */
  readonly make: (options: never) => CacheOptions;
  /** Options that `make` makes the policy of, storage aside: for policies that come from a file. */
  readonly options: (policy: P) => object;
  /** Throws INVALID_ARGUMENT where the options do not fit the model. */
  readonly derive: (policy: P, model: CacheModel) => KvPolicy;
  /** Texts may be longer than what the model was trained on, and their memory does not grow. */
  readonly endless: boolean;
  /** Why pages are not shared with sessions whose texts begin the same; absent: they are. */
  readonly alone?: string;
  /** Rows whose logits are wanted read less than others: their keys and values do not follow from the text alone. */
  readonly chooses?: boolean;
}

/** The storage options of a factory's argument, whose other names are `own`. Throws INVALID_ARGUMENT. */
export function storageOf(options: CacheStorage | undefined, own: readonly string[], what: string): CacheStorage {
  checkNames(options, [...storageNames, ...own], what);
  const given = Object.entries(options ?? {}).filter(([name]) => (storageNames as readonly string[]).includes(name));
  return Object.fromEntries(given.filter(([, value]) => value !== undefined));
}
