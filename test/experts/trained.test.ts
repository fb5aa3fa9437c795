// The trained mixture of experts: it writes, it knows its exercises, and the router of the next layer foresees what it will choose.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { best, popularity, traceAccuracy, type RoutingTrace } from '../../lib/experts/simulate/trace.js';
import { comparePolicies } from '../../lib/experts/simulate/compare.js';
import { fixedCosts } from '../../lib/experts/simulate/machine.js';
import { openModelFile } from '../../lib/formats/open.js';
import { WeightStore } from '../../lib/formats/weight-store.js';
import { embeddedModelPath, loadModel, type Model } from '../../lib/index.js';
import { evaluatePerplexity } from '../../lib/model/evaluation/perplexity.js';
import { buildProgram } from '../../lib/models/registry.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import type { Value } from '../../lib/program/program.js';
import { compare, ForcedRun, readFixture, type LlamaCppCase } from '../models/forced-run.js';

const file = path.join(__dirname, '../../models/experts/vivace-tiny-experts.gguf');
const training = path.join(__dirname, '../../training');
// From the end of `Sense and Sensibility`, which no model here has read.
const passage =
  'At the end of another day or two, Marianne growing visibly stronger every twelve hours, Mrs. Dashwood, urged equally by ' +
  "her own and her daughter's wishes, began to talk of removing to Barton. On HER measures depended those of her two friends; " +
  "Mrs. Jennings could not quit Cleveland during the Dashwoods' stay; and Colonel Brandon was soon brought, by their united " +
  'request, to consider his own abode there as equally determinate, if not equally indispensable.';
