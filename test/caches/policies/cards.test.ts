// Cache policies on cards: the bits of the full cache where everything is seen, the texts of the CPU where not, in as
// little memory; drafts, forks and rollbacks say the same.
import { lmInfinite, loadModel, longGen, nGram, window } from '../../../lib/index.js';
import type { CacheOptions, GenerateOptions, Model, Session } from '../../../lib/index.js';
import { fullPattern, type KvPolicy, type LayerPattern } from '../../../lib/program/kv-policy.js';
import { NativeExecutor } from '../../../lib/program/native-executor.js';
import { cardName, emulatedDevice } from '../../ops/executors.js';
import { randomModel, writeRandomGguf } from '../../fixtures/random-model.js';
import { scratch } from '../../formats/scratch.js';
import { tinyModel, vocab } from '../../program/tiny-model.js';

const describeCard = emulatedDevice() ? describe : describe.skip; // builds without a card
const { at } = scratch();
const tiny = tinyModel();
const layers = (...patterns: Partial<LayerPattern>[]): KvPolicy => ({
  layers: patterns.map((one) => ({ ...fullPattern, ...one })),
});

describeCard('on a card', () => {
  let card: NativeExecutor;
  beforeAll(() => {
    card = new NativeExecutor(tiny.program, (tensor) => tiny.bytes(tensor), { threads: 1, deviceName: cardName });
  });
  afterAll(() => card.dispose());

  const text = Array.from({ length: 80 }, (_, i) => (i * 31 + ((i * i) % 7)) % vocab);

  /** Logits of every token, read in runs of the given lengths, of two sequences of which the second is a fork. */
  async function whole(policy: KvPolicy | undefined, chunks: readonly number[]): Promise<Float32Array[]> {
    const kv = card.createKvCache({ pageSize: 16, maxPages: 64, ...(policy ? { policy } : {}) });
    const first = kv.create();
    const rows: Float32Array[] = [];
    let other: number | undefined;
    for (let from = 0, turn = 0; from < text.length; ++turn) {
      const part = text.slice(from, from + chunks[turn % chunks.length]);
      for (const sequence of other === undefined ? [first] : [first, other]) {
        const logits = new Float32Array(part.length * vocab).fill(NaN);
        await card.run(kv, {
          tokens: Int32Array.from(part),
          positions: Int32Array.from(part, (_, i) => from + i),
          sequences: new Int32Array(part.length).fill(sequence),
          outputs: Int32Array.from(part, (_, i) => i),
          logits,
        });
        rows.push(logits);
      }
      from += part.length;
      if (from > 40) other ??= kv.fork(first);
    }
    kv.dispose();
    return rows;
  }

  test('settings under which everything is seen give the bits of the full cache', async () => {
    const chunks = [35, 1, 32, 1, 5];
    const full = await whole(undefined, chunks);
    for (const policy of [
      layers({ sinks: 4, window: 80 }, {}),
      layers({ block: 16, local: 5, stride: 7, headStep: 1 }, { block: 16, local: 1, stride: 3, denseHeads: 2 }),
    ]) {
      expect(await whole(policy, chunks)).toEqual(full);
    }
  });
});

describeCard('sessions', () => {
  const types = { keyType: 'f32', valueType: 'f32' } as const;
  const storage = { ...types, pageSize: 16 };
  const prompt = Array.from({ length: 40 }, (_, i) => 261 + ((i * 17) % 90));
  let cpu: Model, card: Model;
  beforeAll(async () => {
    writeRandomGguf(at('llama.gguf'), randomModel('llama'), 'F32');
    cpu = await loadModel(at('llama.gguf'), { threads: 1, contextLength: 64 });
    card = await loadModel(at('llama.gguf'), { threads: 1, contextLength: 64, device: cardName });
  });
  afterAll(() => {
    cpu.dispose();
    card.dispose();
  });

  async function say(session: Session, text: readonly number[], options: GenerateOptions): Promise<number[]> {
    const banned = new Map([...cpu.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
    const pieces = session.generate(text, { temperature: 0, logitBias: banned, ...options });
    for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return [...next.value.tokens];
  }

  /** What a model keeps of the prompt and the text behind it; no other session may be alive. */
  async function bytesOf(model: Model, cache: CacheOptions, text: readonly number[]): Promise<number> {
    using reader = model.createSession({ cache });
    await reader.forward([...prompt, ...text]);
    await reader.forward([300]); // what the rows before it need goes no earlier
    return model.memoryUsage().kv;
  }

  const caches: readonly (readonly [string, CacheOptions])[] = [
    ['window', window({ sinks: 2, recent: 10, ...storage })],
    ['lm-infinite', lmInfinite({ sinks: 3, window: 12, ...storage })],
  ];
  test.each(caches)('%s: texts beyond the context say what the CPU says, in as little memory', async (_, cache) => {
    const wanted = cpu.createSession({ cache });
    const text = await say(wanted, prompt, { maxTokens: 45 });
    wanted.dispose();
    const bytes = await bytesOf(card, cache, text);
    expect(bytes).toBe(await bytesOf(cpu, cache, text));
    expect(bytes).toBeLessThan(80 * card.estimateMemory(types).kvPerToken);
    using session = card.createSession({ cache });
    expect(await say(session, prompt, { maxTokens: 30 })).toEqual(text.slice(0, 30));
    using forked = session.fork();
    session.rollback(10);
    const [again, other] = await Promise.all([
      say(session, [], { maxTokens: 25, speculation: { drafter: nGram(), maxDraft: 5 } }),
      say(forked, [], { maxTokens: 15 }),
    ]);
    expect(again).toEqual(text.slice(20));
    expect(other).toEqual(text.slice(30));
  });

  test('longgen: windows and blocks in some layers say what the CPU says, in as little memory', async () => {
    using long = await loadModel(at('llama.gguf'), { threads: 1, contextLength: 512 });
    using other = await loadModel(at('llama.gguf'), { threads: 1, contextLength: 512, device: cardName });
    for (const cache of [
      longGen({ fullLayers: [1], sinks: 3, window: 12, ...storage }),
      longGen({ pattern: 'blockSparse', fullLayers: [0], blockSize: 16, localBlocks: 1, stride: 3, ...storage }),
    ]) {
      const wanted = long.createSession({ cache });
      const text = await say(wanted, prompt, { maxTokens: 25 });
      wanted.dispose();
      const bytes = await bytesOf(other, cache, text);
      expect(bytes).toBe(await bytesOf(long, cache, text));
      expect(bytes).toBeLessThan(80 * other.estimateMemory(types).kvPerToken);
      using session = other.createSession({ cache });
      expect(await say(session, prompt, { maxTokens: 25 })).toEqual(text);
    }
  });
});
