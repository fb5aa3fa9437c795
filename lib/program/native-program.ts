// A program and a cache in native code: descriptions cross the border once, then only rows do.
import { VivaceError } from '../errors.js';
import { native, nativeCall } from '../native.js';
import type {
  NativeDevice,
  NativeExecutable,
  NativeExperts,
  NativeKvCache,
  NativeMapping,
  NativeOffloadStatistics,
  ProgramDescription,
} from '../native.js';
import { dtypes, rowBytes } from './dtype.js';
import type { KvCache, PrefixPages } from './executor.js';
import type { SavedCells } from './kv-policy.js';
import type { Program, Value } from './program.js';

/** Where a weight's bytes are: in a mapped file, or in memory (then they are copied). */
export type WeightSource = { readonly mapping: NativeMapping; readonly offset: number } | Uint8Array | Float32Array;

/** Finds the bytes of a canonical tensor, from its first row on; null: a store of experts brings them into memory. */
export type BindWeight = (tensor: string) => WeightSource | null;

export interface NativeProgramOptions {
  readonly threads?: number; // default 1
  /** A run has as many threads at most as so many bytes of matrices, read once per row, are in it; default: all. */
  readonly bytesPerThread?: number;
  /** Instruction-set level (`baseline`, `avx2`, `avx512`, `neon`, `i8mm`); default: the best of this machine. */
  readonly isa?: string;
  /** Default: the CPU. */
  readonly device?: NativeDevice;
  /** Apply the fusion rules; default true. */
  readonly fuse?: boolean;
  /** Weights that this program has in memory already are read there; runs of both take turns. */
  readonly shares?: NativeProgram;
  /** Rewrite quantised weights in the order that kernels read fastest, at once; default true. */
  readonly repack?: boolean;
  /** Brings experts into memory whose matrices have no bytes of their own; a program that shares weights shares it. */
  readonly experts?: NativeExperts;
}

/** The rows of a run that uses the KV cache; see `RunRequest`. */
export interface NativeBatch {
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  readonly sequences: Int32Array;
  readonly parents?: Int32Array;
  readonly outputRows: Int32Array;
  readonly kv: NativeKvCache;
}

const kinds = { input: 0, weight: 1, constant: 2, value: 3 } as const;

export class NativeProgram {
  readonly executable: NativeExecutable;
  private readonly inputs: ReadonlyMap<string, Value>;

  constructor(
    readonly program: Program,
    bindWeight: BindWeight,
    options: NativeProgramOptions = {},
  ) {
    const { threads = 1, bytesPerThread = 0, isa, device, fuse = true, repack = true, shares, experts } = options;
    this.inputs = new Map(program.values.filter((value) => value.kind === 'input').map((value) => [value.name, value]));
    this.executable = nativeCall(
      () =>
        new (native().Executable)(describe(program, bindWeight), {
          threads,
          bytesPerThread,
          fuse,
          ...(isa ? { isa } : {}),
          ...(device ? { device } : {}),
          ...(shares ? { shares: shares.executable } : experts ? { experts } : {}),
        }),
    );
    if (repack) nativeCall(() => this.executable.packSync());
  }

  /**
   * Runs once on the calling thread and its team; for tests and small tools. Inputs by name; `tokens`, `positions` and
   * `output_rows` come from the batch when there is one. Outputs are written into `outputs` where given, else into
   * fresh arrays, [rows, columns] each.
   */
  runSync(
    inputs: Readonly<Record<string, Int32Array | Float32Array>>,
    batch?: NativeBatch,
    outputs: Readonly<Record<string, Float32Array>> = {},
  ): Record<string, Float32Array> {
    const { rows, outputRows } = this.sizes(inputs, batch);
    const bindings: [number, Int32Array | Float32Array][] = [];
    for (const [name, data] of Object.entries(inputs)) {
      const value = this.inputs.get(name);
      if (value) bindings.push([value.id, data]);
    }
    const results: Record<string, Float32Array> = {};
    for (const [name, value] of Object.entries(this.program.outputs)) {
      results[name] = outputs[name] ?? new Float32Array(rowsOf(value, rows, outputRows) * value.columns);
      bindings.push([value.id, results[name]]);
    }
    nativeCall(() => this.executable.runSync({ rows, outputs: outputRows, bindings, ...(batch ? { batch } : {}) }));
    return results;
  }

  /** The id of an input. Throws INVALID_ARGUMENT. */
  inputId(name: string): number {
    const found = this.inputs.get(name);
    if (found) return found.id;
    throw new VivaceError('INVALID_ARGUMENT', `${this.program.name} has no input \`${name}\``);
  }

  dispose(): void {
    this.executable.close();
  }

  private sizes(inputs: Readonly<Record<string, Int32Array | Float32Array>>, batch?: NativeBatch) {
    let rows = batch?.tokens.length ?? 1;
    let outputRows = batch?.outputRows.length ?? 0;
    for (const [name, value] of this.inputs) {
      const data = inputs[name];
      if (data && value.rows === 'rows') rows = data.length / value.columns;
      if (data && value.rows === 'outputs') outputRows = data.length / value.columns;
    }
    return { rows, outputRows };
  }
}

function rowsOf(value: Value, rows: number, outputs: number): number {
  return value.rows === 'rows' ? rows : value.rows === 'outputs' ? outputs : value.rows;
}

