// The tensors of an opened model: files mapped once, bytes found by canonical name, small transforms applied.
import { VivaceError } from '../errors.js';
import { native, nativeCall } from '../native.js';
import type { NativeMapping } from '../native.js';
import type { DType } from '../program/dtype.js';
import { dequantiseRow } from '../program/reference/dequantise.js';
import type { ModelSource, TensorSource } from './model-source.js';

export class WeightStore {
  private readonly mappings: (NativeMapping | undefined)[];

  constructor(private readonly source: Pick<ModelSource, 'files' | 'tensors'>) {
    this.mappings = source.files.map(() => undefined);
  }

  /** Type and shape as programs see them; undefined when the file has no such tensor. */
  info(tensor: string): { dtype: DType; shape: readonly number[] } | undefined {
    const found = this.source.tensors.get(tensor);
    return found && { dtype: storedAsF32(found) ? 'F32' : found.dtype, shape: found.shape };
  }

  /** Where native code finds the bytes: in the mapping, or a converted copy of a small tensor. */
  bind(tensor: string): { mapping: NativeMapping; offset: number } | Float32Array {
    const found = this.find(tensor);
    if (storedAsF32(found)) return this.vector(tensor);
    return { mapping: this.mapping(found.file), offset: found.offset };
  }

  /** The tensor's bytes as `info` describes them, copied into JavaScript's memory: for the reference executor. */
  bytes(tensor: string): Uint8Array {
    const found = this.find(tensor);
    if (storedAsF32(found)) return new Uint8Array(this.vector(tensor).buffer);
    return this.raw(found);
  }

  /** A small tensor as floats, transforms applied. */
  vector(tensor: string): Float32Array {
    const found = this.find(tensor);
    const count = found.shape.reduce((product, size) => product * size, 1);
    const values = Float32Array.from(dequantiseRow(found.dtype, this.raw(found), count));
    const { add } = found;
    return add === undefined ? values : values.map((value) => value + add);
  }

  close(): void {
    for (const mapping of this.mappings) mapping?.close();
    this.mappings.fill(undefined);
  }

  private find(tensor: string): TensorSource {
    const found = this.source.tensors.get(tensor);
    if (!found) throw new VivaceError('MISSING_TENSOR', `The model file has no tensor \`${tensor}\``);
    return found;
  }

  private raw(found: TensorSource): Uint8Array {
    const bytes = new Uint8Array(found.bytes);
    nativeCall(() => this.mapping(found.file).read(found.offset, bytes));
    return bytes;
  }

  private mapping(file: number): NativeMapping {
    return (this.mappings[file] ??= nativeCall(() => new (native().Mapping)(this.source.files[file])));
  }
}

/** Vectors (norm weights, biases, tables) are F32 for every program, whatever the file has. */
function storedAsF32(tensor: TensorSource): boolean {
  return tensor.add !== undefined || (tensor.shape.length === 1 && tensor.dtype !== 'F32');
}
