// The face of the native addon: its types, written once, and the translation of its errors. Nothing else loads it.
import { addonPath, loadAddon } from './native/load-addon.js';
import { VivaceError } from './errors.js';
import type { ErrorCode } from './errors.js';
import type { NativeKvCache, NativeKvOptions } from './native/caches.js';
import type {
  NativeDatastore,
  NativeDatastoreBuilder,
  NativeDrafter,
  NativeDrafterOptions,
  NativeProposal,
  NativeRound,
  NativeSeat,
  NativeSuffixCache,
} from './native/drafters.js';
import type { NativeExperts, NativeExpertStatistics } from './native/experts.js';
import type { NativeFeedback, NativeSampler, NativeTree, NativeWalk } from './native/sampling.js';
import type { NativeTraining } from './native/training.js';

export { addonPath };
export type * from './native/caches.js';
export type * from './native/drafters.js';
export type * from './native/experts.js';
export type * from './native/labels.js';
export type * from './native/sampling.js';
export type * from './native/training.js';

export interface NativeMapping {
  readonly size: number;
  /** Fills `out` with the bytes from `offset` on. */
  read(offset: number, out: Uint8Array): void;
  /** Copies `bytes` bytes of another mapping into this one, which is memory. */
  copyFrom(source: NativeMapping, sourceOffset: number, offset: number, bytes: number): void;
  close(): void;
}

export interface NativeRequest extends NativeFeedback {
  readonly rows: number;
  readonly outputs: number;
  /** [value id, memory]: inputs, and outputs that the caller wants filled. */
  readonly bindings: readonly (readonly [number, Int32Array | Float32Array])[];
  readonly batch?: {
    readonly tokens: Int32Array;
    readonly positions: Int32Array;
    readonly sequences: Int32Array;
    readonly parents?: Int32Array;
    readonly outputRows: Int32Array;
    readonly kv: NativeKvCache;
    /** Pairs: a sequence whose prompt ends here and is compressed, and how many of its last rows vote. Not with `ahead`. */
    readonly compress?: Int32Array;
    /** Rows of one prompt in one layer: the layer, rows of the prompt before these, rows of the prompt, rows that vote. */
    readonly part?: Int32Array;
  };
  /**
   * Draws a token per output from value `logits`, and verifies drafts; fills `tokens`, `logprobs`, `errors` (0: none) and
   * `kept` [outputs], bits of a draft's rows: 1 it stays, 2 only the judge kept it, 4 the second reading's most probable
   * token is another one.
   */
  readonly sampling?: {
    readonly logits: number;
    readonly samplers: readonly (NativeSampler | null)[];
    readonly masks?: readonly (Uint32Array | null)[]; // per output: the tokens that its sampler may draw, as bits
    readonly tokens: Int32Array;
    readonly logprobs: Float32Array;
    readonly errors: Int32Array;
    readonly kept: Int32Array;
    readonly walks?: readonly (NativeWalk & { readonly output: number; readonly rows: number })[];
    readonly trees?: readonly NativeTree[];
    /** Per output: the record of its draws, which are a draft, and the draft's number. */
    readonly drafts?: { readonly proposals: readonly (NativeProposal | null)[]; readonly cycles: Float64Array };
  };
  /**
   * More rounds in the same call, each with the tokens that the one before it drew: as many as `rounds` says, which may
   * change meanwhile, at most `limit`, and none after a token of `ends`. Each one's draws are written to the arrays of
   * `sampling` before `told` hears its reports; nothing is committed to the cache.
   */
  readonly ahead?: {
    readonly stop?: Float64Array;
    readonly rounds: Int32Array;
    readonly limit: number;
    readonly ends: Int32Array;
    /** `told` hears of all rounds at the end. */
    readonly quiet?: boolean;
    /** No round after one in which every token's probability is less. */
    readonly least?: number;
    /** Per sequence, in the order of outputs: its drafter, which the run asks for what follows its draws. */
    readonly drafters?: readonly (NativeSeat | null)[];
    readonly told: (reports: readonly (Float64Array | string | null)[], round: NativeRound) => void;
  };
}

