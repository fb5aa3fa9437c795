// The plainest KV cache: per sequence a list of pages, per page a list of cells that hold their keys and values.
import { VivaceError } from '../../errors.js';
import { rowBytes } from '../dtype.js';
import type { KeyDType, KvCache, KvDType, KvOptions } from '../executor.js';
import type { KvPolicy } from '../kv-policy.js';
import type { KvShape } from '../program.js';
import { snapVoters } from '../kv-policy.js';
import { dequantiseRow } from './dequantise.js';
import { dequantiseChannels, quantiseChannels, quantiseRow } from './quantise.js';

/** One head's key or value: the stored bytes and the values that they stand for. */
export interface Stored {
  readonly bytes: Uint8Array;
  readonly values: Float64Array;
}

/** One token: per layer the keys and values of every KV head. */
export interface Cell {
  readonly position: number;
  readonly keys: Stored[][]; // [layers][kvHeads]
  readonly values: Stored[][];
}

/** What stayed of a compressed prompt: its end, and of each layer's query heads the cells before it that are seen. */
interface Compressed {
  readonly end: number;
  readonly cells: number;
  readonly seen: ReadonlySet<number>[][]; // [layers][query heads]
}

interface Sequence {
  /** Pages never change, so that forks may share them: what is appended makes a new last page. */
  pages: readonly (readonly Cell[])[];
  length: number;
  /** Cells stay where they are; those that are gone are not seen. */
  compressed?: Compressed | undefined;
  /** What a run has chosen so far. */
  choosing?: Compressed | undefined;
}

export class ReferenceKv implements KvCache {
  readonly pageBytes: number;
  readonly cellBytes: number;
  readonly policy: KvPolicy;
  private readonly keyType: KeyDType;
  private readonly valueType: KvDType;
  private readonly pageSize: number;
  private readonly maxPages: number;
  /** Of full pages, by the last of their keys. */
  private readonly channels = new WeakMap<Float64Array, Float64Array[]>();
  private sequences: (Sequence | undefined)[] = [];

  constructor(
    readonly shape: KvShape,
    { keyType = 'F16', valueType = 'F16', pageSize = 32, maxPages, policy = {} }: KvOptions,
  ) {
    this.policy = policy;
    this.keyType = keyType;
    this.valueType = valueType;
    this.pageSize = pageSize;
    this.maxPages = maxPages;
    for (const [type, dim] of [
      [keyType, shape.keyDim],
      [valueType, shape.valueDim],
    ] as const) {
      if (type !== 'F32' && type !== 'F16' && dim % 32 !== 0) {
        throw new VivaceError(
          'UNSUPPORTED_FEATURE',
          `${type} keys and values need head sizes that are a multiple of 32, not ${dim}`,
          { remedy: 'Use f16 for keys and values.' },
        );
      }
    }
    this.cellBytes =
      shape.layers * shape.kvHeads * (rowBytes(keyType, shape.keyDim) + rowBytes(valueType, shape.valueDim));
    this.pageBytes = this.cellBytes * pageSize;
  }

  usedBytes(): number {
    return this.usedPages() * this.pageBytes;
  }

  create(): number {
    const free = this.sequences.findIndex((sequence) => sequence === undefined);
    const id = free < 0 ? this.sequences.length : free;
    this.sequences[id] = { pages: [], length: 0 };
    return id;
  }

  fork(sequence: number): number {
    const { pages, length, compressed } = this.find(sequence);
    const id = this.create();
    this.sequences[id] = { pages, length, compressed };
    this.truncate(id, length); // what a run has not committed is not inherited
    return id;
  }

  release(sequence: number): void {
    this.find(sequence);
    this.sequences[sequence] = undefined;
  }

  length(sequence: number): number {
    return this.find(sequence).length;
  }

  truncate(sequence: number, length: number): void {
    const found = this.find(sequence);
    if (length < 0 || length > found.length) throw new VivaceError('INTERNAL', 'KV cache: truncate beyond the length');
    if (found.compressed && length < found.compressed.end) {
      length = 0;
      found.compressed = undefined;
    }
    found.pages = found.pages
      .slice(0, Math.ceil(length / this.pageSize))
      .map((page, index) =>
        page.length > length - index * this.pageSize ? page.slice(0, length - index * this.pageSize) : page,
      );
    found.length = length;
  }

  keep(sequence: number, ordinals: Int32Array): void {
    const { length } = this.find(sequence);
    const kept = Array.from(ordinals, (ordinal) => this.cell(sequence, length + ordinal));
    this.truncate(sequence, length);
    this.append(sequence, kept);
    this.commit(sequence, kept.length);
  }

  cells(sequence: number): number {
    const { length, compressed } = this.find(sequence);
    return compressed ? length - compressed.end + compressed.cells : length;
  }

  voters(sequence: number, rows: number): number {
    const { snap } = this.policy;
    return snap ? snapVoters(snap, this.cells(sequence), rows) : 0;
  }

  compact(sequence: number): void {
    const found = this.find(sequence);
    if (found.choosing?.end !== found.length) throw new VivaceError('INTERNAL', 'KV cache: nothing was compressed');
    found.compressed = found.choosing;
    found.choosing = undefined;
  }

  /** Whether a query head sees a cell, after all prompts that were compressed. */
  sees(sequence: number, layer: number, head: number, cell: number): boolean {
    const { compressed } = this.find(sequence);
    return !compressed || cell >= compressed.end || compressed.seen[layer][head].has(cell);
  }

