// What of a model's experts fits beside the rest of it: decided once, before anything is loaded.
import { place } from './policies.js';

export interface MemoryNeeds {
  readonly layers: number;
  readonly experts: number;
  /** Per row. */
  readonly used: number;
  readonly overfetch: number;
  /** Of everything but the routed experts. */
  readonly denseBytes: number;
  /** Of keys and values of the text that room is kept for. */
  readonly kvBytes: number;
  /** Fixed costs: of an allocation each, and of everything else. */
  readonly tensors: number;
  readonly reserveBytes: number;
  /** Of an expert in 16 bits and in 4. */
  readonly fullBytes: number;
  readonly int4Bytes: number;
}

/** Bytes that a tensor costs beside its own. */
export const TENSOR_BYTES = 300_000;
/** Kept free for whatever else a process has. */
export const RESERVE_BYTES = 1_000_000_000;

export interface MemoryPlan {
  /** Everything in 16 bits; everything there, the first layers in 16 bits and the rest in 4; or as many as fit, in 4. */
  readonly kind: 'full' | 'int4' | 'offload';
  /** Of the layers, how many are in 16 bits. */
  readonly fullLayers: number;
  /** Experts of each layer that are there. */
  readonly slots: readonly number[];
  /** Experts that may be on their way: those of two layers. */
  readonly staging: number;
  /** All of it, with what is kept free. */
  readonly bytes: number;
}

/** Undefined if not even the copies under way fit. `bytes` is never more than the budget. */
export function memoryPlan(budget: number, needs: MemoryNeeds): MemoryPlan | undefined {
  const { layers, experts, fullBytes, int4Bytes } = needs;
  const fixed = needs.denseBytes + needs.kvBytes + needs.tensors * TENSOR_BYTES + needs.reserveBytes;
  const free = budget - fixed;
  const all = layers * experts;
  const every = Array.from({ length: layers }, () => experts);
  if (all * fullBytes <= free) {
    return { kind: 'full', fullLayers: layers, slots: every, staging: 0, bytes: fixed + all * fullBytes };
  }
  if (all * int4Bytes <= free) {
    const upgrade = experts * (fullBytes - int4Bytes);
    const fullLayers = upgrade > 0 ? Math.floor((free - all * int4Bytes) / upgrade) : 0;
    return {
      kind: 'int4',
      fullLayers,
      slots: every,
      staging: 0,
      bytes: fixed + all * int4Bytes + fullLayers * upgrade,
    };
  }
  const staging = 2 * Math.min(experts, needs.used + needs.overfetch);
  const slots = Math.floor(free / int4Bytes) - staging;
  if (slots < 0) return undefined;
  const placed = place('shallow', layers, experts, slots);
  const held = placed.reduce((sum, count) => sum + count, 0);
  return { kind: 'offload', fullLayers: 0, slots: placed, staging, bytes: fixed + (held + staging) * int4Bytes };
}
