// Types of the addon's KV cache.
import type { NativeDevice } from '../native.js';
import type { NativeLabels } from './labels.js';

export interface NativeKvOptions {
  layers: number;
  kvHeads: number;
  keyDim: number;
  valueDim: number;
  pageSize: number;
  keyType: number;
  valueType: number;
  maxPages: number;
  policy?: NativeKvPolicy;
  /** cpp/offload/offload_options.h; `threads` of runs at most. */
  offload?: NativeOffload & { readonly threads: number };
  /** Pages are NaN where nothing was written, for tests. */
  poison?: boolean;
  /** Of published pages' hashes, default 64. */
  hashBits?: number;
  /** Absent: this machine's memory. */
  device?: NativeDevice;
}

export interface NativeKvCache {
  create(): number;
  fork(sequence: number): number;
  release(sequence: number): void;
  length(sequence: number): number;
  truncate(sequence: number, length: number): void;
  commit(sequence: number, count: number): void;
  keep(sequence: number, ordinals: Int32Array): void;
  readCells(sequence: number, begin: number, count: number, out: Uint8Array): void;
  writeCells(sequence: number, count: number, cells: Uint8Array): void;
  /** Save and restore under policies: cpp/caches/paged_kv.h. `pages`: groups and pages in turns; `bytes` of a page by group. */
  saved(sequence: number): { state: Float64Array; pages: Int32Array; bytes: Float64Array };
  readPage(sequence: number, group: number, page: number, out: Uint8Array): void;
  restore(state: Float64Array): number;
  writePage(sequence: number, group: number, page: number, bytes: Uint8Array): void;
  /** Compression of prompts: cpp/caches/paged_kv.h. */
  cells(sequence: number): number;
  voters(sequence: number, rows: number): number;
  compact(sequence: number): void;
  /** Published pages: cpp/caches/paged_kv.h. */
  share(sequence: number, tokens: Int32Array, salt: string): number;
  publish(sequence: number, tokens: Int32Array, salt: string): void;
  withhold(sequence: number, from: number): void;
  keepIdle(pages: number): void;
  dropIdle(): number;
  forget(): void;
  sizes(): {
    pageBytes: number;
    pagesUsed: number;
    usedBytes: number;
    /** The most that `usedBytes` ever was. */
    peakBytes: number;
    /** Layers have pages of their own. */
    byLayer: boolean;
    pagesIdle: number;
    pagesPublished: number;
    evictions: number;
    cellBytes: number;
  };
  /** What offloaded layers did so far; undefined where there are none. */
  offloaded(): NativeOffloadStatistics | undefined;
  close(): void;
}

/** cpp/offload/offload_options.h */
export interface NativeOffload {
  /** Bytes of memory for rows and pages of these layers, never more. */
  readonly memory: number;
  /** Of the file. */
  readonly folder: string;
  /** Rows are fetched ahead for guessed queries. */
  readonly ahead: boolean;
  /** Of all reads; 0: as fast as they are. */
  readonly bytesPerSecond: number;
  /** Every read takes up to so many microseconds more, at random: for tests. */
  readonly delayUs: number;
}

/** cpp/offload/offload_statistics.h */
export interface NativeOffloadStatistics {
  readonly resident: number;
  readonly kept: number;
  readonly foreseen: number;
  readonly missed: number;
  readonly guessedOf: number;
  readonly guessed: number;
  readonly vain: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly partsRead: number;
  readonly partsWritten: number;
  readonly stallSeconds: number;
}

/** cpp/caches/cache_policy.h, from lib/program/kv-policy.ts. */
export interface NativeKvPolicy {
  readonly labels?: NativeLabels;
  /** [layers][9]: sinks, window, block, local, stride, head step, head offset, dense heads, always first; empty: all is seen. */
  readonly patterns: Int32Array;
  readonly rotation?: {
    readonly ceiling: boolean;
    readonly limit: number;
    readonly tables: readonly Float64Array[];
    readonly layers: Int32Array;
  };
  /** Prompts are compressed. `pooling`: 0 none, 1 max, 2 avg; `aggregation`: 0 mean, 1 max, 2 sum. */
  readonly snap?: {
    readonly budget: number;
    readonly window: number;
    readonly kernel: number;
    readonly pooling: number;
    readonly aggregation: number;
    readonly keepFirst: number;
    readonly minPromptTokens: number;
    readonly group: number;
  };
}
