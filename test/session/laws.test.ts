// One text, however it is computed: in parts, beside others, after a fork, a rollback or a restart, on any number of threads.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  loadModel,
  type CacheType,
  type GenerateOptions,
  type Model,
  type Piece,
  type Session,
} from '../../lib/index.js';
import { Generator } from '../fixtures/random/generator.js';
import { testDevices } from '../ops/executors.js';

interface Sizes {
  readonly story: string;
  readonly prompts: readonly string[];
  readonly maxTokens: number;
  readonly rounds: number;
  readonly threads: readonly number[];
  readonly pageSizes: readonly number[];
}
const long = 'Once upon a time there was a small boat. It was old and the children of the village loved it. One day,';
const short = 'Once upon a time there';
// A card is emulated at some 20 rows a second. There a prompt's last bits may depend on whether a chunk of it has 32 rows.
const sizesOf: Record<'cpu' | 'card', Sizes> = {
  cpu: {
    story: long,
    prompts: ['The cat', long, 'Tom and Ann went to the sea.', long.repeat(6), 'A', 'Why is the sky blue?'],
    maxTokens: 24,
    rounds: 6,
    threads: [1, 2],
    pageSizes: [1, 16, 100],
  },
  card: {
    story: short,
    prompts: ['The cat', short, 'A'],
    maxTokens: 5,
    rounds: 2,
    threads: [2],
    pageSizes: [1, 16],
  },
};

async function say(session: Session, prompt: string | ArrayLike<number>, options: GenerateOptions): Promise<number[]> {
  const iterator = session.generate(prompt, options);
  for (let next = await iterator.next(); ; next = await iterator.next()) if (next.done) return [...next.value.tokens];
}