  /** What a layer's query head will see of the prompt that ends with the run's last row. */
  choose(sequence: number, end: number, layer: number, head: number, cells: readonly number[]): void {
    const found = this.find(sequence);
    if (found.choosing?.end !== end) found.choosing = { end, cells: cells.length, seen: [] };
    (found.choosing.seen[layer] ??= [])[head] = new Set(cells);
  }

  readCells(sequence: number, begin: number, count: number, out: Uint8Array): void {
    if (begin < 0 || count < 0 || begin + count > this.length(sequence) || out.length !== count * this.cellBytes) {
      throw new VivaceError('INTERNAL', 'KV cache: cells to read that do not exist, or a buffer of the wrong size');
    }
    let offset = 0;
    for (let cell = begin; cell < begin + count; ++cell) {
      const { keys, values } = this.cell(sequence, cell);
      for (let layer = 0; layer < this.shape.layers; ++layer) {
        for (const { bytes } of [...keys[layer], ...values[layer]]) {
          out.set(bytes, offset);
          offset += bytes.length;
        }
      }
    }
  }

  writeCells(sequence: number, count: number, cells: Uint8Array): void {
    if (cells.length !== count * this.cellBytes) {
      throw new VivaceError('INTERNAL', 'KV cache: a buffer of the wrong size');
    }
    const { layers, kvHeads, keyDim, valueDim } = this.shape;
    if (this.keyType === 'KIVI4') throw new VivaceError('INTERNAL', 'KV cache: keys by channel are no cells');
    let offset = 0;
    const take = (dtype: KvDType, dim: number): Stored[] =>
      Array.from({ length: kvHeads }, () => {
        const bytes = cells.slice(offset, (offset += rowBytes(dtype, dim)));
        return { bytes, values: dequantiseRow(dtype, bytes, dim) };
      });
    const begin = this.length(sequence);
    const added = Array.from({ length: count }, (_, index) => {
      const cell: Cell = { position: begin + index, keys: [], values: [] };
      for (let layer = 0; layer < layers; ++layer) {
        cell.keys[layer] = take(this.keyType as KvDType, keyDim);
        cell.values[layer] = take(this.valueType, valueDim);
      }
      return cell;
    });
    this.append(sequence, added);
    this.commit(sequence, count);
  }

  dispose(): void {
    this.sequences = [];
  }

  // What a run does:

  /** A committed cell, or one that the present run has appended. */
  cell(sequence: number, index: number): Cell {
    const cell = this.find(sequence).pages[Math.floor(index / this.pageSize)]?.[index % this.pageSize];
    if (!cell) throw new VivaceError('INTERNAL', `KV cache: sequence ${sequence} has no cell ${index}`);
    return cell;
  }

  /** Drops cells of an earlier run that were not kept, and makes empty ones at these positions. */
  reserve(sequence: number, positions: readonly number[]): void {
    this.truncate(sequence, this.length(sequence));
    this.append(
      sequence,
      positions.map((position) => ({ position, keys: [], values: [] })),
    );
  }

  commit(sequence: number, count: number): void {
    this.find(sequence).length += count;
  }

  /** A head's key as a row at `position` sees it: by channel, keys of full pages before its own are codes. */
  key(sequence: number, cell: Cell, position: number, layer: number, head: number): Float64Array {
    const page = Math.floor(cell.position / 32);
    if (this.keyType !== 'KIVI4' || page >= Math.floor(position / 32)) return cell.keys[layer][head].values;
    const cells = Array.from({ length: 32 }, (_, i) => this.cell(sequence, 32 * page + i).keys[layer][head].values);
    let known = this.channels.get(cells[31]);
    if (!known) this.channels.set(cells[31], (known = dequantiseChannels(quantiseChannels(cells))));
    return known[cell.position % 32];
  }

  /** Stores one layer of a cell, rounded to the cache's types. */
  write(sequence: number, index: number, layer: number, key: Float64Array, value: Float64Array): void {
    const { kvHeads, keyDim, valueDim } = this.shape;
    const heads = (row: Float64Array, dtype: KvDType, dim: number): Stored[] =>
      Array.from({ length: kvHeads }, (_, head) => {
        const bytes = quantiseRow(dtype, row.subarray(head * dim, (head + 1) * dim));
        return { bytes, values: dequantiseRow(dtype, bytes, dim) };
      });
    const cell = this.cell(sequence, index);
    cell.keys[layer] = heads(key, this.keyType === 'KIVI4' ? 'F16' : this.keyType, keyDim);
    cell.values[layer] = heads(value, this.valueType, valueDim);
  }

  /** Throws OUT_OF_MEMORY, changing nothing. */
  private append(sequence: number, cells: readonly Cell[]): void {
    const found = this.find(sequence);
    const before = found.pages;
    const full = before.filter((page) => page.length === this.pageSize);
    const rest = [...before.slice(full.length).flat(), ...cells];
    const added = Array.from({ length: Math.ceil(rest.length / this.pageSize) }, (_, index) =>
      rest.slice(index * this.pageSize, (index + 1) * this.pageSize),
    );
    found.pages = [...full, ...added];
    if (this.usedPages() <= this.maxPages) return;
    found.pages = before;
    throw new VivaceError('OUT_OF_MEMORY', `KV cache: all ${this.maxPages} pages are in use`, {
      remedy: 'Dispose of sessions, or allow more cache when the model is loaded.',
    });
  }

  private find(sequence: number): Sequence {
    const found = this.sequences[sequence];
    if (!found) throw new VivaceError('INTERNAL', `KV cache: there is no sequence ${sequence}`);
    return found;
  }

  private usedPages(): number {
    return new Set(this.sequences.flatMap((sequence) => sequence?.pages ?? [])).size;
  }
}
