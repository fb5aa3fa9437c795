// What a trained model reads of a text whose keys and values lie in a file: how alike consecutive tokens choose, and how often guesses
// of the next layer's choice are right. `npm run build && node --import tsx bench/sparse/offloaded-text.ts model.gguf --text FILE
// [--length 8000] [--generate 48] [--memory 10MiB] [--share 16]`: the text is continued greedily, with and without guesses.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { calibrate, doubleSparsity, loadModel, type CacheOptions } from '../../lib/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    text: { type: 'string' },
    length: { type: 'string', default: '8000' },
    generate: { type: 'string', default: '48' },
    memory: { type: 'string', default: '10MiB' },
    share: { type: 'string', default: '16' },
    threads: { type: 'string', default: '2' },
  },
});

async function main(): Promise<void> {
  if (values.text === undefined) throw new Error('--text is missing');
  const model = await loadModel(positionals[0], { threads: Number(values.threads), prefixCache: false });
  const text = readFileSync(values.text, 'utf8').slice(0, 2_000_000);
  const channels = await calibrate(model, text.slice(0, 400_000));
  const tokens = model.tokenizer.encode(text.slice(-800_000)).slice(0, Number(values.length));
  const sparsity = Number(values.share);
  const cacheOf = (offload?: object): CacheOptions =>
    doubleSparsity({ channels, sparsity, tokens: 64, sparseThreshold: 0, ...(offload ? { offload } : {}) } as never);
  let wanted = '';
  for (const [name, offload] of [
    ['in memory', undefined],
    ['guesses', { memory: values.memory }],
    ['no guesses', { memory: values.memory, ahead: false }],
  ] as const) {
    using session = model.createSession({ cache: cacheOf(offload) });
    await session.forward(tokens.slice(0, -1));
    const kv = model.memoryUsage().kv;
    for await (const _ of session.generate(tokens.slice(-1), { maxTokens: Number(values.generate), temperature: 0 }));
    const result = session.lastResult;
    if (wanted === '') wanted = result?.text ?? '';
    const told = result?.offload;
    const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
    const count = result?.usage.completionTokens ?? 1;
    console.log(
      `${name.padEnd(10)} ${(kv / 2 ** 20).toFixed(1)} MiB of memory, ${result?.text === wanted ? 'the same text' : 'ANOTHER TEXT'}` +
        (told
          ? `; per token ${(told.rows / count).toFixed(0)} rows: ${percent(told.resident)} resident, ${percent(told.kept)} kept, ` +
            `${percent(told.foreseen)} foreseen; guesses right ${told.guessed === undefined ? '–' : percent(told.guessed)}, ` +
            `${(told.vain / count).toFixed(0)} rows in vain, ${(told.bytesRead / count / 1e6).toFixed(2)} MB read, ${(told.stallMs / count).toFixed(2)} ms waited`
          : ''),
    );
  }
  model.dispose();
}

void main();
