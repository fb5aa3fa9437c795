// The tensors of an opened model: files mapped once, bytes found by canonical name, small transforms applied, packed
// tensors of quantised checkpoints converted when they are first used.
import { availableParallelism } from 'node:os';
import { VivaceError } from '../errors.js';
import { native, nativeCall } from '../native.js';
import type { NativeMapping } from '../native.js';
import type { WeightInfo } from '../program/builder.js';
import { dequantiseRow } from '../program/reference/dequantise.js';
import { columnOrder, convertPacked } from './hugging-face/quantised/convert.js';
import type { ModelSource, TensorSource } from './model-source.js';

export class WeightStore {
  private readonly mappings: (NativeMapping | undefined)[];
  private readonly converted = new Map<string, NativeMapping>();
  private readonly orders = new Map<string, Int32Array | undefined>();

  constructor(
    private readonly source: Pick<ModelSource, 'files' | 'tensors'>,
    /** Of conversions. */
    private readonly threads = Math.min(availableParallelism(), 16),
  ) {
    this.mappings = source.files.map(() => undefined);
  }

  /** Type and shape as programs see them; undefined when the file has no such tensor. */
  info(tensor: string): WeightInfo | undefined {
    const found = this.source.tensors.get(tensor);
    if (found === undefined) return undefined;
    const order = this.order(found);
    const { shape } = found;
    return { dtype: storedAsF32(found) ? 'F32' : found.dtype, shape, ...(order ? { columnOrder: order } : {}) };
  }

  /** Where native code finds the bytes: in a mapping, or a converted copy of a small tensor. */
  bind(tensor: string): { mapping: NativeMapping; offset: number } | Float32Array {
    const found = this.find(tensor);
    if (inMemory(found)) return { mapping: this.convert(found), offset: 0 };
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

  /**
   * Converts packed tensors, and puts those together that lie in parts, one by one, but for some; gives the fraction done after
   * each. Without it, they are converted when bound.
   */
  *conversions(but: ReadonlySet<string> = new Set()): Generator<number> {
    const packed = [...this.source.tensors.values()].filter((tensor) => inMemory(tensor) && !but.has(tensor.name));
    const total = packed.reduce((sum, { bytes }) => sum + bytes, 0);
    let done = 0;
    for (const tensor of packed) {
      this.convert(tensor);
      done += tensor.bytes;
      yield done / total;
    }
  }

  /** Gives the memory of a converted tensor back; it is converted again when it is used again. */
  release(tensor: string): void {
    this.converted.get(tensor)?.close();
    this.converted.delete(tensor);
  }

  close(): void {
    for (const mapping of [...this.mappings, ...this.converted.values()]) mapping?.close();
    this.mappings.fill(undefined);
    this.converted.clear();
  }

  private find(tensor: string): TensorSource {
    const found = this.source.tensors.get(tensor);
    if (!found) throw new VivaceError('MISSING_TENSOR', `The model file has no tensor \`${tensor}\``);
    return found;
  }

  private raw(found: TensorSource): Uint8Array {
    const bytes = new Uint8Array(found.bytes);
    const [mapping, offset] = inMemory(found) ? [this.convert(found), 0] : [this.mapping(found.file), found.offset];
    nativeCall(() => mapping.read(offset, bytes));
    return bytes;
  }

  private convert(found: TensorSource): NativeMapping {
    const known = this.converted.get(found.name);
    if (known) return known;
    const target = nativeCall(() => new (native().Mapping)(found.bytes));
    if (found.packed) convertPacked(found, this.order(found), (file) => this.mapping(file), target, this.threads);
    let at = 0;
    for (const { file, offset, bytes } of found.parts ?? []) {
      nativeCall(() => target.copyFrom(this.mapping(file), offset, at, bytes));
      at += bytes;
    }
    this.converted.set(found.name, target);
    return target;
  }

  private order(found: TensorSource): Int32Array | undefined {
    if (!found.packed?.groupIndex) return undefined;
    if (!this.orders.has(found.name))
      this.orders.set(
        found.name,
        columnOrder(found, (file) => this.mapping(file)),
      );
    return this.orders.get(found.name);
  }

  private mapping(file: number): NativeMapping {
    return (this.mappings[file] ??= nativeCall(() => new (native().Mapping)(this.source.files[file])));
  }
}

const inMemory = ({ packed, parts }: TensorSource): boolean => packed !== undefined || parts !== undefined;

/** Vectors (norm weights, biases, tables) are F32 for every program, whatever the file has. */
function storedAsF32(tensor: TensorSource): boolean {
  return tensor.add !== undefined || (tensor.shape.length === 1 && tensor.dtype !== 'F32');
}
