// Native rounds ahead: the same draws as one round at a time, cells that count only when they are taken, an end at any time.
import { Worker } from 'node:worker_threads';
import { loadModel } from '../../lib/index.js';
import type { RunResult, SamplerOptions } from '../../lib/program/executor.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { plain } from '../decode/sampler-options.js';
import { testDevices } from '../ops/executors.js';
import { tinyModel, vocab } from '../program/tiny-model.js';
import { readSources } from './worker-sources.js';

const { program, bytes } = tinyModel(0);
// The CPU with two numbers of threads, and a card.
const executors = testDevices().flatMap((deviceName) =>
  (deviceName === 'cpu' ? [1, 3] : [2]).map((threads) => new NativeExecutor(program, bytes, { threads, deviceName })),
);
afterAll(() => executors.forEach((executor) => executor.dispose()));

const options: SamplerOptions = {
  ...plain,
  vocab,
  temperature: 1.3,
  seed: 11n,
  repetitionPenalty: 1.2,
  frequencyPenalty: 0.1,
  topLogprobs: 2,
};
const prompts = [[3, 1, 4, 1, 5], [9], [2, 6]];

/** Rounds over several sequences at once; `rounds` at a time. */
async function generate(
  executor: NativeExecutor,
  rounds: number,
  steps: number,
  { ends = [] as number[], ...changes }: Partial<SamplerOptions> & { ends?: number[] } = {},
) {
  const kv = executor.createKvCache({ keyType: 'F16', valueType: 'F16', pageSize: 4, maxPages: 1000 });
  const sequences = prompts.map(() => kv.create());
  const samplers = prompts.map((prompt) => {
    const sampler = executor.createSampler({ ...options, ...changes });
    sampler.accept(Int32Array.from(prompt));
    return sampler;
  });
  const results: RunResult[] = [];
  let rows = prompts;
  while (results.length < steps) {
    const owners = rows.flatMap((tokens, index) => tokens.map(() => sequences[index]));
    const positions = rows.flatMap((tokens, index) => tokens.map((_, i) => kv.length(sequences[index]) + i));
    const request = {
      tokens: Int32Array.from(rows.flat()),
      positions: Int32Array.from(positions),
      sequences: Int32Array.from(owners),
      outputs: Int32Array.from(sequences, (sequence) => owners.lastIndexOf(sequence)),
      samplers,
    };
    const told: RunResult[] = [];
    const ahead = {
      rounds: Int32Array.of(rounds),
      limit: steps - results.length,
      ends: Int32Array.from(ends),
      told: (result: RunResult) => told.push(result),
    };
    const last = await executor.run(kv, rounds === 0 ? request : { ...request, ahead });
    if (rounds === 0) told.push(last);
    expect(told.at(-1)).toBe(last);
    // Only the first round's rows count already.
    sequences.forEach((sequence) => expect(kv.length(sequence)).toBe(length(sequence)));
    for (const _ of told.slice(1)) for (const sequence of sequences) kv.commit(sequence, 1);
    results.push(
      ...told.map(({ ms, ...result }) => {
        if (rounds > 0) expect(ms).toBeGreaterThan(0);
        return result;
      }),
    );
    rows = [...last.tokens].map((token) => [token]);
    function length(sequence: number): number {
      return prompts[sequence].length + results.length;
    }
    if (last.tokens.some((token) => ends.includes(token))) break;
  }
  samplers.forEach((sampler) => sampler.dispose());
  kv.dispose();
  return results;
}

// Penalties need the tokens that were drawn; without them a card's next round begins before the host has them.
const free: Partial<SamplerOptions> = { repetitionPenalty: 1, frequencyPenalty: 0 };
const changes: [string, Partial<SamplerOptions>][] = [
  ['penalties', { topLogprobs: 0 }],
  ['penalties and top logprobs', {}],
  ['nothing', { ...free, topLogprobs: 0 }],
  ['truncation, a bias and top logprobs', { ...free, topK: 9, topP: 0.9, logitBias: new Map([[4, 1.5]]) }],
  ['greedy draws', { ...free, temperature: 0, topLogprobs: 0 }],
];
test.each(
  executors.flatMap((executor) => changes.map(([name, change]) => ({ executor, name, change, on: executor.name }))),
)('draws are the same in runs of any number of rounds, on $on, with $name', async ({ executor, change }) => {
  const [steps, runs] = executor.name === 'cpu' ? [40, [1, 3, 8, 64]] : [16, [3, 64]];
  const single = await generate(executor, 0, steps, change);
  expect(single).toHaveLength(steps);
  for (const rounds of runs) {
    const before = executor.traffic().queued;
    expect(await generate(executor, rounds, steps, change)).toEqual(single);
    // All rounds but the first one of each run.
    const expected = executor.name === 'cpu' || change.frequencyPenalty !== 0 ? 0 : steps - Math.ceil(steps / rounds);
    expect(executor.traffic().queued - before).toBe(expected);
  }
});

