// Random models with random heads that draft for them, a float64 reference of both over whole texts, and what tests of heads do.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { loadModel } from '../../../lib/index.js';
import type { GenerateOptions, GenerateResult, Model, Session } from '../../../lib/index.js';
import type { Draft, Drafter } from '../../../lib/decode/speculation/drafter.js';
import { headWeights } from '../../../lib/formats/hugging-face/heads/directory.js';
import { openEagleHead } from '../../../lib/formats/hugging-face/heads/eagle.js';
import { WeightStore } from '../../../lib/formats/weight-store.js';
import { headProgram } from '../../../lib/model/eagle.js';
import { buildProgram } from '../../../lib/models/registry.js';
import { referenceExecutor } from '../../../lib/model/reference.js';
import type { DType } from '../../../lib/program/dtype.js';
import type { Executor, KvCache } from '../../../lib/program/executor.js';
import { fedProgram } from '../../../lib/program/rewrite/feedback.js';
import { randomModel, writeRandomGguf } from '../../fixtures/random-model.js';
import { writeRandomEagle, type RandomHead } from '../../fixtures/random/eagle.js';

export let folder: string;
beforeAll(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vivace-'))));
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** A path to a random model, whose layers say little where `quiet`, or to the embedded one. */
export function modelFile(name: string, dtype: DType, quiet = false): string {
  if (name === 'default') return name;
  const file = path.join(folder, `${name}-${dtype}-${quiet}.gguf`);
  const random = randomModel(name);
  if (!fs.existsSync(file)) {
    writeRandomGguf(file, quiet ? { ...random, gains: { ...random.gains, block: 0.1 } } : random, dtype);
  }
  return file;
}

let heads = 0;
export function headOf(model: Model, options: RandomHead): string {
  const directory = path.join(folder, `head-${heads++}`);
  writeRandomEagle(directory, model.base().config, options);
  return directory;
}

/** A model, and a head that is often right. */
export async function pair(device: 'cpu' | 'cuda' | 'cuda-emulated' | 'reference', dtype: DType) {
  const model = await loadModel(modelFile('llama', dtype, true), { threads: 2, device, contextLength: 512 });
  const knows = model.base().store.vector('output_norm.weight');
  return { model, head: headOf(model, { bias: false, dtype: 'F16', knows }) };
}

export async function answer(
  session: Session,
  prompt: readonly number[],
  options: GenerateOptions,
): Promise<GenerateResult> {
  const pieces = session.generate(prompt, options);
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}

export async function generate(
  model: Model,
  prompt: readonly number[],
  options: GenerateOptions,
): Promise<GenerateResult> {
  using session = model.createSession();
  return await answer(session, prompt, options);
}

export const promptOf = (length: number): number[] => Array.from({ length }, (_, i) => (i * 37 + 11) % 200);

/** A run over rows behind a sequence in float64: values in between, and the law behind the last row. */
async function run(
  executor: Executor,
  kv: KvCache,
  sequence: number,
  tokens: readonly number[],
  taps: readonly string[],
  vocab: number,
  inputs: Record<string, Float32Array> = {},
) {
  const logits = new Float32Array(vocab);
  const values = Object.fromEntries(taps.map((name) => [name, new Float32Array(tokens.length * executor.taps[name])]));
  const begin = kv.length(sequence);
  await executor.run(kv, {
    tokens: Int32Array.from(tokens),
    positions: Int32Array.from(tokens, (_, row) => begin + row),
    sequences: new Int32Array(tokens.length).fill(sequence),
    outputs: Int32Array.of(tokens.length - 1),
    logits,
    taps: values,
    inputs,
  });
  return { values, logits };
}

const cacheOf = (executor: Executor): KvCache =>
  executor.createKvCache({ keyType: 'F32', valueType: 'F32', maxPages: 1000 });

const targets = new WeakMap<Model, Executor>();

/** What a model knows of each of a text's tokens, but the last, whose row no target has read: [rows, taps side by side]. */
export async function featuresOf(
  model: Model,
  text: readonly number[],
  taps: readonly string[],
): Promise<Float32Array> {
  const { config, store } = model.base();
  const options = { contextLength: 512, readVector: (tensor: string) => store.vector(tensor) };
  let executor = targets.get(model);
  executor ??= referenceExecutor(
    buildProgram(config, (tensor) => store.info(tensor), options),
    () => store,
  );
  targets.set(model, executor);
  const kv = cacheOf(executor);
  const { values } = await run(executor, kv, kv.create(), text.slice(0, -1), taps, config.vocab);
  const { width } = config;
  const row = (index: number) => taps.flatMap((name) => [...values[name].subarray(index * width, (index + 1) * width)]);
  return Float32Array.from(Array.from({ length: text.length - 1 }, (_, index) => row(index)).flat());
}

type Known = Awaited<ReturnType<typeof run>> & { readonly sequence: number };

/** A model and a head in float64, over whole texts. */
export class Reference {
  private readonly taps: readonly string[];
  private readonly vocab: number;
  private readonly head: Executor;
  private readonly fed: Executor; // rows that read what the rows before them left
  private readonly read: string; // as this input
  private readonly own: WeightStore;
  private readonly kv: KvCache;
  private readonly known = new Map<string, Known>();

  constructor(
    private readonly model: Model,
    directory: string,
  ) {
    const { config, store } = model.base();
    this.vocab = config.vocab;
    const head = openEagleHead(directory, config);
    this.taps = head.third ? head.third.layers.map((layer) => `residual.${layer}`) : ['hidden'];
    this.own = new WeightStore(head);
    const of = headWeights(this.own, store);
    const program = headProgram(head, of, config, 512);
    const feedback = program.feedback!;
    [this.head, this.fed] = [program, fedProgram(program)].map((one) =>
      referenceExecutor({ ...one, taps: { left: feedback.output } }, of),
    );
    this.read = fedProgram(program).feedback!.input.name;
    this.kv = cacheOf(this.head);
  }

  /** The head's row behind a text and a drafted path; computed once. */
  private async behindPath(text: readonly number[], path: readonly number[]): Promise<Known> {
    const key = `${text.join()};${path.join()}`;
    let found = this.known.get(key);
    if (found) return found;
    if (path.length === 0) {
      const features = await featuresOf(this.model, text, this.taps);
      const sequence = this.kv.create();
      found = {
        ...(await run(this.head, this.kv, sequence, text.slice(1), ['left'], this.vocab, { features })),
        sequence,
      };
    } else {
      const before = await this.behindPath(text, path.slice(0, -1));
      const sequence = this.kv.fork(before.sequence);
      const left = { [this.read]: before.values['left'].slice(-this.fed.taps['left']) };
      found = { ...(await run(this.fed, this.kv, sequence, path.slice(-1), ['left'], this.vocab, left)), sequence };
    }
    this.known.set(key, found);
    return found;
  }

  /** The laws of a drafted chain's tokens behind a text. */
  async laws(text: readonly number[], chain: readonly number[]): Promise<Float64Array[]> {
    const laws: Float64Array[] = [];
    for (const end of chain.keys()) laws.push(softmax((await this.behindPath(text, chain.slice(0, end))).logits));
    return laws;
  }

  /** The law, as logits, behind a drafted path. */
  behind(text: readonly number[]): (path: readonly number[]) => Promise<Float64Array> {
    return async (path) => softmax((await this.behindPath(text, path)).logits).map(Math.log);
  }

  close(): void {
    this.own.close();
  }
}

function softmax(logits: Float32Array): Float64Array {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = Float64Array.from(logits, (value) => Math.exp(value - most));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

export const bestOf = (law: Float64Array): number =>
  law.reduce((most, value, token) => (value > law[most] ? token : most), 0);

export interface Seen {
  readonly text: readonly number[];
  readonly draft: Draft;
  /** What it might be at most. */
  readonly depth: number;
  readonly nodes: number;
  /** What the text becomes. */
  readonly whole: readonly number[];
}

/** Hears what the head drafts; `show` may show the target something else. */
export function spy(
  inner: Drafter,
  seen: Seen[],
  show: (draft: Draft, text: readonly number[]) => Draft = (draft) => draft,
): Drafter {
  return {
    name: 'spy',
    start(context) {
      const head = inner.start(context);
      const text: number[] = [];
      return {
        taps: head.taps,
        accept(tokens) {
          text.push(...tokens);
          head.accept(tokens);
        },
        async draft(most, nodes, cycle) {
          const draft = await head.draft(most, nodes, cycle);
          if (draft.tokens.length > 0) seen.push({ text: [...text], draft, whole: text, depth: most, nodes });
          return show(draft, text);
        },
        dispose: () => head.dispose(),
      };
    },
  };
}
