// Tokenizers against llama.cpp's on one vocabulary and one text, taking turns: `node --import tsx bench/tokenize.ts
// [--rounds 7] [--text file] [--save name]`. Needs the text and vocabularies beside the repository; llama.cpp if
// bench/peers is installed. Medians of the rounds, in processor time: one thread's, not stretched by other processes.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { openGguf } from '../lib/formats/gguf.js';
import { ggufTokenizer } from '../lib/formats/gguf/tokenizer.js';
import { TextStream } from '../lib/formats/tokenizer/text-stream.js';
import { createTokenizer, type Tokenizer } from '../lib/formats/tokenizer/tokenizer.js';
import { readTexts, writeVocabulary } from './vocabulary.js';

interface Peer {
  readonly loadMs: number;
  encode(text: string): ArrayLike<number>;
  decode(tokens: readonly number[]): string;
  close(): Promise<void>;
}

const root = resolve(__dirname, '..');
const data = (path: string): string => resolve(root, '../shared/data', path);
const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    text: { type: 'string', default: data('text/war-and-peace.txt') },
    save: { type: 'string' },
  },
});
const rounds = Number(options.rounds);
const text = readFileSync(options.text, 'utf8');
const megabytes = Buffer.byteLength(text) / 1e6;

const vocabulary = join(tmpdir(), 'vivace-bench', 'llama3-like.gguf');
if (!existsSync(vocabulary)) {
  mkdirSync(join(tmpdir(), 'vivace-bench'), { recursive: true });
  const texts = readTexts([data('text/war-and-peace.txt'), data('text/tinyshakespeare.txt')]);
  writeVocabulary(data('vocab/gpt-2.gguf'), texts, vocabulary);
}

const peers = join(__dirname, 'peers');
type OpenPeer = (path: string) => Promise<Peer>;

async function main(): Promise<void> {
  const installed = existsSync(join(peers, 'node_modules'));
  if (!installed) console.log('llama.cpp is not installed: run `npm ci` in bench/peers to compare');
  const module = installed
    ? ((await import(join(peers, 'llama-tokenizer.mjs'))) as { openTokenizer: OpenPeer })
    : undefined;
  const results = [];
  for (const [name, path] of [
    ['llama-bpe, 128k tokens', vocabulary],
    ['gpt-2, 50k tokens', data('vocab/gpt-2.gguf')],
    ['SentencePiece, 32k tokens', data('vocab/llama-spm.gguf')],
  ]) {
    results.push(await compare(name, path, module?.openTokenizer));
  }
  if (!options.save) return;
  mkdirSync(join(__dirname, 'results'), { recursive: true });
  const record = { date: new Date().toISOString(), cpu: cpus()[0].model, node: process.version, results };
  writeFileSync(join(__dirname, 'results', `${options.save}.json`), `${JSON.stringify(record, null, 1)}\n`);
}

async function compare(name: string, path: string, openPeer: OpenPeer | undefined): Promise<object> {
  const own: Record<string, number[]> = { openMs: [], loadMs: [], first: [], encode: [], decode: [], streamNs: [] };
  const other: Record<string, number[]> = { loadMs: [], encode: [], decode: [] };
  let equal = true;
  for (let round = 0; round < rounds; round++) {
    const ids = measureOwn(path, own);
    if (openPeer) equal = (await measurePeer(openPeer, path, other, ids)) && equal;
  }
  const of = (list: Record<string, number[]>, key: string): number => median(list[key]);
  console.log(`\n${name}: ${megabytes.toFixed(1)} MB of text${openPeer ? `, ids ${equal ? 'equal' : 'DIFFER'}` : ''}`);
  row('encode, MB/s', of(own, 'encode'), of(other, 'encode'), (a, b) => a / b);
  row('encode once, MB/s', of(own, 'first'), of(other, 'encode'), (a, b) => a / b);
  row('decode, MB/s', of(own, 'decode'), of(other, 'decode'), (a, b) => a / b);
  row('open + load, ms', of(own, 'openMs') + of(own, 'loadMs'), of(other, 'loadMs'), (a, b) => b / a);
  console.log(`  of that the tokenizer: ${of(own, 'loadMs').toFixed(1)} ms`);
  console.log(`  stream, ns/token  ${of(own, 'streamNs').toFixed(0)}`);
  const medians = (list: Record<string, number[]>) =>
    Object.fromEntries(Object.keys(list).map((key) => [key, of(list, key)]));
  return { name, equal, vivace: medians(own), llama: openPeer && medians(other) };
}

/** From the open file to the first tokens, then the text with an empty cache of words, and with a full one. */
function measureOwn(path: string, times: Record<string, number[]>): Int32Array {
  let tokenizer!: Tokenizer;
  let file!: ReturnType<typeof openGguf>;
  times.openMs.push(milliseconds(() => (file = openGguf(path))));
  times.loadMs.push(
    milliseconds(() => {
      tokenizer = createTokenizer(ggufTokenizer(file.metadata));
      tokenizer.encode('a');
    }),
  );
  const plain = { addSpecial: false };
  const rate = (work: () => void): number => (megabytes / milliseconds(work)) * 1000;
  times.first.push(rate(() => tokenizer.encode(text, plain)));
  let ids!: Int32Array;
  times.encode.push(rate(() => (ids = tokenizer.encode(text, plain))));
  let decoded = '';
  tokenizer.decode(ids);
  times.decode.push(rate(() => (decoded = tokenizer.decode(ids))));
  if (decoded !== text) throw new Error(`${path}: the text does not come back`);
  const stream = new TextStream(tokenizer);
  const streamed = milliseconds(() => ids.forEach((id) => stream.push(id)));
  times.streamNs.push((streamed / ids.length) * 1e6);
  return ids;
}

async function measurePeer(
  open: OpenPeer,
  path: string,
  times: Record<string, number[]>,
  ids: Int32Array,
): Promise<boolean> {
  const peer = await open(path);
  times.loadMs.push(peer.loadMs);
  let tokens: ArrayLike<number> = [];
  times.encode.push((megabytes / milliseconds(() => (tokens = peer.encode(text)))) * 1000);
  const list = Array.from(tokens);
  times.decode.push((megabytes / milliseconds(() => peer.decode(list))) * 1000);
  await peer.close();
  return list.length === ids.length && list.every((id, i) => id === ids[i]);
}

function milliseconds(work: () => void): number {
  const start = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? NaN;
}

function row(what: string, own: number, other: number, ratio: (own: number, other: number) => number): void {
  const compared = Number.isNaN(other)
    ? ''
    : `   llama.cpp ${other.toFixed(1)}   ratio ${ratio(own, other).toFixed(2)}`;
  console.log(`  ${what.padEnd(17)} vivace ${own.toFixed(1)}${compared}`);
}

void main();
