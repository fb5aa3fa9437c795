// vivace against node-llama-cpp on the same file, in fresh processes that take turns; medians of the rounds, with the
// limits of this machine measured in between. Usage:
//   node compare.mjs [--types Q4_0,Q8_0,F16] [--size full|quarter|experts] [--model file.gguf] [--prompt 512] [--generate 96]
//                    [--depth 0] [--rounds 5] [--threads 2] [--cache q8_0] [--attention both|flash] [--save name]
// --cache: type of keys and values, for both peers. llama.cpp reads quantised values with flash attention only.
// Needs `npm ci` in this folder and `npm run build` in the project.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const here = import.meta.dirname;
const { values: options } = parseArgs({
  options: {
    types: { type: 'string', default: 'Q4_0,Q8_0,F16' },
    size: { type: 'string', default: 'full' },
    model: { type: 'string' },
    prompt: { type: 'string', default: '512' },
    generate: { type: 'string', default: '96' },
    depth: { type: 'string', default: '0' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
    cache: { type: 'string', default: 'f16' },
    attention: { type: 'string', default: 'both' },
    save: { type: 'string' },
  },
});
const number = (name) => Number(options[name]);
const addon = createRequire(import.meta.url)(join(here, '../../build/Release/vivace.node'));
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

const files = options.model
  ? [['file', options.model]]
  : options.types.split(',').map((type) => [type, randomModel(type)]);
const results = [];
for (const [type, path] of files) results.push(await compare(type, path));
if (options.save) {
  mkdirSync(join(here, '../results'), { recursive: true });
  const record = { date: new Date().toISOString(), cpu: cpus()[0].model, options, results };
  writeFileSync(join(here, '../results', `${options.save}.json`), `${JSON.stringify(record, null, 1)}\n`);
}

/** The random llama of make-model.ts, kept in the system's temporary folder. */
function randomModel(type) {
  const folder = join(tmpdir(), 'vivace-bench');
  const path = join(folder, `${options.size}-${type}.gguf`);
  mkdirSync(folder, { recursive: true });
  if (!existsSync(path)) {
    const made = spawnSync(
      process.execPath,
      ['--import', 'tsx', join(here, 'make-model.ts'), type, path, options.size],
      {
        cwd: join(here, '../..'),
        stdio: 'inherit',
      },
    );
    if (made.status !== 0) process.exit(1);
  }
  return path;
}

async function compare(type, path) {
  const rounds = { vivace: [], llama: [], llamaFlash: [] };
  const ceilings = [];
  const common = {
    path,
    cache: options.cache,
    threads: number('threads'),
    prompt: number('prompt'),
    generate: number('generate'),
    depth: number('depth'),
  };
  for (let round = 0; round < number('rounds'); ++round) {
    ceilings.push(await addon.ceilings(common.threads, 2 ** 29));
    rounds.vivace.push(worker('vivace-worker.mjs', common));
    if (options.attention === 'both' && options.cache !== 'q8_0')
      rounds.llama.push(worker('llama-worker.mjs', { ...common, flashAttention: false }));
    rounds.llamaFlash.push(worker('llama-worker.mjs', { ...common, flashAttention: true }));
  }
  const of = (name, pick) => median(rounds[name].map(pick));
  const bytes = statSync(path).size;
  const limit = median(ceilings.map((ceiling) => ceiling.bytesPerSecond));
  const row = (name, pick, better) => {
    const ours = of('vivace', pick);
    const theirs = ['llama', 'llamaFlash'].filter((name) => rounds[name].length > 0).map((name) => of(name, pick));
    const best = better === 'higher' ? Math.max(...theirs) : Math.min(...theirs);
    return { name, vivace: ours, llama: best, ratio: better === 'higher' ? ours / best : best / ours };
  };
  const table = [
    row('decode tokens/s', (run) => 1000 / median(run.tokenMs), 'higher'),
    row('prompt tokens/s', (run) => run.promptTokensPerSecond, 'higher'),
    row('import ms', (run) => run.importMs, 'lower'),
    row('load ms', (run) => run.loadedMs - run.importMs, 'lower'),
    row('first token ms', (run) => run.firstTokenMs, 'lower'),
    row('peak MB', (run) => run.peakBytes / 1e6, 'lower'),
  ];
  const perToken = rounds.vivace[0].bytesPerToken;
  const share = (table[0].vivace * perToken) / limit;
  console.log(
    `\n${type}: ${(bytes / 1e6).toFixed(0)} MB, ${common.threads} threads, prompt ${common.prompt}, depth ${common.depth}, cache ${common.cache}`,
  );
  console.log(
    `memory ${(limit / 1e9).toFixed(1)} GB/s; int8 ${(median(ceilings.map((c) => c.int8Operations)) / 1e9).toFixed(0)} Gop/s; f32 ${(median(ceilings.map((c) => c.floatOperations)) / 1e9).toFixed(0)} GFLOP/s`,
  );
  console.log(
    `decode reads ${((table[0].vivace * perToken) / 1e9).toFixed(1)} GB/s, ${(share * 100).toFixed(0)} % of memory bandwidth`,
  );
  for (const { name, vivace, llama, ratio } of table) {
    console.log(
      `${name.padEnd(16)} vivace ${vivace.toFixed(1).padStart(9)}   llama.cpp ${llama.toFixed(1).padStart(9)}   ratio ${ratio.toFixed(2)}`,
    );
  }
  // Verifying drafted tokens: what a run of several rows takes over one of a single row.
  const rows = Object.fromEntries(
    [4, 8].map((count) => [count, of('vivace', ({ rowsMs }) => rowsMs[count] / rowsMs[1])]),
  );
  const one = of('vivace', ({ rowsMs }) => rowsMs[1]);
  console.log(
    `rows in one run  ${Object.entries(rows).map(([count, ratio]) => `${count}: ${ratio.toFixed(2)}`)} x one row (${one.toFixed(2)} ms)`,
  );
  return {
    type,
    bytes,
    bytesPerToken: perToken,
    bytesPerSecond: limit,
    bandwidthShare: share,
    table,
    rows: { oneMs: one, timesOneRow: rows },
  };
}

function worker(script, request) {
  const run = spawnSync(process.execPath, [join(here, script), JSON.stringify(request)], { encoding: 'utf8' });
  const line = run.stdout?.trim().split('\n').at(-1) ?? '';
  if (run.status !== 0 || !line.startsWith('{')) {
    console.error(`${script} failed:\n${run.stdout}${run.stderr}`);
    process.exit(1);
  }
  return JSON.parse(line);
}
