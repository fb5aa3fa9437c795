// From a session's cache options to what an executor is told; and what is refused.
import { isDeepStrictEqual } from 'node:util';
import { checkNames, integer, word } from '../decode/option-checks.js';
import { expected, VivaceError } from '../errors.js';
import type { KeyDType, KvDType } from '../program/executor.js';
import type { KvPolicy } from '../program/kv-policy.js';
import { policyRows, type CachePolicy } from './policies.js';
import {
  storageNames,
  type CacheModel,
  type CacheOptions,
  type CacheType,
  type KeyType,
  type PolicyRow,
} from './policy.js';

const cacheTypes = { f16: 'F16', q8_0: 'Q8_0', q4_0: 'Q4_0', f32: 'F32' } as const satisfies Record<CacheType, KvDType>;
const keyTypes = { ...cacheTypes, kivi: 'KIVI4' } as const satisfies Record<KeyType, KeyDType>;

/** Throws INVALID_ARGUMENT. */
export const valueTypeOf = (value: unknown): KvDType =>
  cacheTypes[word('valueType', value, 'f16', Object.keys(cacheTypes) as CacheType[])];

/** Throws INVALID_ARGUMENT. */
export const keyTypeOf = (value: unknown): KeyDType =>
  keyTypes[word('keyType', value, 'f16', Object.keys(keyTypes) as KeyType[])];

/** The other way round. */
export const cacheWord = (type: KvDType): CacheType =>
  (Object.keys(cacheTypes) as CacheType[]).find((word_) => cacheTypes[word_] === type) as CacheType;

/** Options with every field set; `native` is absent for the full cache. */
export interface ResolvedCache {
  readonly keyType: KeyDType;
  readonly valueType: KvDType;
  readonly pageSize: number;
  readonly policy?: CachePolicy;
  readonly native?: KvPolicy;
}

export const rowOf = (policy: CachePolicy): PolicyRow<CachePolicy> =>
  (policyRows as unknown as Record<string, PolicyRow<CachePolicy>>)[(policy as { kind: string }).kind];

/** Throws INVALID_ARGUMENT, and UNSUPPORTED_FEATURE for a type that the device or the policy has no kernels for. */
export function resolveCache(options: CacheOptions | undefined, model: CacheModel): ResolvedCache {
  checkNames(options, [...storageNames, 'policy'], 'the cache options');
  const storage = {
    keyType: keyTypeOf(options?.keyType),
    valueType: valueTypeOf(options?.valueType),
    pageSize: integer('pageSize', options?.pageSize, 32, 1, 4096),
  };
  // A model whose layers were trained to see less is not shown more.
  const policy = options?.policy ?? (model.longGen ? { kind: 'longGen' as const } : undefined);
  const { keyType, pageSize } = storage;
  const card = model.name.startsWith('cuda');
  if (card && keyType === 'KIVI4') {
    throw unsupported('Graphics cards have no kernels for keys that are quantised by channel', 'Use q4_0, or the CPU.');
  }
  if (keyType === 'KIVI4' && pageSize !== 32) {
    throw unsupported('Keys of kivi are quantised 32 at a time, in pages of 32', 'Leave pageSize out.');
  }
  if (keyType === 'KIVI4' && policy !== undefined) {
    throw unsupported('kivi keys are quantised a page at a time, and cache policies choose single tokens', 'Use q4_0.');
  }
  if (policy === undefined) return storage;
  if (typeof policy !== 'object' || policy === null || rowOf(policy) === undefined) {
    throw expected('what full, window or another cache factory returns', 'policy', policy);
  }
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

const unsupported = (message: string, remedy: string): VivaceError =>
  new VivaceError('UNSUPPORTED_FEATURE', message, { remedy });

/** Throws UNSUPPORTED_FEATURE where the feature does not go with keys of the type. */
export function refuseKeys(keyType: KeyDType, feature: 'reflection' | 'save'): asserts keyType is KvDType {
  if (keyType !== 'KIVI4') return;
  const why = {
    reflection: 'what is read twice would be quantised together with what is read once',
    save: 'files hold tokens one by one, and these keys are quantised 32 at a time',
  };
  const what = { reflection: 'Reflective verification', save: 'Saving a session' };
  throw unsupported(`${what[feature]} and keys of kivi do not go together: ${why[feature]}`, 'Use q4_0 for keys.');
}
