// Rounds: sequences get what they would get alone, whatever they share rounds with; nobody waits for a long prompt.
import fc from 'fast-check';
import type { JobResult } from '../../lib/decode/rounds.js';
import { Engine, type EngineOptions } from '../../lib/engine.js';
import { FakeExecutor, FakeKv, hash, type FakeOptions } from './fake-executor.js';

const vocab = 97;

function setUp(options: Partial<FakeOptions> = {}, engineOptions?: EngineOptions) {
  const executor = new FakeExecutor({ vocab, ...options });
  return { executor, engine: new Engine(executor, vocab, engineOptions), kv: executor.createKvCache() };
}

/** A prompt and some tokens after it, by one job per step. */
async function speak(engine: Engine, executor: FakeExecutor, kv: FakeKv, prompt: readonly number[], steps: number) {
  const sequence = kv.create();
  const sampler = executor.createSampler({} as never);
  const said: number[] = [];
  let tokens = [...prompt];
  for (let step = 0; step < steps; step++) {
    const done = await engine.submit({ kv, sequence, tokens: Int32Array.from(tokens), sampler }).done;
    const { token } = done as JobResult;
    said.push(token);
    tokens = [token];
  }
  return said;
}

function expected(prompt: readonly number[], steps: number, tokens = vocab): number[] {
  const text = [...prompt];
  for (let step = 0; step < steps; step++) text.push(hash(text) % tokens);
  return text.slice(prompt.length);
}

test('any number of sequences, in chunks of any size, say what each would say alone', async () => {
  const speakers = fc.array(
    fc.record({
      prompt: fc.array(fc.integer({ min: 0, max: vocab - 1 }), { minLength: 1, maxLength: 80 }),
      steps: fc.integer({ min: 1, max: 6 }),
      cache: fc.integer({ min: 0, max: 1 }),
    }),
    { minLength: 1, maxLength: 7 },
  );
  await fc.assert(
    fc.asyncProperty(
      speakers,
      fc.integer({ min: 17, max: 60 }),
      fc.integer({ min: 1, max: 40 }),
      async (all, maxRows, sharedRows) => {
        const { engine, executor, kv } = setUp({}, { maxRows, sharedRows });
        const caches = [kv, executor.createKvCache()];
        const said = await Promise.all(
          all.map(({ prompt, steps, cache }) => speak(engine, executor, caches[cache], prompt, steps)),
        );
        expect(said).toEqual(all.map(({ prompt, steps }) => expected(prompt, steps)));
        for (const { tokens } of executor.requests) expect(tokens.length).toBeLessThanOrEqual(maxRows);
      },
    ),
    { numRuns: 150 },
  );
});

test('sequences that decode share one round per step', async () => {
  const { engine, executor, kv } = setUp();
  await Promise.all([1, 2, 3, 4, 5].map((token) => speak(engine, executor, kv, [token], 10)));
  expect(executor.requests.map(({ tokens }) => tokens.length)).toEqual(new Array(10).fill(5));
});

test('while a long prompt is read, others get a token in every round', async () => {
  const { engine, executor, kv } = setUp({}, { maxRows: 64, sharedRows: 20 });
  const long = speak(
    engine,
    executor,
    kv,
    Array.from({ length: 500 }, (_, i) => i % vocab),
    1,
  );
  const short = speak(engine, executor, kv, [1], 12);
  await Promise.all([long, short]);
  const mixed = executor.requests.filter(({ tokens, outputs }) => tokens.length > 1 && outputs.length > 0);
  expect(mixed.length).toBeGreaterThanOrEqual(12);
  expect(Math.max(...mixed.map(({ tokens }) => tokens.length))).toBeLessThanOrEqual(21);
  expect(executor.requests.filter(({ outputs }) => outputs.length === 1 && outputs[0] === 0)).toHaveLength(12);
});

test('prompts share a round evenly', async () => {
  const { engine, executor, kv } = setUp({}, { maxRows: 60 });
  const prompt = Array.from({ length: 60 }, (_, i) => i);
  await Promise.all([1, 2, 3].map(() => speak(engine, executor, kv, prompt, 1)));
  const [{ sequences }] = executor.requests;
  expect([0, 1, 2].map((id) => sequences.filter((sequence) => sequence === id).length)).toEqual([20, 20, 20]);
});

