// How much faster a model decodes far behind the beginning of a text when its rows choose what they attend to: `npm run build &&
// node --import tsx bench/sparse/decode.ts model.gguf [--context 32768] [--threads 2] [--repeat 40] [--tokens 256]`. Keys and
// values of the text are noise, so only speed is measured; both ways take turns, milliseconds per token, medians.
import { parseArgs } from 'node:util';
import { loadModel } from '../../lib/index.js';
import type { Executor, KvCache } from '../../lib/program/executor.js';
import type { KvLabels } from '../../lib/program/kv-policy.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    context: { type: 'string', default: '32768' },
    threads: { type: 'string', default: '2' },
    repeat: { type: 'string', default: '40' },
    share: { type: 'string', default: '16' },
  },
});
const context = Number(values.context);
const repeat = Number(values.repeat);

function labelsOf(executor: Executor): KvLabels {
  const { layers, kvHeads, keyDim } = executor.kvShape;
  const channels = 32;
  return {
    channels,
    bits: 4,
    sets: kvHeads,
    table: Int32Array.from({ length: layers * kvHeads * channels }, (_, index) => ((index % channels) * 3) % keyDim),
    sparse: Uint8Array.from({ length: layers }, (_, layer) => (layer < 2 ? 0 : 1)),
    tokens: 256,
    share: Number(values.share),
    threshold: 4096,
    recent: 0,
    sinks: 0,
    grouped: executor.kvLayers[0].heads >= 4 * kvHeads,
  };
}

/** Halves of about one. */
function fill(kv: KvCache, sequence: number): void {
  const noise = new Uint8Array(512 * kv.cellBytes);
  let seed = 7;
  for (let i = 0; i < noise.length; ++i) {
    seed = (seed * 1664525 + 1013904223) >>> 0;
    noise[i] = i % 2 === 0 ? seed >>> 24 : ((seed >>> 24) & 0x87) | 0x38;
  }
  for (let from = 0; from < context; from += 512) kv.writeCells(sequence, 512, noise);
}

async function main(): Promise<void> {
  const model = await loadModel(positionals[0], {
    threads: Number(values.threads),
    contextLength: context + 2 * repeat,
  });
  await model.repack();
  const { executor } = model.base();
  const maxPages = (context + 4 * repeat) / 32 + 2;
  const ways = [undefined, labelsOf(executor)].map((labels) => {
    const kv = executor.createKvCache({ maxPages, ...(labels ? { policy: { labels } } : {}) });
    const sequence = kv.create();
    fill(kv, sequence);
    return { kv, sequence, times: [] as number[] };
  });
  for (let turn = 0; turn < repeat + 2; ++turn) {
    for (const { kv, sequence, times } of ways) {
      const begin = performance.now();
      await executor.run(kv, {
        tokens: Int32Array.of(300 + turn),
        positions: Int32Array.of(kv.length(sequence)),
        sequences: Int32Array.of(sequence),
        outputs: Int32Array.of(0),
      });
      if (turn >= 2) times.push(performance.now() - begin);
    }
  }
  const [full, sparse] = ways.map(({ times }) => times.toSorted((a, b) => a - b)[repeat >> 1]);
  console.log(
    `${context} tokens: ${full.toFixed(2)} -> ${sparse.toFixed(2)} ms per token, ${(full / sparse).toFixed(2)} times`,
  );
  for (const { kv } of ways) kv.dispose();
  model.dispose();
}

void main();
