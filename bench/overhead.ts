// What a token, a start and a model cost besides the kernels' work: `npm run bench -- overhead [--model file.gguf]
// [--threads 1,2] [--tokens 96] [--repeat 5] [--json] [--save]`. Without a model, the random llama of peers/make-model.ts in
// Q4_0: 32000 tokens of vocabulary, 0.48 GB. `--save` writes bench/results/overhead.json. Needs `npm run build`.
//
// - outside kernels: time on the clock minus the time of all ops, per token, for greedy and for default drawing; with
//   several threads JavaScript is woken inside the first linear, which takes longer for it when no core is free;
// - parallel region: start to end of one that does nothing, its threads awake;
// - require: in a fresh process, from before require('vivace') to after the native addon has been loaded;
// - first token: from the start of a process to the first token of an 8-token prompt, the file in the page cache;
// - peak memory: of that process after a prompt of 512 and 64 tokens, over the file and its keys and values.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadModel } from '../lib/index.js';
import type { GenerateOptions, Model } from '../lib/index.js';
import { native } from '../lib/native.js';
import { makeModel } from './peers/make-model.js';

const { values: options } = parseArgs({
  options: {
    model: { type: 'string' },
    threads: { type: 'string', default: [...new Set([1, availableParallelism()])].join(',') },
    tokens: { type: 'string', default: '96' },
    repeat: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
  },
});
const repeat = Number(options.repeat);
const tokens = Number(options.tokens);
const dist = join(__dirname, '..', 'dist');

interface Line {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** At most this is wanted. */
  readonly limit: number;
}

void main();

async function main(): Promise<void> {
  const path = options.model ?? randomModel();
  const threads = options.threads.split(',').map(Number);
  const lines: Line[] = [];
  for (const count of threads) lines.push(...(await outside(path, count)));
  for (const count of threads) {
    const { regionSeconds } = await native().ceilings(count, 2 ** 26);
    lines.push({ name: `parallel region, ${threadsOf(count)}`, value: regionSeconds * 1e6, unit: 'us', limit: 2 });
  }
  const last = threads[threads.length - 1];
  lines.push({ name: 'require and native load', value: median(() => required()), unit: 'ms', limit: 60 });
  const runs = Array.from({ length: repeat }, () => child(path, last));
  lines.push({
    name: 'process start to first token',
    value: middle(runs.map(({ firstTokenMs }) => firstTokenMs)),
    unit: 'ms',
    limit: 500,
  });
  lines.push({
    name: 'peak memory / (file + keys and values)',
    value: middle(runs.map(({ peakBytes, kvBytes }) => peakBytes / (statSync(path).size + kvBytes))),
    unit: '',
    limit: 1.2,
  });
  const record = {
    date: new Date().toISOString(),
    cpu: cpus()[0].model,
    node: process.version,
    model: { bytes: statSync(path).size },
    tokens,
    repeat,
    lines,
  };
  if (options.save) {
    const folder = join(__dirname, 'results');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'overhead.json'), `${JSON.stringify(record, null, 1)}\n`);
  }
  if (options.json) return console.log(JSON.stringify(record, null, 1));
  console.log(`${(statSync(path).size / 1e6).toFixed(0)} MB, ${tokens} tokens, medians of ${repeat}\n`);
  console.log(`${'measured'.padStart(12)}  ${'limit'.padStart(9)}  of limit`);
  for (const { name, value, unit, limit } of lines) {
    const [have, most] = [value, limit].map((number) => `${number.toPrecision(3)} ${unit}`.trim());
    console.log(
      `${have.padStart(12)}  ${most.padStart(9)}  ${((100 * value) / limit).toFixed(0).padStart(6)} %  ${name}`,
    );
  }
}

/** Microseconds per token outside ops: of a whole generation, with its start and end, and of the first token alone. */
async function outside(path: string, threads: number): Promise<Line[]> {
  const model = await loadModel(path, { threads, contextLength: 4096, prefixCache: false });
  const logitBias = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
  const policies = { greedy: { temperature: 0, logitBias }, 'default drawing': { seed: 1, logitBias } };
  const lines: Line[] = [];
  await generate(model, { ...policies.greedy, maxTokens: 32 });
  for (const [name, policy] of Object.entries(policies)) {
    const measured: number[] = [];
    for (let round = 0; round < repeat; ++round) {
      measured.push((await generate(model, { ...policy, maxTokens: tokens })) / tokens);
    }
    lines.push({
      name: `a token outside kernels, ${name}, ${threadsOf(threads)}`,
      value: middle(measured),
      unit: 'us',
      limit: 60,
    });
  }
  model.dispose();
  return lines;
}

/** Microseconds outside ops. Drawing tokens is no op here: it counts. */
async function generate(model: Model, policy: GenerateOptions): Promise<number> {
  const session = model.createSession();
  for await (const _ of session.generate([1, 300, 301, 302], { ...policy, maxTokens: 1 }));
  const before = inOps(model, true);
  const begin = performance.now();
  for await (const _ of session.generate([], policy));
  const took = performance.now() - begin;
  const ops = inOps(model, false) - before;
  session.dispose();
  return 1000 * (took - ops);
}

/** Milliseconds in ops so far. */
function inOps(model: Model, on: boolean): number {
  const calls = model.profile(on) ?? [];
  return calls.reduce((sum, { op, seconds }) => sum + (op === 'sample' ? 0 : 1000 * seconds), 0);
}

/** Milliseconds, told by a fresh process. */
function required(): number {
  const script = `const begin = performance.now();
    require(${JSON.stringify(dist)}); require(${JSON.stringify(join(dist, 'native.js'))}).native();
    console.log(performance.now() - begin);`;
  return Number(node(['--eval', script]));
}

function child(path: string, threads: number): { firstTokenMs: number; peakBytes: number; kvBytes: number } {
  const script = `const { loadModel } = require(${JSON.stringify(dist)});
    (async () => {
      const model = await loadModel(${JSON.stringify(path)}, { threads: ${threads}, contextLength: 1024, prefixCache: false });
      const session = model.createSession();
      const prompt = (length) => Int32Array.from({ length }, (_, i) => 300 + ((i * 7919) % 31000));
      const logitBias = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
      for await (const _ of session.generate(prompt(8), { temperature: 0, logitBias, maxTokens: 1 }));
      const firstTokenMs = performance.timeOrigin + performance.now();
      for await (const _ of session.generate(prompt(512), { temperature: 0, logitBias, maxTokens: 64 }));
      const kvBytes = model.memoryUsage().kv;
      console.log(JSON.stringify({ firstTokenMs, kvBytes, peakBytes: 1024 * process.resourceUsage().maxRSS }));
    })();`;
  const begin = Date.now();
  const result = JSON.parse(node(['--eval', script])) as { firstTokenMs: number; peakBytes: number; kvBytes: number };
  return { ...result, firstTokenMs: result.firstTokenMs - begin };
}

function node(args: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

function randomModel(): string {
  const folder = join(tmpdir(), 'vivace-bench');
  const path = join(folder, 'full-Q4_0.gguf');
  mkdirSync(folder, { recursive: true });
  if (!existsSync(path)) makeModel('Q4_0', path);
  return path;
}

function median(measure: () => number): number {
  return middle(Array.from({ length: 2 * repeat + 1 }, measure));
}

function middle(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

function threadsOf(count: number): string {
  return count === 1 ? '1 thread' : `${count} threads`;
}
