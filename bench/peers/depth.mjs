// Decoding far into a context: vivace against node-llama-cpp on the same file. Both read the same tokens once, stay
// alive, and then take turns decoding, so that a deep context is read once and not once per round. Usage:
//   node depth.mjs [--type Q4_0] [--depths 3600,16000] [--caches f16,q8_0] [--rounds 7] [--generate 24] [--threads 2]
//                  [--save name]
// Needs `npm ci` in this folder, `npm run build` in the project, and the model that compare.mjs makes.
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const here = import.meta.dirname;
const { values: options } = parseArgs({
  options: {
    type: { type: 'string', default: 'Q4_0' },
    depths: { type: 'string', default: '3600,16000' },
    caches: { type: 'string', default: 'f16,q8_0' },
    rounds: { type: 'string', default: '7' },
    generate: { type: 'string', default: '24' },
    threads: { type: 'string', default: '2' },
    save: { type: 'string' },
  },
});
const addon = createRequire(import.meta.url)(join(here, '../../build/Release/vivace.node'));
const [threads, rounds, generate] = [options.threads, options.rounds, options.generate].map(Number);
const path = join(tmpdir(), 'vivace-bench', `full-${options.type}.gguf`);
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

const results = [];
for (const depth of options.depths.split(',').map(Number))
  for (const cache of options.caches.split(',')) results.push(await compare(depth, cache));
if (options.save) {
  mkdirSync(join(here, '../results'), { recursive: true });
  const record = { date: new Date().toISOString(), cpu: cpus()[0].model, options, results };
  writeFileSync(join(here, '../results', `${options.save}.json`), `${JSON.stringify(record, null, 1)}\n`);
}

async function compare(depth, cache) {
  const request = { path, threads, depth, cache, generate, rounds };
  // llama.cpp reads a quantised cache with flash attention only; with F16, the better of both counts.
  const peers = { vivace: { peer: 'vivace' }, flash: { peer: 'llama', flashAttention: true } };
  if (cache === 'f16') peers.plain = { peer: 'llama', flashAttention: false };
  const workers = {};
  for (const [name, peer] of Object.entries(peers)) workers[name] = await start({ ...request, ...peer });
  const times = Object.fromEntries(Object.keys(peers).map((name) => [name, []]));
  const limits = [];
  for (let round = 0; round < rounds; ++round) {
    limits.push((await addon.ceilings(threads, 2 ** 29)).bytesPerSecond);
    for (const name of Object.keys(peers)) times[name].push((await workers[name].ask()).milliseconds);
  }
  for (const worker of Object.values(workers)) worker.stop();
  const tokens = Object.fromEntries(Object.entries(times).map(([name, list]) => [name, 1000 / median(list)]));
  const llama = Math.max(...Object.keys(tokens).map((name) => (name === 'vivace' ? 0 : tokens[name])));
  const result = {
    type: options.type,
    depth,
    cache,
    bytesPerSecond: median(limits),
    bandwidthShare: (tokens.vivace * workers.vivace.ready.bytesPerToken) / median(limits),
    tokensPerSecond: tokens,
    ratio: tokens.vivace / llama,
    prefillTokensPerSecond: Object.fromEntries(
      Object.entries(workers).map(([name, { ready }]) => [name, (depth / ready.prefillMs) * 1000]),
    ),
  };
  console.log(
    `${options.type}, depth ${depth}, ${cache} cache: vivace ${tokens.vivace.toFixed(1)}, llama.cpp ${llama.toFixed(1)} tokens/s, ` +
      `ratio ${result.ratio.toFixed(2)}; ${(result.bandwidthShare * 100).toFixed(0)} % of ${(result.bytesPerSecond / 1e9).toFixed(0)} GB/s; ` +
      `prefill ${Object.entries(result.prefillTokensPerSecond)
        .map(([name, speed]) => `${name} ${speed.toFixed(0)}`)
        .join(', ')}`,
  );
  return result;
}

/** A process that has read `depth` tokens; ask() has it decode some more. */
async function start(request) {
  const child = spawn(process.execPath, [join(here, 'depth-worker.mjs'), JSON.stringify(request)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async () => {
    for (;;) {
      const { done, value } = await lines.next();
      if (done) throw new Error(`${request.peer} ended early`);
      if (value.startsWith('{')) return JSON.parse(value);
    }
  };
  const ready = await next();
  return {
    ready,
    ask: () => {
      child.stdin.write('go\n');
      return next();
    },
    stop: () => child.kill(),
  };
}
