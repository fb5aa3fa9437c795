// One program on two executors: texts, trees, forks and restored caches give the same logits on the CPU as in the float64
// reference, and on each of them the same whichever way the text came into the cache.
import { createReferenceSampler } from '../../lib/decode/reference-sampler.js';
import type { VivaceError } from '../../lib/errors.js';
import type { Executor, KvCache, KvOptions, SamplerOptions } from '../../lib/program/executor.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { ReferenceExecutor } from '../../lib/program/reference/executor.js';
import { Generator } from '../fixtures/random/generator.js';
import { cardName, emulatedDevice, variants } from '../ops/executors.js';
import { expectClose } from '../ops/op-case.js';
import { tinyModel, vocab } from './tiny-model.js';

const options: KvOptions = { keyType: 'F16', valueType: 'Q8_0', pageSize: 8, maxPages: 100 };
const greedy: SamplerOptions = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  typicalP: 1,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: new Map(),
  seed: 1n,
  logprob: true,
  topLogprobs: 3,
  vocab,
};

function reference(window: number): Executor {
  const { program, bytes, shape } = tinyModel(window);
  const bind = (tensor: string) => ({ dtype: 'F32' as const, shape: shape(tensor), bytes: bytes(tensor) });
  return new ReferenceExecutor(program, bind, createReferenceSampler);
}

interface Row {
  readonly sequence: number;
  readonly token: number;
  readonly position: number;
  readonly parent?: number;
}

/** Logits of every row. */
async function run(executor: Executor, kv: KvCache, rows: readonly Row[]): Promise<Float32Array[]> {
  const column = (pick: (row: Row) => number): Int32Array => Int32Array.from(rows, pick);
  const logits = new Float32Array(rows.length * vocab).fill(NaN);
  await executor.run(kv, {
    tokens: column((row) => row.token),
    positions: column((row) => row.position),
    sequences: column((row) => row.sequence),
    outputs: Int32Array.from(rows, (_, index) => index),
    logits,
    ...(rows[0].parent === undefined ? {} : { parents: column((row) => row.parent ?? -1) }),
  });
  return rows.map((_, index) => logits.slice(index * vocab, (index + 1) * vocab));
}

const text = (label: string, length: number): number[] => {
  const generator = new Generator(7, label);
  return Array.from({ length }, () => generator.integer(0, vocab - 1));
};

/** The next tokens of a sequence, as one run. */
const append = (executor: Executor, kv: KvCache, sequence: number, tokens: readonly number[]) => {
  const begin = kv.length(sequence);
  return run(
    executor,
    kv,
    tokens.map((token, index) => ({ sequence, token, position: begin + index })),
  );
};

const expectRows = (actual: readonly Float32Array[], wanted: readonly Float32Array[], absolute: number): void => {
  expect(actual.length).toBe(wanted.length);
  actual.forEach((row, index) => expectClose(row, wanted[index], 0, absolute));
};

/** Everything that a session does with its cache; returns all logits on the way. */
async function story(executor: Executor): Promise<Float32Array[]> {
  const kv = executor.createKvCache(options);
  const [a, b] = [kv.create(), kv.create()];
  const seen = await append(executor, kv, a, text('a', 29));
  seen.push(...(await append(executor, kv, b, text('b', 5))));
  // Two sequences in turns.
  const pair = [0, 1, 2].flatMap((step) => [
    { sequence: a, token: 10 + step, position: 29 + step },
    { sequence: b, token: 20 + step, position: 5 + step },
  ]);
  seen.push(...(await run(executor, kv, pair)));
  const branch = kv.fork(a);
  seen.push(...(await append(executor, kv, branch, [1, 2, 3])), ...(await append(executor, kv, a, [4, 5])));
  kv.truncate(a, 20);
  // A tree on each of two sequences in one run; of each a path is kept.
  const trees = [a, branch].flatMap((sequence, at) =>
    [-1, 0, 0, 2, -1, 4].map((parent, node) => ({ sequence, node, parent: parent < 0 ? -1 : parent + 6 * at })),
  );
  const depth = (index: number): number => (trees[index].parent < 0 ? 0 : depth(trees[index].parent) + 1);
  const nodes = trees.map(({ sequence, node, parent }, index) => {
    return { sequence, token: 30 + node, parent, position: kv.length(sequence) + depth(index) };
  });
  seen.push(...(await run(executor, kv, nodes)));
  kv.keep(a, Int32Array.from([0, 2, 3]));
  kv.keep(branch, Int32Array.from([4]));
  expect([kv.length(a), kv.length(branch)]).toEqual([23, 36]);
  seen.push(...(await append(executor, kv, a, [6])), ...(await append(executor, kv, branch, [7, 8])));
  const saved = new Uint8Array(kv.length(a) * kv.cellBytes);
  kv.readCells(a, 0, kv.length(a), saved);
  kv.release(a);
  const restored = kv.create();
  kv.writeCells(restored, saved.length / kv.cellBytes, saved);
  seen.push(...(await append(executor, kv, restored, [9, 9])));
  kv.dispose();
  return seen;
}

