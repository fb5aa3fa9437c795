// Runs a model along given tokens and compares what it says with what llama.cpp said there.
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { ModelConfig } from '../../lib/formats/model-config.js';
import type { ModelSource } from '../../lib/formats/model-source.js';
import { openModelFile } from '../../lib/formats/open.js';
import { WeightStore } from '../../lib/formats/weight-store.js';
import { buildProgram } from '../../lib/models/registry.js';
import type { Executor } from '../../lib/program/executor.js';
import type { DeviceName } from '../../lib/program/device-library.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { ReferenceExecutor } from '../../lib/program/reference/executor.js';
import type { DType } from '../../lib/program/dtype.js';

// Looked up once: a test runner makes every look-up of a global slow.
const { exp, log, max, min, abs } = Math;

export type Device = 'reference' | 'cpu' | DeviceName;

/** The most probable tokens, most probable first. */
export interface Top {
  readonly tokens: readonly number[];
  readonly probabilities: readonly number[];
}

/** A stored continuation of `test/fixtures/llama-cpp/`; see bench/peers/make-fixtures.mjs. */
export interface LlamaCppCase {
  readonly model: string;
  readonly dtype: DType;
  readonly contextLength: number;
  /** Of the GGUF file. */
  readonly sha256: string;
  readonly prompt: readonly number[];
  /** Greedy continuation. */
  readonly tokens: readonly number[];
  /** Per token of the continuation: the distribution it was chosen from. */
  readonly top: readonly Top[];
  /** Step → all log-probabilities, little-endian float32 in base64. */
  readonly full: Readonly<Record<string, string>>;
}

export const readFixture = <T>(name: string): T =>
  JSON.parse(fs.readFileSync(path.join(__dirname, '../fixtures/llama-cpp', `${name}.json`), 'utf8')) as T;

export interface RunOptions {
  readonly device: Device;
  /** Instruction-set level of the native executor; default: the best. */
  readonly isa?: string;
  readonly contextLength: number;
  /** Changes the opened model, to see that the comparison notices. */
  readonly mutate?: (source: ModelSource) => ModelSource;
}

/** A model that runs one sequence. */
export class ForcedRun {
  private readonly store: WeightStore;
  private readonly executor: Executor;
  readonly config: ModelConfig;

  constructor(file: string, { device, isa, contextLength, mutate = (source) => source }: RunOptions) {
    const source = mutate(openModelFile(file));
    const store = new WeightStore(source);
    this.store = store;
    this.config = source.config;
    const program = buildProgram(source.config, (tensor) => store.info(tensor), {
      contextLength,
      readVector: (tensor) => store.vector(tensor),
    });
    this.executor =
      device !== 'reference'
        ? new NativeExecutor(program, (tensor) => store.bind(tensor), { threads: 1, isa, deviceName: device })
        : new ReferenceExecutor(program, (tensor) => {
            const info = store.info(tensor);
            if (!info) throw new Error(tensor);
            return { ...info, bytes: store.bytes(tensor) };
          });
  }

  /**
   * Logits [vocab] after the prompt and after each of `tokens` but the last. The prompt is one run; what follows is one
   * run too (`together`), or one run per token, as when generating.
   */
  async along(prompt: readonly number[], tokens: readonly number[], together = false): Promise<Float32Array[]> {
    const { vocab } = this.config;
    const kv = this.executor.createKvCache({ maxPages: 64 });
    const sequence = kv.create();
    const all = [...prompt, ...tokens.slice(0, -1)];
    const logits: Float32Array[] = [];
    for (let from = 0; from < all.length; ) {
      const to = from > 0 ? from + 1 : together ? all.length : prompt.length;
      const wanted = Array.from({ length: to - from }, (_, row) => row).filter((row) => from + row >= prompt.length - 1);
      const out = new Float32Array(wanted.length * vocab);
      await this.executor.run(kv, {
        tokens: Int32Array.from(all.slice(from, to)),
        positions: Int32Array.from({ length: to - from }, (_, row) => from + row),
        sequences: new Int32Array(to - from).fill(sequence),
        outputs: Int32Array.from(wanted),
        logits: out,
      });
      wanted.forEach((_, index) => logits.push(out.slice(index * vocab, (index + 1) * vocab)));
      from = to;
    }
    kv.release(sequence);
    return logits;
  }

  dispose(): void {
    this.executor.dispose();
    this.store.close();
  }
}

export function softmax(logits: Float32Array): Float64Array {
  const top = logits.reduce((best, logit) => max(best, logit), -Infinity);
  const weights = Float64Array.from(logits, (logit) => exp(logit - top));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

export const argmax = (values: ArrayLike<number>): number => {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
};

export interface Deviation {
  /** Steps at which another token is the most probable. */
  readonly wrong: number;
  /** Largest difference of a listed probability, absolute. */
  readonly absolute: number;
  /** Largest over listed probabilities of the smaller of: relative difference / 2 %, absolute difference / 0.001. */
  readonly excess: number;
  /** Largest KL(llama.cpp ‖ this), over the steps with full distributions, in nats. */
  readonly divergence: number;
}

export function compare(logits: readonly Float32Array[], expected: Pick<LlamaCppCase, 'tokens' | 'top' | 'full'>): Deviation {
  let [wrong, absolute, excess, divergence] = [0, 0, 0, 0];
  logits.forEach((row, step) => {
    const probabilities = softmax(row);
    if (argmax(row) !== expected.tokens[step]) wrong++;
    expected.top[step].tokens.forEach((token, rank) => {
      const wanted = expected.top[step].probabilities[rank];
      const difference = abs(probabilities[token] - wanted);
      absolute = max(absolute, difference);
      excess = max(excess, min(difference / wanted / 0.02, difference / 0.001));
    });
    const full = expected.full[step];
    if (full !== undefined) divergence = max(divergence, divergenceFrom(full, probabilities));
  });
  return { wrong, absolute, excess, divergence };
}

function divergenceFrom(stored: string, probabilities: Float64Array): number {
  const bytes = Buffer.from(stored, 'base64');
  return probabilities.reduce((sum, probability, token) => {
    const wanted = bytes.readFloatLE(4 * token);
    return sum + exp(wanted) * (wanted - log(probability));
  }, 0);
}
