// An executor without a model: what follows a text is a hash of it, or a script. It checks every rule of a run request.
import { VivaceError } from '../../lib/errors.js';
import type {
  Executor,
  KvCache,
  Proposal,
  RowSampler,
  RunRequest,
  RunResult,
  SamplerOptions,
} from '../../lib/program/executor.js';

export class FakeKv implements KvCache {
  readonly pageBytes = 128;
  readonly cellBytes = 4;
  readonly sequences = new Map<number, number[]>();
  /** Written by rounds ahead, not committed. */
  readonly pending = new Map<number, number[]>();
  private next = 0;

  usedBytes(): number {
    return [...this.sequences.values()].reduce((sum, tokens) => sum + 4 * tokens.length, 0);
  }
  create(): number {
    this.sequences.set(this.next, []);
    return this.next++;
  }
  fork(sequence: number): number {
    const id = this.create();
    this.sequences.set(id, [...this.of(sequence)]);
    return id;
  }
  release(sequence: number): void {
    this.of(sequence);
    this.sequences.delete(sequence);
  }
  length(sequence: number): number {
    return this.of(sequence).length;
  }
  truncate(sequence: number, length: number): void {
    const tokens = this.of(sequence);
    if (length < 0 || length > tokens.length) throw new Error(`truncate to ${length} of ${tokens.length}`);
    tokens.length = length;
  }
  commit(sequence: number, count: number): void {
    const cells = this.pending.get(sequence)?.splice(0, count) ?? [];
    if (cells.length !== count) throw new Error(`commit ${count} cells, ${cells.length} are there`);
    this.of(sequence).push(...cells);
  }
  keep(): void {
    throw new Error('no trees here');
  }
  readCells(sequence: number, begin: number, count: number, out: Uint8Array): void {
    out.set(new Uint8Array(Int32Array.from(this.of(sequence).slice(begin, begin + count)).buffer));
  }
  writeCells(sequence: number, count: number, cells: Uint8Array): void {
    this.of(sequence).push(...new Int32Array(cells.slice().buffer, 0, count));
  }
  dispose(): void {
    this.sequences.clear();
  }
  of(sequence: number): number[] {
    const tokens = this.sequences.get(sequence);
    if (!tokens) throw new Error(`no sequence ${sequence}`);
    return tokens;
  }
}

export interface FakeOptions {
  readonly vocab: number;
  /** The token after a text. */
  readonly follow?: (tokens: readonly number[]) => number;
  /** Called with each request before it runs; may throw. */
  readonly watch?: (request: RunRequest) => void;
  /** How long a round takes. */
  readonly ms?: number;
}

export class FakeExecutor implements Executor {
  readonly name = 'reference';
  readonly kvShape = { layers: 1, kvHeads: 1, keyDim: 1, valueDim: 1 };
  readonly kvLayers = [{ heads: 1, window: 0 }];
  readonly taps = {};
  readonly inputs = {};
  readonly requests: RunRequest[] = [];
  samplers = 0; // alive
  roundsAhead = 0;
  private flies = false;

  constructor(private readonly options: FakeOptions) {}

  createKvCache(): FakeKv {
    return new FakeKv();
  }

  createSampler(_options: SamplerOptions): RowSampler {
    this.samplers++;
    return { accept: () => {}, retract: () => {}, dispose: () => this.samplers-- };
  }

  createProposal(): Proposal {
    throw new Error('nothing is drawn here');
  }

  async run(kv: FakeKv, request: RunRequest): Promise<RunResult> {
    if (this.flies) throw new Error('two rounds at once');
    this.flies = true;
    try {
      for (const sequence of request.sequences) kv.pending.delete(sequence);
      let result = await this.round(kv, request);
      const { ahead, sequences, outputs } = request;
      ahead?.told(result);
      for (let done = 1; ahead && done < Math.min(ahead.limit, Atomics.load(ahead.rounds, 0)); done++) {
        if (result.tokens.some((token, i) => ahead.ends.includes(token) || result.errors[i])) break;
        const rows = outputs.map((row) => sequences[row]);
        const begin = Array.from(rows, (sequence) => kv.length(sequence) + (kv.pending.get(sequence)?.length ?? 0));
        result = await this.round(
          kv,
          {
            ...request,
            tokens: result.tokens,
            positions: Int32Array.from(begin),
            sequences: rows,
            outputs: outputs.map((_, index) => index),
          },
          true,
        );
        this.roundsAhead++;
        ahead.told(result);
      }
      return result;
    } finally {
      this.flies = false;
    }
  }

  private async round(kv: FakeKv, request: RunRequest, ahead = false): Promise<RunResult> {
    this.requests.push(request);
    await new Promise((resolve) => (this.options.ms ? setTimeout(resolve, this.options.ms) : setImmediate(resolve)));
    this.options.watch?.(request);
    return this.runNow(kv, request, ahead);
  }

  memory(): { weights: number; mapped: number; activations: number } {
    return { weights: 0, mapped: 0, activations: 0 };
  }

  dispose(): void {}

  private runNow(kv: FakeKv, request: RunRequest, ahead: boolean): RunResult {
    const { tokens, positions, sequences, outputs, logits, samplers } = request;
    const { vocab, follow = (text) => hash(text) % vocab } = this.options;
    const texts = Array.from(tokens, (token, row) => {
      const pending = kv.pending.get(sequences[row]) ?? [];
      const text = [...kv.of(sequences[row]), ...pending];
      if (positions[row] !== text.length)
        throw new Error(`row ${row}: position ${positions[row]}, length ${text.length}`);
      if (ahead) kv.pending.set(sequences[row], [...pending, token]);
      else kv.of(sequences[row]).push(token);
      return [...text, token];
    });
    const drawn = new Int32Array(outputs.length).fill(-1);
    const errors = new Array<VivaceError | null>(outputs.length).fill(null);
    outputs.forEach((row, index) => {
      if (index > 0 && outputs[index - 1] >= row) throw new Error('outputs must ascend');
      const token = follow(texts[row]);
      if (logits) logits[index * vocab + token] = 1;
      if (!samplers?.[index]) return;
      if (token < 0) errors[index] = new VivaceError('NUMERIC', 'no number');
      else drawn[index] = token;
    });
    const kept = new Int32Array(outputs.length);
    for (const { output, rows } of request.walks ?? []) {
      let length = 0;
      for (let goes = true; goes; length++) {
        const row = outputs[output + length];
        kept[output + length] = 1;
        drawn[output + length] = follow(texts[row]);
        goes = length + 1 < rows && tokens[outputs[output + length + 1]] === drawn[output + length];
      }
      const text = kv.of(sequences[outputs[output]]);
      text.length += length - rows;
    }
    const nothing = { logprobs: new Float32Array(outputs.length), top: Array.from(outputs, () => null) };
    return { tokens: drawn, ...nothing, errors, kept };
  }
}

/** FNV-1a. */
export function hash(tokens: readonly number[]): number {
  let value = 0x811c9dc5;
  for (const token of tokens) value = Math.imul(value ^ token, 0x01000193) >>> 0;
  return (value ^ (value >>> 15)) >>> 0;
}