describe.each([0, 11])('window %i', (window) => {
  const wanted = story(reference(window));

  (emulatedDevice() ? test : test.skip)('the kernels for cards give the logits of the reference', async () => {
    const { program, bytes } = tinyModel(window);
    const executor = new NativeExecutor(program, bytes, { deviceName: cardName });
    expectRows(await story(executor), await wanted, 5e-3);
    executor.dispose();
  });

  test.each(variants().map((variant) => [`${variant.isa}, ${variant.threads} threads`, variant]))(
    '%s gives the logits of the reference',
    async (_, variant) => {
      const { program, bytes } = tinyModel(window);
      const executor = new NativeExecutor(program, bytes, variant);
      // A key that rounds to the other neighbour in F16 or Q8_0 moves a logit by about 1e-3; logits are around 3.
      expectRows(await story(executor), await wanted, 5e-3);
      executor.dispose();
    },
  );

  test('the reference gives the same logits for any way into the cache', async () => {
    const executor = reference(window);
    const kv = executor.createKvCache(options);
    const tokens = text('ways', 24);
    const whole = await append(executor, kv, kv.create(), tokens);
    for (const chunk of [1, 5]) {
      const sequence = kv.create();
      const rows: Float32Array[] = [];
      for (let from = 0; from < tokens.length; from += chunk) {
        rows.push(...(await append(executor, kv, sequence, tokens.slice(from, from + chunk))));
      }
      expectRows(rows, whole, 0);
    }
    const sequence = kv.create();
    await append(executor, kv, sequence, tokens.slice(0, 10));
    // Nodes 1, 2 and 4 are the text, the others are not.
    const parents = [-1, -1, 1, 0, 2];
    const depths = [0, 0, 1, 1, 2];
    const nodes = parents.map((parent, node) => ({
      sequence,
      parent,
      token: [1, 2, 4].includes(node) ? tokens[10 + depths[node]] : 3,
      position: 10 + depths[node],
    }));
    const tree = await run(executor, kv, nodes);
    expectRows([tree[1], tree[2], tree[4]], whole.slice(10, 13), 0);
    kv.keep(sequence, Int32Array.from([1, 2, 4]));
    expectRows(await append(executor, kv, sequence, tokens.slice(13)), whole.slice(13), 0);
  });
});

describe('the reference executor', () => {
  const executor = reference(0);

  test('draws from the logits of each output that has a sampler', async () => {
    const kv = executor.createKvCache(options);
    const sequence = kv.create();
    const logits = new Float32Array(2 * vocab);
    const { tokens, logprobs, top, errors } = await executor.run(kv, {
      tokens: Int32Array.from([3, 1, 4]),
      positions: Int32Array.from([0, 1, 2]),
      sequences: new Int32Array(3).fill(sequence),
      outputs: Int32Array.from([1, 2]),
      logits,
      samplers: [null, executor.createSampler(greedy)],
    });
    const last = logits.subarray(vocab);
    expect([...tokens]).toEqual([-1, last.indexOf(Math.max(...last))]);
    expect(logprobs[0]).toBeNaN();
    expect(top[0]).toBeNull();
    expect(top[1]?.[0][0]).toBe(tokens[1]);
    expect(top[1]?.[0][1]).toBeCloseTo(logprobs[1], 6);
    expect(errors).toEqual([null, null]);
  });

  test('one sampler that cannot draw leaves the others alone', async () => {
    const kv = executor.createKvCache(options);
    const gone = executor.createSampler(greedy);
    gone.dispose();
    const { tokens, errors } = await executor.run(kv, {
      tokens: Int32Array.from([3, 1]),
      positions: Int32Array.from([0, 0]),
      sequences: Int32Array.from([kv.create(), kv.create()]),
      outputs: Int32Array.from([0, 1]),
      samplers: [gone, executor.createSampler(greedy)],
    });
    expect([errors[0]?.code, errors[1]]).toEqual(['DISPOSED', null]);
    expect(tokens[0]).toBe(-1);
    expect(tokens[1]).toBeGreaterThanOrEqual(0);
  });

  test('says when the cache is full, and changes nothing', async () => {
    const kv = executor.createKvCache({ ...options, maxPages: 2 });
    const sequence = kv.create();
    await append(executor, kv, sequence, text('full', 16));
    const error = await append(executor, kv, sequence, [1]).catch((caught: VivaceError) => caught);
    expect((error as VivaceError).code).toBe('OUT_OF_MEMORY');
    expect(kv.length(sequence)).toBe(16);
    kv.truncate(sequence, 15);
    await append(executor, kv, sequence, [1]);
    expect(kv.usedBytes()).toBe(2 * kv.pageBytes);
  });

  test('refuses rows out of place, caches of others, and runs after its end', async () => {
    const own = reference(0);
    const kv = own.createKvCache(options);
    const row = { sequence: kv.create(), token: 1, position: 1 };
    await expect(run(own, kv, [row])).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(run(own, {} as KvCache, [{ ...row, position: 0 }])).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    expect(kv.length(row.sequence)).toBe(0);
    own.dispose();
    await expect(run(own, kv, [{ ...row, position: 0 }])).rejects.toMatchObject({ code: 'DISPOSED' });
  });
});