test.each(executors)('a run ends with the token that ends, on $name', async (executor) => {
  const steps = executor.name === 'cpu' ? 40 : 10;
  const single = await generate(executor, 0, steps);
  const end = single[steps / 2].tokens[1];
  const first = single.findIndex(({ tokens }) => tokens.includes(end));
  expect(await generate(executor, 64, steps, { ends: [end] })).toEqual(single.slice(0, first + 1));
});

test.each(executors)('a round that was begun in vain leaves nothing, on $name', async (executor) => {
  const single = await generate(executor, 0, 12, free);
  const end = single[5].tokens[0];
  const first = single.findIndex(({ tokens }) => tokens.includes(end));
  const kv = executor.createKvCache({ keyType: 'F16', valueType: 'F16', pageSize: 4, maxPages: 100 });
  const sequences = prompts.map(() => kv.create());
  const samplers = prompts.map((prompt) => {
    const sampler = executor.createSampler({ ...options, ...free });
    sampler.accept(Int32Array.from(prompt));
    return sampler;
  });
  const told: RunResult[] = [];
  const run = (rows: readonly (readonly number[])[], ends: readonly number[], limit: number): Promise<RunResult> => {
    const owners = rows.flatMap((tokens, index) => tokens.map(() => sequences[index]));
    return executor.run(kv, {
      tokens: Int32Array.from(rows.flat()),
      positions: Int32Array.from(rows.flatMap((tokens, i) => tokens.map((_, k) => kv.length(sequences[i]) + k))),
      sequences: Int32Array.from(owners),
      outputs: Int32Array.from(sequences, (sequence) => owners.lastIndexOf(sequence)),
      samplers,
      ahead: {
        rounds: Int32Array.of(64),
        limit,
        ends: Int32Array.from(ends),
        told: ({ ms: _, ...one }) => told.push(one),
      },
    });
  };
  const last = await run(prompts, [end], 64);
  for (let round = 1; round < told.length; round++) sequences.forEach((sequence) => kv.commit(sequence, 1));
  expect(told).toHaveLength(first + 1);
  // The text goes on where it ended: samplers and caches know nothing of more.
  await run(
    [...last.tokens].map((token) => [token]),
    [],
    11 - first,
  );
  expect(told).toEqual(single);
  kv.dispose();
});

test('JavaScript is called for the first round at once, and for later ones before they are 16 ms old', async () => {
  const [tokens, rounds, patience, keptFree] = [100_000, 64, 16, 4]; // the last two are of cpp/addon/round.h
  const model = tinyModel(0, tokens);
  const executor = new NativeExecutor(model.program, model.bytes, { threads: 1 });
  const kv = executor.createKvCache({ keyType: 'F16', valueType: 'F16', pageSize: 4, maxPages: 100 });
  const groups: number[][] = []; // milliseconds of rounds that one call told of
  let called = false;
  await executor.run(kv, {
    tokens: Int32Array.of(1),
    positions: Int32Array.of(0),
    sequences: Int32Array.of(kv.create()),
    outputs: Int32Array.of(0),
    samplers: [executor.createSampler({ ...plain, vocab: tokens, temperature: 0 })],
    ahead: {
      rounds: Int32Array.of(rounds),
      limit: rounds,
      ends: new Int32Array(0),
      told: ({ ms = NaN }) => {
        if (!called) groups.push([]);
        groups[groups.length - 1].push(ms);
        called = true;
        queueMicrotask(() => (called = false));
      },
    },
  });
  expect(groups.flat()).toHaveLength(rounds);
  let heard = 0;
  groups.forEach((group, index) => {
    const before = heard;
    heard += group.length;
    if (before === 0 || heard >= rounds - keptFree || index === groups.length - 1) return;
    // Of a round in the group, waiting for the next one would have been too long.
    const late = group.map((ms, last) => group.slice(1, last + 1).reduce((sum, one) => sum + one, ms));
    expect(Math.max(...late)).toBeGreaterThan(patience);
  });
  expect(groups.length).toBeGreaterThan(1);
  executor.dispose();
});

