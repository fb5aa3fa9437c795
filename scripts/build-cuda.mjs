// Builds the library for NVIDIA cards with nvcc into build-cuda/: `node scripts/build-cuda.mjs [--out folder] [--record]
// [--targets 80,90a]`. Without nvcc it says so in one line and all is well. `--record` writes what kernels take of a card
// (registers, shared memory, spills) to bench/results/ptxas.json. Spilled registers fail the build. `--only cuda/decode,merge`
// compiles sources with such words in their paths and makes no library; what is recorded of others stays.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { values: options } = parseArgs({
  options: {
    out: { type: 'string', default: 'build-cuda' },
    targets: { type: 'string', default: '80,86,89,90a' },
    record: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
  },
});
const version = spawnSync('nvcc', ['--version'], { encoding: 'utf8' });
if (version.error || version.status !== 0) {
  console.log('The library for NVIDIA cards is not built: there is no nvcc on the PATH (CUDA 13.0 or newer has it).');
  process.exit(0);
}

const { host, kernels: all, shared } = JSON.parse(readFileSync(join(root, 'cuda/sources.json'), 'utf8'));
const words = options.only.split(',').filter(Boolean);
const kernels = all.filter((source) => words.length === 0 || words.some((word) => source.includes(word)));
const targets = options.targets.split(',');
const out = join(root, options.out);
// Code of every target, and of the newest one in the form that drivers translate for cards to come.
const newest = targets.at(-1).replace(/\D/g, '');
const code = [
  ...targets.map((target) => `-gencode=arch=compute_${target},code=sm_${target}`),
  `-gencode=arch=compute_${newest},code=compute_${newest}`,
];
const common = [
  '-std=c++20',
  '-O3',
  '-I.',
  '-Icpp',
  '-DVIVACE_NO_KERNELS',
  '-Werror=all-warnings',
  '-Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra,-ffp-contract=off',
];

const jobs = [
  ...kernels.map((source) => [source, ['-x', 'cu', '-Xptxas=-v', ...code]]),
  ...(words.length > 0 ? [] : [...host, ...shared]).map((source) => [source, []]),
].map(([source, flags]) => {
  const object = join(out, `${source.replace(/[/.]/g, '_')}.o`);
  return { source, object, command: [...common, ...flags, '-c', source, '-o', object] };
});
mkdirSync(out, { recursive: true });
const started = Date.now();
const waiting = [...jobs];
const used = {};
const failures = [];
await Promise.all(Array.from({ length: availableParallelism() }, work));
if (failures.length > 0) {
  process.stderr.write(failures.join('\n'));
  process.exit(1);
}
const library = join(out, process.platform === 'win32' ? 'vivace-cuda.dll' : 'vivace-cuda.so');
// The run-time is linked in: only a driver is needed where the library is used.
const link = ['-shared', '--cudart=static', ...jobs.map(({ object }) => object), ...code, '-o', library];
const linked = words.length > 0 ? undefined : spawnSync('nvcc', link, { cwd: root, encoding: 'utf8' });
if (linked && linked.status !== 0) {
  process.stderr.write(`${linked.stdout}${linked.stderr}`);
  process.exit(1);
}
const spilled = Object.entries(used).filter(([, { spilledBytes }]) => spilledBytes > 0);
if (options.record) {
  const file = join(root, 'bench/results/ptxas.json');
  const others = all.filter((source) => !kernels.includes(source));
  const before = others.length > 0 ? JSON.parse(readFileSync(file, 'utf8')).kernels : {};
  const kept = Object.entries(before).filter(([name]) => others.includes(name.split(' ')[0]));
  const record = { compiler: /release [\d.]+/.exec(version.stdout)?.[0], targets };
  record.kernels = sorted({ ...Object.fromEntries(kept), ...used });
  writeFileSync(file, `${JSON.stringify(record, null, 1)}\n`);
}
console.log(
  `${linked ? library : options.only}: ${jobs.length} files for sm_${targets.join(', sm_')}, ${Object.keys(used).length} kernels of ` +
    `${Math.max(...Object.values(used).map(({ registers }) => registers))} registers at most, ` +
    `${((Date.now() - started) / 1000).toFixed(0)} s`,
);
for (const [name, { spilledBytes }] of spilled) console.error(`${name} spills ${spilledBytes} bytes of registers`);
process.exit(spilled.length > 0 ? 1 : 0);

async function work() {
  for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
    const { status, text } = await run(job.command);
    if (status !== 0) failures.push(`${job.source}:\n${text}`);
    else readUse(job.source, text);
  }
}

function run(command) {
  return new Promise((resolve) => {
    const child = spawn('nvcc', command, { cwd: root });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk));
    child.on('error', (error) => resolve({ status: 1, text: String(error) }));
    child.on('close', (status) => resolve({ status, text }));
  });
}

/** Lines of ptxas: the kernel and its target, then what it spills, then what it uses. */
function readUse(source, text) {
  let current;
  for (const line of text.split('\n')) {
    const entry = /Compiling entry function '(\w+)' for 'sm_(\w+)'/.exec(line);
    if (entry) {
      current = `${source} ${plainName(entry[1])} sm_${entry[2]}`;
      used[current] = { registers: 0, sharedBytes: 0, spilledBytes: 0 };
    }
    if (current === undefined) continue;
    const spill = /(\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (spill) used[current].spilledBytes += Number(spill[1]) + Number(spill[2]);
    const registers = /Used (\d+) registers/.exec(line);
    if (registers) used[current].registers = Number(registers[1]);
    const memory = /(\d+) bytes smem/.exec(line);
    if (memory) used[current].sharedBytes = Number(memory[1]);
  }
}

/** The names of nvcc's anonymous namespaces end with the hash of a file; without it a record changes where a kernel does. */
function plainName(name) {
  return name.replace(/\d+_GLOBAL__N__[0-9a-f]{8}_\d+_\w+?_[0-9a-f]{8}(?=\d)/g, '_GLOBAL__N_');
}

function sorted(record) {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}
