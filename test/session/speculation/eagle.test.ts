// EAGLE heads: what they draft is what the float64 reference drafts from the target's features, after every verification;
// texts are those without drafts; broken heads are errors with a code.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { eagle, loadModel, VivaceError } from '../../../lib/index.js';
import type { GenerateOptions, GenerateResult, Model, Session } from '../../../lib/index.js';
import type { Draft, Drafter } from '../../../lib/decode/speculation/drafter.js';
import { openEagleHead } from '../../../lib/formats/hugging-face/draft-head.js';
import { WeightStore } from '../../../lib/formats/weight-store.js';
import { buildEagle } from '../../../lib/models/eagle.js';
import { buildProgram } from '../../../lib/models/registry.js';
import { referenceExecutor } from '../../../lib/model/reference.js';
import type { DType } from '../../../lib/program/dtype.js';
import type { Executor } from '../../../lib/program/executor.js';
import { randomModel, writeRandomGguf } from '../../fixtures/random-model.js';
import { writeRandomEagle, type RandomHead } from '../../fixtures/random/eagle.js';
import { testDevices } from '../../ops/executors.js';

let folder: string;
beforeAll(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vivace-'))));
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** A path to a random model, whose layers say little where `quiet`, or to the embedded one. */
function modelFile(name: string, dtype: DType, quiet = false): string {
  if (name === 'default') return name;
  const file = path.join(folder, `${name}-${dtype}-${quiet}.gguf`);
  const random = randomModel(name);
  if (!fs.existsSync(file)) {
    writeRandomGguf(file, quiet ? { ...random, gains: { ...random.gains, block: 0.1 } } : random, dtype);
  }
  return file;
}

let heads = 0;
function headOf(model: Model, options: RandomHead): string {
  const directory = path.join(folder, `head-${heads++}`);
  writeRandomEagle(directory, model.base().config, options);
  return directory;
}

/** A model, and a head that is often right. */
async function pair(device: 'cpu' | 'cuda' | 'cuda-emulated' | 'reference', dtype: DType) {
  const model = await loadModel(modelFile('llama', dtype, true), { threads: 2, device, contextLength: 512 });
  const knows = model.base().store.vector('output_norm.weight');
  return { model, head: headOf(model, { bias: false, dtype: 'F16', knows }) };
}

async function answer(session: Session, prompt: readonly number[], options: GenerateOptions): Promise<GenerateResult> {
  const pieces = session.generate(prompt, options);
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}

async function generate(model: Model, prompt: readonly number[], options: GenerateOptions): Promise<GenerateResult> {
  using session = model.createSession();
  return await answer(session, prompt, options);
}

const promptOf = (length: number): number[] => Array.from({ length }, (_, i) => (i * 37 + 11) % 200);

/** A model and a head in float64, over whole texts. */
class Reference {
  readonly width: number;
  private readonly target: Executor;
  private readonly head: Executor;
  private readonly own: WeightStore;

  constructor(model: Model, directory: string) {
    const { config, store } = model.base();
    this.width = config.width;
    const options = { contextLength: 512, readVector: (tensor: string) => store.vector(tensor) };
    this.target = referenceExecutor(
      buildProgram(config, (tensor) => store.info(tensor), options),
      () => store,
    );
    const head = openEagleHead(directory, config);
    this.own = new WeightStore(head);
    const of = (tensor: string): WeightStore => (/^(token_embd|output)\./.test(tensor) ? store : this.own);
    const program = buildEagle(head.config, (tensor) => of(tensor).info(tensor), { contextLength: 512 });
    this.head = referenceExecutor({ ...program, taps: { hidden: program.feedback!.output } }, of);
  }

  /** Hidden rows of a run over a text, and the law behind its last token. */
  private async run(executor: Executor, tokens: readonly number[], features?: readonly number[]) {
    const kv = executor.createKvCache({ maxPages: 100 });
    const hidden = new Float32Array(tokens.length * this.width);
    const logits = new Float32Array(sizes.vocab);
    await executor.run(kv, {
      tokens: Int32Array.from(tokens),
      positions: Int32Array.from(tokens, (_, row) => row),
      sequences: new Int32Array(tokens.length).fill(kv.create()),
      outputs: Int32Array.of(tokens.length - 1),
      logits,
      taps: { hidden },
      ...(features ? { inputs: { features: Float32Array.from(features) } } : {}),
    });
    return { hidden, law: softmax(logits) };
  }

  /** The laws of a drafted chain's tokens behind a text. */
  async laws(text: readonly number[], chain: readonly number[]): Promise<Float64Array[]> {
    const features = [...(await this.run(this.target, text.slice(0, -1))).hidden];
    const tokens = text.slice(1);
    const laws: Float64Array[] = [];
    for (const token of chain) {
      const { hidden, law } = await this.run(this.head, tokens, features);
      laws.push(law);
      features.push(...hidden.subarray(-this.width));
      tokens.push(token);
    }
    return laws;
  }

  close(): void {
    this.own.close();
  }
}
const sizes = { vocab: 0 };

function softmax(logits: Float32Array): Float64Array {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = Float64Array.from(logits, (value) => Math.exp(value - most));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

const bestOf = (law: Float64Array): number => law.reduce((most, value, token) => (value > law[most] ? token : most), 0);

interface Seen {
  readonly text: readonly number[];
  readonly draft: Draft;
  /** What the text becomes. */
  readonly whole: readonly number[];
}

/** Hears what the head drafts; `show` may show the target something else. */
function spy(
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
          if (draft.tokens.length > 0) seen.push({ text: [...text], draft, whole: text });
          return show(draft, text);
        },
        dispose: () => head.dispose(),
      };
    },
  };
}

