// Types of the addon: drafters that need no model, and what they share. Part of lib/native.ts.

/** Options of native drafters, all of them given; ranges are those of lib/decode/speculation/drafters. */
export type NativeDrafterOptions =
  | { kind: 'n-gram'; minN: number; maxN: number; latest: boolean; branches: number }
  | { kind: 'input-copy'; minGram: number; maxGram: number; branches: number; input?: Int32Array }
  | { kind: 'suffix'; depth: number; factor: number; offset: number; minProb: number; cache?: NativeSuffixCache }
  | { kind: 'datastore'; minSpan: number; maxSpan: number; samples: number; datastore: NativeDatastore };

export interface NativeDrafter {
  accept(tokens: Int32Array): void;
  truncate(length: number): void;
  /** Writes a draft to the arrays, which must have room for `maxNodes`; returns how many nodes it has. */
  draft(maxTokens: number, maxNodes: number, tokens: Int32Array, parents: Int32Array, scores: Float32Array): number;
  fork(): NativeDrafter;
  readonly bytes: number;
  dispose(): void;
}

export interface NativeSuffixCache {
  add(tokens: Int32Array): void;
  sizes(): { requests: number; tokens: number; nodes: number; bytes: number };
  dispose(): void;
}

/** `state` of long work: [0] thousandths done, [1] not 0: give up; to be used with Atomics. */
export interface NativeDatastore {
  info(): { vocab: number; tokens: number; texts: number; bytes: number; fingerprint: bigint };
  verify(state: Int32Array): Promise<void>;
  dispose(): void;
}

export interface NativeDatastoreBuilder {
  add(tokens: Int32Array): void;
  build(state: Int32Array): Promise<void>;
  /** Bytes of the file, once it is built. */
  readonly size: number;
  read(offset: number, out: Uint8Array): void;
  dispose(): void;
}
