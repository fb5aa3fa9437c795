// Prompts that are compressed pass layer by layer: the same bits as chunk by chunk, with the full keys and values of one layer at
// a time; nothing stays of prompts that are aborted or find no memory; others decode meanwhile.
import { loadModel, snapKv, type Model, type Session } from '../../lib/index.js';
import { Engine } from '../../lib/engine.js';
import type { JobResult } from '../../lib/decode/rounds.js';
import type { Executor, KvCache, KvOptions } from '../../lib/program/executor.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { ReferenceExecutor } from '../../lib/program/reference/executor.js';
import type { SnapPolicy } from '../../lib/program/kv-policy.js';
import { Generator } from '../fixtures/random/generator.js';
import { expectClose } from '../ops/op-case.js';
import { tinyModel, vocab } from '../program/tiny-model.js';

const snap: SnapPolicy = {
  ...{ budget: 48, window: 8, kernel: 5, pooling: 'max', aggregation: 'mean', keepFirst: 0, minPromptTokens: 48 },
  ...{ granularity: 'kvHead', poolBeforeGroup: false },
};
const storage = { keyType: 'F16', valueType: 'Q8_0', pageSize: 8, maxPages: 200, poison: true } as const;
const native = (window = 0, threads = 2): NativeExecutor => {
  const { program, bytes } = tinyModel(window);
  return new NativeExecutor(program, bytes, { threads });
};
const text = (label: string, length: number): number[] => {
  const generator = new Generator(17, label);
  return Array.from({ length }, () => generator.integer(0, vocab - 1));
};

interface Rows {
  readonly tokens: readonly number[];
  readonly part?: { layer: number; first: number; rows: number; voters: number };
  readonly voters?: number;
}

/** One run; the logits of its last row. */
async function run(executor: Executor, kv: KvCache, sequence: number, rows: Rows): Promise<Float32Array> {
  const { tokens, part, voters } = rows;
  const begin = kv.length(sequence) + (part?.first ?? 0);
  const wanted = part === undefined || (part.layer + 1 === executor.parts && part.first + tokens.length === part.rows);
  const logits = new Float32Array(wanted ? vocab : 0).fill(NaN);
  await executor.run(kv, {
    tokens: Int32Array.from(tokens),
    positions: Int32Array.from(tokens, (_, row) => begin + row),
    sequences: new Int32Array(tokens.length).fill(sequence),
    outputs: wanted ? Int32Array.of(tokens.length - 1) : new Int32Array(),
    ...(wanted ? { logits } : {}),
    ...(part ? { part } : {}),
    ...(voters ? { compress: new Map([[sequence, voters]]) } : {}),
  });
  if (voters || (part && wanted)) kv.compact?.(sequence);
  return logits;
}

/** A prompt whose rows end runs at these places; in every layer, where it passes layer by layer. */
async function prompt(
  executor: Executor,
  kv: KvCache,
  sequence: number,
  tokens: readonly number[],
  ends: readonly number[],
  byLayer: boolean,
): Promise<Float32Array> {
  const voters = kv.voters?.(sequence, tokens.length) ?? 0;
  expect(voters).toBe(snap.window);
  let logits: Float32Array = new Float32Array();
  for (let layer = 0; layer < (byLayer ? (executor.parts ?? 0) : 1); layer++) {
    let first = 0;
    for (const end of [...ends, tokens.length]) {
      const rows = { tokens: tokens.slice(first, end) };
      const last = end === tokens.length;
      logits = await run(executor, kv, sequence, {
        ...rows,
        ...(byLayer ? { part: { layer, first, rows: tokens.length, voters } } : last ? { voters } : {}),
      });
      first = end;
    }
  }
  return logits;
}

/** All that later rows can see of a sequence. */
const bytesOf = (kv: KvCache, sequence: number): string => {
  const saved = kv.saved?.(sequence);
  const pages = (saved?.sizes ?? []).map((size, index) => {
    const page = new Uint8Array(size);
    saved?.read(index, page);
    return Buffer.from(page).toString('base64');
  });
  return JSON.stringify([saved?.state, pages]);
};