/** One call of a program in all rounds so far: its time, and what it read, wrote and computed. */
export interface NativeCallProfile {
  /** Of the native table, or `sample`. */
  readonly op: string;
  /** The matrix that it multiplies or looks up, empty when there is none; its type and shape. */
  readonly weight: string;
  readonly dtype: number;
  readonly rows: number;
  readonly columns: number;
  readonly calls: number;
  readonly seconds: number;
  readonly bytes: number;
  readonly operations: number;
}

export interface NativeExecutable {
  /**
   * Resolves with, per output, the flat list of [token, logprob] pairs that its sampler asked for (a string: why it
   * could not draw).
   */
  run(request: NativeRequest): Promise<readonly (Float64Array | string | null)[] | undefined>;
  runSync(request: NativeRequest): void;
  /** Rewrites the next `bytes` of weights in the order that kernels read fastest; the share done. Not beside a run. */
  pack(bytes: number): Promise<number>;
  packSync(): void;
  /**
   * `mapped`: bytes read in their file; `packed`: bytes rewritten; `sent` and `received`: bytes copied to a card and from
   * it so far; `values`: of the arena what values of rounds have, and on a card `round`: what one of 512 rows takes; `waited`:
   * seconds from starts on a card to their ends; `queued`: runs that began there before the one before them was over; `calls`:
   * op calls after fusion.
   */
  sizes(): {
    mapped: number;
    copied: number;
    packed: number;
    arena: number;
    values: number;
    round: number;
    isa: string;
    threads: number;
    sent: number;
    received: number;
    waited: number;
    queued: number;
    /** Layers that a prompt's rows can pass one after the other; 0: every run is the whole program. */
    parts: number;
    calls: number;
  };
  /** Starts or stops recording what routers choose; what was recorded since it was last asked for (`decodeRouting`). */
  routing(on?: boolean): Int32Array;
  /** What the store of its experts has done so far; undefined where all are in memory. */
  experts(): NativeExpertStatistics | undefined;
  /** Starts or stops profiling; returns what was measured so far. */
  profile(on?: boolean): NativeCallProfile[];
  close(): void;
}

/** A program in flat tables; `sources[i]` says where a weight's or constant's bytes are. */
export interface ProgramDescription {
  readonly names: readonly string[];
  readonly dtypes: Int32Array;
  readonly rows: Float64Array;
  readonly columns: Float64Array;
  readonly kinds: Int32Array;
  readonly sources: readonly (
    null | Uint8Array | Float32Array | Int32Array | { mapping: NativeMapping; offset: number }
  )[];
  readonly calls: readonly { op: string; inputs: number[]; outputs: number[]; attributes: readonly number[] }[];
  readonly outputs: readonly number[];
}

/** Text to tokens, by one of three engines. The arrays are copied, or read by the constructor only. */
export interface NativeTokenizerOptions {
  readonly kind: 'byte-pair' | 'sentencepiece' | 'unigram';
  /** The vocabulary: token i is `bytes[offsets[i], offsets[i + 1])`. Without offsets as skipStrings() expects it. */
  readonly bytes: Uint8Array;
  readonly offsets?: Uint32Array;
  /** As in GGUF: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. */
  readonly types: Int32Array;
  readonly unknown?: number;
  /** Of byte-pair: "left", separator, "right" in the order of their ranks; with offsets or, as above, with a count. */
  readonly mergeBytes?: Uint8Array;
  readonly mergeOffsets?: Uint32Array;
  readonly mergeCount?: number;
  readonly separator?: number;
  /** Is the vocabulary spelled in GPT-2's alphabet of bytes. */
  readonly alphabet?: boolean;
  /** A name of preSplitRules(). */
  readonly rule?: string;
  readonly ignoreMerges?: boolean;
  readonly byteFallback?: boolean;
  readonly fuseUnknown?: boolean;
  /** One per token: Float32Array for sentencepiece, Float64Array for unigram. */
  readonly scores?: Float32Array | Float64Array;
  readonly singlePrecision?: boolean;
  readonly spacePrefix?: boolean;
  readonly removeExtraSpaces?: boolean;
  readonly characterMap?: Uint8Array;
}

