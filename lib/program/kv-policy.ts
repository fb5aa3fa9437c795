// What is kept of a KV cache's cells and which of them a row sees, as plain numbers that every executor understands: made by
// lib/caches of a policy's options and of what a program says of its layers.
import { VivaceError } from '../errors.js';
import type { NativeKvPolicy, NativeLabels, NativeOffload } from '../native.js';
import type { KvShape, Program } from './program.js';

/**
 * Which older cells a row at position p of one layer sees, and so which of them are kept: the first `sinks`, those nearer than
 * `window` (p − j < window), and in blocks of `block` cells, where block i has the row, block m if i − m < local or
 * (m + offset of the KV head) mod stride = 0. All zero: every cell.
 */
export interface LayerPattern {
  readonly sinks: number;
  /** The row's own cell counted; 0: no window. */
  readonly window: number;
  /** Cells of a block; 0: no blocks. Not together with a window. */
  readonly block: number;
  readonly local: number;
  readonly stride: number;
  /** KV head h has the offset headOffset + h · headStep. */
  readonly headStep: number;
  readonly headOffset: number;
  /** So many of the last KV heads see every cell. */
  readonly denseHeads: number;
  /** Block 0 is seen by every row. */
  readonly alwaysFirst: boolean;
}

/**
 * At which distance a row sees sinks that its window has left. `ceiling`: at `limit`, whatever the sink. `cacheIndex`: as if
 * nothing lay between sinks and window, so the row had index min(p, limit), and sink j its own.
 */
export interface SinkRotation {
  readonly distance: 'ceiling' | 'cacheIndex';
  readonly limit: number;
  /** Radians per position of each pair of values, which lie half a rotation's width apart. */
  readonly tables: readonly Float64Array[];
  /** Per layer, which of them; −1: the layer rotates nothing. */
  readonly layers: readonly number[];
}

/** Labels of keys: what rows choose the cells by that they attend to (Double Sparsity). */
export type KvLabels = NativeLabels;

export interface KvPolicy {
  /** One per layer; absent: every layer keeps and sees all. */
  readonly layers?: readonly LayerPattern[];
  /** Absent: sinks are seen at their true distance. */
  readonly rotation?: SinkRotation;
  /** Rows choose by them what they attend to. */
  readonly labels?: KvLabels;
  /** Prompts are compressed; absent: they are not. */
  readonly snap?: SnapPolicy;
  /** Layers whose rows choose by labels keep their keys and values in a file; absent: in memory. On the CPU only. */
  readonly offload?: KvOffload;
}

/** Layers that lie in a file. */
export type KvOffload = NativeOffload;

/**
 * Rows of a prompt that is compressed, in one layer: all of its rows pass a layer before the next, and the full keys and values
 * of one layer are there at a time. The sequence's length stays as it is until `KvCache.compact`, after the last layer; rolling
 * it back to its length forgets everything.
 */
export interface PromptPart {
  readonly layer: number;
  /** Rows of the prompt before these. */
  readonly first: number;
  /** Rows of the prompt. The last ones of these, which vote, are in one run. */
  readonly rows: number;
  readonly voters: number;
}

/** What later rows may see of a sequence under a policy, as files keep it. It must not change meanwhile. */
export interface SavedCells {
  /** What `KvCache.restore` needs. */
  readonly state: readonly number[];
  /** Bytes of each page. */
  readonly sizes: readonly number[];
  read(index: number, out: Uint8Array): void;
  write(index: number, page: Uint8Array): void;
}

/** What a policy must know of a layer. */
export interface KvLayer {
  /** Of queries. */
  readonly heads: number;
  /** Cells that the model itself lets a row see, its own counted; 0: all. */
  readonly window: number;
  /** Radians per position of the rotated pairs; absent: the layer rotates nothing. */
  readonly frequencies?: Float32Array;
}

export const fullPattern: LayerPattern = {
  sinks: 0,
  window: 0,
  block: 0,
  local: 0,
  stride: 0,
  headStep: 0,
  headOffset: 0,
  denseHeads: 0,
  alwaysFirst: false,
};

/** Whether a row at `position` sees the cell at `other`, which is not behind it. */
export function sees(pattern: LayerPattern, position: number, other: number, head: number, heads: number): boolean {
  const { sinks, window, block, local, stride } = pattern;
  if (block === 0) return window === 0 || other < sinks || position - other < window;
  if (head >= heads - pattern.denseHeads) return true;
  const [own, seen] = [Math.floor(position / block), Math.floor(other / block)];
  const offset = pattern.headOffset + head * pattern.headStep;
  return own - seen < local || (seen + offset) % stride === 0 || (pattern.alwaysFirst && seen === 0);
}

