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

/** As `speak`, with what may be worked out ahead; some break off after `leave` tokens, some pause. */
async function speakAhead(
  engine: Engine,
  executor: FakeExecutor,
  kv: FakeKv,
  prompt: readonly number[],
  { limit, leave = limit, pause = 0 }: { limit: number; leave?: number; pause?: number },
) {
  const sequence = kv.create();
  const sampler = executor.createSampler({} as never);
  const text = [...prompt];
  for (let said = 0; said < Math.min(limit, leave); said++) {
    const tokens = Int32Array.from(text.slice(kv.length(sequence)));
    const ahead = { limit: limit - said, ends: Int32Array.of(0) };
    const done = (await engine.submit({ kv, sequence, tokens, sampler, ahead }).done) as JobResult;
    text.push(done.token);
    if (done.token === 0) break;
    if (pause > 0 && said % pause === pause - 1) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await engine.settle(kv, sequence);
  // The cache holds what was fed, and nothing that was worked out in vain.
  expect(kv.of(sequence)).toEqual(text.slice(0, -1));
  return { said: text.slice(prompt.length), sequence, text };
}

test('what is worked out ahead is what would have been said, whoever comes, pauses or leaves', async () => {
  const speakers = fc.array(
    fc.record({
      prompt: fc.array(fc.integer({ min: 1, max: vocab - 1 }), { minLength: 1, maxLength: 40 }),
      limit: fc.integer({ min: 1, max: 30 }),
      leave: fc.integer({ min: 1, max: 30 }),
      pause: fc.integer({ min: 0, max: 5 }),
      late: fc.integer({ min: 0, max: 12 }),
      cache: fc.integer({ min: 0, max: 1 }),
    }),
    { minLength: 1, maxLength: 5 },
  );
  let ahead = 0;
  await fc.assert(
    fc.asyncProperty(speakers, async (all) => {
      const { engine, executor, kv } = setUp({}, { maxRows: 30, sharedRows: 20 });
      const caches = [kv, executor.createKvCache()];
      const said = await Promise.all(
        all.map(async ({ prompt, limit, leave, pause, late, cache }) => {
          for (let turn = 0; turn < late; turn++) await new Promise((resolve) => setImmediate(resolve));
          return (await speakAhead(engine, executor, caches[cache], prompt, { limit, leave, pause })).said;
        }),
      );
      all.forEach(({ prompt, limit, leave }, index) => {
        const whole = expected(prompt, Math.min(limit, leave));
        const end = whole.indexOf(0);
        expect(said[index]).toEqual(end < 0 ? whole : whole.slice(0, end + 1));
      });
      ahead += executor.roundsAhead;
    }),
    { numRuns: 150 },
  );
  expect(ahead).toBeGreaterThan(500);
});

test('a run goes on for eight rounds before somebody asks, and ends for who joins', async () => {
  const { engine, executor, kv } = setUp();
  const sampler = executor.createSampler({} as never);
  const job = { kv, sampler, ahead: { limit: 50, ends: new Int32Array(0) } };
  const first = (await engine.submit({ ...job, sequence: kv.create(), tokens: Int32Array.of(1) }).done) as JobResult;
  await engine.idle();
  expect(executor.requests).toHaveLength(9);
  // The next eight are there at once; then a new run begins.
  let token = first.token;
  for (let step = 1; step < 9; step++) {
    token = ((await engine.submit({ ...job, sequence: 0, tokens: Int32Array.of(token) }).done) as JobResult).token;
  }
  expect(executor.requests).toHaveLength(9);
  const next = engine.submit({ ...job, sequence: 0, tokens: Int32Array.of(token) }).done;
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  const other = engine.submit({ ...job, sequence: kv.create(), tokens: Int32Array.of(5) }).done;
  await Promise.all([next, other]);
  expect(executor.requests.length).toBeLessThan(14);
});

test('an error of a round ahead reaches the job that asks for it, and nobody else', async () => {
  const { engine, executor, kv } = setUp({
    follow: (text) => (text.length > 6 && text[0] === 13 ? -1 : (hash(text) % 13) + 1),
  });
  const [good, bad] = await Promise.allSettled([
    speakAhead(engine, executor, kv, [1, 2], { limit: 12 }),
    speakAhead(engine, executor, kv, [13], { limit: 12 }),
  ]);
  expect(good.status).toBe('fulfilled');
  expect(bad).toMatchObject({ status: 'rejected', reason: { code: 'NUMERIC' } });
  const {
    engine: second,
    executor: failing,
    kv: cache,
  } = setUp({
    watch: ({ positions }) => {
      if (positions[0] > 4) throw new Error('out of memory');
    },
  });
  await expect(speakAhead(second, failing, cache, [1], { limit: 12 })).rejects.toThrow('out of memory');
  expect(cache.length(0)).toBe(5);
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
