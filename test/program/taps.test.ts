// Values in between that a run is asked for: right on every executor, and without a trace in what it gives besides.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { createReferenceSampler } from '../../lib/decode/reference-sampler.js';
import { openModelFile } from '../../lib/formats/open.js';
import { WeightStore } from '../../lib/formats/weight-store.js';
import { buildProgram } from '../../lib/models/registry.js';
import type { DType } from '../../lib/program/dtype.js';
import type { Executor, KvCache } from '../../lib/program/executor.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { dequantiseRow } from '../../lib/program/reference/dequantise.js';
import { ReferenceExecutor } from '../../lib/program/reference/executor.js';
import { tappedProgram } from '../../lib/program/taps.js';
import { rowBytes } from '../../lib/program/dtype.js';
import { randomModel, writeRandomGguf } from '../fixtures/random-model.js';
import { Generator } from '../fixtures/random/generator.js';
import { cardName, emulatedDevice } from '../ops/executors.js';

let folder: string;
beforeAll(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vivace-'))));
afterAll(() => fs.rmSync(folder, { recursive: true }));

function open(name: string, dtype: DType) {
  const file = path.join(folder, `${name}-${dtype}.gguf`);
  if (!fs.existsSync(file)) writeRandomGguf(file, randomModel(name), dtype);
  const source = openModelFile(file);
  const store = new WeightStore(source);
  const program = buildProgram(source.config, (tensor) => store.info(tensor), {
    contextLength: 256,
    readVector: (tensor) => store.vector(tensor),
  });
  const bytes = (tensor: string) => {
    const info = store.info(tensor);
    if (!info) throw new Error(tensor);
    return { ...info, bytes: store.bytes(tensor) };
  };
  return { config: source.config, store, program, bytes };
}

/** Rows of two sequences behind their prompts, as chains or as trees; logits of some of them. */
interface Step {
  readonly tokens: readonly number[];
  readonly sequences: readonly number[];
  readonly parents?: readonly number[];
  readonly outputs: readonly number[];
}

const steps: readonly Step[] = [
  { tokens: [5, 9, 2, 7, 1, 1, 8], sequences: [0, 0, 0, 0, 1, 1, 1], outputs: [] },
  { tokens: [3, 4, 6], sequences: [0, 1, 1], outputs: [0, 2] },
  { tokens: [11, 12, 13, 14, 15], sequences: [0, 0, 0, 0, 1], parents: [-1, 0, 0, 1, -1], outputs: [1, 2, 4] },
];

interface Result {
  readonly logits: Float32Array;
  readonly taps: Record<string, Float32Array>;
}

async function play(executor: Executor, vocab: number, names?: readonly string[]): Promise<Result[]> {
  const kv = executor.createKvCache({ keyType: 'F32', valueType: 'F32', pageSize: 4, maxPages: 100 });
  const ids = [kv.create(), kv.create()];
  const results: Result[] = [];
  for (const step of steps) results.push(await playStep(executor, kv, ids, step, vocab, names));
  kv.dispose();
  return results;
}

async function playStep(
  executor: Executor,
  kv: KvCache,
  ids: readonly number[],
  { tokens, sequences, parents, outputs }: Step,
  vocab: number,
  names: readonly string[] | undefined,
): Promise<Result> {
  const positions: number[] = [];
  sequences.forEach((sequence, row) => {
    const before = sequences.slice(0, row).filter((other) => other === sequence).length;
    const length = kv.length(ids[sequence]);
    const parent = parents?.[row] ?? -1;
    positions.push(!parents ? length + before : parent < 0 ? length : positions[parent] + 1);
  });
  const logits = new Float32Array(outputs.length * vocab).fill(NaN);
  const taps = Object.fromEntries(
    (names ?? []).map((name) => [name, new Float32Array(tokens.length * executor.taps[name]).fill(NaN)]),
  );
  await executor.run(kv, {
    tokens: Int32Array.from(tokens),
    positions: Int32Array.from(positions),
    sequences: Int32Array.from(sequences, (sequence) => ids[sequence]),
    outputs: Int32Array.from(outputs),
    logits,
    ...(parents ? { parents: Int32Array.from(parents) } : {}),
    ...(names ? { taps } : {}),
  });
  return { logits, taps };
}

const models: [string, DType][] = [
  ['llama', 'F32'],
  ['llama', 'F16'],
  ['llama', 'Q8_0'],
  ['llama', 'Q4_K'],
  ['qwen2', 'Q4_0'],
  ['gemma2', 'Q8_0'],
];

describe.each(models)('%s in %s', (name, dtype) => {
  const opened = () => open(name, dtype);
  const names = ['hidden', 'residual.0', 'residual.1', 'unnormed'];

  test('the reference: hidden times the output matrix is the logits, residual.0 the embedding', async () => {
    const { config, program, bytes, store } = opened();
    const executor = new ReferenceExecutor(program, bytes, createReferenceSampler);
    const results = await play(executor, config.vocab, names);
    const head = config.tiedEmbedding ? 'token_embd.weight' : 'output.weight';
    const rowOf = (tensor: string, row: number): Float64Array => {
      const { dtype: type, bytes: all } = bytes(tensor);
      const size = rowBytes(type, config.width);
      return dequantiseRow(type, all.subarray(row * size, (row + 1) * size), config.width);
    };
    const random = new Generator(1, name);
    results.forEach(({ logits, taps }, index) => {
      const { tokens, outputs } = steps[index];
      outputs.forEach((row, output) => {
        const token = random.integer(0, config.vocab - 1);
        const hidden = taps['hidden'].subarray(row * config.width, (row + 1) * config.width);
        let sum = rowOf(head, token).reduce((total, value, i) => total + value * hidden[i], 0);
        if (config.finalSoftcap) sum = config.finalSoftcap * Math.tanh(sum / config.finalSoftcap);
        expect(logits[output * config.vocab + token]).toBeCloseTo(sum, 4);
      });
      // The last norm is all that lies between the two.
      const [gain] = [rowOf('output_norm.weight', 0)];
      tokens.forEach((_, row) => {
        const before = taps['unnormed'].subarray(row * config.width, (row + 1) * config.width);
        const scale = 1 / Math.sqrt(before.reduce((sum, x) => sum + x * x, 0) / config.width + config.normEpsilon);
        before.forEach((x, i) => expect(taps['hidden'][row * config.width + i]).toBeCloseTo(x * scale * gain[i], 4));
      });
      if (name === 'gemma2') return; // its embedding is scaled
      tokens.forEach((token, row) => {
        const found = taps['residual.0'].subarray(row * config.width, (row + 1) * config.width);
        expect(found).toEqual(Float32Array.from(rowOf('token_embd.weight', token)));
      });
    });
    store.close();
  });

  const natives = [
    ['cpu', {}],
    ['baseline', { isa: 'baseline' }],
    ['cpu without fusions', { fuse: false }],
    ...(emulatedDevice() ? [['card', { deviceName: cardName }] as const] : []),
  ] as const;

  test.each(natives)('%s: as the reference, and logits as without taps', async (_, options) => {
    const { config, program, store, bytes } = opened();
    const judge = await play(new ReferenceExecutor(program, bytes), config.vocab, names);
    const executor = new NativeExecutor(program, (tensor) => store.bind(tensor), {
      threads: 2,
      repack: false,
      ...options,
    });
    const plain = await play(executor, config.vocab);
    const check = (results: readonly Result[], own: readonly string[]): void => {
      results.forEach(({ logits, taps }, index) => {
        expect(logits).toEqual(plain[index].logits);
        for (const tap of own) {
          const scale = judge[index].taps[tap].reduce((most, value) => Math.max(most, Math.abs(value)), 0);
          const error = taps[tap].reduce((most, v, i) => Math.max(most, Math.abs(v - judge[index].taps[tap][i])), 0);
          expect(error / scale).toBeLessThan(dtype === 'F32' || tap === 'residual.0' ? 1e-5 : 0.05);
        }
      });
    };
    check(await play(executor, config.vocab, names), names);
    check(await play(executor, config.vocab, ['hidden']), ['hidden']);
    check(await play(executor, config.vocab, ['unnormed']), ['unnormed']);
    // Weights in another order are read by both programs.
    for await (const done of executor.repack()) expect(done).toBeLessThanOrEqual(1);
    check(await play(executor, config.vocab, ['residual.1']), ['residual.1']);
    check(await play(executor, config.vocab, names), names);
    expect(await play(executor, config.vocab)).toEqual(plain);
    executor.dispose();
    store.close();
  });
});

test('memory: weights are there once, whatever is asked for', async () => {
  const { config, program, store } = open('llama', 'Q8_0');
  const executor = new NativeExecutor(program, (tensor) => store.bind(tensor), { threads: 1 });
  const before = executor.memory();
  await play(executor, config.vocab, ['hidden']);
  const after = executor.memory();
  expect({ weights: after.weights, mapped: after.mapped }).toEqual({ weights: before.weights, mapped: before.mapped });
  executor.dispose();
  store.close();
});

test('names that a program does not have', () => {
  const { program, store } = open('llama', 'F32');
  expect(() => tappedProgram(program, ['residual.9'])).toThrow(
    expect.objectContaining({
      code: 'INVALID_ARGUMENT',
      remedy: expect.stringMatching(/^There are .*residual\.0, .*residual\.1, .*hidden, unnormed\.$/),
    }),
  );
  store.close();
});
