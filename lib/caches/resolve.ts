// From a session's cache options to what an executor is told; and what is refused.
import { isDeepStrictEqual } from 'node:util';
import { checkNames, integer, word } from '../decode/option-checks.js';
import { expected, VivaceError } from '../errors.js';
import type { KvDType } from '../program/executor.js';
import type { KvPolicy } from '../program/kv-policy.js';
import { policyRows, type CachePolicy } from './policies.js';
import {
  storageNames,
  type CacheFeature,
  type CacheModel,
  type CacheOptions,
  type CacheType,
  type PolicyRow,
} from './policy.js';

const cacheTypes = { f16: 'F16', q8_0: 'Q8_0', q4_0: 'Q4_0', f32: 'F32' } as const satisfies Record<CacheType, KvDType>;
const cacheWords = Object.keys(cacheTypes) as CacheType[];

/** Throws INVALID_ARGUMENT. */
export const cacheType = (name: string, value: unknown): KvDType => cacheTypes[word(name, value, 'f16', cacheWords)];

/** The other way round. */
export const cacheWord = (type: KvDType): CacheType =>
  cacheWords.find((word_) => cacheTypes[word_] === type) as CacheType;

const features: Readonly<Record<CacheFeature, string>> = {
  cards: 'Graphics cards',
  speculation: 'Speculative decoding',
};

/** Options with every field set; `native` is absent for the full cache. */
export interface ResolvedCache {
  readonly keyType: KvDType;
  readonly valueType: KvDType;
  readonly pageSize: number;
  readonly policy?: CachePolicy;
  readonly native?: KvPolicy;
}

export const rowOf = (policy: CachePolicy): PolicyRow<CachePolicy> =>
  (policyRows as unknown as Record<string, PolicyRow<CachePolicy>>)[(policy as { kind: string }).kind];

/** Throws INVALID_ARGUMENT, and UNSUPPORTED_FEATURE for a policy that the device has no kernels for. */
export function resolveCache(options: CacheOptions | undefined, model: CacheModel): ResolvedCache {
  checkNames(options, [...storageNames, 'policy'], 'the cache options');
  const storage = {
    keyType: cacheType('keyType', options?.keyType),
    valueType: cacheType('valueType', options?.valueType),
    pageSize: integer('pageSize', options?.pageSize, 32, 1, 4096),
  };
  // A model whose layers were trained to see less is not shown more.
  const policy = options?.policy ?? (model.longGen ? { kind: 'longGen' as const } : undefined);
  if (policy === undefined) return storage;
  if (typeof policy !== 'object' || policy === null || rowOf(policy) === undefined) {
    throw expected('what full, window or another cache factory returns', 'policy', policy);
  }
  if (model.name.startsWith('cuda')) refuse(policy, 'cards');
  return { ...storage, policy, native: rowOf(policy).derive(policy, model) };
}

/** The policy that a file names, made anew by its factory. Throws FORMAT_INVALID where none could have made it. */
export function savedPolicy(saved: unknown): CachePolicy {
  const { kind } = (saved ?? {}) as { kind?: unknown };
  let made: CachePolicy | undefined;
  try {
    if (typeof kind === 'string' && Object.hasOwn(policyRows, kind)) {
      const row = rowOf(saved as CachePolicy);
      made = row.make(row.options(saved as CachePolicy) as never).policy;
    }
  } catch (cause) {
    throw new VivaceError('FORMAT_INVALID', `The session was saved under an impossible cache policy`, { cause });
  }
  if (made && isDeepStrictEqual(made, saved)) return made;
  throw new VivaceError('FORMAT_INVALID', 'The session was saved under a cache policy that is not known', {
    remedy: 'Restore it with the version of vivace that saved it.',
  });
}

/** Throws UNSUPPORTED_FEATURE where the feature does not go with the policy. */
export function refuse(policy: CachePolicy | undefined, feature: CacheFeature): void {
  const row = policy === undefined ? undefined : rowOf(policy);
  const refusal = row?.refuses[feature];
  if (!row || !refusal) return;
  throw new VivaceError(
    'UNSUPPORTED_FEATURE',
    `${features[feature]} and the cache policy ${row.name} do not go together: ${refusal.why}`,
    { remedy: refusal.remedy },
  );
}
