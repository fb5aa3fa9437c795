// A whole model on a card: the shape of Llama 3 8B with random weights of 4 bits, made in memory. Tokens per second next to what
// the card's memory allows, and what the host adds to a round: `node --import tsx bench/gpu/model.ts --bandwidth GB/s
// [--device cuda] [--tiny]`. scripts/gpu/bench.mjs runs it; lines of BAR and FIGURE are for that.
import { parseArgs } from 'node:util';
import type { ModelConfig } from '../../lib/formats/model-config.js';
import { buildProgram } from '../../lib/models/registry.js';
import type { WeightInfo } from '../../lib/program/builder.js';
import type { DeviceName } from '../../lib/program/device-library.js';
import { rowBytes } from '../../lib/program/dtype.js';
import type { DType } from '../../lib/program/dtype.js';
import type { RunResult } from '../../lib/program/executor.js';
import { NativeExecutor } from '../../lib/program/native-executor.js';
import { Generator } from '../../test/fixtures/random/generator.js';
import { quantise } from '../../test/ops/linear/cases.js';

const { values: options } = parseArgs({
  options: {
    bandwidth: { type: 'string' },
    device: { type: 'string', default: 'cuda' },
    tiny: { type: 'boolean', default: false },
  },
});
const bandwidth = Number(options.bandwidth ?? NaN) * 1e9;

const llama3 = { width: 4096, layers: 32, hidden: 14336, heads: 32, kvHeads: 8, vocab: 128256 };
const small = { width: 256, layers: 2, hidden: 512, heads: 2, kvHeads: 1, vocab: 512 };
const shape = options.tiny ? small : llama3;
const config: ModelConfig = {
  architecture: 'llama',
  contextLength: 8192,
  headDim: 128,
  valueDim: 128,
  normEpsilon: 1e-5,
  rope: { base: 500000, dimensions: 128, scaling: { type: 'none' }, layout: 'halves' },
  tiedEmbedding: false,
  ...shape,
};

async function main(): Promise<void> {
  for (const dtype of ['W4A16_G128', 'Q4_0', 'Q4_K'] as const) {
    const weights = new RandomWeights(dtype);
    const program = buildProgram(config, (tensor) => weights.info(tensor), { contextLength: config.contextLength });
    const begin = performance.now();
    const executor = new NativeExecutor(program, (tensor) => weights.bytes(tensor), {
      threads: 1,
      deviceName: options.device as DeviceName,
      repack: false,
    });
    for await (const _ of executor.repack());
    console.log(`${dtype}: loaded in ${((performance.now() - begin) / 1000).toFixed(1)} s`);
    for (const sequences of options.tiny ? [1] : [1, 16]) {
      const { seconds, host, cells } = await decode(executor, sequences);
      const kvBytes = sequences * cells * config.layers * config.kvHeads * 2 * config.headDim * 2; // F16
      const bound = (weights.perToken + kvBytes) / bandwidth;
      const what = `Llama 3 8B's shape, ${dtype}, sequences: ${sequences}`;
      report(
        { what: `${what}: tokens`, unit: 'tokens/s', achieved: sequences / seconds, limit: sequences / bound },
        0.7,
      );
      const hosted = { what: `${what}: host time of a round`, unit: 'us', achieved: host * 1e6, limit: 30 };
      report(hosted, 1, 'atMost');
    }
    executor.dispose();
  }
}

interface Measured {
  readonly what: string;
  readonly unit: string;
  readonly achieved: number;
  readonly limit: number;
}

function report(measured: Measured, bar: number, sense: 'atLeast' | 'atMost' = 'atLeast'): void {
  const ratio = measured.achieved / measured.limit;
  const met = sense === 'atLeast' ? ratio >= bar : ratio <= bar;
  console.log(
    `${measured.what}: ${measured.achieved.toPrecision(4)} of ${measured.limit.toPrecision(4)} ${measured.unit}`,
  );
  console.log(`BAR ${JSON.stringify({ ...measured, ratio, [sense]: bar, met })}`);
}

