// EAGLE heads: what they draft is what the float64 reference drafts from the target's features, after every verification;
// texts are those without drafts; broken heads are errors with a code.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { eagle, embeddedModelPath, loadModel, VivaceError } from '../../../lib/index.js';
import type { GenerateOptions, Model } from '../../../lib/index.js';
import { openEagleHead } from '../../../lib/formats/hugging-face/heads/eagle.js';
import { headWeights } from '../../../lib/formats/hugging-face/heads/directory.js';
import { WeightStore } from '../../../lib/formats/weight-store.js';
import { buildEagle } from '../../../lib/models/eagle.js';
import type { DType } from '../../../lib/program/dtype.js';
import type { RandomHead } from '../../fixtures/random/eagle.js';
import { grownTree, pathsOf } from '../../decode/tree/plain-trees.js';
import { testDevices } from '../../ops/executors.js';
import {
  answer,
  bestOf,
  folder,
  generate,
  headOf,
  modelFile,
  pair,
  promptOf,
  Reference,
  spy,
  type Seen,
} from './heads.js';

/** Random models have two layers, too few for those that EAGLE-3's authors take. */
const layered = { eagle_aux_hidden_state_layer_ids: [0, 1, 1] };

const cases: [string, DType, RandomHead][] = [
  ['llama', 'F32', { bias: false }],
  ['llama', 'F16', { third: 150, config: layered }],
  ['gemma2', 'F16', { layers: 4, dtype: 'BF16' }],
  ['gemma2', 'F32', { third: 90, dtype: 'F16' }],
  ['default', 'F16', { dtype: 'F16' }],
];