const cases: [string, DType, RandomHead][] = [
  ['llama', 'F32', { bias: false }],
  ['gemma2', 'F16', { layers: 2, dtype: 'BF16' }],
  ['default', 'F16', { dtype: 'F16' }],
];

describe.each(testDevices())('on %s', (device) => {
  const few = device !== 'cpu';

  test.each(few ? cases.slice(0, 1) : cases)(
    '%s in %s: every drafted token is that of the reference, after every verification',
    async (name, dtype, options) => {
      const model = await loadModel(modelFile(name, dtype), { threads: 2, device, contextLength: 512 });
      sizes.vocab = model.base().config.vocab;
      const directory = headOf(model, options);
      const reference = new Reference(model, directory);
      const drafter = eagle(model, directory, { minProbability: 0 });
      const prompt = promptOf(few ? 9 : 40);
      const greedy: GenerateOptions = { temperature: 0, maxTokens: few ? 6 : 16 };
      const { tokens: said } = await generate(model, prompt, greedy);
      const seen: Seen[] = [];
      // A random head is never right: part of what the target will say, and one wrong token.
      const shown = spy(drafter, seen, (_, text) => {
        const at = text.length - prompt.length;
        const tokens = Int32Array.of(...said.slice(at, at + (seen.length % 3)), 5);
        return { tokens, parents: tokens.map((_node, i) => i - 1), scores: new Float32Array(tokens.length).fill(1) };
      });
      const shape = { drafter: shown, adaptive: false, maxDraft: 3 };
      const result = await generate(model, prompt, { ...greedy, speculation: shape });
      expect(result.tokens).toEqual(said);
      expect(result.speculation?.accepted).toBeGreaterThan(few ? 0 : 4);

      for (const { text, draft } of few ? seen.slice(-1) : seen.slice(-4)) {
        const laws = await reference.laws(text, [...draft.tokens]);
        expect(laws.length).toBeGreaterThan(1);
        let score = 1;
        laws.forEach((law, node) => {
          expect(draft.tokens[node]).toBe(bestOf(law));
          score *= law[draft.tokens[node]];
          expect(Math.abs(draft.scores[node] - score)).toBeLessThan(2e-3);
        });
      }
      reference.close();
      drafter.dispose();
      model.dispose();
    },
  );

  const kinds: [string, GenerateOptions][] = [
    ['greedy', { temperature: 0 }],
    ['sampled', { temperature: 0.7, topK: 0, topP: 1, minP: 0, seed: 5 }],
    ['sampled with penalties', { temperature: 0.8, seed: 6, repetitionPenalty: 1.3, topP: 0.9 }],
  ];
  test.each(few ? kinds.slice(0, 2) : kinds)('a head that is often right: %s', async (_, options) => {
    const { model, head } = await pair(device, few ? 'F16' : 'Q8_0');
    const drafter = eagle(model, head, { minProbability: 0 });
    const all = { ...options, maxTokens: few ? 12 : 60 };
    const speculation = { drafter, adaptive: false, maxDraft: few ? 2 : 4 };
    const { tokens, speculation: books } = await generate(model, promptOf(few ? 5 : 70), { ...all, speculation });
    expect(books!.accepted / books!.drafted).toBeGreaterThan(0.15);
    const again = await generate(model, promptOf(few ? 5 : 70), { ...all, speculation });
    expect(again.tokens).toEqual(tokens);
    if (options.temperature === 0 || few) {
      const match = { ...speculation, verifier: 'match' as const };
      const plain = await generate(model, promptOf(few ? 5 : 70), all);
      expect((await generate(model, promptOf(few ? 5 : 70), { ...all, speculation: match })).tokens).toEqual(
        plain.tokens,
      );
      if (options.temperature === 0) expect(tokens).toEqual(plain.tokens);
    }
    drafter.dispose();
    model.dispose();
  });

  if (few) return;

  test('what is accepted of first tokens is what the reference, along the same text, would have got right', async () => {
    const { model, head } = await pair('cpu', 'F32');
    sizes.vocab = model.base().config.vocab;
    const reference = new Reference(model, head);
    const drafter = eagle(model, head, { minProbability: 0 });
    const seen: Seen[] = [];
    const prompt = promptOf(6);
    const speculation = { drafter: spy(drafter, seen), adaptive: false, maxDraft: 2 };
    const { speculation: books } = await generate(model, prompt, { temperature: 0, maxTokens: 40, speculation });
    let right = 0;
    for (const { text, whole } of seen)
      if (bestOf((await reference.laws(text, [0]))[0]) === whole[text.length]) right++;
    expect(books!.draftedRounds).toBe(seen.length);
    expect(seen.length).toBeGreaterThan(8);
    expect(books!.acceptanceByPosition[0]).toBeCloseTo(right / seen.length, 10);
    expect(right).toBeGreaterThan(2);
    reference.close();
    drafter.dispose();
    model.dispose();
  });

  test('sessions that go on, are rolled back, forked, aborted or share rounds say what they say without drafts', async () => {
    const { model, head } = await pair('cpu', 'Q8_0');
    using drafter = eagle(model, head);
    const say = async (speculation: GenerateOptions['speculation']): Promise<unknown[]> => {
      const options: GenerateOptions = { temperature: 0, maxTokens: 20, ...(speculation ? { speculation } : {}) };
      using session = model.createSession();
      const first = await answer(session, promptOf(30), options);
      session.rollback(7);
      const second = await answer(session, [3, 4], options);
      using fork = session.fork();
      const together = await Promise.all([answer(session, [9], options), answer(fork, [8, 8], options)]);
      const abort = new AbortController();
      const pieces = session.generate([1, 2], { ...options, maxTokens: 200, signal: abort.signal });
      await pieces.next();
      abort.abort();
      for (let next = await pieces.next(); !next.done;) next = await pieces.next();
      session.rollback(session.length - 60);
      const last = await answer(session, [7], options);
      return [first, second, ...together, last].map(({ tokens }) => tokens);
    };
    expect(await say({ drafter })).toEqual(await say(undefined));
    expect(await say({ drafter, adaptive: false, maxDraft: 3 })).toEqual(await say(undefined));
    model.dispose();
  });

  test('the reference executor drafts with heads, too', async () => {
    const { model, head } = await pair('reference', 'F32');
    const drafter = eagle(model, head, { minProbability: 0 });
    const greedy: GenerateOptions = { temperature: 0, maxTokens: 8 };
    const speculation = { drafter, adaptive: false, maxDraft: 2 };
    const { tokens, speculation: books } = await generate(model, promptOf(5), { ...greedy, speculation });
    expect(tokens).toEqual((await generate(model, promptOf(5), greedy)).tokens);
    expect(books!.accepted).toBeGreaterThan(0);
    drafter.dispose();
    model.dispose();
  });

  test('weights that a head shares with its model are in memory once', async () => {
    const { model, head } = await pair('cpu', 'Q8_0');
    await model.repack();
    const { config, companion, store } = model.base();
    const opened = openEagleHead(head, config);
    const own = new WeightStore(opened);
    const of = (tensor: string): WeightStore => (/^(token_embd|output)\./.test(tensor) ? store : own);
    const program = buildEagle(opened.config, (tensor) => of(tensor).info(tensor), { contextLength: 64 });
    const executor = companion(program, of);
    const vectors = [...opened.tensors.values()].filter(({ shape }) => shape.length === 1).length;
    expect(executor.memory().weights).toBeLessThan(8 * config.width * (vectors + 1));
    executor.dispose();
    own.close();
    model.dispose();
  });

  test('heads that are disposed of, or whose model is', async () => {
    const { model, head } = await pair('cpu', 'F32');
    const drafter = eagle(model, head);
    drafter.dispose();
    const options: GenerateOptions = { maxTokens: 3, speculation: { drafter } };
    await expect(generate(model, [1, 2], options)).rejects.toMatchObject({ code: 'DISPOSED' });
    expect((await generate(model, [1, 2], { maxTokens: 3 })).tokens).toHaveLength(3);
    model.dispose();
    expect(() => eagle(model, head)).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
  });
});