export interface NativeTokenizer {
  /**
   * Encodes UTF-8; returns the number of tokens, which wait for take(). `parts` are pairs: what the part is, and where in
   * the text it ends. A part is a token, or text: -1, with 1 less after a special token or at the begin, 2 less where it is
   * one piece already.
   */
  encode(text: Uint8Array, parts: Int32Array, withOffsets: boolean): number;
  /** `offsets` [tokens + 1]: places in the text. */
  take(tokens: Int32Array, offsets?: Uint32Array): void;
}

/** Bytes in a mapped file. */
export interface NativePart {
  readonly mapping: NativeMapping;
  readonly offset: number;
  readonly bytes: number;
}

/** A linear map as a quantised checkpoint holds it; see cpp/quant/checkpoint/checkpoint.h. */
export interface NativeCheckpoint {
  readonly layout: number;
  readonly bits: number;
  readonly rows: number;
  readonly columns: number;
  readonly group: number;
  readonly scaleType: number;
  readonly zeroPlusOne: boolean;
  readonly zero: number;
  readonly codes: NativePart;
  readonly scales: NativePart;
  readonly zeros?: NativePart;
  readonly groupScales?: NativePart;
  readonly order?: Int32Array;
}

export interface Ceilings {
  readonly bytesPerSecond: number;
  /** Multiplications and additions per second. */
  readonly floatOperations: number;
  readonly int8Operations: number;
  /** From the start of a parallel region that does nothing to its end. */
  readonly regionSeconds: number;
}

/** A device that is not the CPU: the library that drives it, and which one. */
export interface NativeDevice {
  readonly library: string;
  readonly index: number;
}

export interface NativeDeviceInfo {
  readonly name: string;
  readonly capability: string;
  readonly multiprocessors: number;
  /** Bytes. */
  readonly memory: number;
  readonly free: number;
  /** Why it cannot be used. */
  readonly unusable?: string;
}

