// `npm run bench:gpu [-- --name word]`: builds and runs the benches of bench/gpu on this machine's card, and PyTorch's where
// python3 has it; writes bench/results/gpu-<name>.json: what was reached, of what limit, and the bars. The name is the
// card's unless said otherwise. With `--emulated` everything runs at tiny sizes on the processor, to see that it works.
// With `--choose` it also times which kernel of products serves what, and writes that to cuda/ops/linear/choice.h
// (--header), for builds from then on. With `--under 'compute-sanitizer --tool memcheck'` (several times for several tools)
// the programs run at tiny sizes under that, one after the other, and nothing is timed or written: npm run test:gpu does so.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { answerOf, build, giveUp, hasProgram, requireCard, root, targetOf } from './card.mjs';

const { values: options } = parseArgs({
  options: {
    name: { type: 'string' },
    out: { type: 'string', default: join(root, 'bench', 'results') },
    emulated: { type: 'boolean', default: false },
    'compile-only': { type: 'string' }, // for a target such as 90a, where there is no card
    choose: { type: 'boolean', default: false },
    header: { type: 'string', default: join(root, 'cuda', 'ops', 'linear', 'choice.h') },
    only: { type: 'string', default: 'linear,attention,policies,experts,load,model' },
    under: { type: 'string', multiple: true, default: [] },
    policies: { type: 'string', default: '' }, // names in bench/gpu/policies.cu; all when there are none
  },
});
const attention = [
  'cuda/program/row_plan.cpp',
  'cuda/caches/policy_rows.cpp',
  'cuda/ops/attention/attention.cu',
  'cuda/ops/attention/plain_attention.cu',
  ...inFolders(
    ['decode', 'prefill', 'sparse', 'snap'].map((name) => `cuda/ops/attention/${name}`),
    '.cu',
  ),
];
const sources = {
  linear: [
    ...inFolders(['cuda/ops/linear', 'cuda/ops/linear/blocks', 'cuda/ops/linear/fragments'], '_linear.cu'),
    ...inFolders(['cuda/ops/linear/fragments/unpacked', 'cuda/quant'], '.cu'),
  ],
  attention,
  policies: attention,
  experts: [...inFolders(['cuda/ops/experts'], '.cu'), 'cuda/ops/linear/quantize_rows.cu'],
  load: ['cuda/program/upload.cpp', 'cpp/core/thread_pool.cpp'],
};
const chosen = options.only.split(',');
const folder = mkdtempSync(join(tmpdir(), 'vivace-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

let card = { name: 'emulated', capability: undefined };
const target = options['compile-only'];
if (target === undefined && !options.emulated) {
  card = requireCard();
  if (!hasProgram('nvcc')) giveUp('There is no nvcc on the PATH to build the benches with.');
  build(card.capability);
}
const bars = [];
const figures = {};
const objects = new Map(); // by their sources: what several benches need is compiled once
for (const bench of chosen.filter((name) => name in sources)) {
  const program = await compile(bench);
  if (bench === 'linear' && options.choose && target === undefined) writeChoices(program, options.header);
  const words = bench === 'policies' ? options.policies.split(',').filter(Boolean) : [];
  for (const tool of options.under) watch(bench, program, tool);
  if (target === undefined && options.under.length === 0)
    run(bench, program, options.emulated ? ['--tiny', ...words] : words);
}
if (target !== undefined || options.under.length > 0) process.exit(0);
if (chosen.includes('model')) {
  const bandwidth = ['--bandwidth', String(figures['copy bandwidth']?.value ?? NaN)];
  const device = options.emulated ? ['--device', 'cuda-emulated', '--tiny'] : [];
  run('model', process.execPath, ['--import', 'tsx', join(root, 'bench', 'gpu', 'model.ts'), ...bandwidth, ...device]);
}
compareWithTorch();

const record = { date: new Date().toISOString(), ...card, emulated: options.emulated, bars, figures };
mkdirSync(options.out, { recursive: true });
const file = join(options.out, `gpu-${(options.name ?? card.name).replace(/[^\w.]+/g, '-').toLowerCase()}.json`);
writeFileSync(file, `${JSON.stringify(record, null, 1)}\n`);
console.log(`${file}: ${bars.filter(({ met }) => met).length} of ${bars.length} bars met`);

/**
 * A program of bench/gpu for the card, or for emulation; warnings are errors. For emulation the kernels are those of the
 * emulated library: build first.
 */
async function compile(bench) {
  const program = join(folder, bench);
  const own = `bench/gpu/${bench}.cu`;
  const code = `-arch=sm_${target ?? (card.capability && targetOf(card.capability))}`;
  const shared = ['-std=c++20', '-DVIVACE_NO_KERNELS', '-I.', '-Icpp'];
  const emulate = [process.env.CXX ?? 'g++', '-O0', '-Wall', '-Wextra', '-Werror', '-DVIVACE_EMULATED'].concat([
    '-Icuda/emulation/include',
    ...shared,
  ]);
  const native = ['nvcc', '-O3', code, '-Werror=all-warnings', '-Xcompiler=-Wall,-Wextra', ...shared];
  if (options.emulated) {
    const built = builtObjects();
    await finish(bench, [...emulate, '-o', program, '-x', 'c++', own, '-x', 'none', ...built, '-lpthread']);
    return program;
  }
  const missing = [own, ...sources[bench]].filter((file) => !objects.has(file));
  for (const file of missing) objects.set(file, join(folder, `${file.replaceAll('/', '-')}.o`));
  const next = async () => {
    for (let file = missing.pop(); file !== undefined; file = missing.pop())
      await finish(file, [...native, '-c', '-o', objects.get(file), file]);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, next));
  await finish(bench, ['nvcc', code, '-o', program, ...[own, ...sources[bench]].map((file) => objects.get(file))]);
  return program;
}

/** Runs a compiler to its end. */
async function finish(what, [compiler, ...words]) {
  const child = spawn(compiler, words, { cwd: root });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += text));
  const status = await new Promise((resolve) => child.on('error', resolve).on('close', resolve));
  if (status !== 0) giveUp(`${what} does not compile:\n${said || status}`);
}

