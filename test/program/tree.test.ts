// Tree rows: every branch is computed as if it were the only one, and what is kept goes on like a chain.
import { openModelFile } from '../../lib/formats/open.js';
import { WeightStore } from '../../lib/formats/weight-store.js';
import { buildProgram } from '../../lib/models/registry.js';
import type { Executor, KvCache } from '../../lib/program/executor.js';
import { NativeExecutor, type NativeExecutorOptions } from '../../lib/program/native-executor.js';
import { ReferenceExecutor } from '../../lib/program/reference/executor.js';
import { scratch } from '../formats/scratch.js';
import { plain } from '../decode/sampler-options.js';
import { cardName, emulatedDevice, testDevices } from '../ops/executors.js';
import { randomModel, writeRandomGguf } from '../fixtures/random-model.js';
import { tinyModel, vocab as tinyVocab } from './tiny-model.js';

const { at } = scratch();
const prefix = [261, 300, 275, 410, 333, 290];
// parents by row; the tree
//   0 ─ 1 ─ 3
//   │   └ 4 ─ 6
//   └ 2 ─ 5
const parents = [-1, 0, 0, 1, 1, 2, 4];
const tokens = [400, 301, 302, 303, 304, 305, 306];
const depth = parents.map((_, row) => path(row).length - 1);

function path(row: number): number[] {
  return row < 0 ? [] : [...path(parents[row]), row];
}

function executors(
  name: string,
  dtype: 'F32' | 'F16',
): { vocab: number; all: [string, Executor][]; close: () => void } {
  const file = at(`${name}-${dtype}.gguf`);
  writeRandomGguf(file, randomModel(name), dtype);
  const source = openModelFile(file);
  const store = new WeightStore(source);
  const program = buildProgram(source.config, (tensor) => store.info(tensor), {
    contextLength: 64,
    readVector: (tensor) => store.vector(tensor),
  });
  const describe = (tensor: string) => {
    const info = store.info(tensor);
    if (!info) throw new Error(tensor);
    return { ...info, bytes: store.bytes(tensor) };
  };
  const native = (options: Partial<NativeExecutorOptions>): Executor =>
    new NativeExecutor(program, (tensor) => store.bind(tensor), { threads: 2, ...options });
  return {
    vocab: source.config.vocab,
    all: [
      ['native', native({})],
      ...(emulatedDevice() ? [['card', native({ deviceName: cardName })] as [string, Executor]] : []),
      ['reference', new ReferenceExecutor(program, describe)],
    ],
    close: () => store.close(),
  };
}

async function chain(
  executor: Executor,
  kv: KvCache,
  sequence: number,
  list: number[],
  vocab: number,
): Promise<Float32Array> {
  const from = kv.length(sequence);
  const logits = new Float32Array(vocab);
  await executor.run(kv, {
    tokens: Int32Array.from(list),
    positions: Int32Array.from(list, (_, i) => from + i),
    sequences: Int32Array.from(list, () => sequence),
    outputs: Int32Array.of(list.length - 1),
    logits,
  });
  return logits;
}

const furthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);

test.each([
  ['llama', 'F32'],
  ['gemma2', 'F16'], // sliding windows and soft caps
] as const)('%s %s: rows of a tree equal their branch as a chain; kept rows go on like one', async (name, dtype) => {
  const { vocab, all, close } = executors(name, dtype);
  for (const [, executor] of all) {
    const kv = executor.createKvCache({ maxPages: 64, keyType: 'F32', valueType: 'F32', pageSize: 4 });
    const trunk = kv.create();
    await chain(executor, kv, trunk, prefix, vocab);
    const expected: Float32Array[] = [];
    for (let row = 0; row < tokens.length; ++row) {
      const branch = kv.fork(trunk);
      expected.push(
        await chain(
          executor,
          kv,
          branch,
          path(row).map((step) => tokens[step]),
          vocab,
        ),
      );
      kv.release(branch);
    }
    const logits = new Float32Array(tokens.length * vocab);
    await executor.run(kv, {
      tokens: Int32Array.from(tokens),
      positions: Int32Array.from(depth, (d) => prefix.length + d),
      sequences: Int32Array.from(tokens, () => trunk),
      parents: Int32Array.from(parents),
      outputs: Int32Array.from(tokens, (_, row) => row),
      logits,
    });
    for (let row = 0; row < tokens.length; ++row) {
      expect(furthest(logits.subarray(row * vocab, (row + 1) * vocab), expected[row])).toBeLessThan(2e-4);
    }
    // Nothing counts until it is kept: then the branch 0-1-4-6 is as if it had been run alone.
    expect(kv.length(trunk)).toBe(prefix.length);
    kv.keep(trunk, Int32Array.from(path(6)));
    expect(kv.length(trunk)).toBe(prefix.length + 4);
    const alone = kv.create();
    await chain(executor, kv, alone, [...prefix, ...path(6).map((step) => tokens[step])], vocab);
    const next = [333, 290];
    const after = await chain(executor, kv, trunk, next, vocab);
    expect(furthest(after, await chain(executor, kv, alone, next, vocab))).toBeLessThan(2e-4);
    kv.dispose();
    executor.dispose();
  }
  close();
});