export interface NativeAddon extends NativeTraining {
  /** A file by its path, or so many bytes of memory. */
  Mapping: new (pathOrBytes: string | number) => NativeMapping;
  KvCache: new (options: NativeKvOptions) => NativeKvCache;
  Executable: new (
    program: ProgramDescription,
    options: {
      threads: number;
      bytesPerThread?: number;
      fuse: boolean;
      isa?: string;
      device?: NativeDevice;
      shares?: NativeExecutable;
      experts?: NativeExperts;
    },
  ) => NativeExecutable;
  Sampler: new (options: Record<string, unknown>) => NativeSampler;
  Drafter: new (options: NativeDrafterOptions) => NativeDrafter;
  SuffixCache: new (options: { depth: number; maxRequests: number; maxTokens: number }) => NativeSuffixCache;
  Datastore: new (path: string) => NativeDatastore;
  DatastoreBuilder: new (vocab: number, fingerprint: bigint) => NativeDatastoreBuilder;
  /** `device`: of the program that verifies it; a draft model on the same card leaves its laws there. */
  Proposal: new (replacement: boolean, device?: NativeDevice) => NativeProposal;
  /**
   * One walk over given logits [outputs, vocab], for a judge with `hidden` [rows, width]; `parents[0]` is -1. Fills `out`,
   * `kept` and `logprobs` [rows].
   */
  verify(
    walk: NativeWalk & {
      readonly logits: Float32Array;
      readonly hidden?: Float32Array;
      readonly vocab: number;
      readonly tokens: Int32Array;
      readonly parents: Int32Array;
      readonly out: Int32Array;
      readonly kept: Int32Array;
      readonly logprobs?: Float32Array;
    },
  ): void;
  /** One tree over logits that `logitsOf` gives for the text behind the root up to and with a node. */
  growTree(tree: NativeTree, logitsOf: (path: Int32Array) => Float32Array): void;
  Tokenizer: new (options: NativeTokenizerOptions) => NativeTokenizer;
  /**
   * Moves past strings that each stand behind their length in 8 bytes, lie in `list` and are no longer than `limit`.
   * `moved` receives how many these were, `count` at most, and where the next one begins.
   */
  skipStrings(list: Uint8Array, position: number, count: number, limit: number, moved: Float64Array): void;
  /** Such strings without their lengths: `bytes` of the exact size, `offsets` [count + 1]. */
  gatherStrings(list: Uint8Array, bytes: Uint8Array, offsets: Uint32Array): void;
  /** The first string that equals each of the wanted ones, or -1; with `types` only those not of type normal (1). */
  findStrings(
    bytes: Uint8Array,
    offsets: Uint32Array,
    wantedBytes: Uint8Array,
    wantedOffsets: Uint32Array,
    types: Int32Array | undefined,
    found: Int32Array,
  ): void;
  /**
   * The bytes of tokens one after the other: token t's are `bytes[places[2t], places[2t + 1])`; with `types` control and
   * unknown tokens are left out. Goes on where `progress` says (next token, bytes written) and stops at a token that is
   * none of the vocabulary, has a negative place or finds no room in `out`.
   */
  joinPieces(
    tokens: Int32Array,
    places: Int32Array,
    bytes: Uint8Array,
    types: Int32Array | undefined,
    out: Uint8Array,
    progress: Int32Array,
  ): void;
  /** Ends of the pieces that a rule cuts a text into; returns their number, at most one per byte. */
  preSplit(rule: string, text: Uint8Array, ends: Uint32Array): number;
  /** Names of the rules, and the version of Unicode that they go by. */
  preSplitRules(): { names: string[]; unicode: string };
  /** What `threads` threads reach together at a level (default: the best), reading `bytes` bytes of memory. */
  ceilings(threads: number, bytes: number, level?: string): Promise<Ceilings>;
  /** Instruction-set levels that this machine runs, best last. */
  isaLevels(): string[];
  /** What a device library finds on this machine. Throws DEVICE_UNAVAILABLE. */
  devices(library: string): { build: string; devices: NativeDeviceInfo[] };
  /** Kernels of an emulated library that ran in this process, a line each. */
  deviceKernels(library: string): string;
  ops(): { name: string; attributes: string[] }[];
  /** Rows of floats into blocks of a type and back; JavaScript allocates. */
  quantize(dtype: number, values: Float32Array, rows: number, columns: number, out: Uint8Array, threads?: number): void;
  dequantize(dtype: number, blocks: Uint8Array, rows: number, columns: number, out: Float32Array): void;
  /** Blocks of a type in the order that `linear` reads at a level (`cpp/ops/linear/panels.h`). */
  packPanels(
    dtype: number,
    blocks: Uint8Array,
    rows: number,
    columns: number,
    level: string,
    threads: number,
  ): Uint8Array;
  /** Makes rows of type `dtype` in memory from `offset` on. Throws FORMAT_INVALID for scales that are not finite. */
  convertCheckpoint(
    source: NativeCheckpoint,
    dtype: number,
    target: NativeMapping,
    offset: number,
    threads: number,
  ): void;
}

let addon: NativeAddon | undefined;

/** The addon, loaded on first use. Throws NATIVE_LOAD_FAILED. */
export function native(): NativeAddon {
  addon ??= loadAddon() as NativeAddon;
  return addon;
}

/** Runs a native call and turns what it throws into a VivaceError. */
export function nativeCall<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw fromNative(error);
  }
}

/** A native error has `code` and perhaps `remedy`; anything else is passed on as it is. */
export function fromNative(error: unknown): unknown {
  if (error instanceof VivaceError || typeof error !== 'object' || error === null) return error;
  const { code, remedy, message } = error as { code?: unknown; remedy?: unknown; message?: unknown };
  if (typeof code !== 'string' || !/^[A-Z][A-Z_]+$/.test(code) || code.startsWith('ERR_')) return error;
  return new VivaceError(code as ErrorCode, String(message), {
    cause: error,
    ...(typeof remedy === 'string' ? { remedy } : {}),
  });
}