test('the logits of any rows come whatever the chunks are', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 90 }),
      fc.nat(89),
      fc.integer({ min: 17, max: 40 }),
      async (length, first, maxRows) => {
        const { engine, kv, executor } = setUp({}, { maxRows });
        const firstRow = Math.min(first, length - 1);
        const tokens = Int32Array.from({ length }, (_, i) => (7 * i) % vocab);
        const out = new Float32Array((length - firstRow) * vocab);
        const other = speak(engine, executor, kv, [3, 4], 4); // shares the rounds
        await engine.submit({ kv, sequence: kv.create(), tokens, logits: { firstRow, out } }).done;
        for (let row = firstRow; row < length; row++) {
          const best = out.subarray((row - firstRow) * vocab, (row - firstRow + 1) * vocab).indexOf(1);
          expect(best).toBe(hash([...tokens.subarray(0, row + 1)]) % vocab);
        }
        expect(await other).toEqual(expected([3, 4], 4));
      },
    ),
    { numRuns: 60 },
  );
});

test('what fails for one sequence does not touch the others', async () => {
  const poison = 13;
  const { engine, executor, kv } = setUp({
    follow: (text) => hash(text) % poison,
    watch: ({ tokens }) => {
      if (tokens.includes(poison)) throw new Error('out of memory');
    },
  });
  const [good, bad, alsoGood] = await Promise.allSettled([
    speak(engine, executor, kv, [1, 2], 5),
    speak(engine, executor, kv, [poison, 2], 5),
    speak(engine, executor, kv, [5], 5),
  ]);
  expect(good).toEqual({ status: 'fulfilled', value: expected([1, 2], 5, poison) });
  expect(bad).toMatchObject({ status: 'rejected', reason: { message: 'out of memory' } });
  expect(alsoGood).toEqual({ status: 'fulfilled', value: expected([5], 5, poison) });
  expect(kv.length(1)).toBe(0);
});

test('a sampler that cannot draw fails its own job only', async () => {
  const { engine, executor, kv } = setUp({ follow: (text) => (text.includes(13) ? -1 : hash(text) % 13) });
  const [good, bad] = await Promise.allSettled([
    speak(engine, executor, kv, [1, 2], 5),
    speak(engine, executor, kv, [13], 5),
  ]);
  expect(good.status).toBe('fulfilled');
  expect(bad).toMatchObject({ status: 'rejected', reason: { code: 'NUMERIC' } });
});

test('a cancelled job ends at once when it waits, and after the round when it runs', async () => {
  const { engine, executor, kv } = setUp({ ms: 5 }, { maxRows: 20 });
  const sequence = kv.create();
  const ticket = engine.submit({ kv, sequence, tokens: new Int32Array(100) });
  setTimeout(() => ticket.cancel(), 12);
  expect(await ticket.done).toBeUndefined();
  expect(executor.requests.length).toBeLessThan(5);
  expect(kv.length(sequence)).toBe(20 * executor.requests.length);
});

test('a released sequence leaves when its round is over', async () => {
  const { engine, kv } = setUp({ ms: 5 });
  const sequence = kv.create();
  const ticket = engine.submit({ kv, sequence, tokens: new Int32Array(600) });
  await new Promise((resolve) => setTimeout(resolve, 2));
  engine.release(kv, sequence);
  expect(kv.sequences.has(sequence)).toBe(true);
  expect(await ticket.done).toBeUndefined();
  await engine.idle();
  expect(kv.sequences.has(sequence)).toBe(false);
  engine.close();
  expect(() => engine.submit({ kv, sequence, tokens: new Int32Array(1) })).toThrow(
    expect.objectContaining({ code: 'DISPOSED' }),
  );
});

test('chunks are cut so that a round of prompts takes about a fifth of a second', async () => {
  const cost = 2; // ms per row
  const slow = new FakeExecutor({ vocab });
  const run = slow.run.bind(slow);
  slow.run = async (kv, request) => {
    await new Promise((resolve) => setTimeout(resolve, cost * request.tokens.length));
    return run(kv, request);
  };
  const engine = new Engine(slow, vocab);
  const kv = slow.createKvCache();
  await engine.submit({ kv, sequence: kv.create(), tokens: new Int32Array(450) }).done;
  const rows = slow.requests.map(({ tokens }) => tokens.length);
  expect(rows[0]).toBe(64);
  for (const count of rows.slice(1, -1)) {
    expect(count).toBeGreaterThanOrEqual(32);
    expect(count).toBeLessThanOrEqual(96);
  }
});
