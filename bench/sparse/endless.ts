// Endless generation under LM-Infinite on the embedded model: time of a token, keys and values, and resident memory up to a million
// positions. `npx tsx bench/sparse/endless.ts [tokens] [--save]` writes bench/results/endless.json.
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { lmInfinite, loadModel } from '../../lib/index.js';

interface Row {
  readonly position: number;
  /** Since the row before, the caller's loop and text included. */
  readonly msPerToken: number;
  readonly kvBytes: number;
  readonly residentBytes: number;
}

async function main(): Promise<void> {
  const total = Number(process.argv.slice(2).find((word) => /^\d+$/.test(word)) ?? 1_000_000);
  const model = await loadModel('default', { threads: 1, repack: 'load', prefixCache: false });
  const session = model.createSession({ cache: lmInfinite() });
  const logitBias = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
  const rows: Row[] = [];
  let said = 0;
  // Answers of 4096 tokens, so that no text of an answer grows with the session.
  let [next, begin, last] = [4096, performance.now(), 0];
  while (said < total) {
    const maxTokens = Math.min(4096, total - said);
    const prompt = said === 0 ? 'It was' : [];
    for await (const _ of session.generate(prompt, { seed: said, temperature: 1, logitBias, maxTokens }));
    said += maxTokens;
    if (said < next && said < total) continue;
    const now = performance.now();
    const row = {
      position: session.length,
      msPerToken: (now - begin) / (said - last),
      kvBytes: model.memoryUsage().kv,
      residentBytes: process.memoryUsage().rss,
    };
    rows.push(row);
    console.log(row);
    [next, begin, last] = [next * 2, performance.now(), said];
  }
  model.dispose();
  if (!process.argv.includes('--save')) return;
  const machine = { cpu: cpus()[0]?.model, node: process.version, threads: 1 };
  const file = join(__dirname, '..', 'results', 'endless.json');
  writeFileSync(
    file,
    `${JSON.stringify({ machine, model: 'the embedded model', cache: 'lmInfinite()', rows }, null, 2)}\n`,
  );
}

void main();
