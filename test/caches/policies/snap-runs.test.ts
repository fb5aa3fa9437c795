// A model whose prompts are compressed says what the float64 reference says, in which the cells that are gone are hidden from
// every row behind the prompt and nothing moves: that finds wrong positions, rotations and copies.
import type { Executor, KvCache, KvOptions } from '../../../lib/program/executor.js';
import { NativeExecutor } from '../../../lib/program/native-executor.js';
import { ReferenceExecutor } from '../../../lib/program/reference/executor.js';
import type { SnapPolicy } from '../../../lib/program/kv-policy.js';
import { Generator } from '../../fixtures/random/generator.js';
import { isaLevels } from '../../ops/executors.js';
import { expectClose } from '../../ops/op-case.js';
import { tinyModel, vocab } from '../../program/tiny-model.js';

const snap: SnapPolicy = {
  ...{ budget: 48, window: 8, kernel: 5, pooling: 'max', aggregation: 'mean', keepFirst: 0, minPromptTokens: 48 },
  ...{ granularity: 'kvHead', poolBeforeGroup: false },
};
const storage: KvOptions = { keyType: 'F32', valueType: 'F32', pageSize: 8, maxPages: 200 };

const reference = (window = 0): Executor => {
  const { program, bytes, shape } = tinyModel(window);
  return new ReferenceExecutor(program, (tensor) => ({ dtype: 'F32', shape: shape(tensor), bytes: bytes(tensor) }));
};
const native = (window = 0, options: { threads?: number; isa?: string } = { threads: 2 }): Executor => {
  const { program, bytes } = tinyModel(window);
  return new NativeExecutor(program, bytes, options);
};

const text = (label: string, length: number): number[] => {
  const generator = new Generator(11, label);
  return Array.from({ length }, () => generator.integer(0, vocab - 1));
};

interface Rows {
  readonly tokens: readonly number[];
  readonly parents?: readonly number[];
  readonly voters?: number;
}

/** Puts tokens behind a sequence in one run and gives their logits. */
async function append(
  executor: Executor,
  kv: KvCache,
  sequence: number,
  { tokens, parents, voters }: Rows,
): Promise<Float32Array[]> {
  const begin = kv.length(sequence);
  const positions: number[] = [];
  tokens.forEach((_, row) => {
    const parent = parents ? parents[row] : row - 1;
    positions.push(parent < 0 ? begin : positions[parent] + 1);
  });
  const logits = new Float32Array(tokens.length * vocab).fill(NaN);
  await executor.run(kv, {
    tokens: Int32Array.from(tokens),
    positions: Int32Array.from(positions),
    sequences: new Int32Array(tokens.length).fill(sequence),
    outputs: Int32Array.from(tokens.keys()),
    logits,
    ...(parents ? { parents: Int32Array.from(parents) } : {}),
    ...(voters ? { compress: new Map([[sequence, voters]]) } : {}),
  });
  if (voters) kv.compact?.(sequence);
  return tokens.map((_, row) => logits.slice(row * vocab, (row + 1) * vocab));
}

/** Feeds a prompt in runs that end at these places; what does not fit the budget is compressed with the last one. */
async function prompt(
  executor: Executor,
  kv: KvCache,
  sequence: number,
  tokens: readonly number[],
  ends: readonly number[] = [],
): Promise<Float32Array[]> {
  const voters = kv.voters?.(sequence, tokens.length) ?? 0;
  const logits: Float32Array[] = [];
  for (const [index, end] of [...ends, tokens.length].entries()) {
    const rows = { tokens: tokens.slice(index === 0 ? 0 : ends[index - 1], end) };
    logits.push(...(await append(executor, kv, sequence, end === tokens.length ? { ...rows, voters } : rows)));
  }
  return logits;
}

const expectSame = (actual: readonly Float32Array[], wanted: readonly Float32Array[]): void =>
  expect(actual.map((row) => Buffer.from(row.buffer).toString('hex'))).toEqual(
    wanted.map((row) => Buffer.from(row.buffer).toString('hex')),
  );

/** Two turns with answers; all logits. */
async function turns(executor: Executor, policy?: SnapPolicy): Promise<Float32Array[]> {
  const kv = executor.createKvCache({ ...storage, ...(policy ? { policy: { snap: policy } } : {}) });
  const sequence = kv.create();
  const logits = await prompt(executor, kv, sequence, text('first', 150), [64, 100]);
  for (const token of text('answer', 64)) logits.push(...(await append(executor, kv, sequence, { tokens: [token] })));
  logits.push(...(await prompt(executor, kv, sequence, text('second', 23))));
  expect([kv.length(sequence), kv.cells?.(sequence)]).toEqual([237, policy ? policy.budget : 237]);
  for (const token of text('more', 10)) logits.push(...(await append(executor, kv, sequence, { tokens: [token] })));
  kv.dispose();
  executor.dispose();
  return logits;
}