test.each([
  ['all cells seen', 0],
  ['beside a layer with a sliding window', 30],
])('two turns, runs cut anywhere: the same bits and cells as chunk by chunk: %s', async (_, window) => {
  const executor = native(window);
  const lone = native(window, 1);
  const found: string[][] = [];
  for (const [one, byLayer, ends] of [
    [executor, false, [64, 100]],
    [executor, true, []],
    [executor, true, [1, 70, 142]],
    [lone, true, [33]],
  ] as const) {
    const kv = one.createKvCache({ ...storage, policy: { snap } });
    const sequence = kv.create();
    const log: string[] = [];
    const note = (logits: Float32Array): void => void log.push(Buffer.from(logits.buffer).toString('hex'));
    note(await prompt(one, kv, sequence, text('first', 150), ends, byLayer));
    log.push(bytesOf(kv, sequence));
    const fork = kv.fork(sequence); // whose pages are shared when the next prompt begins
    for (const token of text('answer', 5)) note(await run(one, kv, sequence, { tokens: [token] }));
    note(await prompt(one, kv, sequence, text('second', 30), [], byLayer));
    log.push(bytesOf(kv, sequence));
    for (const token of text('more', 3)) note(await run(one, kv, sequence, { tokens: [token] }));
    note(await prompt(one, kv, fork, text('third', 20), [], byLayer));
    log.push(bytesOf(kv, fork));
    expect([kv.length(sequence), kv.cells?.(sequence)]).toEqual([188, 51]);
    kv.release(sequence);
    kv.release(fork);
    expect(kv.usedBytes()).toBe(0);
    kv.dispose();
    found.push(log);
  }
  for (const other of found.slice(1)) expect(other).toEqual(found[0]);
  executor.dispose();
  lone.dispose();
});

const pages = (cells: number): number => Math.ceil(cells / storage.pageSize);

test('the most memory is one layer of the whole prompt, and of all layers what stays', async () => {
  const executor = native();
  const { layers } = executor.kvShape;
  for (const [rows, byLayer] of [
    [150, true],
    [150, false],
    [601, true],
  ] as const) {
    const kv = executor.createKvCache({ ...storage, policy: { snap } });
    const layerPage = kv.pageBytes / layers;
    await prompt(executor, kv, kv.create(), text('long', rows), [], byLayer);
    const whole = byLayer ? 1 : layers;
    expect(kv.peakBytes?.()).toBe((whole * pages(rows) + layers * pages(snap.budget)) * layerPage);
    expect(kv.usedBytes()).toBe(layers * pages(snap.budget) * layerPage);
    kv.dispose();
  }
  executor.dispose();
});

describe('through the engine', () => {
  const submit = (engine: Engine, kv: KvCache, sequence: number, tokens: readonly number[], executor: Executor) =>
    engine.submit({
      kv,
      sequence,
      tokens: Int32Array.from(tokens),
      prompt: true,
      sampler: executor.createSampler({ ...greedy }),
    });
  const greedy = {
    ...{ temperature: 0, topK: 0, topP: 1, minP: 0, typicalP: 1, repetitionPenalty: 1, presencePenalty: 0 },
    ...{ frequencyPenalty: 0, logitBias: new Map<number, number>(), seed: 1n, logprob: false, topLogprobs: 0, vocab },
  };

  test('prompts for which there is no memory leave nothing, in whatever layer; longer ones fit than all layers would', async () => {
    const executor = native();
    const { layers } = executor.kvShape;
    const engine = new Engine(executor, vocab);
    const most = 30; // pages of all layers
    const kv = executor.createKvCache({ ...storage, maxPages: most, policy: { snap } });
    const past = kv.create();
    expect(((await submit(engine, kv, past, text('past', 60), executor).done) as JobResult).token).toBeGreaterThan(-1);
    const before = bytesOf(kv, past);
    const used = kv.usedBytes();
    const cells = (count: number): number => count * storage.pageSize;
    // Room for so many pages of one layer, when the last one's turn has come.
    const room = layers * (most - 2 * pages(snap.budget));
    for (const [length, fits] of [
      [cells(room), true],
      [cells(room) + 1, false],
      [cells(room + pages(snap.budget)) + 1, false],
      [cells(layers * most), false],
    ] as const) {
      const sequence = kv.create();
      const done = submit(engine, kv, sequence, text('much', length), executor).done;
      if (fits) await done;
      else await expect(done).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
      kv.release(sequence);
      await engine.idle();
      expect(kv.usedBytes()).toBe(used);
    }
    expect(cells(room)).toBeGreaterThan(cells(most));
    // The past itself, whose next prompt does not fit, is as it was and goes on.
    await expect(submit(engine, kv, past, text('much', cells(layers * most)), executor).done).rejects.toThrow(/pages/);
    expect(bytesOf(kv, past)).toBe(before);
    expect(await submit(engine, kv, past, text('next', 20), executor).done).toMatchObject({ top: [] });
    kv.dispose();
    executor.dispose();
  });

  test('a prompt is cancelled between any two rounds; then nothing of it is there', async () => {
    const executor = native();
    const requests: number[] = [];
    const watched: Executor = Object.assign(Object.create(executor) as Executor, {
      run: (kv: KvCache, request: Parameters<Executor['run']>[1]) => {
        requests.push(request.part?.layer ?? -1);
        return executor.run(kv, request);
      },
    });
    const kv = executor.createKvCache({ ...storage, maxPages: 2000, policy: { snap } });
    const sequence = kv.create();
    for (const rounds of [0, 1, 2, 5]) {
      const engine = new Engine(watched, vocab);
      requests.length = 0;
      const ticket = submit(engine, kv, sequence, text('long', 2000), executor);
      let over = false; // perhaps in fewer rounds: how many rows one has goes by how fast they are
      const end = ticket.done.finally(() => (over = true));
      while (requests.length < rounds && !over) await new Promise((resolve) => setImmediate(resolve));
      ticket.cancel();
      if (await end) kv.truncate(sequence, 0); // it was over
      await engine.idle();
      expect([kv.length(sequence), kv.usedBytes()]).toEqual([0, 0]);
    }
    const engine = new Engine(watched, vocab);
    requests.length = 0;
    expect(await submit(engine, kv, sequence, text('long', 2000), executor).done).toMatchObject({ top: [] });
    expect([...new Set(requests)]).toEqual(Array.from({ length: executor.kvShape.layers }, (_, layer) => layer));
    expect([...requests].sort((a, b) => a - b)).toEqual(requests);
    kv.dispose();
    executor.dispose();
  });
});

