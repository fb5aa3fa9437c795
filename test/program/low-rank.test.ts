// A low-rank addition to the output matrix: what it adds to logits, and that the cache does not know of it.
import { createReferenceSampler } from '../../lib/decode/reference-sampler.js';
import type { Executor } from '../../lib/program/executor.js';
import { lowRankTensors, withLowRank } from '../../lib/program/low-rank.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import type { Program } from '../../lib/program/program.js';
import { ReferenceExecutor } from '../../lib/program/reference/executor.js';
import { Generator } from '../fixtures/random/generator.js';
import { testDevices } from '../ops/executors.js';
import { tinyModel, vocab } from './tiny-model.js';

const rank = 3;
const model = tinyModel();
const hidden = model.program.taps?.['hidden'];
if (!hidden) throw new Error('The tiny model does not say what its output matrix multiplies');
const random = new Generator(1, 'low rank');
const matrix = (size: number): Float32Array => Float32Array.from({ length: size }, () => random.normal());
const a = matrix(rank * hidden.columns);
const b = matrix(vocab * rank);
const bytes = (tensor: string): Uint8Array => {
  const own = tensor === lowRankTensors[0] ? a : tensor === lowRankTensors[1] ? b : undefined;
  return own ? new Uint8Array(own.buffer) : model.bytes(tensor);
};
const shape = (tensor: string): readonly number[] =>
  tensor === lowRankTensors[0]
    ? [rank, hidden.columns]
    : tensor === lowRankTensors[1]
      ? [vocab, rank]
      : model.shape(tensor);

const executors: Record<string, (program: Program) => Executor> = {
  reference: (program) =>
    new ReferenceExecutor(
      program,
      (tensor) => ({ dtype: 'F32', shape: shape(tensor), bytes: bytes(tensor) }),
      createReferenceSampler,
    ),
  ...Object.fromEntries(
    testDevices().map((deviceName) => [
      deviceName,
      (program: Program) => new NativeExecutor(program, bytes, { threads: 1, deviceName }),
    ]),
  ),
};

async function run(executor: Executor) {
  const kv = executor.createKvCache({ keyType: 'F32', valueType: 'F32', pageSize: 4, maxPages: 20 });
  const sequence = kv.create();
  const tokens = Int32Array.of(5, 9, 2, 7, 1);
  const logits = new Float32Array(tokens.length * vocab).fill(NaN);
  const states = new Float32Array(tokens.length * (hidden?.columns ?? 0)).fill(NaN);
  const request = {
    tokens,
    positions: tokens.map((_, i) => i),
    sequences: tokens.map(() => sequence),
    outputs: tokens.map((_, i) => i),
    logits,
    taps: { hidden: states },
  };
  await executor.run(kv, request);
  const cells = new Uint8Array(tokens.length * kv.cellBytes);
  kv.readCells(sequence, 0, tokens.length, cells);
  kv.dispose();
  executor.dispose();
  return { logits, states, cells };
}

test.each(Object.keys(executors))('%s: logits get b · (a · hidden), the cache stays as it was', async (name) => {
  const plain = await run(executors[name](model.program));
  const more = await run(executors[name](withLowRank(model.program, rank)));
  expect(more.cells).toEqual(plain.cells);
  expect(more.states).toEqual(plain.states);
  const width = plain.states.length / 5;
  let worst = 0;
  for (let row = 0; row < 5; row++) {
    for (let token = 0; token < vocab; token++) {
      let wanted = plain.logits[row * vocab + token];
      for (let k = 0; k < rank; k++) {
        let sum = 0;
        for (let j = 0; j < width; j++) sum += a[k * width + j] * plain.states[row * width + j];
        wanted += b[token * rank + k] * sum;
      }
      worst = Math.max(worst, Math.abs(more.logits[row * vocab + token] - wanted) / (1 + Math.abs(wanted)));
    }
  }
  expect(worst).toBeLessThan(1e-4);
});

test('logits that are no product of the output matrix are refused', () => {
  const { program } = model;
  const { logits } = program.outputs;
  const capped = { ...logits, id: program.values.length, name: 'capped' };
  const call = { op: 'soft_cap', inputs: [logits], outputs: [capped], attributes: [30] } as const;
  const other = { ...program, values: [...program.values, capped], calls: [...program.calls, call] };
  expect(() => withLowRank({ ...other, outputs: { logits: capped } }, rank)).toThrow('output matrix');
  expect(() => withLowRank({ ...program, taps: {} }, rank)).toThrow('output matrix');
});
