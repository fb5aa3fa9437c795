// Drafters that need no model: time per draft, per token accepted and taken back, memory, and the time of datastores.
// `npm run bench -- drafters [tokens]` (default 100000). Texts are made up: like language (words of a vocabulary of 20000
// by rank, in sentences of which half come again with small changes), and the hostile ones of the tests.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TokenDrafter } from '../lib/decode/speculation/drafter.js';
import { buildDatastore } from '../lib/decode/speculation/drafters/datastore-build.js';
import { Datastore, DatastoreDrafter } from '../lib/decode/speculation/drafters/datastore.js';
import { InputCopyDrafter } from '../lib/decode/speculation/drafters/input-copy.js';
import { NGramDrafter } from '../lib/decode/speculation/drafters/n-gram.js';
import type { NativeTokenDrafter } from '../lib/decode/speculation/drafters/native-drafter.js';
import { SuffixCache, SuffixDrafter } from '../lib/decode/speculation/drafters/suffix.js';
import { numbers, texts } from '../test/decode/draft/texts.js';

const length = Number(process.argv[2] ?? 100000);
const steps = 2000;

/** Tokens by Zipf's law in sentences of 8 to 40; every second sentence is an earlier one with a tenth of it changed. */
function language(size: number, seed: number): Int32Array {
  const random = numbers(seed);
  const word = (): number => Math.floor(20000 ** random()) - 1;
  const text: number[] = [];
  while (text.length < size) {
    const count = 8 + Math.floor(random() * 32);
    const from = Math.floor(random() * Math.max(1, text.length - count));
    const again = random() < 0.5 && text.length > count;
    for (let i = 0; i < count; i++) text.push(again && random() > 0.1 ? text[from + i] : word());
  }
  return Int32Array.from(text.slice(0, size));
}

interface Row {
  readonly drafter: string;
  readonly text: string;
  readonly 'accept ns/token': string;
  readonly 'chain µs': string;
  readonly 'chain p99': string;
  readonly 'tree µs': string;
  readonly 'tree p99': string;
  readonly 'bytes/token': string;
}

/** Accepts all but the last `steps` tokens as a prompt, then goes on token by token with a chain and a tree each time. */
function measure(name: string, textName: string, text: Int32Array, drafter: TokenDrafter): Row {
  const begin = performance.now();
  drafter.accept(text.subarray(0, length - steps));
  const accepted = performance.now() - begin;
  const chains: number[] = [];
  const trees: number[] = [];
  const timed = (list: number[], nodes: number): void => {
    const start = process.hrtime.bigint();
    drafter.draft(16, nodes);
    list.push(Number(process.hrtime.bigint() - start) / 1000);
  };
  for (let i = length - steps; i < length; i++) {
    timed(chains, 16);
    timed(trees, 60);
    drafter.accept(text.subarray(i, i + 1));
  }
  const quantile = (list: number[], share: number): string =>
    list.sort((a, b) => a - b)[Math.floor(share * (list.length - 1))].toFixed(1);
  const row = {
    drafter: name,
    text: textName,
    'accept ns/token': ((1e6 * accepted) / (length - steps)).toFixed(0),
    'chain µs': quantile(chains, 0.5),
    'chain p99': quantile(chains, 0.99),
    'tree µs': quantile(trees, 0.5),
    'tree p99': quantile(trees, 0.99),
    'bytes/token': ((drafter as NativeTokenDrafter).bytes / length).toFixed(0),
  };
  drafter.dispose();
  return row;
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'vivace-bench-'));
  const kinds: [string, Int32Array][] = [
    ['language', language(length, 1)],
    ['one letter', new Int32Array(length).fill(7)],
    ['two letters', Int32Array.from(texts['two letters'](length, numbers(2)))],
    ['fibonacci', Int32Array.from(texts['fibonacci'](length, numbers(3)))],
  ];
  try {
    const path = join(folder, 'bench.store');
    const corpus = Array.from({ length: 40 }, (_, i) => language(25000, i % 20 === 0 ? 1 : i));
    const begin = performance.now();
    const { tokens, bytes } = await buildDatastore(path, corpus, { vocab: 20000, fingerprint: 0n });
    const built = performance.now() - begin;
    const opening = performance.now();
    const datastore = await Datastore.open(path);
    const opened = performance.now() - opening;
    const cache = new SuffixCache();
    const adding = performance.now();
    for (const text of corpus.slice(0, 10)) {
      for (let at = 0; at < text.length; at += 500) cache.add(text.subarray(at, at + 500));
    }
    const added = performance.now() - adding;
    const { tokens: cached, bytes: cacheBytes } = cache.sizes();
    const rows: Row[] = [];
    for (const [name, text] of kinds) {
      rows.push(measure('n-gram 1–3', name, text, new NGramDrafter()));
      rows.push(measure('input-copy', name, text, new InputCopyDrafter({ branches: 4 })));
      rows.push(measure('suffix', name, text, new SuffixDrafter()));
      rows.push(measure('suffix, cache', name, text, new SuffixDrafter({ cache })));
      rows.push(measure('datastore', name, text, new DatastoreDrafter({ datastore })));
    }
    console.table(rows);
    console.log(
      `datastore: ${tokens} tokens, ${bytes} bytes, built in ${built.toFixed(0)} ms, opened in ${opened.toFixed(1)} ms`,
    );
    console.log(
      `cache: ${cached} tokens of outputs of 500, ${((1e6 * added) / cached).toFixed(0)} ns and ` +
        `${(cacheBytes / cached).toFixed(0)} bytes per token`,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

void main();
