// SnapKV (Li et al. 2024): of a prompt, the tokens that its end attends to.
import { integer, word } from '../decode/option-checks.js';
import { expected } from '../errors.js';
import { snapAggregations, snapPoolings, type SnapPolicy } from '../program/kv-policy.js';
import { storageOf, type CacheOptions, type CacheStorage, type PolicyRow } from './policy.js';

export interface SnapKvOptions extends CacheStorage {
  /** Tokens that stay of a prompt, in every layer and head; shorter prompts stay whole. Default 2048. */
  readonly budget?: number;
  /** Its last tokens, which stay and choose the others: the question should be among them. Default 32. */
  readonly window?: number;
  /** Tokens that stay together: votes are pooled over so many neighbours. Odd, default 7. */
  readonly kernel?: number;
  /** Default `max`. */
  readonly pooling?: 'max' | 'avg' | 'none';
  /** How votes of query heads that share keys become one. Default `mean`. */
  readonly aggregation?: 'mean' | 'max' | 'sum';
  /** First tokens of the text, which stay in any case. Default 0. */
  readonly alwaysKeepFirst?: number;
  /** Prompts are compressed when text and prompt are longer than this. Default, and at least: `budget`. */
  readonly minPromptTokens?: number;
  /** `queryHead`: each query head chooses for itself, and has keys and values of its own for that. Default `kvHead`. */
  readonly granularity?: 'kvHead' | 'queryHead';
}

export interface SnapKvPolicy extends Omit<SnapPolicy, 'poolBeforeGroup' | 'keepFirst'> {
  readonly kind: 'snapKv';
  readonly alwaysKeepFirst: number;
}

/**
 * Long prompts, short contexts: when a prompt has been read, each layer and KV head keeps `budget` of its tokens, those that
 * the prompt's last `window` tokens attend to most. The first token of the answer is that of the full cache; the cost of the
 * others does not grow with the prompt. Throws INVALID_ARGUMENT.
 */
export function snapKv(options: SnapKvOptions = {}): CacheOptions {
  const own = [
    'budget',
    'window',
    'kernel',
    'pooling',
    'aggregation',
    'alwaysKeepFirst',
    'minPromptTokens',
    'granularity',
  ];
  const storage = storageOf(options, own, 'the options of snapKv');
  const budget = integer('budget', options.budget, 2048, 2, 2 ** 30);
  const window = integer('window', options.window, Math.min(32, budget - 1), 1, Math.min(budget - 1, 1024));
  const kernel = integer('kernel', options.kernel, 7, 1, 4095);
  if (kernel % 2 === 0) throw expected('an odd number', 'kernel', kernel);
  const policy: SnapKvPolicy = {
    kind: 'snapKv',
    budget,
    window,
    kernel,
    pooling: word('pooling', options.pooling, 'max', [...snapPoolings]),
    aggregation: word('aggregation', options.aggregation, 'mean', [...snapAggregations]),
    alwaysKeepFirst: integer('alwaysKeepFirst', options.alwaysKeepFirst, 0, 0, budget - window),
    minPromptTokens: integer('minPromptTokens', options.minPromptTokens, budget, budget, 2 ** 30),
    granularity: word('granularity', options.granularity, 'kvHead', ['kvHead', 'queryHead']),
  };
  return { ...storage, policy };
}

export const snapKvRow: PolicyRow<SnapKvPolicy> = {
  name: 'snapkv',
  what: 'of a prompt, the tokens that its end attends to (SnapKV)',
  make: snapKv,
  options: ({ kind: _, ...options }) => options,
  derive: ({ kind: _, alwaysKeepFirst, ...policy }, { kvLayers }) => {
    const widest = Math.max(...kvLayers.map((layer) => layer.window));
    if (widest > policy.budget) {
      const remedy = 'Layers with a sliding window keep it whole.';
      throw expected(`at least the model's sliding window of ${widest}`, 'budget', policy.budget, remedy);
    }
    return { snap: { ...policy, keepFirst: alwaysKeepFirst, poolBeforeGroup: false } };
  },
  endless: false,
  alone: 'what stays of a prompt depends on its end',
};