describe('heads that are none', () => {
  const wrong: [string, VivaceError['code'], RandomHead, RegExp][] = [
    ['a layer less than config.json says', 'FORMAT_INVALID', { config: { num_hidden_layers: 2 } }, /says 2 layers/],
    ['no fc', 'MISSING_TENSOR', { shapes: { 'fc.weight': undefined } }, /fc\.weight/],
    [
      'no output projection',
      'MISSING_TENSOR',
      { shapes: { 'layers.0.self_attn.o_proj.weight': undefined } },
      /attn_output/,
    ],
    ['fc of another shape', 'SHAPE_MISMATCH', { shapes: { 'fc.weight': [256, 768] } }, /fc\.weight/],
    ['another width', 'SHAPE_MISMATCH', { config: { hidden_size: 128 } }, /width 128/],
    ['another vocabulary', 'SHAPE_MISMATCH', { config: { vocab_size: 7 } }, /7 tokens/],
    [
      'a norm before its first layer',
      'UNSUPPORTED_FEATURE',
      { shapes: { 'layers.0.input_layernorm.weight': [256] } },
      /attn_norm/,
    ],
    ['an EAGLE-3 head', 'UNSUPPORTED_FEATURE', { shapes: { d2t: [8] } }, /EAGLE-3/],
    ['an unknown tensor', 'UNSUPPORTED_FEATURE', { shapes: { 'adapter.weight': [8] } }, /adapter/],
    ['another activation', 'UNSUPPORTED_FEATURE', { config: { hidden_act: 'gelu' } }, /activation/],
    ['a text for a number', 'FORMAT_INVALID', { config: { hidden_size: 'many' } }, /hidden_size/],
  ];
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(modelFile('llama', 'F32'), { contextLength: 64 });
  });
  afterAll(() => model.dispose());

  test.each(wrong)('%s: %s', (_, code, options, message) => {
    const directory = headOf(model, options);
    expect(() => eagle(model, directory)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });

  test('directories without files, and pickled ones', () => {
    const empty = fs.mkdtempSync(path.join(folder, 'empty-'));
    const code = (error: string) => expect.objectContaining({ code: error });
    expect(() => eagle(model, empty)).toThrow(code('FILE_NOT_FOUND'));
    fs.writeFileSync(path.join(empty, 'config.json'), '{}');
    fs.writeFileSync(path.join(empty, 'pytorch_model.bin'), 'x');
    expect(() => eagle(model, empty)).toThrow(expect.objectContaining({ remedy: expect.stringMatching(/pickled/) }));
    expect(() => eagle(model, '')).toThrow(code('INVALID_ARGUMENT'));
    expect(() => eagle({} as Model, empty)).toThrow(code('INVALID_ARGUMENT'));
    expect(() => eagle(model, empty, { depth: 3 } as object)).toThrow(code('INVALID_ARGUMENT'));
  });
});
