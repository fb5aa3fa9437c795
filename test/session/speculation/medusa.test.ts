// Medusa heads: what they draft is what each says in float64 of the target's last row; texts are those without drafts.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { AcceptanceProfile, eagle, embeddedModelPath, loadModel, medusa, VivaceError } from '../../../lib/index.js';
import type { GenerateOptions, Model } from '../../../lib/index.js';
import { headWeights } from '../../../lib/formats/hugging-face/heads/directory.js';
import { openMedusaHeads } from '../../../lib/formats/hugging-face/heads/medusa.js';
import { WeightStore } from '../../../lib/formats/weight-store.js';
import { referenceExecutor } from '../../../lib/model/reference.js';
import { buildMedusa } from '../../../lib/models/medusa.js';
import type { DType } from '../../../lib/program/dtype.js';
import { writeRandomMedusa, type RandomMedusa } from '../../fixtures/random/medusa.js';
import { grownTree, pathsOf } from '../../decode/tree/plain-trees.js';
import { testDevices } from '../../ops/executors.js';
import { answer, featuresOf, folder, generate, modelFile, promptOf, spy, type Seen } from './heads.js';
import { asking } from './setting.js';

const ownHeads = path.join(path.dirname(embeddedModelPath()), 'vivace-tiny-medusa');

let written = 0;
function headsOf(model: Model, options: RandomMedusa): string {
  const directory = path.join(folder, `medusa-${written++}`);
  writeRandomMedusa(directory, model.base().config, options);
  return directory;
}

/** What all heads say of a row of the target, in float64: [heads][vocab]. */
async function said(model: Model, directory: string, feature: Float32Array): Promise<Float32Array[]> {
  const { config, store } = model.base();
  const opened = openMedusaHeads(directory, config);
  const own = new WeightStore(opened);
  const of = headWeights(own, store);
  const executor = referenceExecutor(
    buildMedusa(config, (tensor) => of(tensor).info(tensor), opened),
    of,
  );
  const kv = executor.createKvCache({ maxPages: 1 });
  const logits = new Float32Array(opened.heads * config.vocab);
  await executor.run(kv, {
    tokens: Int32Array.of(0),
    positions: Int32Array.of(0),
    sequences: Int32Array.of(kv.create()),
    outputs: Int32Array.of(0),
    logits,
    inputs: { features: feature },
  });
  own.close();
  return Array.from({ length: opened.heads }, (_, i) => logits.subarray(i * config.vocab, (i + 1) * config.vocab));
}

const cases: [string, DType, RandomMedusa][] = [
  ['llama', 'F32', { heads: 3, layers: 2 }],
  ['gemma2', 'F16', { heads: 2, outputs: false, dtype: 'BF16' }],
  ['default', 'F16', { heads: 4, layers: 1, outputs: false, dtype: 'F16' }],
];