/** Objects of the emulated library, where CMake leaves them. */
function builtObjects() {
  const { emulation, host, kernels, shared } = JSON.parse(readFileSync(join(root, 'cuda', 'sources.json'), 'utf8'));
  const built = [...emulation, ...host, ...kernels, ...shared].map((source) =>
    join(root, 'build', 'CMakeFiles', 'cuda_emulated.dir', `${source}.o`),
  );
  if (!built.every((file) => existsSync(file))) giveUp('There is no emulated library: run `npm run build` first.');
  return built;
}

/** Runs a bench at tiny sizes under another program, whose complaint ends everything. */
function watch(bench, program, tool) {
  const [first, ...words] = tool.split(' ');
  const { status, signal, stdout, stderr } = spawnSync(first, [...words, program, '--tiny'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  const said = stdout?.split('\n').filter((line) => /^=+ /.test(line)) ?? [];
  if (status !== 0)
    giveUp(`${bench} under ${tool} ended with ${signal ?? status}:\n${said.slice(0, 40).join('\n')}${stderr}`);
  console.log(`${bench} under ${tool}: no complaint`);
}

/** Prints what a bench prints, and keeps its bars and figures. */
function run(bench, program, words) {
  const { status, signal, stdout, stderr } = spawnSync(program, words, { cwd: root, encoding: 'utf8' });
  for (const line of stdout.split('\n')) {
    const [, kind, json] = /^(BAR|FIGURE) (.*)$/.exec(line) ?? [];
    if (kind === undefined) console.log(line);
    else if (kind === 'BAR') bars.push({ bench, ...JSON.parse(json) });
    else figures[JSON.parse(json).what] = JSON.parse(json);
  }
  if (status !== 0) giveUp(`${bench} ended with ${signal ?? status}: ${stderr}`);
}

/** The tables that `linear --choose` prints, in the place of those of a header. */
function writeChoices(program, header) {
  const words = options.emulated ? ['--tiny', '--choose'] : ['--choose'];
  const { status, stdout, stderr } = spawnSync(program, words, { cwd: root, encoding: 'utf8' });
  if (status !== 0) giveUp(`linear --choose ended with ${status}: ${stderr}`);
  let text = readFileSync(header, 'utf8');
  for (const table of ['tile_choices', 'unpack_choices']) {
    const rows = [...stdout.matchAll(new RegExp(`^ROW ${table} (.*)$`, 'gm'))].map(([, row]) => `    ${row}\n`);
    text = text.replace(new RegExp(`( ${table}\\[\\] = \\{\n)[^;]*(\\};)`), `$1${rows.join('')}$2`);
  }
  const measured = `// Where the numbers are from: measured on ${card.name}, ${new Date().toISOString().slice(0, 10)}.`;
  writeFileSync(header, text.replace(/^\/\/ Where the numbers are from: .*$/m, measured));
  console.log(`${header}: ${stdout.match(/^ROW /gm)?.length ?? 0} lines`);
}

/** Products and attention next to PyTorch's on the same card. */
function compareWithTorch() {
  const pairs = [
    ['matmul F16', 'matmul float16', 0.7],
    ['matmul BF16', 'matmul bfloat16', 0.7],
    ['causal attention F16', 'causal attention float16', 0.6],
  ].filter(([own]) => figures[own] !== undefined);
  const there = !options.emulated && answerOf('python3', ['-c', 'import torch; assert torch.cuda.is_available()']);
  if (there === undefined || there === false) {
    console.log('Not compared with PyTorch: python3 has none that finds a card.');
    return;
  }
  const rounds = Object.values(figures).filter(({ rest }) => rest !== undefined);
  const shapes = [...new Set(rounds.map(({ sequences, cells }) => `${sequences}x${cells}`))];
  const answer = answerOf('python3', [join(root, 'bench', 'gpu', 'torch_peers.py'), ...shapes]);
  if (answer === undefined) giveUp('bench/gpu/torch_peers.py failed.');
  const { torch, results } = JSON.parse(answer);
  for (const [own, peer, bar] of pairs) {
    const theirs = results.find(({ what, dtype, rows }) => `${what} ${dtype}` === peer && (rows ?? 4096) === 4096);
    const achieved = figures[own].value;
    const ratio = achieved / theirs.teraflops;
    const what = `${own}: share of PyTorch ${torch}`;
    bars.push({
      bench: 'torch',
      what,
      unit: 'TFLOP/s',
      achieved,
      limit: theirs.teraflops,
      ratio,
      atLeast: bar,
      met: ratio >= bar,
    });
    console.log(`${what}: ${ratio.toFixed(2)}, at least ${bar}`);
  }
  // Rounds under a policy, next to the same with PyTorch's attention over all cells. Of a bench's shapes the best counts.
  const best = new Map();
  for (const round of rounds) {
    const theirs = results.find(
      ({ what, sequences, cells }) => what === 'decoding' && sequences === round.sequences && cells === round.cells,
    );
    const before = round.rest + round.layers * theirs.microseconds;
    const achieved = before / round.value;
    console.log(
      `${round.what}: ${achieved.toFixed(2)} times as fast as with PyTorch's attention, wanted ${round.wanted}`,
    );
    const name = round.what.split(',')[0];
    if (!(best.get(name)?.ratio >= achieved)) best.set(name, { round, before, ratio: achieved });
  }
  for (const { round, before, ratio } of best.values()) {
    const what = `${round.what}: times as fast as with PyTorch ${torch}'s attention`;
    const reached = { bench: 'torch', what, unit: 'us', achieved: round.value, limit: before, ratio };
    bars.push({ ...reached, wanted: round.wanted, met: ratio >= round.wanted });
  }
}

function inFolders(folders, ending) {
  return folders.flatMap((path) =>
    readdirSync(join(root, path))
      .filter((name) => name.endsWith(ending))
      .sort()
      .map((name) => `${path}/${name}`),
  );
}