function describe(program: Program, bindWeight: BindWeight): ProgramDescription {
  const { values } = program;
  return {
    names: values.map((value) => value.name),
    dtypes: Int32Array.from(values, (value) => dtypes[value.dtype].id),
    rows: Float64Array.from(values, (value) =>
      value.rows === 'rows' ? -1 : value.rows === 'outputs' ? -2 : value.rows,
    ),
    columns: Float64Array.from(values, (value) => value.columns),
    kinds: Int32Array.from(values, (value) => kinds[value.kind]),
    sources: values.map((value) => source(value, bindWeight)),
    calls: program.calls.map((call) => ({
      op: call.op,
      inputs: call.inputs.map((value) => value?.id ?? -1),
      outputs: call.outputs.map((value) => value.id),
      attributes: call.attributes,
    })),
    outputs: Object.values(program.outputs).map((value) => value.id),
  };
}

function source(value: Value, bindWeight: BindWeight): ProgramDescription['sources'][number] {
  if (value.kind === 'constant') return value.data ?? null;
  if (value.kind !== 'weight' || !value.weight) return null;
  const rowSize = rowBytes(value.dtype, value.columns);
  const found = bindWeight(value.weight.tensor);
  if (found === null) return null;
  const skip = value.weight.firstRow * rowSize;
  if ('mapping' in found) return { mapping: found.mapping, offset: found.offset + skip };
  const all = new Uint8Array(found.buffer, found.byteOffset, found.byteLength);
  return all.subarray(skip, skip + (value.rows as number) * rowSize);
}

/** Of all weights; a tensor that is used twice counts once. */
export function weightBytes({ values }: Program): number {
  const bytes = new Map<string, number>();
  for (const { weight, dtype, rows, columns } of values) {
    if (weight && typeof rows === 'number')
      bytes.set(`${weight.tensor}:${weight.firstRow}`, rows * rowBytes(dtype, columns));
  }
  return [...bytes.values()].reduce((sum, count) => sum + count, 0);
}

/** The paged cache of the addon. */
export class NativeKv implements KvCache {
  readonly pageBytes: number;
  readonly cellBytes: number;
  readonly byLayer: boolean;
  readonly prefixes: PrefixPages = {
    keepIdle: (pages) => nativeCall(() => this.native.keepIdle(pages)),
    share: (sequence, tokens, salt) => nativeCall(() => this.native.share(sequence, tokens, salt)),
    publish: (sequence, tokens, salt) => nativeCall(() => this.native.publish(sequence, tokens, salt)),
    withhold: (sequence, from) => nativeCall(() => this.native.withhold(sequence, from)),
    dropIdle: () => nativeCall(() => this.native.dropIdle()),
    forget: () => nativeCall(() => this.native.forget()),
    counts: () => {
      const { pagesPublished: published, pagesIdle: idle, evictions } = this.native.sizes();
      return { published, idle, evictions };
    },
  };

  /** `guesses`: layers whose choices are worth a guess; absent: nothing is fetched ahead. */
  constructor(
    readonly native: NativeKvCache,
    readonly guesses?: Uint8Array,
  ) {
    ({ pageBytes: this.pageBytes, cellBytes: this.cellBytes, byLayer: this.byLayer } = native.sizes());
  }
  usedBytes(): number {
    return this.native.sizes().usedBytes;
  }
  peakBytes(): number {
    return this.native.sizes().peakBytes;
  }
  create(): number {
    return nativeCall(() => this.native.create());
  }
  fork(sequence: number): number {
    return nativeCall(() => this.native.fork(sequence));
  }
  release(sequence: number): void {
    nativeCall(() => this.native.release(sequence));
  }
  length(sequence: number): number {
    return nativeCall(() => this.native.length(sequence));
  }
  truncate(sequence: number, length: number): void {
    nativeCall(() => this.native.truncate(sequence, length));
  }
  cells(sequence: number): number {
    return nativeCall(() => this.native.cells(sequence));
  }
  voters(sequence: number, rows: number): number {
    return nativeCall(() => this.native.voters(sequence, rows));
  }
  compact(sequence: number): void {
    nativeCall(() => this.native.compact(sequence));
  }
  commit(sequence: number, count: number): void {
    nativeCall(() => this.native.commit(sequence, count));
  }
  keep(sequence: number, ordinals: Int32Array): void {
    nativeCall(() => this.native.keep(sequence, ordinals));
  }
  readCells(sequence: number, begin: number, count: number, out: Uint8Array): void {
    nativeCall(() => this.native.readCells(sequence, begin, count, out));
  }
  writeCells(sequence: number, count: number, cells: Uint8Array): void {
    nativeCall(() => this.native.writeCells(sequence, count, cells));
  }
  saved(sequence: number): SavedCells {
    const { state, pages, bytes } = nativeCall(() => this.native.saved(sequence));
    return {
      state: [...state],
      sizes: Array.from({ length: pages.length / 2 }, (_, index) => bytes[pages[2 * index]]),
      read: (index, out) =>
        nativeCall(() => this.native.readPage(sequence, pages[2 * index], pages[2 * index + 1], out)),
      write: (index, page) =>
        nativeCall(() => this.native.writePage(sequence, pages[2 * index], pages[2 * index + 1], page)),
    };
  }
  restore(state: readonly number[]): number {
    return nativeCall(() => this.native.restore(Float64Array.from(state)));
  }
  offloaded(): NativeOffloadStatistics | undefined {
    return this.native.offloaded();
  }
  dispose(): void {
    this.native.close();
  }
}
