// Sessions under cache policies: endless texts, drafts, rollbacks, and models that say themselves what their layers keep.
import { readFileSync, writeFileSync } from 'node:fs';
import { draftTree, lmInfinite, loadModel, longGen, nGram, quantizeModel, window } from '../../../lib/index.js';
import type { GenerateOptions, GenerateResult, Model, Session } from '../../../lib/index.js';
import { openModelFile } from '../../../lib/formats/open.js';
import { randomModel, writeRandomGguf, writeRandomHuggingFace } from '../../fixtures/random-model.js';
import { scratch } from '../../formats/scratch.js';

const { at } = scratch();
const random = randomModel('llama');
let model: Model;
beforeAll(async () => {
  writeRandomGguf(at('llama.gguf'), random, 'F32');
  model = await loadModel(at('llama.gguf'), { threads: 2, contextLength: 64 });
});
afterAll(() => model.dispose());

const prompt = Array.from({ length: 30 }, (_, i) => 261 + ((i * 17) % 90));

async function say(session: Session, text: ArrayLike<number>, options: GenerateOptions = {}): Promise<GenerateResult> {
  const banned = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
  const pieces = session.generate(text, { temperature: 0, logitBias: banned, ...options });
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}
const kvOf = (): number => model.memoryUsage().kv;
const policies = [
  ['window', window({ sinks: 2, recent: 40, pageSize: 8 })],
  ['lm-infinite', lmInfinite({ sinks: 3, window: 40, pageSize: 8 })],
] as const;

test.each(policies)('%s: texts far beyond the context, in memory that does not grow', async (_, cache) => {
  using session = model.createSession({ cache });
  const first = await say(session, prompt, { maxTokens: 150 });
  const second = await say(session, [], { maxTokens: 300 });
  expect(session.length).toBe(480);
  // Sinks, window, a page for rollbacks, 64 tokens that the last run had room for, and pages that are begun or not yet over.
  const perToken = model.estimateMemory().kvPerToken;
  expect(kvOf()).toBeLessThanOrEqual((3 + 41 + 8 + 64 + 4 * 8) * perToken);
  // Read again from the beginning, in other pieces, the text goes on the same.
  using reader = model.createSession({ cache });
  const again = await say(reader, [...prompt, ...first.tokens], { maxTokens: 300 });
  expect([...again.tokens]).toEqual([...second.tokens]);
});

test.each(policies)('%s: drafts, forks and rollbacks say the same', async (_, cache) => {
  using session = model.createSession({ cache });
  const plain = await say(session, prompt, { maxTokens: 120 });
  using drafted = model.createSession({ cache });
  const result = await say(drafted, prompt, { maxTokens: 120, speculation: { drafter: nGram(), maxDraft: 6 } });
  expect([...result.tokens]).toEqual([...plain.tokens]);
  // Trees too, which go on by themselves within a run; what they draft is often right, for the model drafts for itself.
  using small = await loadModel(at('llama.gguf'), { threads: 1, contextLength: 256 });
  using branching = model.createSession({ cache });
  const speculation = { drafter: draftTree(small, { tree: [-1, -1, 0, 0, 2], temperature: 0 }), adaptive: false };
  const grown = await say(branching, prompt, { maxTokens: 120, speculation });
  expect([...grown.tokens]).toEqual([...plain.tokens]);
  expect(grown.speculation?.accepted).toBeGreaterThan(20);
  using forked = session.fork();
  session.rollback(100);
  const [again, other] = await Promise.all([
    say(session, [], { maxTokens: 100 }),
    say(forked, [], { maxTokens: 40, speculation: { drafter: nGram(), maxDraft: 4 } }),
  ]);
  expect([...again.tokens]).toEqual([...plain.tokens.slice(20)]);
  expect([...(await say(session, [], { maxTokens: 40 })).tokens]).toEqual([...other.tokens]);
});

test('texts that fit say what the full cache says', async () => {
  using full = model.createSession();
  const wanted = await say(full, prompt, { maxTokens: 30 });
  for (const cache of [lmInfinite({ window: 64 }), window({ recent: 63 }), longGen({ window: 64 })]) {
    using session = model.createSession({ cache });
    const found = await say(session, prompt, { maxTokens: 30 });
    expect([...found.tokens]).toEqual([...wanted.tokens]);
    expect(found.usage.sharedTokens).toBe(0);
  }
  expect(() => model.createSession({ cache: window(), contextLength: 2 ** 31 })).toThrow(
    /1073741824 for `contextLength`/,
  );
  expect(() => model.createSession({ cache: longGen({ window: 8 }), contextLength: 65 })).toThrow(/from 1 to 64/);
});

/** A directory whose config.json has more in it. */
function withConfig(name: string, more: object): string {
  writeRandomHuggingFace(at(name), random, 'F32');
  const file = `${at(name)}/config.json`;
  writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), ...more }));
  return at(name);
}

test('a model trained for LongGen is used as its files say, from either format', async () => {
  const longgen = { sinks: 2, sliding_window: 16, block_size: 16, local_blocks: 1, vert_stride: 4, homo_heads: true };
  const folder = withConfig('hybrid', { layer_types: ['sliding_attention', 'block_sparse_attention'], longgen });
  await quantizeModel(folder, at('hybrid.gguf'), { type: 'F32' });
  const [hf, gguf] = [folder, at('hybrid.gguf')].map((path) => openModelFile(path).config.longGen);
  expect(hf).toMatchObject({
    layers: ['sliding_attention', 'block_sparse_attention'],
    sinks: 2,
    homo_heads: 1,
    always_first_block: 1,
  });
  expect(gguf).toEqual(hf);
  using hybrid = await loadModel(at('hybrid.gguf'), { threads: 2, contextLength: 512 });
  using session = hybrid.createSession({ cache: { keyType: 'f32', valueType: 'f32', pageSize: 16 } });
  await session.forward(Array.from({ length: 401 }, (_, i) => 261 + ((i * 17) % 90)));
  await session.forward([300]); // what the rows before it need goes no earlier
  // Pages that rows from 385 on see: of the window 0 and 23 to 25, of the blocks 0, 4, … 24, and 25.
  const page = hybrid.estimateMemory({ keyType: 'f32', valueType: 'f32' }).kvPerToken * 16;
  expect(hybrid.memoryUsage().kv).toBe(((4 + 8) * page) / 2);
});

test('types of layers that are unknown are refused', () => {
  const odd = withConfig('odd', { layer_types: ['full_attention', 'ring_attention'], longgen: {} });
  expect(() => openModelFile(odd)).toThrow(/layers of type "ring_attention"/);
  const short = withConfig('short', { layer_types: ['full_attention'], longgen: {} });
  expect(() => openModelFile(short)).toThrow(/1 types of layers, expected one for each of 2 layers/);
  const wrong = withConfig('wrong', { layer_types: ['full_attention', 'full_attention'], longgen: { vert_stride: 0 } });
  expect(() => openModelFile(wrong)).toThrow(/longgen.vert_stride 0, expected an integer of at least 1/);
});