const story = 'Once upon a time there was a small dog named Tom. Tom liked to play in the garden with his friend.';
const cases = fs
  .readFileSync(path.join(training, 'data/eval.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as { kind: string; prompt: string; answer: string });
const scores = JSON.parse(fs.readFileSync(path.join(training, 'experts/scores.json'), 'utf8')) as {
  exercises: Record<string, number>;
  held_out: { all: { perplexity: number } };
};

const OVERFETCH = 1;
const EXERCISES = 6; // of each kind

/** Which experts the rows of one run go to in each layer, and what the router of each layer says of the input of the one before. */
class Routers {
  private readonly source = openModelFile(file);
  private readonly store = new WeightStore(this.source);
  private readonly executor: NativeExecutor;
  private readonly taps: readonly { input: string; logits: string; router: Float32Array }[];

  constructor() {
    const program = buildProgram(this.source.config, (tensor) => this.store.info(tensor), { contextLength: 1024 });
    // `hidden` comes first: it is asked of all rows, and then so is everything before it.
    const named: Record<string, Value> = { hidden: program.taps!['hidden'] };
    this.taps = program.calls.flatMap(({ op, inputs: [input, weight], outputs: [logits] }) => {
      if (op !== 'linear' || !weight?.name.endsWith('ffn_gate_inp.weight') || !input) return [];
      named[input.name] = input;
      named[logits.name] = logits;
      return [{ input: input.name, logits: logits.name, router: this.store.vector(weight.name) }];
    });
    this.executor = new NativeExecutor({ ...program, taps: named }, (tensor) => this.store.bind(tensor), {
      threads: 1,
    });
  }

  /** [layers][rows] of chosen and predicted experts. */
  async run(tokens: readonly number[]): Promise<{ chosen: number[][][]; predicted: number[][][] }> {
    const { width, experts } = this.source.config;
    if (!experts) throw new Error('no experts');
    const { count, used } = experts;
    const rows = tokens.length;
    const kv = this.executor.createKvCache({ maxPages: 64 });
    const sequence = kv.create();
    const sized = (name: string, columns: number): [string, Float32Array] => [name, new Float32Array(rows * columns)];
    const taps = Object.fromEntries([
      sized('hidden', width),
      ...this.taps.flatMap(({ input, logits }) => [sized(input, width), sized(logits, count)]),
    ]);
    await this.executor.run(kv, {
      tokens: Int32Array.from(tokens),
      positions: Int32Array.from({ length: rows }, (_, row) => row),
      sequences: new Int32Array(rows).fill(sequence),
      outputs: Int32Array.of(rows - 1),
      taps,
    });
    kv.release(sequence);
    const each = <T>(of: (row: number) => T): T[] => Array.from({ length: rows }, (_, row) => of(row));
    const chosen = this.taps.map(({ logits }) =>
      each((row) => best(taps[logits].subarray(row * count, (row + 1) * count), used)),
    );
    const predicted = this.taps.map(({ router }, layer) => {
      if (layer === 0) return each(() => []);
      const x = taps[this.taps[layer - 1].input];
      return each((row) =>
        best(
          Float64Array.from({ length: count }, (_, id) => {
            let sum = 0;
            for (let at = 0; at < width; at++) sum += router[id * width + at] * x[row * width + at];
            return sum;
          }),
          used + OVERFETCH,
        ),
      );
    });
    return { chosen, predicted };
  }

  dispose(): void {
    this.executor.dispose();
    this.store.close();
  }
}

let model: Model;
let dense: Model;
let trace: RoutingTrace; // a run per row, as in decoding
beforeAll(async () => {
  model = await loadModel(file, { threads: 1 });
  dense = await loadModel(embeddedModelPath(), { threads: 1 });
  const routers = new Routers();
  const { used, count } = openModelFile(file).config.experts!;
  const steps: RoutingTrace['steps'][number][] = [];
  for (const text of [passage, story, cases[0].prompt]) {
    const { chosen, predicted } = await routers.run([...model.tokenizer.encode(text)]);
    chosen[0].forEach((_, row) => {
      const layers = chosen.map((layer, index) => ({
        needed: popularity([layer[row]]),
        predicted: popularity([predicted[index][row]]),
      }));
      steps.push({ rows: 1, layers });
    });
  }
  routers.dispose();
  trace = { experts: count, used, overfetch: OVERFETCH, steps };
});
afterAll(() => {
  model.dispose();
  dense.dispose();
});

test('it is at most 8 MB, its routers are exact, and it has as many layers and experts as a cache needs to matter', () => {
  expect(fs.statSync(file).size).toBeLessThanOrEqual(8e6);
  const { config, tensors } = openModelFile(file);
  expect(config.experts).toMatchObject({ count: 16, used: 4, sparse: Array<boolean>(6).fill(true) });
  for (let layer = 0; layer < config.layers; layer++) {
    expect(tensors.get(`blk.${layer}.ffn_gate_inp.weight`)?.dtype).toBe('F32');
  }
});

const perplexity = async (of: Model): Promise<number> =>
  (await evaluatePerplexity({ model: of, text: passage, parts: 1 })).perplexity;

test('llama.cpp says the same: greedy tokens, and a divergence of at most 0.001', async () => {
  const expected = readFixture<LlamaCppCase>('trained-experts');
  expect(createHash('sha256').update(fs.readFileSync(file)).digest('hex')).toBe(expected.sha256);
  const run = new ForcedRun(file, { device: 'cpu', contextLength: expected.contextLength });
  const { wrong, divergence } = compare(await run.along(expected.prompt, expected.tokens), expected);
  run.dispose();
  expect({ wrong, divergence, near: divergence <= 1e-3 }).toMatchObject({ wrong: 0, near: true });
});

test('text surprises it about as much as the dense model', async () => {
  const [mixed, plain] = [await perplexity(model), await perplexity(dense)];
  expect(mixed).toBeLessThan(1.1 * plain);
  expect(scores.held_out.all.perplexity).toBeLessThan(1.05 * 29.8);
});

async function greedy(prompt: string, maxTokens: number): Promise<string> {
  using session = model.createSession();
  let text = '';
  for await (const piece of session.generate(prompt, { maxTokens, temperature: 0 })) text += piece.text;
  return text;
}

test('it tells stories', async () => {
  const text = await greedy('Once upon a time', 60);
  const words = text.match(/[A-Za-z']+/g) ?? [];
  expect(words.length).toBeGreaterThan(15);
  expect(text).toMatch(/^,? there (was|lived) an? /);
  expect(text).toMatch(/\. /);
});

test('it knows its exercises about as well as its scores say', async () => {
  for (const kind of ['recall', 'copy', 'sort', 'correct']) {
    let right = 0;
    for (const { prompt, answer } of cases.filter((one) => one.kind === kind).slice(0, EXERCISES)) {
      const length = model.tokenizer.encode(answer, { addSpecial: false }).length;
      if ((await greedy(prompt, length)) === answer) right++;
    }
    expect({ kind, enough: right >= EXERCISES * scores.exercises[kind] - 2 }).toEqual({ kind, enough: true });
  }
});

test('with one prediction too many, the next layer is foreseen well above 90 %', () => {
  const layers = traceAccuracy(trace).slice(1);
  const mean = layers.reduce((sum, { accuracy }) => sum + accuracy, 0) / layers.length;
  for (const { accuracy } of layers) expect(accuracy).toBeGreaterThan(0.88);
  expect(mean).toBeGreaterThan(0.94);
});

test('on a machine whose copies fit under its layers, foreseeing halves what copies cost', () => {
  // A third of the experts has room; a layer computes for 1, an expert is copied in 0.25.
  const options = { costs: fixedCosts(1, 0.02, 0.25), slots: 32, warm: 30 };
  const [demand, lru, fate] = comparePolicies(trace, ['on-demand', 'lru', 'fate'], options);
  expect(fate.stallPerStep).toBeLessThan(0.5 * lru.stallPerStep);
  expect(lru.stallPerStep).toBeLessThan(demand.stallPerStep);
});
