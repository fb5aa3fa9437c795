// How many bytes of pages a text takes under a policy, without a cache: what PagedKv (cpp/caches) keeps, page by page.
import { rowBytes } from '../program/dtype.js';
import type { KvDType } from '../program/executor.js';
import { fullPattern, type KvLabels, type KvPolicy, type LayerPattern } from '../program/kv-policy.js';
import type { KvShape } from '../program/program.js';

export interface KeptStorage {
  readonly shape: KvShape;
  readonly keyType: KvDType;
  readonly valueType: KvDType;
  readonly pageSize: number;
  /** Prompts that are compressed pass layer by layer: of one layer all is there at a time. */
  readonly byLayer?: boolean;
}

/** Rows of a round at most. */
const ROUND = 512;

/**
 * Of a text of `tokens` tokens whose last one has been decoded by itself: pages that it `held` then, and at `most` while it was read
 * as one prompt. Rounds that go ahead have room for some more.
 */
export function keptBytes(
  { layers = [], labels, snap, offload }: KvPolicy,
  storage: KeptStorage,
  tokens: number,
): { held: number; most: number } {
  const { shape, keyType, valueType, pageSize, byLayer = false } = storage;
  const pages = (cells: number): number => Math.ceil(cells / pageSize);
  const headBytes = pageSize * (rowBytes(keyType, shape.keyDim) + rowBytes(valueType, shape.valueDim));
  const inFile = offload && labels ? labels.sparse.reduce((count, one) => count + Number(one !== 0), 0) : 0;
  const whole = (shape.layers - inFile) * shape.kvHeads * headBytes;
  const pageBytes = labels ? withLabels(whole, labels, pageSize) : whole;
  if (snap) {
    const all = pages(tokens);
    if (tokens <= snap.minPromptTokens) return { held: all * pageBytes, most: all * pageBytes };
    const once = byLayer ? pageBytes / shape.layers : pageBytes;
    return { held: pages(snap.budget) * pageBytes, most: all * once + pages(snap.budget) * pageBytes };
  }
  const sum = (horizon: number): number => {
    if (layers.length === 0) return pages(tokens) * pageBytes + (offload ? offloadBytes(offload.memory, storage) : 0);
    const known = new Map<string, number>();
    let count = 0;
    for (const layer of layers) {
      for (let head = 0; head < shape.kvHeads; ++head) {
        const own = ofHead(layer, head, shape.kvHeads);
        const key = JSON.stringify(own);
        const kept = known.get(key) ?? keptPages(own, pageSize, pages(tokens), horizon);
        known.set(key, kept);
        count += kept;
      }
    }
    return count * headBytes;
  };
  // A page of room for rollbacks.
  return { held: sum(tokens - 1 - pageSize), most: sum(tokens - ROUND - pageSize) };
}

/** What one head of a layer keeps. */
function ofHead(pattern: LayerPattern, head: number, heads: number): LayerPattern {
  const { block, stride, denseHeads, headOffset, headStep } = pattern;
  if (block === 0) return pattern;
  if (stride === 1 || head >= heads - denseHeads) return fullPattern;
  return { ...pattern, headOffset: (headOffset + head * headStep) % stride, headStep: 0, denseHeads: 0 };
}

/** Of `end` pages those that rows from `horizon` on may see. */
function keptPages(pattern: LayerPattern, size: number, end: number, horizon: number): number {
  const { sinks, window, block, local, stride, headOffset, alwaysFirst } = pattern;
  if (horizon <= 0 || (window === 0 && block === 0)) return end;
  if (block === 0) {
    const gone = Math.min(end, Math.max(0, Math.floor((horizon - window + 1) / size)));
    return end - gone + Math.min(gone, Math.ceil(sinks / size));
  }
  const keeps = (page: number): boolean => {
    for (let one = Math.floor((page * size) / block); one * block < (page + 1) * size; ++one) {
      if ((one + headOffset) % stride === 0 || (one === 0 && alwaysFirst)) return true;
    }
    return false;
  };
  let count = end;
  for (let page = 0; page < end; ++page) {
    const last = (page + 1) * size - 1;
    if (Math.floor(horizon / block) - Math.floor(last / block) < local) break;
    if (!keeps(page)) --count;
  }
  return count;
}

/** What offloaded layers have of their memory: cpp/offload/offloaded_layers.cpp. */
function offloadBytes(memory: number, { shape, keyType, valueType, pageSize }: KeptStorage): number {
  const aligned = (count: number): number => 64 * Math.ceil(count / 64);
  const row = rowBytes(keyType, shape.keyDim) + rowBytes(valueType, shape.valueDim);
  const frame = aligned(shape.kvHeads * pageSize * row);
  const frames = frame * Math.floor(memory / 2 / frame);
  return frames + aligned(row) * Math.floor((memory - frames) / aligned(row));
}

/** cpp/caches/labels/labels.h */
function withLabels(bytes: number, { channels, bits, sets, sparse }: KvLabels, size: number): number {
  const aligned = (count: number): number => 64 * Math.ceil(count / 64);
  const codes = 4 * Math.ceil(channels / (32 / bits)) * size;
  const own = aligned(bits === 16 ? 2 * channels * size : codes + 2 * size + (bits < 8 ? 2 * size : 0));
  return aligned(bytes) + sparse.reduce((count, one) => count + Number(one !== 0), 0) * sets * own;
}