describe.each(testDevices())('on %s', (device) => {
  const { story, prompts, maxTokens, rounds, threads: teams, pageSizes } = sizesOf[device === 'cpu' ? 'cpu' : 'card'];
  const greedy: GenerateOptions = { temperature: 0, maxTokens };
  const seeded: GenerateOptions = { seed: 11, maxTokens, temperature: 1, topP: 0.9, repetitionPenalty: 1.1 };
  let model: Model;
  let directory: string;
  beforeAll(async () => {
    model = await loadModel('default', { threads: 1, device, prefixCache: false });
    directory = mkdtempSync(join(tmpdir(), 'vivace-laws-'));
  });
  afterAll(() => {
    model.dispose();
    rmSync(directory, { recursive: true });
  });

  /** What a fresh session says alone. */
  async function plain(prompt: string | ArrayLike<number>, options: GenerateOptions): Promise<number[]> {
    using session = model.createSession();
    return await say(session, prompt, options);
  }

  // On a card the rules are the same for both, and greedy draws have tests of their own (test/models, device.test.ts).
  const kinds: [string, GenerateOptions][] = [
    ['greedy', greedy],
    ['seeded', seeded],
  ];
  describe.each(device === 'cpu' ? kinds : kinds.slice(1))('%s', (_name, options) => {
    test('a prompt gives the same text in any parts', async () => {
      const tokens = model.tokenizer.encode(story);
      const expected = await plain(story, options);
      expect(expected).toHaveLength(maxTokens);
      const random = new Generator(3, 'parts');
      for (let round = 0; round < rounds; round++) {
        using session = model.createSession();
        for (let at = 0; at < tokens.length;) {
          const part = random.integer(1, tokens.length - at);
          await session.forward(tokens.subarray(at, at + part));
          at += part;
        }
        // Penalties count what is in the session, so both ways must agree.
        expect(await say(session, [], options)).toEqual(expected);
      }
    });

    test('sequences that share rounds say what each says alone', async () => {
      const alone: number[][] = [];
      for (const prompt of prompts) alone.push(await plain(prompt, options));
      const sessions = prompts.map(() => model.createSession());
      const together = await Promise.all(
        sessions.map(async (session, index) => {
          await new Promise((resolve) => setTimeout(resolve, 3 * ((index * 7) % 5))); // they join at different times
          return say(session, prompts[index], options);
        }),
      );
      for (const session of sessions) session.dispose();
      expect(together).toEqual(alone);
    });

    test('a fork goes on like its origin, and neither disturbs the other', async () => {
      using session = model.createSession();
      const begun = await say(session, story, { ...options, maxTokens: 3 });
      using left = session.fork();
      using right = session.fork();
      const expected = await plain(
        [...model.tokenizer.encode(story), ...begun, ...model.tokenizer.encode(' The dog', { addSpecial: false })],
        options,
      );
      const [other, same] = await Promise.all([say(left, ' A bird', options), say(right, ' The dog', options)]);
      expect(same).toEqual(expected);
      expect(other).not.toEqual(expected);
      expect(await say(session, ' The dog', options)).toEqual(expected);
    });

    test('what is rolled back has never been', async () => {
      const expected = await plain(story, options);
      using session = model.createSession();
      await session.forward(model.tokenizer.encode(story));
      const length = session.length;
      await say(session, ' The dragon was angry', { maxTokens: 2 * maxTokens, seed: 5 });
      session.rollback(session.length - length);
      expect(await say(session, [], options)).toEqual(expected);
      session.rollback(maxTokens);
      expect(await say(session, [], options)).toEqual(expected);
      session.rollback(session.length);
      expect(await say(session, story, options)).toEqual(expected);
    });

    test.each<CacheType>(['f16', 'q8_0', 'f32', 'q4_0'])(
      'a session saved with a cache of %s goes on after it is restored',
      async (type) => {
        using session = model.createSession({ cache: { keyType: type, valueType: type } });
        const file = join(directory, `${_name}-${type}.session`);
        await say(session, story, { ...options, maxTokens: 3 });
        await session.save(file);
        const saved = session.length;
        const expected = await say(session, ' And then', options);
        using restored = await model.restoreSession(file);
        expect(restored.length).toBe(saved);
        expect(await say(restored, ' And then', options)).toEqual(expected);
        expect(restored.lastResult?.usage.cachedTokens).toBe(session.lastResult?.usage.cachedTokens);
      },
    );

    test('the number of threads and the size of pages change nothing', async () => {
      const expected = await plain(story, options);
      for (const threads of teams) {
        using other = await loadModel(undefined, { threads, device, prefixCache: false });
        for (const pageSize of pageSizes) {
          using session = other.createSession({ cache: { pageSize } });
          expect(await say(session, story, options)).toEqual(expected);
        }
      }
    });

    test('a prompt that replaces the past gives what a fresh session gives', async () => {
      using session = model.createSession();
      const random = new Generator(9, 'replace');
      const begun = model.tokenizer.encode(story).length;
      const words = ['boat', 'tree', 'small', 'the', 'dog', 'and', 'sun', 'went'];
      for (let round = 0; round < rounds; round++) {
        const text = `${story} ${Array.from({ length: 5 }, () => words[random.integer(0, 7)]).join(' ')}`;
        const tokens = model.tokenizer.encode(text);
        const iterator = session.generateFrom(tokens, options);
        let next = await iterator.next();
        while (!next.done) next = await iterator.next();
        expect([...next.value.tokens]).toEqual(await plain(text, options));
        if (round > 0) expect(next.value.usage.cachedTokens).toBeGreaterThan((2 / 3) * begun);
      }
    });
  });

  test('forward gives the logits of every row, to the bit the same in any parts', async () => {
    const tokens = model.tokenizer.encode(story);
    const { vocabSize } = model.info;
    const cut = Math.floor(tokens.length / 3);
    using session = model.createSession();
    const whole = await session.forward(tokens);
    expect(whole).toHaveLength(tokens.length * vocabSize);
    using parts = model.createSession();
    const first = await parts.forward(tokens.subarray(0, cut));
    const rest = await parts.forward([...tokens.subarray(cut)]);
    const distance = (a: Float32Array, b: Float32Array): number =>
      a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
    expect(distance(whole.subarray(0, cut * vocabSize), first)).toBe(0);
    expect(distance(whole.subarray(cut * vocabSize), rest)).toBe(0);
    expect(await parts.forward([])).toHaveLength(0);
    // Greedy decoding takes the greatest logit of the last row.
    const last = whole.subarray((tokens.length - 1) * vocabSize);
    const [next] = await plain(story, { temperature: 0, maxTokens: 1 });
    expect(last.indexOf(last.reduce((a, b) => Math.max(a, b)))).toBe(next);
  });

  test('log-probabilities are those of the logits', async () => {
    using session = model.createSession();
    const [row] = [await session.forward(model.tokenizer.encode(story))].map((logits) =>
      logits.subarray(-model.info.vocabSize),
    );
    const total = Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0));
    const { value } = await session.generate([], { maxTokens: 1, logprobs: 4, temperature: 0 }).next();
    const [{ token, logprob, top }] = (value as Piece).logprobs ?? [];
    expect(logprob).toBeCloseTo(row[token] - total, 3);
    expect(top).toHaveLength(4);
    expect(top[0]).toEqual({ token, logprob });
    top.forEach((one) => expect(one.logprob).toBeCloseTo(row[one.token] - total, 3));
  });
});
