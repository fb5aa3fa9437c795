// Programs of language models on the CPU: rounds over a row batch, sampling included, off the JavaScript thread.
import { expected, VivaceError } from '../errors.js';
import { fromNative, native, nativeCall } from '../native.js';
import type {
  NativeCallProfile,
  NativeDevice,
  NativeDrafter,
  NativeExpertStatistics,
  NativeRequest,
  NativeRound,
  NativeSampler,
} from '../native.js';
import { dtypes } from './dtype.js';
import type {
  Executor,
  KvCache,
  KvOptions,
  ModelDrafting,
  Proposal,
  RowSampler,
  RunRequest,
  RunResult,
  SamplerOptions,
} from './executor.js';
import { fedProgram } from './rewrite/feedback.js';
import { findDevice } from './device-library.js';
import type { DeviceName } from './device-library.js';
import { kvLayers, nativePolicy, queryGroup, shapeUnder, type KvLayer } from './kv-policy.js';
import { NativeKv, NativeProgram, weightBytes } from './native-program.js';
import {
  NativeRowProposal,
  NativeRowSampler,
  commitRows,
  nativeAhead,
  nativeBatch,
  nativeDrafts,
  nativeProposal,
  nativeShape,
  nativeTree,
  nativeWalk,
  pairs,
  seatsOf,
  toNative,
  treeOf,
} from './native-walks.js';
import type { Report } from './native-walks.js';
import type { BindWeight, NativeProgramOptions } from './native-program.js';
import type { KvShape, Program } from './program.js';
import { guessingProgram } from './rewrite/guesses.js';
import { inputWidths, tappedProgram, tapWidths } from './taps.js';

// SampleError::disposed of cpp/decode/sample.h
const disposedSampler = 4;

/** Weights that are rewritten between two runs: a few milliseconds. */
const REPACK_BYTES = 16 * 2 ** 20;

export interface NativeExecutorOptions extends NativeProgramOptions {
  /** Default `cpu`. */
  readonly deviceName?: 'cpu' | DeviceName;
}

export class NativeExecutor implements Executor {
  readonly name: 'cpu' | DeviceName;
  readonly kvShape: KvShape;
  readonly kvLayers: readonly KvLayer[];
  readonly taps: Readonly<Record<string, number>>;
  readonly drafts = true;
  readonly parts?: number;
  readonly weightBytes: number;
  readonly inputs: Readonly<Record<string, number>>;
  private readonly compiled: NativeProgram;
  private readonly device: NativeDevice | undefined;
  private readonly logits: number;
  private readonly tapped = new Map<string, NativeProgram>(); // by what they guess, and return besides logits
  private fed: NativeProgram | undefined;
  private companions: NativeExecutor[] = [];
  private disposed = false;

  /** Throws what the planner finds wrong with the program, and UNSUPPORTED_FEATURE for a level this machine lacks. */
  constructor(
    program: Program,
    private readonly bindWeight: BindWeight,
    private readonly options: NativeExecutorOptions,
  ) {
    if (!program.kv || !program.outputs['logits']) {
      throw new VivaceError('INTERNAL', `${program.name}: a language model's program needs a KV shape and logits`);
    }
    this.kvShape = program.kv;
    this.kvLayers = kvLayers(program);
    this.taps = tapWidths(program);
    this.inputs = inputWidths(program);
    this.weightBytes = weightBytes(program);
    this.logits = program.outputs['logits'].id;
    const { deviceName = 'cpu' } = options;
    this.name = deviceName;
    this.device = deviceName === 'cpu' ? undefined : findDevice(deviceName);
    const device = this.device ? { device: this.device } : {};
    this.compiled = new NativeProgram(program, bindWeight, { ...options, ...device });
    const { parts } = this.compiled.executable.sizes();
    if (parts > 1 && Object.keys(this.inputs).length === 0) this.parts = parts;
  }

