// What every model file becomes, whatever its format: canonical config, tensors by canonical name, tokenizer, templates.
import { VivaceError } from '../errors.js';
import type { DType } from '../program/dtype.js';
import { GgufArray } from './gguf/values.js';
import type { ModelConfig } from './model-config.js';
import type { TokenizerSource } from './tokenizer-source.js';

/** Where the bytes of one tensor lie. Canonical names are GGUF's (`blk.0.attn_q.weight`). */
export interface TensorSource {
  readonly name: string;
  readonly dtype: DType;
  /** Slowest axis first, as in Hugging Face files: a linear weight is [out, in]. */
  readonly shape: readonly number[];
  /** Index into `ModelSource.files`. */
  readonly file: number;
  /** Absolute byte offset in that file. */
  readonly offset: number;
  readonly bytes: number;
  /** It is put together in memory from these places, one after the other; the first is where `file` and `offset` say. */
  readonly parts?: readonly TensorPart[];
  /** Of a quantised checkpoint: `dtype` and `bytes` are what the tensor becomes in memory, the parts what the files hold. */
  readonly packed?: PackedTensor;
  /** Added to every value when it is loaded (gemma norms of Hugging Face files: 1); the tensor is small and becomes F32. */
  readonly add?: number;
}

/** Bytes in a file. */
export interface TensorPart {
  /** Index into `ModelSource.files`. */
  readonly file: number;
  readonly offset: number;
  readonly bytes: number;
}

/** A tensor that lies in pieces; those that follow each other in a file are one, and one piece needs no copy. */
export function stacked(
  tensor: Omit<TensorSource, 'file' | 'offset' | 'bytes'>,
  pieces: readonly TensorPart[],
): TensorSource {
  const parts: TensorPart[] = [];
  for (const piece of pieces) {
    const last = parts.at(-1);
    if (last && last.file === piece.file && last.offset + last.bytes === piece.offset)
      parts[parts.length - 1] = { ...last, bytes: last.bytes + piece.bytes };
    else parts.push(piece);
  }
  const [{ file, offset }] = parts;
  const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
  return { ...tensor, file, offset, bytes, ...(parts.length > 1 ? { parts } : {}) };
}

/** Gate and up of experts that a file keeps as one tensor, [experts, 2 · hidden, width], gate first. */
export function splitGateUp(tensor: TensorSource): { gate: TensorSource; up: TensorSource } {
  const { name, dtype, shape, file, offset, bytes } = tensor;
  const [experts, rows, columns] = shape;
  if (shape.length !== 3 || rows % 2 !== 0) {
    throw new VivaceError(
      'SHAPE_MISMATCH',
      `The tensor \`${name}\` is [${shape.join(', ')}], expected [experts, 2 · hidden, width]`,
    );
  }
  const half = bytes / experts / 2;
  const side = (which: 'gate' | 'up'): TensorSource =>
    stacked(
      { name: name.replace('gate_up', which), dtype, shape: [experts, rows / 2, columns] },
      Array.from({ length: experts }, (_, e) => ({
        file,
        offset: offset + (2 * e + (which === 'up' ? 1 : 0)) * half,
        bytes: half,
      })),
    );
  return { gate: side('gate'), up: side('up') };
}

/** Tensors in which gate and up of experts are apart. */
export function withoutFusedExperts(tensors: ReadonlyMap<string, TensorSource>): ReadonlyMap<string, TensorSource> {
  const fused = /^blk\.\d+\.ffn_gate_up_exps\.weight$/;
  if (![...tensors.keys()].some((name) => fused.test(name))) return tensors;
  const sides = [...tensors.values()].flatMap((tensor) => {
    if (!fused.test(tensor.name)) return [tensor];
    const { gate, up } = splitGateUp(tensor);
    return [gate, up];
  });
  return new Map(sides.map((tensor) => [tensor.name, tensor]));
}

/** In the order of CheckpointLayout in cpp/quant/checkpoint/checkpoint.h, which describes them. */
export const packedLayouts = ['gptq', 'awq', 'packed', 'bytes', 'marlin', 'qqq', 'qserve'] as const;

/** A linear map as another tool stores it: codes, scales and zero points in tensors of their own. */
export interface PackedTensor {
  readonly layout: (typeof packedLayouts)[number];
  readonly bits: 2 | 4 | 8;
  /** Columns that share a scale. */
  readonly group: number;
  readonly scaleType: 'F32' | 'F16' | 'BF16';
  readonly codes: TensorPart;
  readonly scales: TensorPart;
  /** Absent: all are `zero`. */
  readonly zeros?: TensorPart;
  /** In the domain of unsigned codes. */
  readonly zero: number;
  /** GPTQ's first format stores zero points less one. */
  readonly zeroPlusOne: boolean;
  /** GPTQ: the config says that zero points are the middle code, so that the stored ones tell the format. */
  readonly symmetric: boolean;
  readonly groupScales?: TensorPart;
  /** I32 or I64, the group of every column, for checkpoints that did not quantise columns in their order. */
  readonly groupIndex?: TensorPart;
}

export interface ModelSource {
  readonly format: 'gguf' | 'hugging-face';
  /** Absolute paths of all files that hold tensors. */
  readonly files: readonly string[];
  readonly config: ModelConfig;
  readonly tensors: ReadonlyMap<string, TensorSource>;
  readonly tokenizer: TokenizerSource;
  /** `default` and named ones (`tool_use`). */
  readonly chatTemplates: Readonly<Record<string, string>>;
  /** Raw metadata for `vivace inspect`: key → printable value (long arrays abbreviated). */
  readonly metadata: ReadonlyMap<string, unknown>;
}

/** Longer arrays are abbreviated, and deeper values left out. */
const shown = { elements: 8, depth: 4 } as const;

/**
 * Metadata as it is printed: every value survives JSON.stringify, and long arrays show only their beginning.
 * Numbers, strings, booleans and null stay; bigints become decimal text; long arrays become
 * `string[32000]: "a", "b", …`.
 */
export function printable(value: unknown, depth = 0): unknown {
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object' || value === null) return value;
  if (depth === shown.depth) return '…';
  const inner = (element: unknown): unknown => printable(element, depth + 1);
  if (value instanceof GgufArray) {
    return abbreviated(value.elementType, value.length, value.values(shown.elements).map(inner));
  }
  if (Array.isArray(value)) return abbreviated('', value.length, value.slice(0, shown.elements).map(inner));
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, inner(field)]));
}

const abbreviated = (type: string, length: number, first: readonly unknown[]): unknown =>
  length <= first.length
    ? first
    : `${type}[${length}]: ${first.map((element) => JSON.stringify(element)).join(', ')}, …`;
