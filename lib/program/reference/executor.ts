// The float64 reference behind the face of every executor: slow, plain, and the judge of the others.
import { expected, VivaceError } from '../../errors.js';
import type {
  DraftWalk,
  Executor,
  KvCache,
  KvOptions,
  Proposal,
  RowSampler,
  RunRequest,
  RunResult,
  SamplerOptions,
  VerifyRule,
  WalkJudge,
} from '../executor.js';
import { kvLayers, type KvLayer } from '../kv-policy.js';
import type { KvShape, Program } from '../program.js';
import { inputWidths, tappedProgram, tapWidths } from '../taps.js';
import { ReferenceProgram } from './interpreter.js';
import type { BindReferenceWeight } from './interpreter.js';
import { ReferenceKv } from './kv-cells.js';

interface Drawn {
  readonly token: number;
  readonly logprob: number;
  readonly top: readonly (readonly [number, number])[];
}

/** A sampler that draws from one row of logits, and verifies drafts (lib/decode/reference-sampler.ts). */
export interface LogitsSampler extends RowSampler {
  sample(logits: Float64Array, mask?: Uint32Array | null): Drawn;
  propose(logits: Float64Array, cycle: number, step: number): Drawn & { readonly law: Float64Array };
  verify(
    draft: { readonly tokens: ArrayLike<number>; readonly parents: ArrayLike<number> },
    rule: VerifyRule,
    logits: readonly Float64Array[],
    cycle: number,
    drawing?: Drawing,
    lossy?: {
      readonly reflection?: NonNullable<DraftWalk['reflection']>;
      readonly judge?: Pick<WalkJudge, 'bound' | 'guarded' | 'longest'> & { readonly scores: ArrayLike<number> };
      readonly masks?: NonNullable<DraftWalk['masks']>;
    },
  ): {
    readonly kept: number[];
    readonly judged: readonly number[];
    readonly changed: readonly number[];
    readonly reports: readonly Drawn[];
  };
}

interface Drawing {
  readonly nodes: readonly ({ readonly law: Float64Array; readonly drawn: readonly number[] } | undefined)[];
  readonly replacement: boolean;
}

export class ReferenceExecutor implements Executor {
  readonly name = 'reference';
  readonly kvShape: KvShape;
  readonly kvLayers: readonly KvLayer[];
  readonly taps: Readonly<Record<string, number>>;
  readonly inputs: Readonly<Record<string, number>>;
  private readonly program: ReferenceProgram;
  private readonly tapped = new Map<string, ReferenceProgram>();
  private readonly columns: number;
  private lastRun: Promise<unknown> = Promise.resolve();
  private disposed = false;

