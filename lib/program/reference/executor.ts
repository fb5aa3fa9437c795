// The float64 reference behind the face of every executor: slow, plain, and the judge of the others.
import { expected, VivaceError } from '../../errors.js';
import type { Executor, KvCache, KvOptions, RowSampler, RunRequest, RunResult, SamplerOptions } from '../executor.js';
import type { KvShape, Program } from '../program.js';
import { ReferenceProgram } from './interpreter.js';
import type { BindReferenceWeight } from './interpreter.js';
import { ReferenceKv } from './kv-cells.js';

/** A sampler that draws from one row of logits. */
export interface LogitsSampler extends RowSampler {
  sample(logits: Float64Array): {
    readonly token: number;
    readonly logprob: number;
    readonly top: readonly (readonly [number, number])[];
  };
}

export class ReferenceExecutor implements Executor {
  readonly name = 'reference';
  readonly kvShape: KvShape;
  private readonly program: ReferenceProgram;
  private readonly columns: number;
  private lastRun: Promise<unknown> = Promise.resolve();
  private disposed = false;

  /**
   * A language model's program: it has a KV shape and an output `logits`. `makeSampler` is what `createSampler` gives
   * (lib/decode/reference-sampler.ts); without it the executor only computes logits.
   */
  constructor(
    program: Program,
    bindWeight: BindReferenceWeight,
    private readonly makeSampler?: (options: SamplerOptions) => LogitsSampler,
  ) {
    if (!program.kv || !program.outputs['logits']) {
      throw new VivaceError('INTERNAL', `${program.name}: a language model's program needs a KV shape and logits`);
    }
    this.kvShape = program.kv;
    this.columns = program.outputs['logits'].columns;
    this.program = new ReferenceProgram(program, bindWeight);
  }

  createKvCache(options: KvOptions): KvCache {
    return new ReferenceKv(this.kvShape, options);
  }

  createSampler(options: SamplerOptions): RowSampler {
    if (!this.makeSampler) throw new VivaceError('INTERNAL', 'This executor was made without samplers');
    return this.makeSampler(options);
  }

  /** Runs on the JavaScript thread, after the runs that were asked for before. */
  run(kv: KvCache, request: RunRequest): Promise<RunResult> {
    const result = this.lastRun.then(async () => {
      await new Promise(setImmediate); // timers and signals have their turn between rounds
      if (this.disposed) throw new VivaceError('DISPOSED', 'The executor was disposed');
      return this.runNow(kv, request);
    });
    this.lastRun = result.catch(() => undefined);
    return result;
  }

  memory(): { weights: number; mapped: number; activations: number } {
    return { weights: this.program.weightBytes, mapped: 0, activations: 0 };
  }

  dispose(): void {
    this.disposed = true;
  }

  private runNow(kv: KvCache, request: RunRequest): RunResult {
    if (!(kv instanceof ReferenceKv)) throw expected('a KV cache of this executor', 'kv', kv);
    const { tokens, positions, sequences, parents, outputs } = request;
    const { logits } = this.program.run({}, { tokens, positions, sequences, parents, outputRows: outputs, kv });
    request.logits?.set(logits);
    const drawn = Array.from(outputs, (_, index) =>
      draw(request.samplers?.[index] ?? null, logits.subarray(index * this.columns, (index + 1) * this.columns)),
    );
    const result = {
      tokens: Int32Array.from(drawn, ({ token }) => token),
      logprobs: Float32Array.from(drawn, ({ logprob }) => logprob),
      top: drawn.map(({ top }) => top),
      errors: drawn.map(({ error }) => error),
    };
    request.ahead?.told(result);
    return result;
  }
}

interface Drawn {
  readonly token: number;
  readonly logprob: number;
  readonly top: readonly (readonly [number, number])[] | null;
  readonly error: VivaceError | null;
}

function draw(sampler: RowSampler | null, logits: Float64Array): Drawn {
  const nothing = { token: -1, logprob: NaN, top: null, error: null };
  if (sampler === null) return nothing;
  if (!('sample' in sampler)) throw expected('a sampler of this executor', 'samplers', sampler);
  try {
    const { token, logprob, top } = (sampler as LogitsSampler).sample(logits);
    sampler.accept(Int32Array.of(token));
    return { token, logprob, top: top.length > 0 ? top : null, error: null };
  } catch (error) {
    // One sequence's error is not the others'.
    if (error instanceof VivaceError) return { ...nothing, error };
    throw error;
  }
}