const distance = (a: Float32Array, b: Float32Array): number => Math.max(...a.map((value, i) => Math.abs(value - b[i])));

test.each([
  ['largest of 5', snap],
  [
    'average of 7, largest of the heads, first cells stay',
    { ...snap, kernel: 7, pooling: 'avg', aggregation: 'max', keepFirst: 4 } as const,
  ],
  ['not pooled, sum of the heads', { ...snap, pooling: 'none', aggregation: 'sum', window: 3 } as const],
])('two turns of 150 and 23 tokens with answers of 64 and 10: %s', async (_, policy) => {
  const wanted = await turns(reference(), policy);
  for (const isa of isaLevels()) {
    const found = await turns(native(0, { isa, threads: 2 }), policy);
    found.forEach((row, index) => expectClose(row, wanted[index], 0, 2e-4));
  }
  // The first prompt is read whole; then it matters what stayed.
  const whole = await turns(native());
  const apart = wanted.map((row, index) => distance(row, whole[index]));
  expect(Math.max(...apart.slice(0, 150))).toBeLessThan(2e-4);
  expect(Math.max(...apart.slice(150))).toBeGreaterThan(2e-2);
});

test('a budget that holds the prompt changes no bit, and none changes one of the prompt', async () => {
  const whole = await turns(native());
  const executor = native();
  for (const budget of [9, 48, 149, 150]) {
    const kv = executor.createKvCache({ ...storage, policy: { snap: { ...snap, budget, minPromptTokens: budget } } });
    const sequence = kv.create();
    const logits = await prompt(executor, kv, sequence, text('first', 150), [64, 100]);
    expectSame(logits, whole.slice(0, 150));
    expect(kv.cells?.(sequence)).toBe(budget);
    for (const token of text('answer', 64)) logits.push(...(await append(executor, kv, sequence, { tokens: [token] })));
    if (budget === 150) expectSame(logits, whole.slice(0, 214));
    else expect(Math.max(...logits.slice(150).map((row, i) => distance(row, whole[150 + i])))).toBeGreaterThan(1e-4);
    kv.dispose();
  }
  executor.dispose();
});

test('the same bits for every team and chunking; trees behind a prompt have those of chains', async () => {
  const executor = native();
  const other = native(0, { threads: 1 });
  const all: Float32Array[][] = [];
  for (const [one, ends] of [
    [executor, []],
    [executor, [142]],
    [other, [1, 2, 70]],
  ] as const) {
    const kv = one.createKvCache({ ...storage, keyType: 'Q8_0', valueType: 'F16', policy: { snap } });
    const sequence = kv.create();
    const logits = await prompt(one, kv, sequence, text('first', 150), ends);
    const answer = text('answer', 6);
    const fork = kv.fork(sequence);
    for (const token of answer) logits.push(...(await append(one, kv, sequence, { tokens: [token] })));
    all.push(logits);
    // Row 2 is another child of the root.
    const tokens = [answer[0], answer[1], 7, answer[2], answer[3]];
    const tree = await append(one, kv, fork, { tokens, parents: [-1, 0, 0, 1, 3] });
    expectSame([tree[0], tree[1], tree[3], tree[4]], logits.slice(150, 154));
    kv.keep(fork, Int32Array.of(0, 1, 3, 4));
    expect(kv.length(fork)).toBe(154);
    expectSame(await append(one, kv, fork, { tokens: answer.slice(4) }), logits.slice(154));
    kv.dispose();
  }
  expectSame(all[1], all[0]);
  expectSame(all[2], all[0]);
  executor.dispose();
  other.dispose();
});

test('a layer with a sliding window, beside one without', async () => {
  const policy = { ...snap, budget: 40, minPromptTokens: 40 };
  const wanted = await turns(reference(30), policy);
  const found = await turns(native(30), policy);
  found.forEach((row, index) => expectClose(row, wanted[index], 0, 2e-4));
  const executor = native(30);
  const kv = executor.createKvCache({ ...storage, policy: { snap: { ...policy, budget: 29, minPromptTokens: 29 } } });
  await expect(append(executor, kv, kv.create(), { tokens: [1] })).rejects.toThrow(/wider than what stays/);
  executor.dispose();
});

test('a selection per query head is another one, and so is one of votes that are pooled before', async () => {
  const each = { ...snap, granularity: 'queryHead' } as const;
  const own = await turns(reference(), each);
  const shared = await turns(reference(), snap);
  expect(Math.max(...own.map((row, i) => distance(row, shared[i])))).toBeGreaterThan(1e-3);
  const before = await turns(reference(), { ...snap, poolBeforeGroup: true });
  expect(Math.max(...before.map((row, i) => distance(row, shared[i])))).toBeGreaterThan(1e-3);
  const executor = native();
  const refused = { ...snap, poolBeforeGroup: true };
  expect(() => executor.createKvCache({ ...storage, policy: { snap: refused } })).toThrow(/2 query heads share/);
  executor.dispose();
});
