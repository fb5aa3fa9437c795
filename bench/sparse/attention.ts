// How much faster a row attends that chooses its cells by labels: `npm run build && node --import tsx bench/sparse/attention.ts
// [--context 32768] [--threads 2] [--repeat 30]`. Both ways take turns over the same cache; milliseconds of one layer's
// attention for one row of decoding, medians.
import { parseArgs } from 'node:util';
import { native } from '../../lib/native.js';
import { ProgramBuilder } from '../../lib/program/builder.js';
import { dtypes } from '../../lib/program/dtype.js';
import type { KvLabels } from '../../lib/program/kv-policy.js';
import { NativeProgram } from '../../lib/program/native-program.js';

const { values } = parseArgs({
  options: {
    context: { type: 'string', default: '32768' },
    threads: { type: 'string', default: '2' },
    repeat: { type: 'string', default: '30' },
    only: { type: 'string' },
    way: { type: 'string', default: 'both' },
  },
});
const context = Number(values.context);
const threads = Number(values.threads);
const layers = 2;

interface Case {
  readonly name: string;
  readonly heads: number;
  readonly kvHeads: number;
  readonly dim: number;
  readonly type: 'F16' | 'Q8_0';
  readonly labels: Partial<KvLabels>;
}

const cases: Case[] = [
  { name: 'MHA', heads: 16, kvHeads: 16, dim: 128, type: 'F16', labels: {} },
  { name: 'MHA', heads: 16, kvHeads: 16, dim: 128, type: 'Q8_0', labels: {} },
  { name: 'GQA 4, a choice per group', heads: 32, kvHeads: 8, dim: 128, type: 'F16', labels: { grouped: true } },
  { name: 'GQA 4, twice as many', heads: 32, kvHeads: 8, dim: 128, type: 'F16', labels: { grouped: true, share: 8 } },
  { name: 'GQA 4, a choice per head', heads: 32, kvHeads: 8, dim: 128, type: 'F16', labels: {} },
  { name: 'GQA 4, a choice per group', heads: 32, kvHeads: 8, dim: 128, type: 'Q8_0', labels: { grouped: true } },
  { name: 'GQA 8, heads of 64, per group', heads: 32, kvHeads: 4, dim: 64, type: 'F16', labels: { grouped: true } },
];

function labelsOf({ kvHeads, labels }: Case): KvLabels {
  const channels = 32;
  const table = Int32Array.from({ length: layers * kvHeads * channels }, (_, index) => (index * 2) % 64);
  return {
    channels,
    bits: 4,
    sets: kvHeads,
    table,
    sparse: new Uint8Array(layers).fill(1),
    tokens: 256,
    share: 16,
    threshold: 0,
    recent: 0,
    sinks: 0,
    grouped: false,
    ...labels,
  };
}

/** A cache full of noise, and a call that attends with one row. */
function prepare(one: Case, labels?: KvLabels): { run: () => number; close: () => void; bytes: number } {
  const { heads, kvHeads, dim, type } = one;
  const builder = new ProgramBuilder('sparse', () => undefined);
  const q = builder.input('q', 'F32', 'rows', heads * dim);
  const k = builder.input('k', 'F32', 'rows', kvHeads * dim);
  const v = builder.input('v', 'F32', 'rows', kvHeads * dim);
  builder.kvWrite(k, v, 1);
  const y = builder.attention(q, { layer: 1, heads, valueDim: dim, scale: 1 / Math.sqrt(dim) });
  const shape = { layers, kvHeads, keyDim: dim, valueDim: dim };
  const compiled = new NativeProgram(builder.finish({ y }, shape), () => new Uint8Array(), { threads });
  const id = dtypes[type].id;
  const kv = new (native().KvCache)({
    ...shape,
    pageSize: 32,
    keyType: id,
    valueType: id,
    maxPages: context / 32 + 2,
    ...(labels ? { policy: { patterns: new Int32Array(0), labels } } : {}),
  });
  const sequence = kv.create();
  const { cellBytes, pageBytes } = kv.sizes();
  const noise = noiseOf(type, 1025 * cellBytes);
  for (let from = 0, shift = 0; from < context - 1; from += 1024) {
    const bytes = Math.min(1024, context - 1 - from) * cellBytes;
    // Beginning elsewhere, so that no two tokens have the same key.
    shift = (shift + 7919 * (type === 'F16' ? 2 : 34)) % cellBytes;
    kv.writeCells(sequence, bytes / cellBytes, noise.subarray(shift, shift + bytes));
  }
  let seed = 1;
  const random = (count: number): Float32Array =>
    Float32Array.from({ length: count }, () => ((seed = (seed * 1664525 + 1013904223) >>> 0) / 2 ** 31 - 1) * 2);
  const inputs = { q: random(heads * dim), k: random(kvHeads * dim), v: random(kvHeads * dim) };
  const out = { y: new Float32Array(heads * dim) };
  const batch = {
    tokens: new Int32Array(1),
    positions: Int32Array.of(context - 1),
    sequences: Int32Array.of(sequence),
    outputRows: Int32Array.of(0),
    kv,
  };
  return {
    run: () => {
      const begin = performance.now();
      compiled.runSync(inputs, batch, out);
      const ms = performance.now() - begin;
      kv.truncate(sequence, context - 1);
      return ms;
    },
    close: () => {
      compiled.dispose();
      kv.close();
    },
    bytes: pageBytes / 32 / layers,
  };
}

/** Cells whose values are of size one, all different. */
function noiseOf(type: Case['type'], bytes: number): Uint8Array {
  const noise = new Uint8Array(bytes);
  let seed = 7;
  for (let i = 0; i < bytes; ++i) noise[i] = (seed = (seed * 1664525 + 1013904223) >>> 0) >>> 24;
  // Halves of about one; scales of about 1 / 64.
  if (type === 'F16') for (let i = 1; i < bytes; i += 2) noise[i] = (noise[i] & 0x80) | 0x38 | (noise[i] & 0x07);
  else for (let i = 0; i < bytes; i += 34) [noise[i], noise[i + 1]] = [0, 0x24];
  return noise;
}

const median = (all: number[]): number => all.toSorted((a, b) => a - b)[all.length >> 1];

for (const one of cases) {
  if (values.only && !`${one.name} ${one.type}`.includes(values.only)) continue;
  const ways = values.way === 'both' ? [prepare(one), prepare(one, labelsOf(one))] : [prepare(one, labelsOf(one))];
  const times: number[][] = [[], []];
  for (let turn = 0; turn < Number(values.repeat) + 2; ++turn) {
    ways.forEach(({ run }, way) => {
      const ms = run();
      if (turn >= 2) times[way].push(ms);
    });
  }
  if (values.way !== 'both') console.log(`sparse alone: ${median(times[0]).toFixed(2)} ms`);
  const [full, sparse] = times.map(median);
  if (values.way !== 'both') continue;
  const head = `${one.name}, ${one.heads}/${one.kvHeads} heads of ${one.dim}, ${one.type}`;
  const memory = `${ways[0].bytes} -> ${ways[1].bytes} bytes per token and layer`;
  console.log(`${head}: ${full.toFixed(2)} -> ${sparse.toFixed(2)} ms, ${(full / sparse).toFixed(2)} times; ${memory}`);
  for (const { close } of ways) close();
}