describe.each(testDevices())('on %s', (device) => {
  const few = device !== 'cpu';

  test.each(few ? cases.slice(0, 2) : cases)(
    '%s in %s (%j): every drafted token is that of the reference, after every verification',
    async (name, dtype, options) => {
      const model = await loadModel(modelFile(name, dtype), { threads: 2, device, contextLength: 512 });
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

  test.each(few ? cases.slice(0, 2) : cases.slice(0, 4))(
    '%s in %s (%j): every grown tree is that of the reference, after every verification',
    async (name, dtype, options) => {
      const model = await loadModel(modelFile(name, dtype), { threads: 2, device, contextLength: 512 });
      const directory = headOf(model, options);
      const reference = new Reference(model, directory);
      const [topK, width] = few ? [2, 2] : [3, 4];
      const drafter = eagle(model, directory, { minProbability: 0, tree: { topK, width } });
      const prompt = promptOf(few ? 9 : 40);
      const greedy: GenerateOptions = { temperature: 0, maxTokens: few ? 5 : 12 };
      const { tokens: said } = await generate(model, prompt, greedy);
      const seen: Seen[] = [];
      // The tree, and beside it what the target will say: a root's child more, or its path goes on.
      const shown = spy(drafter, seen, ({ tokens, parents, scores }, text) => {
        const right = said.slice(text.length - prompt.length).slice(0, seen.length % 3);
        const free = right.length > 0 && !tokens.some((token, node) => parents[node] < 0 && token === right[0]);
        const more = free ? right : [];
        return {
          tokens: Int32Array.of(...tokens, ...more),
          parents: Int32Array.of(...parents, ...more.map((_, i) => (i === 0 ? -1 : tokens.length + i - 1))),
          scores: Float32Array.of(...scores, ...more.map(() => 1)),
        };
      });
      const [maxDraft, maxNodes] = few ? [2, 4] : [3, 9];
      const speculation = { drafter: shown, adaptive: false, maxDraft, maxNodes };
      const result = await generate(model, prompt, { ...greedy, speculation });
      expect(result.tokens).toEqual(said);
      expect(result.speculation?.accepted).toBeGreaterThan(few ? 0 : 2);
      const last = seen.filter(({ depth }) => depth === maxDraft).slice(few ? -1 : -3);
      expect(last.length).toBe(few ? 1 : 3);
      for (const { text, draft, depth, nodes } of last) {
        const wanted = await grownTree(reference.behind(text), { depth, nodes, topK, width, least: 0 });
        expect(draft.tokens.length).toBeGreaterThan(depth);
        expect(pathsOf(draft)).toEqual(pathsOf(wanted));
        draft.scores.forEach((score, node) =>
          expect(Math.abs(Math.log(score) - Math.log(wanted.scores[node]))).toBeLessThan(2e-2),
        );
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
    const all = { ...options, maxTokens: few ? 8 : 60 };
    const chain = { drafter, adaptive: false, maxDraft: few ? 2 : 4 };
    const tree = { ...chain, maxNodes: few ? 4 : 12 };
    for (const speculation of few ? [options.temperature === 0 ? tree : chain] : [chain, tree]) {
      const { tokens, speculation: books } = await generate(model, promptOf(few ? 5 : 70), { ...all, speculation });
      expect(books!.accepted / books!.draftedRounds).toBeGreaterThan(0.3);
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
    }
    drafter.dispose();
    model.dispose();
  });

  if (few) return;

  test('what is accepted of first tokens is what the reference, along the same text, would have got right', async () => {
    const { model, head } = await pair('cpu', 'F32');
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
    expect(await say({ drafter, adaptive: false, maxDraft: 3, maxNodes: 9 })).toEqual(await say(undefined));
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
    const of = headWeights(own, store);
    const program = buildEagle(opened.config, (tensor) => of(tensor).info(tensor), { contextLength: 64 });
    const executor = companion(program, of, 1);
    const vectors = [...opened.tensors.values()].filter(({ shape }) => shape.length === 1).length;
    expect(executor.memory().weights).toBeLessThan(8 * config.width * (vectors + 1));
    executor.dispose();
    own.close();
    model.dispose();
  });

  test('EAGLE-3 heads as `speculators` writes them draft as those of the authors', async () => {
    const model = await loadModel(modelFile('llama', 'F32'), { threads: 1, contextLength: 128 });
    const drafts: Seen[][] = [];
    for (const speculators of [false, true]) {
      using drafter = eagle(model, headOf(model, { third: 150, config: layered, speculators }), { minProbability: 0 });
      const seen: Seen[] = [];
      const speculation = { drafter: spy(drafter, seen), adaptive: false, maxDraft: 3, maxNodes: 9 };
      await generate(model, promptOf(12), { temperature: 0, maxTokens: 8, speculation });
      drafts.push(seen);
    }
    expect(drafts[0].length).toBeGreaterThan(2);
    expect(drafts[1]).toEqual(drafts[0]);
    const other = headOf(model, { third: 150, config: { ...layered, norm_before_residual: true }, speculators: true });
    using drafter = eagle(model, other, { minProbability: 0 });
    const reference = new Reference(model, other);
    const seen: Seen[] = [];
    const speculation = { drafter: spy(drafter, seen), adaptive: false, maxDraft: 2 };
    await generate(model, promptOf(12), { temperature: 0, maxTokens: 5, speculation });
    const { text, draft } = seen[0];
    const laws = await reference.laws(text, [...draft.tokens]);
    expect([...draft.tokens]).toEqual(laws.map(bestOf));
    expect(draft.scores[0]).not.toBeCloseTo(drafts[0][0].draft.scores[0], 4);
    reference.close();
    model.dispose();
  });

  test.each(['eagle', 'eagle3'])('the embedded model’s own head %s is often right', async (name) => {
    const model = await loadModel('default', { threads: 2 });
    using drafter = eagle(model, path.join(path.dirname(embeddedModelPath()), `vivace-tiny-${name}`));
    const prompt = [...model.tokenizer.encode('Once upon a time there was a little girl')];
    const plain = await generate(model, prompt, { temperature: 0, maxTokens: 60 });
    for (const [maxNodes, least] of [
      [0, 2.2],
      [16, 2.7],
    ]) {
      const speculation = { drafter, adaptive: false, maxDraft: 6, maxNodes };
      const { tokens, speculation: books } = await generate(model, prompt, {
        temperature: 0,
        maxTokens: 60,
        speculation,
      });
      expect(tokens).toEqual(plain.tokens);
      expect(books!.tokensPerRound).toBeGreaterThan(least);
    }
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
    ['a map of tokens', 'UNSUPPORTED_FEATURE', { shapes: { d2t: [8] } }, /d2t/],
    ['layers that its model does not have', 'SHAPE_MISMATCH', { third: 64 }, /layer 2/],
    ['no map of its tokens', 'MISSING_TENSOR', { third: 64, config: layered, shapes: { d2t: undefined } }, /d2t/],
    ['a map of another size', 'FORMAT_INVALID', { third: 64, config: layered, shapes: { d2t: [63] } }, /d2t/],
    ['tokens beyond its model', 'FORMAT_INVALID', { third: 64, config: layered, step: 9 }, /makes token/],
    [
      'settings that runtimes read differently',
      'UNSUPPORTED_FEATURE',
      { third: 64, config: { eagle_config: {} } },
      /eagle_config/,
    ],
    [
      'q that reads no feature',
      'SHAPE_MISMATCH',
      { third: 64, config: layered, shapes: { 'midlayer.self_attn.q_proj.weight': [128, 256] } },
      /attn_q/,
    ],
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
    expect(() => eagle(model, empty)).toThrow(
      expect.objectContaining({
        code: 'FILE_NOT_FOUND',
        remedy: expect.stringMatching(/torch\.load.*save_file.*model\.safetensors/),
      }),
    );
    expect(() => eagle(model, '')).toThrow(code('INVALID_ARGUMENT'));
    expect(() => eagle({} as Model, empty)).toThrow(code('INVALID_ARGUMENT'));
    expect(() => eagle(model, empty, { depth: 3 } as object)).toThrow(code('INVALID_ARGUMENT'));
    expect(() => eagle(model, empty, { tree: { topK: 0 } })).toThrow(code('INVALID_ARGUMENT'));
  });
});
