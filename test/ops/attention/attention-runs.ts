// Runs of kv_write and attention on a level of the CPU or on a device, and an oracle that knows nothing of pages, batches or chunks: dense float64
// attention over lists of keys and values.
import { native } from '../../../lib/native.js';
import type { NativeDevice, NativeKvCache } from '../../../lib/native.js';
import { ProgramBuilder } from '../../../lib/program/builder.js';
import { dtypes, rowBytes } from '../../../lib/program/dtype.js';
import type { KeyDType, KvDType } from '../../../lib/program/executor.js';
import type { KvLabels, KvPolicy } from '../../../lib/program/kv-policy.js';
import { NativeProgram } from '../../../lib/program/native-program.js';
import type { Program } from '../../../lib/program/program.js';
import { dequantiseRow } from '../../../lib/program/reference/dequantise.js';
import { quantiseRow } from '../../../lib/program/reference/quantise.js';
import { nativePolicy } from '../../../lib/program/kv-policy.js';
import type { SnapPolicy } from '../../../lib/program/kv-policy.js';
import { random } from '../op-case.js';

export interface Shape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly keyDim: number;
  readonly valueDim?: number; // default keyDim
  readonly softcap?: number;
  readonly window?: number;
  readonly keyType?: KeyDType; // default F16
  readonly valueType?: KvDType;
  readonly pageSize?: number; // default 16
  readonly labels?: KvLabels;
  /** What rows see of every layer. */
  readonly policy?: KvPolicy;
  /** How prompts are compressed. */
  readonly snap?: SnapPolicy;
}

export interface Row {
  readonly sequence: number;
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  /** Of a tree: index of the parent in the same run, −1 for the committed cells. */
  readonly parent?: number;
}

export const layers = 3;
export const layer = 1; // neither the first nor the last

export const valueDimOf = ({ keyDim, valueDim = keyDim }: Shape): number => valueDim;

export function attentionProgram(shape: Shape): Program {
  const { heads, kvHeads, keyDim, softcap, window } = shape;
  const valueDim = valueDimOf(shape);
  const builder = new ProgramBuilder('attention', () => undefined);
  const q = builder.input('q', 'F32', 'rows', heads * keyDim);
  const k = builder.input('k', 'F32', 'rows', kvHeads * keyDim);
  const v = builder.input('v', 'F32', 'rows', kvHeads * valueDim);
  builder.kvWrite(k, v, layer);
  const y = builder.attention(q, { layer, heads, valueDim, scale: 1 / Math.sqrt(keyDim), softcap, window });
  return builder.finish({ y }, { layers, kvHeads, keyDim, valueDim });
}

/** `count` tokens of a sequence, always the same for the same label. */
export function tokens(label: string, count: number, shape: Shape, sequence = 0): Row[] {
  const { heads, kvHeads, keyDim } = shape;
  const rows = (name: string, width: number, size: number): Float32Array[] => {
    const all = random(`${label} ${name}`, count * width, size);
    return Array.from({ length: count }, (_, row) => all.slice(row * width, (row + 1) * width));
  };
  const q = rows('q', heads * keyDim, 2);
  const k = rows('k', kvHeads * keyDim, 1);
  const v = rows('v', kvHeads * valueDimOf(shape), 1);
  return q.map((_, row) => ({ sequence, q: q[row], k: k[row], v: v[row] }));
}

/** Where it runs: a level and team, or a device. */
export interface Place {
  readonly isa?: string;
  readonly threads?: number;
  readonly device?: NativeDevice;
}

/** One place with a cache whose free pages are full of NaN. */
export class AttentionRun {
  readonly kv: NativeKvCache;
  private readonly compiled: NativeProgram;

  constructor(
    readonly shape: Shape,
    place: Place,
  ) {
    const { kvHeads, keyDim, keyType = 'F16', valueType = 'F16', pageSize = 16 } = shape;
    const valueDim = valueDimOf(shape);
    const types = { keyType: dtypes[keyType].id, valueType: dtypes[valueType].id };
    const sizes = { layers, kvHeads, keyDim, valueDim, pageSize, maxPages: 4096 };
    const labels = shape.labels ? { policy: { patterns: new Int32Array(0), labels: shape.labels } } : {};
    const snap = shape.snap ? { policy: nativePolicy({ snap: shape.snap }, shape.heads / kvHeads) } : {};
    this.kv = new (native().KvCache)({
      ...sizes,
      ...types,
      ...labels,
      ...(shape.policy ? { policy: nativePolicy(shape.policy) } : {}),
      ...snap,
      ...(place.device ? { device: place.device } : {}),
    });
    this.compiled = new NativeProgram(attentionProgram(shape), () => new Uint8Array(), place);
    this.poison();
  }

  /**
   * Appends rows to their sequences and returns what they attend to, a row each. `outputs`: the logits of all are wanted;
   * `compress`: sequences whose prompts end here, and how many of their rows vote.
   */
  run(rows: readonly Row[], outputs = false, compress?: ReadonlyMap<number, number>): Float32Array[] {
    const tree = rows.some((row) => row.parent !== undefined);
    const depths: number[] = [];
    const added = new Map<number, number>();
    const positions = rows.map(({ sequence, parent = -1 }, row) => {
      const before = tree ? (parent < 0 ? 0 : depths[parent] + 1) : (added.get(sequence) ?? 0);
      depths[row] = before;
      added.set(sequence, before + 1);
      return this.kv.length(sequence) + before;
    });
    const width = this.shape.heads * valueDimOf(this.shape);
    const y = new Float32Array(rows.length * width).fill(NaN);
    const together = (name: 'q' | 'k' | 'v'): Float32Array =>
      Float32Array.from(rows.flatMap((row) => Array.from(row[name])));
    this.compiled.runSync(
      { q: together('q'), k: together('k'), v: together('v') },
      {
        tokens: new Int32Array(rows.length),
        positions: Int32Array.from(positions),
        sequences: Int32Array.from(rows, (row) => row.sequence),
        outputRows: Int32Array.from(outputs ? rows.keys() : []),
        kv: this.kv,
        ...(compress ? { compress: Int32Array.from([...compress].flat()) } : {}),
        ...(tree ? { parents: Int32Array.from(rows, ({ parent = -1 }) => parent) } : {}),
      },
      { y },
    );
    for (const sequence of compress?.keys() ?? []) this.kv.compact(sequence);
    return rows.map((_, row) => y.slice(row * width, (row + 1) * width));
  }