  createKvCache(options: KvOptions): KvCache {
    const { keyType = 'F16', valueType = 'F16', pageSize = 32, maxPages, policy, poison = false } = options;
    const group = queryGroup(this.compiled.program);
    const derived = policy && nativePolicy(policy, group, this.name === 'cpu');
    const { offload } = policy ?? {};
    return new NativeKv(
      nativeCall(
        () =>
          new (native().KvCache)({
            ...shapeUnder(policy, this.kvShape, group),
            pageSize,
            keyType: dtypes[keyType].id,
            valueType: dtypes[valueType].id,
            maxPages,
            ...(derived ? { policy: derived } : {}),
            poison,
            ...(offload ? { offload: { ...offload, threads: this.options.threads ?? 1 } } : {}),
            ...(this.device ? { device: this.device } : {}),
          }),
      ),
      offload?.ahead ? policy?.labels?.sparse : undefined,
    );
  }

  createSampler(options: SamplerOptions): RowSampler {
    return new NativeRowSampler(nativeCall(() => new (native().Sampler)({ ...options })));
  }

  createProposal(replacement: boolean): Proposal {
    return new NativeRowProposal(nativeCall(() => new (native().Proposal)(replacement, this.device)));
  }

  /** A program may read features of rows beside tokens. */
  createDrafter({ kv, sampler, proposal, tree, shapes, ...drafting }: ModelDrafting): NativeDrafter | undefined {
    if (!(kv instanceof NativeKv)) throw expected('a KV cache of this executor', 'kv', kv);
    const { feedback } = this.compiled.program;
    const own = {
      kind: 'model' as const,
      executable: this.compiled.executable,
      kv: kv.native,
      logits: this.logits,
      sampler: toNative(sampler) as NativeSampler,
      ...(proposal ? { proposal: nativeProposal(proposal) } : {}),
      ...(tree ? { tree: nativeShape(tree, tree.nodes) } : {}),
      ...(shapes ? { shapes: shapes.map((shape) => nativeShape(shape, shape.nodes)) } : {}),
      ...('features' in this.inputs ? { features: this.compiled.inputId('features') } : {}),
      ...(feedback ? this.feeds(feedback) : {}),
    };
    return nativeCall(() => new (native().Drafter)({ ...own, ...drafting }));
  }