  /**
   * A language model's program: it has a KV shape and an output `logits`. `makeSampler` is what `createSampler` gives
   * (lib/decode/reference-sampler.ts); without it the executor only computes logits.
   */
  constructor(
    program: Program,
    private readonly bindWeight: BindReferenceWeight,
    private readonly makeSampler?: (options: SamplerOptions) => LogitsSampler,
  ) {
    if (!program.kv || !program.outputs['logits']) {
      throw new VivaceError('INTERNAL', `${program.name}: a language model's program needs a KV shape and logits`);
    }
    this.kvShape = program.kv;
    this.kvLayers = kvLayers(program);
    this.taps = tapWidths(program);
    this.inputs = inputWidths(program);
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

  createProposal(replacement: boolean): Proposal {
    return new ReferenceProposal(replacement, this.columns);
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
    const { tokens, positions, sequences, parents, outputs, taps } = request;
    const program = taps ? this.withTaps(Object.keys(taps)) : this.program;
    const { compress } = request;
    const batch = { tokens, positions, sequences, parents, outputRows: outputs, kv, compress };
    const found = program.run(request.inputs ?? {}, batch);
    const { logits } = found;
    request.logits?.set(logits);
    for (const [name, data] of Object.entries(taps ?? {})) data.set(found[name]);
    const rowAt = (index: number): Float64Array => logits.subarray(index * this.columns, (index + 1) * this.columns);
    const drawn: Outcome[] = Array.from(outputs, (_, index) => {
      const sampler = request.samplers?.[index];
      return sampler
        ? attempt(() =>
            drawBy(logitsSampler(sampler), rowAt(index), request.drafts?.[index] ?? null, request.masks?.[index]),
          )
        : nothing;
    });
    const kept = new Int32Array(outputs.length);
    for (const walk of request.walks ?? []) verifyWalk(walk, request, rowAt, drawn, kept, found);
    this.commitWalks(kv, request, kept);
    const result = {
      tokens: Int32Array.from(drawn, ({ token }) => token),
      logprobs: Float32Array.from(drawn, ({ logprob }) => logprob),
      top: drawn.map(({ top }) => (top.length > 0 ? top : null)),
      errors: drawn.map(({ error }) => error),
      kept,
    };
    request.ahead?.told(result);
    return result;
  }

  private withTaps(names: readonly string[]): ReferenceProgram {
    const key = names.join();
    const known =
      this.tapped.get(key) ?? new ReferenceProgram(tappedProgram(this.program.program, names), this.bindWeight);
    this.tapped.set(key, known);
    return known;
  }

  /** Of a draft's rows the cache keeps the root and what was accepted. */
  private commitWalks(kv: KvCache, { outputs, sequences, parents, walks }: RunRequest, kept: Int32Array): void {
    for (const { output, rows } of walks ?? []) {
      const root = outputs[output];
      const sequence = sequences[root];
      const before = sequences.subarray(0, root).filter((other) => other === sequence).length;
      const stay = Array.from({ length: rows }, (_, i) => i).filter((i) => (kept[output + i] & 1) === 1);
      const added = sequences.subarray(root).filter((other) => other === sequence).length; // a second reading included
      const ordinals = [...Array.from({ length: before }, (_, i) => i), ...stay.map((i) => before + i)];
      if (parents) kv.keep(sequence, Int32Array.from(ordinals));
      else kv.truncate(sequence, kv.length(sequence) - added + stay.length); // a chain: what stays comes first
    }
  }
}

interface Outcome extends Drawn {
  readonly error: VivaceError | null;
}

const nothing: Outcome = { token: -1, logprob: NaN, top: [], error: null };

function logitsSampler(sampler: RowSampler): LogitsSampler {
  if (!('sample' in sampler)) throw expected('a sampler of this executor', 'samplers', sampler);
  return sampler as LogitsSampler;
}

/** One sequence's error is not the others'. */
function attempt(body: () => Drawn): Outcome {
  try {
    return { ...body(), error: null };
  } catch (error) {
    if (error instanceof VivaceError) return { ...nothing, error };
    throw error;
  }
}

function drawBy(
  sampler: LogitsSampler,
  logits: Float64Array,
  draft: { readonly proposal: Proposal; readonly cycle: number } | null,
  mask?: Uint32Array | null,
): Drawn {
  let drawn: Drawn;
  if (draft) {
    if (!(draft.proposal instanceof ReferenceProposal)) throw expected('a proposal of this executor', 'drafts', draft);
    const { law, ...rest } = sampler.propose(logits, draft.cycle, 0);
    draft.proposal.nodes[0] = { law, drawn: [rest.token] };
    drawn = rest;
  } else drawn = sampler.sample(logits, mask);
  sampler.accept(Int32Array.of(drawn.token));
  return drawn;
}

function verifyWalk(
  { output, rows, sampler, rule, proposal, cycle, reflection, judge, masks }: DraftWalk,
  { tokens, parents, outputs }: RunRequest,
  rowAt: (output: number) => Float64Array,
  drawn: Outcome[],
  keeps: Int32Array,
  found: Readonly<Record<string, Float64Array>>,
): void {
  const own = Array.from({ length: rows }, (_, i) => output + i);
  const root = outputs[output];
  const draft = {
    tokens: own.map((index) => tokens[outputs[index]]),
    parents: own.map((index, i) => (i === 0 ? -1 : parents ? parents[outputs[index]] - root : i - 1)),
  };
  keeps[output] = 1;
  const drawing = proposal instanceof ReferenceProposal ? proposal : undefined;
  drawn[output] = attempt(() => {
    const again = Array.from(reflection?.rows ?? [], (_, i) => output + rows + i);
    const hidden = judge && found[judge.feature];
    if (judge && !hidden) throw new VivaceError('INTERNAL', 'run: a judge wants hidden states');
    const lossy = {
      ...(reflection ? { reflection } : {}),
      ...(masks ? { masks } : {}),
      ...(judge && hidden ? { judge: { ...judge, scores: scoresOf(judge, hidden, root, rows) } } : {}),
    };
    const logits = [...own, ...again].map(rowAt);
    const { kept, judged, changed, reports } = logitsSampler(sampler).verify(
      draft,
      rule,
      logits,
      cycle,
      drawing,
      lossy,
    );
    kept.forEach((row, i) => {
      keeps[output + row] = 1 | (judged.includes(row) ? 2 : 0) | (changed.includes(row) ? 4 : 0);
      drawn[output + row] = { ...reports[i], error: null };
    });
    return reports[0];
  });
}

function scoresOf({ weights, bias }: WalkJudge, hidden: Float64Array, root: number, rows: number): number[] {
  return Array.from({ length: rows }, (_, row) =>
    weights.reduce((sum, weight, i) => sum + weight * hidden[(root + row) * weights.length + i], bias),
  );
}

class ReferenceProposal implements Proposal {
  readonly nodes: ({ law: Float64Array; drawn: number[] } | undefined)[] = [];
  constructor(
    readonly replacement: boolean,
    private readonly vocab: number,
  ) {}
  get size(): number {
    return this.nodes.length;
  }
  clear(): void {
    this.nodes.length = 0;
  }
  set(node: number, ids: Int32Array, weights: Float32Array, drawn: Int32Array): void {
    const law = new Float64Array(this.vocab);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    ids.forEach((id, i) => (law[id] = weights[i] / total));
    this.nodes[node] = { law, drawn: [...drawn] };
  }
  read(node: number): ReturnType<Proposal['read']> {
    const held = this.nodes[node];
    if (!held) return null;
    const ids = Int32Array.from(held.law.keys()).filter((id) => held.law[id] > 0);
    return { ids, weights: Float32Array.from(ids, (id) => held.law[id]), drawn: Int32Array.from(held.drawn) };
  }
}