  /** Appends the rows in runs of at most `chunk`. */
  runInChunks(rows: readonly Row[], chunk: number): Float32Array[] {
    const y: Float32Array[] = [];
    for (let from = 0; from < rows.length; from += chunk) y.push(...this.run(rows.slice(from, from + chunk)));
    return y;
  }

  /** Appends the keys and values of rows as they are stored, without a run: for long contexts. */
  append(rows: readonly Row[], sequence: number): void {
    const { kvHeads, keyDim, keyType = 'F16', valueType = 'F16' } = this.shape;
    const { cellBytes } = this.kv.sizes();
    const cells = new Uint8Array(rows.length * cellBytes);
    rows.forEach(({ k, v }, row) => {
      let at = row * cellBytes + (cellBytes / layers) * layer;
      const add = (dtype: KeyDType, values: Float32Array, dim: number): void => {
        for (let head = 0; head < kvHeads; ++head) {
          const bytes = quantiseRow(dtype as KvDType, Float64Array.from(values.subarray(head * dim, (head + 1) * dim)));
          cells.set(bytes, at);
          at += bytes.length;
        }
      };
      add(keyType, k, keyDim);
      add(valueType, v, valueDimOf(this.shape));
    });
    this.kv.writeCells(sequence, rows.length, cells);
  }

  /** Leaves pages behind whose every value is NaN, in an order that is not that of their addresses. */
  poison(): void {
    const { cellBytes } = this.kv.sizes();
    const cells = 5 * (this.shape.pageSize ?? 16);
    const strange = tokens('poison', cells, this.shape);
    strange.forEach(({ k, v }) => [k, v].forEach((row) => row.fill(NaN)));
    const used = [0, 1, 2].map(() => {
      const sequence = this.kv.create();
      if (this.shape.keyType === 'KIVI4') this.run(strange.map((row) => ({ ...row, sequence })));
      else this.kv.writeCells(sequence, cells, new Uint8Array(cells * cellBytes).fill(0xff));
      return sequence;
    });
    for (const index of [1, 0, 2]) this.kv.release(used[index]);
  }

  dispose(): void {
    this.compiled.dispose();
    this.kv.close();
  }
}

/** What row `row` sees of `rows`, all of one sequence: itself and the rows before it, or its ancestors. */
export function seen(rows: readonly Row[], row: number, committed = 0): number[] {
  const { parent } = rows[row];
  if (parent === undefined) return Array.from({ length: row + 1 }, (_, index) => index);
  const before =
    parent < 0 ? Array.from({ length: committed }, (_, index) => index) : seen(rows, parent + committed, committed);
  return [...before, row];
}

/** Dense attention of one row over the keys and values of the given rows, which are in order of their positions. */
export function oracle(shape: Shape, { q }: Row, cells: readonly Row[]): Float64Array {
  const { heads, kvHeads, keyDim, softcap = 0, window = 0, keyType = 'F16', valueType = 'F16' } = shape;
  const valueDim = valueDimOf(shape);
  const visible = window > 0 ? cells.slice(-window) : cells;
  const y = new Float64Array(heads * valueDim);
  for (let head = 0; head < heads; ++head) {
    const kvHead = Math.floor((head * kvHeads) / heads);
    const scores = visible.map(({ k }) => {
      const key = rounded(k, kvHead, keyDim, keyType);
      let dot = 0;
      for (let i = 0; i < keyDim; ++i) dot += q[head * keyDim + i] * key[i];
      const score = dot / Math.sqrt(keyDim);
      return softcap > 0 ? softcap * Math.tanh(score / softcap) : score;
    });
    const largest = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - largest));
    const total = weights.reduce((a, b) => a + b, 0);
    visible.forEach(({ v }, index) => {
      const value = rounded(v, kvHead, valueDim, valueType);
      for (let i = 0; i < valueDim; ++i) y[head * valueDim + i] += (weights[index] / total) * value[i];
    });
  }
  return y;
}

const memory = new WeakMap<Float32Array, Map<string, Float64Array>>();

/** One head of a row, as the cache keeps it. */
export function rounded(row: Float32Array, head: number, dim: number, type: KeyDType): Float64Array {
  const dtype = type === 'KIVI4' ? 'F16' : type; // by channel: until its page is full
  const known = memory.get(row) ?? new Map<string, Float64Array>();
  memory.set(row, known);
  const label = `${head} ${dtype}`;
  let values = known.get(label);
  if (!values) {
    const bytes = quantiseRow(dtype, Float64Array.from(row.subarray(head * dim, (head + 1) * dim)));
    if (bytes.length !== rowBytes(dtype, dim)) throw new Error('a row has the wrong size');
    values = dequantiseRow(dtype, bytes, dim);
    known.set(label, values);
  }
  return values;
}
