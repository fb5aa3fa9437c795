// What a long prompt takes that is compressed (SnapKV), layer by layer and chunk by chunk: time until the first token, the most
// memory of keys and values, and what stays. `npm run build && node --import tsx bench/sparse/prompts.ts model.gguf [--tokens
// 4000,16000] [--budget 1024] [--threads 1] [--repeat 3]`; both ways take turns, medians.
import { parseArgs } from 'node:util';
import { loadModel, snapKv } from '../../lib/index.js';
import type { KvCache, KvOptions } from '../../lib/program/executor.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: 'string', default: '4000,16000' },
    budget: { type: 'string', default: '1024' },
    threads: { type: 'string', default: '1' },
    repeat: { type: 'string', default: '3' },
  },
});
const MB = 2 ** 20;

async function main(): Promise<void> {
  for (const tokens of values.tokens.split(',').map(Number)) {
    const ways = await Promise.all(
      ['chunk by chunk', 'layer by layer'].map(async (name) => {
        const model = await loadModel(positionals[0], {
          threads: Number(values.threads),
          contextLength: tokens + 64,
          repack: 'load',
          prefixCache: false,
        });
        const { executor } = model.base();
        if (name === 'chunk by chunk') Object.assign(executor, { parts: undefined });
        const caches: KvCache[] = [];
        const create = executor.createKvCache.bind(executor);
        const noted = (options: KvOptions): KvCache => (caches.push(create(options)), caches[caches.length - 1]);
        Object.assign(executor, { createKvCache: noted });
        return { name, model, caches, times: [] as number[] };
      }),
    );
    const prompt = Array.from({ length: tokens }, (_, i) => 261 + ((i * 17) % 90));
    for (let turn = 0; turn < Number(values.repeat); ++turn) {
      for (const { model, times } of ways) {
        using session = model.createSession({ cache: snapKv({ budget: Number(values.budget) }) });
        const begin = performance.now();
        for await (const _ of session.generate(prompt, { maxTokens: 1, temperature: 0 }));
        times.push(performance.now() - begin);
      }
    }
    for (const { name, model, caches, times } of ways) {
      const peak = Math.max(...caches.map((kv) => kv.peakBytes?.() ?? 0));
      const time = times.toSorted((a, b) => a - b)[times.length >> 1];
      console.log(`${tokens} tokens, ${name}: ${(time / 1000).toFixed(2)} s, ${(peak / MB).toFixed(1)} MB at most`);
      model.dispose();
    }
  }
}

void main();