test.each(executors)('cells that a cache has no room for are not worked out, on $name', async (executor) => {
  const kv = executor.createKvCache({ keyType: 'F16', valueType: 'F16', pageSize: 4, maxPages: 2 });
  const sequence = kv.create();
  const told: RunResult[] = [];
  await executor.run(kv, {
    tokens: Int32Array.of(1),
    positions: Int32Array.of(0),
    sequences: Int32Array.of(sequence),
    outputs: Int32Array.of(0),
    samplers: [executor.createSampler(options)],
    ahead: { rounds: Int32Array.of(64), limit: 64, ends: new Int32Array(0), told: (result) => told.push(result) },
  });
  expect(told).toHaveLength(4);
  expect(() => kv.commit(sequence, 4)).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
  kv.commit(sequence, 3);
  expect(kv.length(sequence)).toBe(4);
});

test.each([
  [16, 32], // 64 tokens: half of them
  [64, 128], // 256 tokens
  [1000, 256], // no more at once, however many there is room for
])('of %i pages, half at most are reserved for rounds ahead', async (maxPages, rounds) => {
  const executor = executors[0];
  const kv = executor.createKvCache({ keyType: 'F16', valueType: 'F16', pageSize: 4, maxPages });
  const sequence = kv.create();
  const told: RunResult[] = [];
  await executor.run(kv, {
    tokens: Int32Array.of(1),
    positions: Int32Array.of(0),
    sequences: Int32Array.of(sequence),
    outputs: Int32Array.of(0),
    samplers: [executor.createSampler(options)],
    ahead: { rounds: Int32Array.of(999), limit: 999, ends: new Int32Array(0), told: (result) => told.push(result) },
  });
  expect(told.length).toBeLessThanOrEqual(rounds);
  expect(told.length).toBeGreaterThan(rounds / 4);
  kv.dispose();
});

test.each(testDevices())('a fork made while its origin runs ahead says the same, on %s', async (device) => {
  const model = await loadModel('default', { threads: 2, device });
  const session = model.createSession();
  const generation = { temperature: 1, seed: 3, maxTokens: device === 'cpu' ? 60 : 12 };
  const own = device === 'cpu' ? 20 : 4;
  const texts: Promise<string>[] = [];
  let whole = '';
  let before = '';
  for await (const { text, tokens } of session.generate('Once upon a time', { ...generation, temperature: 0 })) {
    whole += text;
    if (tokens.length > 0 && whole.length % 3 === 0 && texts.length < own / 4) {
      const fork = session.fork();
      const begin = whole.length;
      texts.push(
        (async () => {
          let rest = '';
          for await (const piece of fork.generate([], { temperature: 0, maxTokens: own })) rest += piece.text;
          return `${begin}:${rest}`;
        })(),
      );
    }
    before = whole;
  }
  expect(before).toBe(whole);
  for (const text of await Promise.all(texts)) {
    const [, begin, rest] = /^(\d+):(.*)$/s.exec(text) ?? [];
    expect(whole.slice(Number(begin)).startsWith(rest) || rest.startsWith(whole.slice(Number(begin)))).toBe(true);
  }
  model.dispose();
});

test.each(testDevices())('a process whose sessions are silent takes no time, on %s', async (device) => {
  const model = await loadModel('default', { threads: 2, device });
  const session = model.createSession();
  for await (const _ of session.generate('Once upon a time', { maxTokens: device === 'cpu' ? 20 : 3 }));
  await new Promise((resolve) => setTimeout(resolve, 20));
  // Other work of the test runner may fall into one of the pauses.
  let least = Infinity;
  for (let attempt = 0; attempt < 5; attempt++) {
    const begin = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 200));
    const { user, system } = process.cpuUsage(begin);
    least = Math.min(least, (user + system) / 200_000);
  }
  expect(least).toBeLessThan(0.05);
  model.dispose();
});

test.each(testDevices())(
  'a worker thread that is ended while it generates takes nobody with it, on %s',
  async (device) => {
    for (let attempt = 0; attempt < (device === 'cpu' ? 5 : 2); attempt++) {
      const worker = new Worker(
        `${readSources}
       const { parentPort, workerData: device } = require('node:worker_threads');
       loadModel('default', { threads: 2, device }).then(async (model) => {
         const options = { temperature: 1, maxTokens: 400, logitBias: { 1: -Infinity, 2: -Infinity } };
         for await (const piece of model.createSession().generate('Once', options)) parentPort.postMessage(piece.text);
       });`,
        { eval: true, workerData: device },
      );
      await new Promise<void>((resolve, reject) => {
        let pieces = 0;
        worker.on('message', () => ++pieces === 3 + attempt && resolve());
        worker.on('error', reject);
      });
      expect(await worker.terminate()).toBe(1);
    }
  },
);