/** Every sequence decodes greedily, many rounds in a native call. Seconds of a round, and those when no kernel ran. */
async function decode(executor: NativeExecutor, sequences: number) {
  const kv = executor.createKvCache({ maxPages: 4096 });
  const ids = Array.from({ length: sequences }, () => kv.create());
  const sampler = () =>
    executor.createSampler({
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
      logprob: false,
      topLogprobs: 0,
      vocab: config.vocab,
    });
  const samplers = ids.map(sampler);
  let tokens = Int32Array.from(ids, (id) => id + 1);
  const rounds = options.tiny ? 3 : 128;
  let measured = { seconds: NaN, host: NaN };
  // The first call records graphs.
  for (let call = 0; call < 2; call++) {
    const told: RunResult[] = [];
    const before = executor.traffic().waited;
    const begin = performance.now();
    await executor.run(kv, {
      tokens,
      positions: Int32Array.from(ids, (id) => kv.length(id)),
      sequences: Int32Array.from(ids),
      outputs: Int32Array.from(ids, (_, index) => index),
      samplers,
      ahead: { rounds: Int32Array.of(rounds), limit: rounds, ends: new Int32Array(0), told: (one) => told.push(one) },
    });
    const seconds = (performance.now() - begin) / 1000 / told.length;
    measured = { seconds, host: seconds - (executor.traffic().waited - before) / told.length };
    for (const id of ids) kv.commit(id, told.length - 1);
    tokens = told[told.length - 1].tokens.slice();
    if (told.length !== rounds) throw new Error(`${told.length} rounds of ${rounds}`);
  }
  for (const one of samplers) one.dispose();
  kv.dispose();
  return { ...measured, cells: Math.round(1.5 * rounds) };
}

/** Weights by name: sixteen random rows of each width, repeated. Norms are ones. */
class RandomWeights {
  /** Bytes that a token reads: all but the embedding. */
  perToken = 0;
  private readonly pieces = new Map<string, Uint8Array>();
  private readonly shapes = new Map<string, WeightInfo>();

  constructor(dtype: DType) {
    const { width, layers, hidden, heads, kvHeads, vocab, headDim } = config;
    const add = (name: string, type: DType, rows: number, columns?: number): void => {
      this.shapes.set(`${name}.weight`, { dtype: type, shape: columns === undefined ? [rows] : [rows, columns] });
      if (name !== 'token_embd') this.perToken += columns === undefined ? 4 * rows : rows * rowBytes(type, columns);
    };
    add('token_embd', 'Q8_0', vocab, width);
    add('output_norm', 'F32', width);
    add('output', dtype, vocab, width);
    for (let layer = 0; layer < layers; layer++) {
      const block = (part: string): string => `blk.${layer}.${part}`;
      for (const norm of ['attn_norm', 'ffn_norm']) add(block(norm), 'F32', width);
      add(block('attn_q'), dtype, heads * headDim, width);
      for (const part of ['attn_k', 'attn_v']) add(block(part), dtype, kvHeads * headDim, width);
      add(block('attn_output'), dtype, width, heads * headDim);
      for (const part of ['ffn_gate', 'ffn_up']) add(block(part), dtype, hidden, width);
      add(block('ffn_down'), dtype, width, hidden);
    }
  }

  info(tensor: string): WeightInfo | undefined {
    return this.shapes.get(tensor);
  }

  bytes(tensor: string): Uint8Array {
    const found = this.shapes.get(tensor);
    if (!found) throw new Error(`no tensor ${tensor}`);
    const [rows, columns] = found.shape;
    if (columns === undefined) return new Uint8Array(new Float32Array(rows).fill(1).buffer);
    const bytes = new Uint8Array(rows * rowBytes(found.dtype, columns));
    const piece = this.piece(found.dtype, columns);
    for (let at = 0; at < bytes.length; at += piece.length) bytes.set(piece.subarray(0, bytes.length - at), at);
    return bytes;
  }

  private piece(dtype: DType, columns: number): Uint8Array {
    const key = `${dtype} ${columns}`;
    const known = this.pieces.get(key);
    if (known) return known;
    const rows = 16;
    const random = new Generator(7, key);
    const values = Float32Array.from({ length: rows * columns }, () => 0.02 * random.normal());
    const piece = quantise(dtype, values, rows, columns);
    this.pieces.set(key, piece);
    return piece;
  }
}

void main();