describe.each(testDevices())('on %s', (device) => {
  const few = device !== 'cpu';

  test.each(few ? cases.slice(0, 1) : cases)(
    '%s in %s (%j): drafts are the reference’s',
    async (name, dtype, options) => {
      const model = await loadModel(modelFile(name, dtype), { threads: 2, device, contextLength: 512 });
      const directory = headsOf(model, options);
      const depth = options.heads as number;
      const text = promptOf(few ? 7 : 33);
      const greedy: GenerateOptions = { temperature: 0, maxTokens: 10 };
      const plain = await generate(model, text, greedy);
      for (const tree of few ? [true] : [true, false]) {
        const [topK, width] = [3, 4];
        const drafter = medusa(model, directory, { minProbability: 0, tree: { topK, width } });
        const seen: Seen[] = [];
        const shape = { drafter: spy(drafter, seen), adaptive: false, maxDraft: depth + 1 };
        const speculation = { ...shape, ...(tree ? { maxNodes: 9 } : {}) };
        const result = await generate(model, text, { ...greedy, speculation });
        expect(result.tokens).toEqual(plain.tokens);
        const full = seen.filter(({ depth: most, nodes }) => most >= depth && (!tree || nodes > most));
        expect(full.length).toBeGreaterThan(0);
        for (const { text: known, draft, nodes } of full.slice(-2)) {
          const features = await featuresOf(model, known, ['hidden']);
          const heads = await said(model, directory, features.slice(-model.base().config.width));
          const grown = tree ? { nodes, topK, width } : { nodes: depth, topK: 1, width: 1 };
          const wanted = await grownTree((way) => heads[way.length], { depth, least: 0, ...grown });
          expect(pathsOf(draft)).toEqual(pathsOf(wanted));
          draft.scores.forEach((score, node) =>
            expect(Math.abs(Math.log(score) - Math.log(wanted.scores[node]))).toBeLessThan(5e-2),
          );
        }
        drafter.dispose();
      }
      model.dispose();
    },
  );

  const kinds: [string, GenerateOptions][] = [
    ['greedy', { temperature: 0 }],
    ['sampled', { temperature: 0.7, topK: 0, topP: 1, minP: 0, seed: 5 }],
    ['with penalties', { temperature: 0.8, seed: 6, repetitionPenalty: 1.3, topP: 0.9 }],
  ];
  test.each(few ? kinds.slice(0, 2) : kinds)('chains and trees, grown and by a profile: %s', async (_, options) => {
    // The embedded model's own heads; a card that is emulated takes long for its model.
    const model = await loadModel(few ? modelFile('llama', 'F16', true) : 'default', {
      threads: 2,
      device,
      contextLength: 512,
    });
    const directory = few ? headsOf(model, { outputs: false, dtype: 'F16' }) : ownHeads;
    const all = { ...options, maxTokens: few ? 8 : 40 };
    const prompt = promptOf(few ? 5 : 40);
    const plain = await generate(model, prompt, all);
    let accepted = 0;
    for (const profile of few ? [undefined] : [undefined, new AcceptanceProfile()]) {
      using drafter = medusa(model, directory, { minProbability: 0, ...(profile ? { profile } : {}) });
      for (const maxNodes of few ? [8] : [0, 14]) {
        const speculation = { drafter, adaptive: false, maxDraft: 3, ...(maxNodes > 0 ? { maxNodes } : {}) };
        const first = await generate(model, prompt, { ...all, speculation });
        // A profile that has never seen a token kept drafts none.
        if (!profile) expect(first.speculation!.drafted).toBeGreaterThan(first.speculation!.draftedRounds);
        accepted += first.speculation!.accepted;
        const match = { ...speculation, verifier: 'match' as const };
        expect((await generate(model, prompt, { ...all, speculation: match })).tokens).toEqual(plain.tokens);
        if (options.temperature === 0) expect(first.tokens).toEqual(plain.tokens);
        else if (!profile)
          expect((await generate(model, prompt, { ...all, speculation })).tokens).toEqual(first.tokens);
      }
    }
    if (!few) expect(accepted).toBeGreaterThan(options.temperature === 0 ? 60 : 20);
    model.dispose();
  });

  test('trees of one shape need no JavaScript: the same texts, and the profile knows as much', async () => {
    const model = await loadModel(few ? modelFile('llama', 'F16', true) : 'default', { threads: 1, device });
    const directory = few ? headsOf(model, { outputs: false, dtype: 'F16' }) : ownHeads;
    const taught = new AcceptanceProfile('made up');
    for (let i = 0; i < 63; i++) {
      const rank = [0, 1, 0, 2, 0, 1, 3][i % 7];
      taught.record([0, 1, 2].map((depth) => ({ depth, children: 4, rank })));
    }
    for (const options of kinds.map(([, one]) => one).slice(few ? 1 : 0, few ? 2 : 3)) {
      const results = [];
      const asked = [0, 0];
      for (const isNative of [true, false]) {
        const profile = new AcceptanceProfile('made up', taught.toJSON());
        using drafter = medusa(model, directory, { profile });
        const counted = asking(drafter, isNative, () => asked[isNative ? 0 : 1]++);
        const speculation = { drafter: counted, adaptive: false, maxDraft: 3, maxNodes: 9 };
        using session = model.createSession();
        const texts = [];
        // The second one with trees by what the first one has taught.
        for (const prompt of [promptOf(few ? 5 : 40), promptOf(3)])
          texts.push(await answer(session, prompt, { ...options, maxTokens: few ? 6 : 90, speculation }));
        results.push({
          tokens: texts.map(({ tokens }) => tokens),
          rounds: texts.map(({ speculation: books }) => [books!.rounds, books!.drafted, books!.accepted]),
          profile: JSON.stringify(profile),
        });
      }
      expect(results[0]).toEqual(results[1]);
      expect(results[0].rounds[0][1]).toBeGreaterThan(5);
      const rounds = results[0].rounds.reduce((sum, [count]) => sum + count, 0);
      expect(asked[0]).toBeLessThan(rounds / 2);
      expect(asked[1]).toBeGreaterThan(rounds / 2);
      expect(results[0].profile).not.toBe(JSON.stringify(taught));
    }
    model.dispose();
  });

  if (few) return;

  test('typical acceptance keeps more than exact verification at a temperature', async () => {
    const model = await loadModel('default', { threads: 1 });
    using drafter = medusa(model, ownHeads, { temperature: 0 });
    const kept = { lossless: 0, typical: 0 };
    for (const name of ['lossless', 'typical'] as const) {
      const verifier = name === 'typical' ? { name } : name;
      for (let seed = 1; seed < 9; seed++) {
        const speculation = { drafter, adaptive: false, maxDraft: 3, maxNodes: 16, verifier };
        const { speculation: books } = await generate(model, promptOf(9), {
          temperature: 1.3,
          maxTokens: 40,
          seed,
          speculation,
        });
        kept[name] += books!.accepted / books!.rounds;
      }
    }
    expect(kept.typical).toBeGreaterThan(kept.lossless);
    model.dispose();
  });

  test('several sessions at once, forked, rolled back and aborted, say what they say alone', async () => {
    const model = await loadModel(modelFile('llama', 'Q8_0', true), { threads: 2, contextLength: 512 });
    using drafter = medusa(model, headsOf(model, { outputs: false, gain: 0.2 }), { minProbability: 0 });
    const say = async (speculation: GenerateOptions['speculation']): Promise<unknown[]> => {
      const options: GenerateOptions = { temperature: 0, maxTokens: 20, ...(speculation ? { speculation } : {}) };
      using session = model.createSession();
      const first = await answer(session, promptOf(30), options);
      session.rollback(7);
      using fork = session.fork();
      const together = await Promise.all([answer(session, [9], options), answer(fork, [8, 8], options)]);
      const abort = new AbortController();
      const pieces = session.generate([1, 2], { ...options, maxTokens: 200, signal: abort.signal });
      await pieces.next();
      abort.abort();
      for (let next = await pieces.next(); !next.done;) next = await pieces.next();
      session.rollback(session.length - 50);
      return [first, ...together, await answer(session, [7], options)].map(({ tokens }) => tokens);
    };
    const plain = await say(undefined);
    expect(await say({ drafter })).toEqual(plain);
    expect(await say({ drafter, adaptive: false, maxDraft: 3, maxNodes: 12 })).toEqual(plain);
    model.dispose();
  });
});