test('others decode while a prompt passes, and two prompts wait for each other: all say what they say alone', async () => {
  const model: Model = await loadModel('default', { threads: 2 });
  const cache = snapKv({ budget: 96, window: 16, pageSize: 16 });
  const words = (length: number, from: number): number[] =>
    Array.from({ length }, (_, i) => 10 + ((((i + from) % 61) * 37 + ((i + from) >> 5) * 11) % 900));
  const say = async (session: Session, length: number, maxTokens: number): Promise<readonly number[]> => {
    for await (const _ of session.generate(words(length, length), { maxTokens, temperature: 0 }));
    return session.lastResult?.tokens ?? [];
  };
  const jobs = [
    [40, 60],
    [900, 5],
    [700, 8],
    [300, 20],
  ] as const;
  const alone: (readonly number[])[] = [];
  for (const [length, count] of jobs) {
    using session = model.createSession({ cache });
    alone.push(await say(session, length, count));
  }
  const sessions = jobs.map(() => model.createSession({ cache }));
  const told = await Promise.all(jobs.map(([length, count], index) => say(sessions[index], length, count)));
  expect(told).toEqual(alone);
  const used = model.memoryUsage().kv;
  expect(used).toBeLessThanOrEqual(4 * model.estimateMemory({ contextLength: 96 + 80 }).kv);
  for (const session of sessions) session.dispose();
  model.dispose();
});

test('a selection per query head, which has cells of its own for that: as the reference chooses', async () => {
  const each = { ...snap, granularity: 'queryHead' } as const;
  const exact: KvOptions = { keyType: 'F32', valueType: 'F32', pageSize: 8, maxPages: 200, policy: { snap: each } };
  const { program, bytes, shape } = tinyModel(0);
  const reference = new ReferenceExecutor(program, (tensor) => ({
    dtype: 'F32',
    shape: shape(tensor),
    bytes: bytes(tensor),
  }));
  const said: Float32Array[][] = [];
  const executor = native();
  for (const [one, byLayer] of [
    [reference, false],
    [executor, false],
    [executor, true],
  ] as const) {
    const kv = one.createKvCache(exact);
    const sequence = kv.create();
    const logits = [await prompt(one, kv, sequence, text('first', 150), [64], byLayer)];
    for (const token of text('answer', 12)) logits.push(await run(one, kv, sequence, { tokens: [token] }));
    logits.push(await prompt(one, kv, sequence, text('second', 23), [], byLayer));
    for (const token of text('more', 5)) logits.push(await run(one, kv, sequence, { tokens: [token] }));
    said.push(logits);
    kv.dispose();
  }
  said[1].forEach((row, index) => expectClose(row, said[0][index], 0, 2e-4));
  expect(said[2]).toEqual(said[1]);
  reference.dispose();
  executor.dispose();
});