  async run(kv: KvCache, request: RunRequest): Promise<RunResult> {
    if (!(kv instanceof NativeKv)) throw expected('a KV cache of this executor', 'kv', kv);
    const { tokens, outputs, logits, inputs, taps, samplers, walks, drafts, ahead } = request;
    // Rows of prompts read everything: nothing is guessed for them.
    const guesses = 2 * outputs.length >= tokens.length ? kv.guesses : undefined;
    const compiled = this.programFor(guesses, taps && Object.keys(taps));
    const trees = request.trees?.map(nativeTree);
    const { feedback } = compiled.program;
    const count = outputs.length;
    const drawn = { tokens: new Int32Array(count).fill(-1), logprobs: new Float32Array(count).fill(NaN) };
    const errors = new Int32Array(count);
    const kept = new Int32Array(count);
    const resultOf = (reports: readonly Report[], round: Partial<NativeRound> = {}): RunResult => {
      const { tokens: said = drawn.tokens.slice(), logprobs = drawn.logprobs.slice() } = round;
      const { errors: codes = errors, ms, rows } = round;
      return {
        tokens: said,
        logprobs,
        top: Array.from(said, (_, index) => pairs(reports[index])),
        errors: Array.from(said, (_, index) => samplingError(codes[index], reports[index])),
        kept: round.kept ?? kept,
        ...(trees ? { trees: trees.map(treeOf) } : {}),
        ...(ms === undefined ? {} : { ms }),
        ...(rows ? { seats: seatsOf(rows, round) } : {}),
      };
    };
    let last: RunResult | undefined;
    const told = (reports: readonly Report[], round: NativeRound): void => {
      const result = resultOf(reports, round);
      // Kernels of the next round may be running: only lengths change.
      if (last === undefined) commitRows(kv, request, result);
      last = result;
      ahead?.told(last);
    };
    const call: NativeRequest = {
      rows: tokens.length,
      outputs: outputs.length,
      bindings: [
        ...(logits ? [[this.logits, logits] as const] : []),
        ...Object.entries(inputs ?? {}).map(([name, data]) => [compiled.inputId(name), data] as const),
        ...Object.entries(taps ?? {})
          .filter(([name]) => !(this.device && request.judged?.includes(name)))
          .map(([name, data]) => [compiled.program.outputs[name].id, data] as const),
      ],
      batch: nativeBatch(request, kv.native),
      ...(samplers
        ? {
            sampling: {
              logits: this.logits,
              samplers: samplers.map((sampler) => toNative(sampler)),
              ...(request.masks ? { masks: request.masks } : {}),
              ...(walks ? { walks: walks.map((walk) => nativeWalk(walk, compiled.program)) } : {}),
              ...(drafts ? { drafts: nativeDrafts(drafts) } : {}),
              ...(trees ? { trees } : {}),
              ...drawn,
              errors,
              kept,
            },
          }
        : {}),
      ...(ahead ? { ahead: nativeAhead(ahead, compiled.program, told) } : {}),
      ...(feedback && (ahead ?? trees) ? this.feeds(feedback) : {}),
    };
    try {
      const reports = await compiled.executable.run(call);
      return last ?? resultOf(reports ?? []);
    } catch (error) {
      throw fromNative(error);
    }
  }

  /** What rows read that follow the rows of a run, and the program that computes them, if that is another one. */
  private feeds({ input, output }: NonNullable<Program['feedback']>): Pick<NativeRequest, 'feedback' | 'fed'> {
    const feedback = [input.id, output.id] as const;
    if (input.kind === 'input') return { feedback };
    if (this.fed === undefined) {
      const options = { ...this.options, ...(this.device ? { device: this.device } : {}), repack: false };
      this.fed = new NativeProgram(fedProgram(this.compiled.program), this.bindWeight, {
        ...options,
        shares: this.compiled,
      });
    }
    return { feedback, fed: this.fed.executable };
  }

  /** Another program on the same device, whose weights are read where this one has them; `most` threads at most. */
  companion(program: Program, bindWeight: BindWeight, most = Infinity): NativeExecutor {
    const threads = Math.min(this.options.threads ?? 1, most);
    const options = { ...this.options, threads, repack: false, shares: this.compiled };
    const made = new NativeExecutor(program, bindWeight, options);
    this.companions = [...this.companions.filter(({ disposed }) => !disposed), made];
    return made;
  }

  /** The program that also returns these, and guesses for some layers; made when it is first asked for. */
  private programFor(guesses: Uint8Array | undefined, names: readonly string[] = []): NativeProgram {
    if (!guesses && names.length === 0) return this.compiled;
    const key = `${guesses?.join('') ?? ''}/${names.join()}`;
    let known = this.tapped.get(key);
    if (known === undefined) {
      const options = { ...this.options, ...(this.device ? { device: this.device } : {}), repack: false };
      const own = this.compiled.program;
      const guessing = guesses ? guessingProgram(own, (layer) => guesses[layer] === 1) : own;
      const program = names.length > 0 ? tappedProgram(guessing, names) : guessing;
      known = new NativeProgram(program, this.bindWeight, { ...options, shares: this.compiled });
      this.tapped.set(key, known);
    }
    return known;
  }

  /**
   * Rewrites quantised weights in the order that kernels read fastest, a few megabytes at a time between runs, off the
   * JavaScript thread, and gives the file's memory back meanwhile. Results are the same at every point. Yields the share
   * done, 0 to 1; may be left at any time.
   */
  async *repack(): AsyncGenerator<number> {
    for (let done = 0; done < 1 && !this.disposed; yield done) {
      try {
        done = await this.compiled.executable.pack(REPACK_BYTES);
      } catch (error) {
        throw fromNative(error);
      }
    }
  }