test('a tree whose rows do not fit together is refused', async () => {
  const { all, close } = executors('llama', 'F32');
  const [, executor] = all[0];
  const kv = executor.createKvCache({ maxPages: 16 });
  const sequence = kv.create();
  const run = (positions: number[], parentRows: number[]) =>
    executor.run(kv, {
      tokens: Int32Array.from(positions, () => 300),
      positions: Int32Array.from(positions),
      sequences: Int32Array.from(positions, () => sequence),
      parents: Int32Array.from(parentRows),
      outputs: Int32Array.of(0),
    });
  await expect(run([0, 1], [-1, 1])).rejects.toMatchObject({ code: 'INTERNAL' });
  await expect(run([0, 2], [-1, 0])).rejects.toMatchObject({ code: 'INTERNAL' });
  await expect(run([1, 2], [-1, 0])).rejects.toMatchObject({ code: 'INTERNAL' });
  await expect(run([0, 1], [-1, 0])).resolves.toBeDefined();
  expect(() => kv.keep(sequence, Int32Array.of(1, 0))).toThrow();
  expect(() => kv.keep(sequence, Int32Array.of(0, 500))).toThrow();
  for (const [, each] of all) each.dispose();
  kv.dispose();
  close();
});

// On a card prompts of 32 rows and more have a kernel of their own, which rounds to halves; drafts must not get there.
test.each(testDevices())(
  'a prompt and what is drafted behind it have their bits beside anything, on %s',
  async (deviceName) => {
    const { program, bytes } = tinyModel(0);
    const executor = new NativeExecutor(program, bytes, { threads: 2, deviceName });
    const text = Array.from({ length: 33 }, (_, i) => (7 * i + 3) % tinyVocab);
    const draft = Array.from({ length: 6 }, (_, i) => (5 * i + 1) % tinyVocab);
    const options = { keyType: 'F16', valueType: 'F16', pageSize: 16, maxPages: 64 } as const;

    /** Logits after the last row of each text, or of its draft all; drafts as chains, or their second half below the root, too. */
    const play = async (drafts: readonly (readonly number[])[], wide: boolean): Promise<Float32Array> => {
      const kv = executor.createKvCache(options);
      const rows = drafts.flatMap((drafted) => {
        const sequence = kv.create();
        const [last, half] = [text.length - 1, Math.floor(drafted.length / 2)];
        const below = (node: number): number => last + (wide && node === half ? 0 : node);
        return [...text, ...drafted].map((token, at) => ({
          token,
          sequence,
          parent: at <= last ? at - 1 : below(at - last - 1),
          position: at <= last || !wide || at - last - 1 < half ? at : at - half,
          drafted: at > last,
          output: at >= last,
        }));
      });
      const begins = rows.map((_, row) => rows.findIndex(({ sequence }) => sequence === rows[row].sequence));
      const outputs = rows.flatMap(({ output }, row) => (output ? [row] : []));
      const logits = new Float32Array(outputs.length * tinyVocab);
      await executor.run(kv, {
        tokens: Int32Array.from(rows, ({ token }) => token),
        positions: Int32Array.from(rows, ({ position }) => position),
        sequences: Int32Array.from(rows, ({ sequence }) => sequence),
        ...(wide
          ? { parents: Int32Array.from(rows, ({ parent }, row) => (parent < 0 ? -1 : begins[row] + parent)) }
          : {}),
        outputs: Int32Array.from(outputs),
        samplers: outputs.map(() => null),
        walks: drafts.flatMap((drafted, i) => {
          if (drafted.length === 0) return [];
          const output = drafts.slice(0, i).reduce((sum, one) => sum + 1 + one.length, 0);
          const sampler = executor.createSampler({ ...plain, vocab: tinyVocab, temperature: 0 });
          return [{ output, rows: 1 + drafted.length, sampler, rule: { name: 'match' }, cycle: 1 } as const];
        }),
        logits,
      });
      kv.dispose();
      return logits;
    };
    /** The same rows, the prompt at once and tokens one by one. */
    const plainly = async (drafted: readonly number[]): Promise<Float32Array[]> => {
      const kv = executor.createKvCache(options);
      const sequence = kv.create();
      const said = [await chain(executor, kv, sequence, text, tinyVocab)];
      for (const token of drafted) said.push(await chain(executor, kv, sequence, [token], tinyVocab));
      kv.dispose();
      return said;
    };
    const all = await plainly(draft);
    const half = Math.floor(draft.length / 2);
    const second = await plainly(draft.slice(half));
    const joined = (parts: readonly Float32Array[]): number[] => parts.flatMap((part) => [...part]);
    expect([...(await play([draft, []], false))]).toEqual(joined([...all, all[0]]));
    expect([...(await play([[], draft], true))]).toEqual(
      joined([all[0], ...all.slice(0, half + 1), ...second.slice(1)]),
    );
    executor.dispose();
  },
);
