// Types of the addon's KV cache.
import type { NativeLabels } from './labels.js';

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
  close(): void;
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