  /** The same behind the caller's back; a process may end before it is done. Without memory for it, it warns and stops. */
  async repackInBackground(): Promise<void> {
    try {
      for await (const _ of this.repack()) await new Promise((next) => setImmediate(next).unref());
    } catch (error) {
      process.emitWarning(error as Error);
    }
  }

  memory(): { weights: number; mapped: number; activations: number } {
    const { mapped, copied, packed, arena } = this.compiled.executable.sizes();
    const slots = this.experts()?.slotBytes ?? 0;
    const others = [...this.tapped.values(), ...(this.fed ? [this.fed] : [])];
    const more = others.reduce((sum, { executable }) => sum + executable.sizes().arena, 0);
    return { weights: copied + packed + slots, mapped, activations: arena + more };
  }

  /** Starts or stops profiling; calls and seconds per op so far. */
  profile(on?: boolean): Record<string, { calls: number; seconds: number }> {
    const sums: Record<string, { calls: number; seconds: number }> = {};
    for (const { op, calls, seconds } of this.compiled.executable.profile(on)) {
      if (calls === 0) continue;
      const sum = (sums[op] ??= { calls: 0, seconds: 0 });
      sum.calls += calls;
      sum.seconds += seconds;
    }
    return sums;
  }

  /** The same, for every call of the program, then of what runs beside it: the program with taps, heads. */
  profileCalls(on?: boolean): NativeCallProfile[] {
    const own = [this.compiled, ...this.tapped.values(), ...(this.fed ? [this.fed] : [])];
    const calls = own.flatMap(({ executable }) => executable.profile(on));
    const others = this.companions.filter(({ disposed }) => !disposed);
    return [...calls, ...others.flatMap((other) => other.profileCalls(on))];
  }

  /** What the store of its experts has done so far; undefined where all are in memory. */
  experts(): NativeExpertStatistics | undefined {
    return this.compiled.executable.experts();
  }

  /** Starts or stops recording what routers choose; what was recorded since it was last asked for. */
  routing(on?: boolean): Int32Array {
    return this.compiled.executable.routing(on);
  }

  /**
   * Bytes copied to a card and from it so far, seconds from the start of rounds there to their end, and rounds that began
   * there before the host had the tokens of the round before.
   */
  traffic(): { sent: number; received: number; waited: number; queued: number } {
    const sum = { sent: 0, received: 0, waited: 0, queued: 0 };
    for (const { executable } of [this.compiled, ...this.tapped.values()]) {
      const own = executable.sizes();
      for (const name of ['sent', 'received', 'waited', 'queued'] as const) sum[name] += own[name];
    }
    return sum;
  }

  /** Bytes of the card's memory; undefined on the CPU. */
  get deviceMemory(): number | undefined {
    const { device } = this;
    return device && nativeCall(() => native().devices(device.library).devices[device.index]?.memory);
  }

  /** Bytes of values of a round of 512 rows on the card, whether or not there was one; undefined on the CPU. */
  get roundBytes(): number | undefined {
    return this.device && this.compiled.executable.sizes().round;
  }

  /** Instruction-set level and threads in use. */
  describe(): { isa: string; threads: number } {
    const { isa, threads } = this.compiled.executable.sizes();
    return { isa, threads };
  }

  dispose(): void {
    this.disposed = true;
    for (const program of this.tapped.values()) program.dispose();
    this.fed?.dispose();
    this.compiled.dispose();
  }
}

function samplingError(code: number, report: Report): VivaceError | null {
  if (code === 0) return null;
  return new VivaceError(code === disposedSampler ? 'DISPOSED' : 'NUMERIC', String(report));
}