describe('heads that are none', () => {
  const wrong: [string, VivaceError['code'], RandomMedusa, RegExp][] = [
    ['a missing bias', 'MISSING_TENSOR', { shapes: { '1.0.linear.bias': undefined } }, /1\.0\.linear\.bias/],
    ['another width', 'SHAPE_MISMATCH', { shapes: { '0.0.linear.weight': [128, 128] } }, /128/],
    ['another vocabulary', 'SHAPE_MISMATCH', { shapes: { '2.1.weight': [7, 256] } }, /7, 256/],
    [
      'a head with a block less',
      'FORMAT_INVALID',
      { layers: 2, shapes: { '1.1.linear.weight': undefined, '1.1.linear.bias': undefined, '1.2.weight': undefined } },
      /head 1/,
    ],
    ['tensors of a model', 'UNSUPPORTED_FEATURE', { shapes: { 'model.norm.weight': [256] } }, /model\.norm/],
  ];
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(modelFile('llama', 'F32'), { contextLength: 64 });
  });
  afterAll(() => model.dispose());

  test.each(wrong)('%s: %s', (_, code, options, message) => {
    const directory = headsOf(model, options);
    expect(() => medusa(model, directory)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });

  test('other files and options', () => {
    const code = (error: string) => expect.objectContaining({ code: error });
    const directory = headsOf(model, {});
    expect(() => medusa(model, '')).toThrow(code('INVALID_ARGUMENT'));
    expect(() => medusa(model, directory, { profile: 3 as never })).toThrow(code('INVALID_ARGUMENT'));
    expect(() => medusa(model, directory, { profile: path.join(folder, 'none.json') })).toThrow(code('FILE_NOT_FOUND'));
    expect(() => medusa(model, directory, { heads: 2 } as object)).toThrow(code('INVALID_ARGUMENT'));
    fs.renameSync(path.join(directory, 'medusa_lm_head.safetensors'), path.join(directory, 'medusa_lm_head.pt'));
    expect(() => medusa(model, directory)).toThrow(
      expect.objectContaining({
        code: 'FILE_NOT_FOUND',
        remedy: expect.stringMatching(/save_file.*medusa_lm_head\.safetensors/),
      }),
    );
    expect(() => eagle(model, headsOf(model, {}))).toThrow(code('FILE_NOT_FOUND'));
  });
});
