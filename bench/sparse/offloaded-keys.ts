// What a token far behind the beginning of a text takes when its keys and values lie in a file that is read at a limited rate:
// `npm run build && node --import tsx bench/sparse/offloaded-keys.ts [model.gguf] [--context 32768] [--rate 2e9] [--memory 64MiB]
// [--repeat 12] [--threads 2] [--ways all,few,few-unguessed]`. Without a model a random one of 16 layers is made. Keys and values of
// the text are noise, so only speed is measured; the ways take turns, milliseconds per token, medians. `all` reads everything,
// layer by layer, without reading ahead: beside its time stands what the link alone would take.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { byteCount } from '../../lib/decode/option-checks.js';
import { loadModel } from '../../lib/index.js';
import type { NativeOffloadStatistics } from '../../lib/native.js';
import type { Executor, KvCache } from '../../lib/program/executor.js';
import type { KvPolicy } from '../../lib/program/kv-policy.js';
import { randomModel, writeRandomGguf } from '../../test/fixtures/random-model.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    context: { type: 'string', default: '32768' },
    rate: { type: 'string', default: '2e9' },
    memory: { type: 'string', default: '64MiB' },
    threads: { type: 'string', default: '2' },
    repeat: { type: 'string', default: '12' },
    share: { type: 'string', default: '16' },
    ways: { type: 'string', default: 'all-in-memory,all,few-in-memory,few,few-unguessed' },
  },
});
const context = Number(values.context);
const repeat = Number(values.repeat);

interface Way {
  readonly name: string;
  readonly kv: KvCache;
  readonly sequence: number;
  readonly times: number[];
  before?: NativeOffloadStatistics;
}

/** `all`: every row reads all that it sees. */
function policyOf(executor: Executor, name: string): KvPolicy | undefined {
  const { layers, kvHeads, keyDim } = executor.kvShape;
  if (name === 'all-in-memory') return undefined;
  const channels = Math.min(32, keyDim);
  const whole = name === 'all';
  const labels = {
    channels,
    bits: 4,
    sets: kvHeads,
    table: Int32Array.from({ length: layers * kvHeads * channels }, (_, index) => ((index % channels) * 3) % keyDim),
    sparse: Uint8Array.from({ length: layers }, (_, layer) => (layer < 2 && !whole ? 0 : 1)),
    tokens: 256,
    share: Number(values.share),
    threshold: whole ? 2 ** 30 : 4096,
    recent: 0,
    sinks: 0,
    grouped: executor.kvLayers[0].heads >= 4 * kvHeads,
  };
  if (name === 'few-in-memory') return { labels };
  const memory = byteCount('--memory', values.memory);
  const ahead = name === 'few';
  return { labels, offload: { memory, folder: tmpdir(), ahead, bytesPerSecond: Number(values.rate), delayUs: 0 } };
}

/** Halves of about one. */
function fill(kv: KvCache, sequence: number): void {
  const noise = new Uint8Array(513 * kv.cellBytes);
  let seed = 7;
  for (let i = 0; i < noise.length; ++i) {
    seed = (seed * 1664525 + 1013904223) >>> 0;
    noise[i] = i % 2 === 0 ? seed >>> 24 : ((seed >>> 24) & 0x87) | 0x38;
  }
  for (let from = 0, shift = 0; from < context; from += 512) {
    shift = (shift + 2 * 7919) % kv.cellBytes; // beginning elsewhere, so that no two tokens have the same key
    kv.writeCells(sequence, 512, noise.subarray(shift, shift + 512 * kv.cellBytes));
  }
}

const median = (all: readonly number[]): number => all.toSorted((a, b) => a - b)[all.length >> 1];

function told({ name, kv, times, before }: Way): string {
  const ms = `${name.padEnd(14)} ${median(times).toFixed(2)} ms per token`;
  const now = kv.offloaded?.();
  if (!now || !before) return ms;
  const since = (key: keyof NativeOffloadStatistics): number => (now[key] - before[key]) / times.length;
  const rows = since('resident') + since('kept') + since('foreseen') + since('missed');
  const share = (key: keyof NativeOffloadStatistics): string => `${((100 * since(key)) / rows).toFixed(0)} %`;
  const link = `${(since('bytesRead') / 1e6).toFixed(1)} MB, by the link alone ${((1e3 * since('bytesRead')) / Number(values.rate)).toFixed(2)} ms`;
  const waited = `waited ${(1e3 * since('stallSeconds')).toFixed(2)} ms in ${values.threads} threads`;
  if (rows === 0) return `${ms}; ${link}, ${waited}`;
  const guessed =
    since('guessedOf') > 0 ? `, guesses right ${((100 * since('guessed')) / since('guessedOf')).toFixed(0)} %` : '';
  return `${ms}; ${link}, ${waited}; ${rows.toFixed(0)} rows: ${share('resident')} resident, ${share('kept')} kept, ${share('foreseen')} foreseen${guessed}, ${since('vain').toFixed(0)} in vain`;
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'vivace-bench-'));
  const file = positionals[0] ?? join(folder, 'random.gguf');
  if (positionals[0] === undefined) {
    const base = randomModel('llama');
    const sizes = { width: 512, hidden: 1536, heads: 8, kvHeads: 2, headDim: 64, valueDim: 64, layers: 16 };
    const config = { ...base.config, ...sizes, contextLength: 2 ** 20 };
    writeRandomGguf(file, { ...base, config }, 'Q4_0');
  }
  const model = await loadModel(file, { threads: Number(values.threads), contextLength: context + 2 * repeat + 64 });
  await model.repack();
  const { executor } = model.base();
  const ways: Way[] = values.ways.split(',').map((name) => {
    const policy = policyOf(executor, name);
    const kv = executor.createKvCache({ maxPages: (context + 4 * repeat) / 32 + 2, ...(policy ? { policy } : {}) });
    const sequence = kv.create();
    fill(kv, sequence);
    return { name, kv, sequence, times: [] };
  });
  for (let turn = 0; turn < repeat + 3; ++turn) {
    for (const way of ways) {
      const { kv, sequence, times } = way;
      if (turn === 3) way.before = kv.offloaded?.();
      const begin = performance.now();
      await executor.run(kv, {
        tokens: Int32Array.of(300 + ((turn * 37) % 700)),
        positions: Int32Array.of(kv.length(sequence)),
        sequences: Int32Array.of(sequence),
        outputs: Int32Array.of(0),
      });
      if (turn >= 3) times.push(performance.now() - begin);
    }
  }
  console.log(`${context} tokens, ${values.memory} for layers in a file that gives ${Number(values.rate) / 1e9} GB/s`);
  for (const way of ways) {
    console.log(told(way));
    way.kv.dispose();
  }
  model.dispose();
  rmSync(folder, { recursive: true });
}

void main();
