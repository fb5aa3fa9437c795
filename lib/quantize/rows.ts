// The rows of a model's tensors as floats, a few at a time, whatever they are stored as.
import { openSync, closeSync } from 'node:fs';
import { readExactly } from '../formats/file.js';
import type { ModelSource, TensorSource } from '../formats/model-source.js';
import { WeightStore } from '../formats/weight-store.js';
import { native, nativeCall } from '../native.js';
import { dtypes, rowBytes, type DType } from '../program/dtype.js';

/** Values that are in memory at once: 4 MiB as floats. */
const chunkValues = 2 ** 20;

export interface FloatRows {
  readonly count: number;
  readonly values: Float32Array; // [count, columns]
}

export class RowReader {
  private readonly store: WeightStore;
  private readonly files: (number | undefined)[];

  constructor(
    private readonly source: ModelSource,
    private readonly threads: number,
  ) {
    this.store = new WeightStore(source, threads);
    this.files = source.files.map(() => undefined);
  }

  /** All rows in order. `unit`: chunks hold whole multiples of so many rows. */
  *floats(tensor: TensorSource, unit = 1): Generator<FloatRows> {
    const columns = tensor.shape.at(-1) ?? 1;
    if (tensor.shape.length < 2 || tensor.add !== undefined) {
      yield { count: 1, values: this.store.vector(tensor.name) };
      return;
    }
    const order = this.store.info(tensor.name)?.columnOrder;
    for (const { count, bytes } of this.stored(tensor, unit)) {
      const values = new Float32Array(count * columns);
      nativeCall(() => native().dequantize(dtypes[tensor.dtype].id, bytes, count, columns, values));
      yield { count, values: order ? unsorted(values, order) : values };
    }
  }

  /** All rows as they are stored. */
  *stored(tensor: TensorSource, unit = 1): Generator<{ count: number; bytes: Uint8Array }> {
    const [rows, columns] = [tensor.shape.slice(0, -1).reduce((a, b) => a * b, 1), tensor.shape.at(-1) ?? 1];
    const size = rowBytes(tensor.dtype, columns);
    const step = Math.max(1, Math.floor(chunkValues / (columns * unit))) * unit;
    for (let first = 0; first < rows; first += step) {
      const count = Math.min(step, rows - first);
      yield { count, bytes: this.read(tensor, first * size, count * size) };
    }
    this.store.release(tensor.name);
  }

  quantised(dtype: DType, { count, values }: FloatRows): Uint8Array {
    const columns = values.length / count;
    const bytes = new Uint8Array(count * rowBytes(dtype, columns));
    nativeCall(() => native().quantize(dtypes[dtype].id, values, count, columns, bytes, this.threads));
    return bytes;
  }

  close(): void {
    for (const file of this.files) if (file !== undefined) closeSync(file);
    this.files.fill(undefined);
    this.store.close();
  }

  /** Bytes of a file. Read, not mapped: pages of a mapping would count as memory of the process. */
  raw(file: number, offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    const path = this.source.files[file];
    const fd = (this.files[file] ??= openSync(path, 'r'));
    readExactly(path, fd, bytes, offset);
    return bytes;
  }

  private read(tensor: TensorSource, offset: number, length: number): Uint8Array {
    if (!tensor.packed && !tensor.parts) return this.raw(tensor.file, tensor.offset + offset, length);
    const bytes = new Uint8Array(length);
    const found = this.store.bind(tensor.name);
    if ('mapping' in found) nativeCall(() => found.mapping.read(offset, bytes));
    return bytes;
  }
}

/** Columns back in the order of what they multiply. */
function unsorted(values: Float32Array, order: Int32Array): Float32Array {
  const result = new Float32Array(values.length);
  const columns = order.length;
  for (let row = 0; row < values.length; row += columns)
    for (let i = 0; i < columns; ++i) result[row + order[i]] = values[row + i];
  return result;
}