/** Of each layer of a program that has attention, in the order of the cache's layers. */
export function kvLayers(program: Program): KvLayer[] {
  const layers: KvLayer[] = [];
  const made = new Map(program.calls.flatMap((call) => call.outputs.map(({ id }) => [id, call] as const)));
  for (const { op, inputs, attributes } of program.calls) {
    if (op !== 'attention') continue;
    const rotated = inputs[0] && made.get(inputs[0].id);
    const table = rotated?.op === 'rope' && rotated.inputs[1] ? made.get(rotated.inputs[1].id) : undefined;
    const frequencies = table?.op === 'rope_table' ? table.inputs[1]?.data : undefined;
    const [layer, heads, , , , window] = attributes;
    layers[layer] = { heads, window, ...(frequencies instanceof Float32Array ? { frequencies } : {}) };
  }
  return layers;
}

/**
 * Patterns lie one behind the other, nine numbers each. `group`: query heads per KV head; `here`: the cache is in this machine's
 * memory. Throws UNSUPPORTED_FEATURE.
 */
export function nativePolicy(
  { layers = [], rotation, labels, snap }: KvPolicy,
  group = 1,
  here = true,
): NativeKvPolicy {
  return {
    ...(snap ? { snap: nativeSnap(snap, group, here) } : {}),
    ...(labels ? { labels } : {}),
    patterns: Int32Array.from(
      layers.flatMap((one) => [
        ...[one.sinks, one.window, one.block, one.local, one.stride],
        ...[one.headStep, one.headOffset, one.denseHeads, Number(one.alwaysFirst)],
      ]),
    ),
    ...(rotation
      ? {
          rotation: {
            ceiling: rotation.distance === 'ceiling',
            limit: rotation.limit,
            tables: rotation.tables,
            layers: Int32Array.from(rotation.layers),
          },
        }
      : {}),
  };
}

/** Tokens that a row attends to when it sees `seen`. */
export function chosenTokens({ tokens, share, threshold }: KvLabels, seen: number): number {
  const wanted = Math.max(tokens, share > 0 ? Math.ceil(seen / share) : 0);
  return seen <= threshold || seen <= wanted ? seen : wanted;
}

export const snapPoolings = ['none', 'max', 'avg'] as const;
export const snapAggregations = ['mean', 'max', 'sum'] as const;

/** Li et al. 2024. What is computed of these: cpp/ops/attention/snap/snap.h. */
export interface SnapPolicy {
  /** Cells that stay of a prompt, the window's included. */
  readonly budget: number;
  /** Last cells of a prompt: they stay, and their rows vote for the others. */
  readonly window: number;
  /** Cells over which votes are pooled: odd. */
  readonly kernel: number;
  readonly pooling: (typeof snapPoolings)[number];
  /** Of votes of the query heads that share a KV head. */
  readonly aggregation: (typeof snapAggregations)[number];
  /** Prompts are compressed when the sequence has more cells than this: at least `budget`. */
  readonly minPromptTokens: number;
  /** First cells, which stay whatever their votes are. */
  readonly keepFirst: number;
  /** Who has a selection of its own. Native code keeps a KV head for every query head for `queryHead`. */
  readonly granularity: 'kvHead' | 'queryHead';
  /** Votes are pooled per query head, then aggregated; only in the reference executor. */
  readonly poolBeforeGroup: boolean;
}

/** Rows that must vote when `rows` of a prompt come behind `cells`; 0: all cells stay. */
export function snapVoters({ minPromptTokens, window }: SnapPolicy, cells: number, rows: number): number {
  return cells + rows <= minPromptTokens ? 0 : Math.min(window, rows);
}

/** The cache's heads: as many as query heads where each of these keeps cells of its own. */
export function shapeUnder(policy: KvPolicy | undefined, shape: KvShape, group: number): KvShape {
  if (policy?.snap?.granularity !== 'queryHead') return shape;
  return { ...shape, kvHeads: shape.kvHeads * group };
}

function nativeSnap(policy: SnapPolicy, queries: number, here: boolean): NonNullable<NativeKvPolicy['snap']> {
  const each = policy.granularity === 'queryHead';
  const group = each ? 1 : queries;
  if ((group > 1 && policy.poolBeforeGroup) || (each && queries > 1 && !here)) {
    throw new VivaceError(
      'UNSUPPORTED_FEATURE',
      `${queries} query heads share the keys of a KV head here: ${
        policy.poolBeforeGroup ? 'native code' : 'a card'
      } keeps them for all or for none`,
      { remedy: "Use granularity 'kvHead' without poolBeforeGroup, or the CPU." },
    );
  }
  const { budget, window, kernel, keepFirst, minPromptTokens } = policy;
  return {
    ...{ budget, window, kernel, keepFirst, minPromptTokens, group },
    pooling: snapPoolings.indexOf(policy.pooling),
    aggregation: snapAggregations.indexOf(policy.aggregation),
  };
}

/** Query heads per KV head. */
export function queryGroup({ calls, kv }: Program): number {
  const heads = calls.filter(({ op }) => op === 'attention').map(({ attributes }) => attributes[1]);
  return Math.max(...heads) / (kv?.kvHeads ?? 1);
}
