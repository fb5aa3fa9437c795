// `npm run bench:gpu [-- --name word]`: builds and runs the benches of bench/gpu on this machine's card, and PyTorch's where
// python3 has it; writes bench/results/gpu-<name>.json: what was reached, of what limit, and the bars. The name is the
// card's unless said otherwise. With `--emulated` everything runs at tiny sizes on the processor, to see that it works.
// With `--choose` it also times which kernel of products serves what, and writes that to cuda/ops/linear/choice.h
// (--header), for builds from then on.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
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
    only: { type: 'string', default: 'linear,attention,load,model' },
  },
});
const sources = {
  linear: [
    ...inFolders(['cuda/ops/linear', 'cuda/ops/linear/blocks', 'cuda/ops/linear/fragments'], '_linear.cu'),
    ...inFolders(['cuda/ops/linear/fragments/unpacked', 'cuda/quant'], '.cu'),
  ],
  attention: [
    'cuda/program/row_plan.cpp',
    'cuda/ops/attention/attention.cu',
    'cuda/ops/attention/plain_attention.cu',
    ...inFolders(
      ['decode', 'prefill', 'sparse', 'snap'].map((name) => `cuda/ops/attention/${name}`),
      '.cu',
    ),
  ],
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
for (const bench of chosen.filter((name) => name in sources)) {
  const program = compile(bench);
  if (bench === 'linear' && options.choose && target === undefined) writeChoices(program, options.header);
  if (target === undefined) run(bench, program, options.emulated ? ['--tiny'] : []);
}
if (target !== undefined) process.exit(0);
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

/** A program of bench/gpu for the card, or for emulation; warnings are errors. */
function compile(bench) {
  const program = join(folder, bench);
  const shared = ['-std=c++20', '-DVIVACE_NO_KERNELS', '-I.', '-Icpp', '-o', program];
  const files = [`bench/gpu/${bench}.cu`, ...sources[bench]];
  const host = files.filter((file) => file.endsWith('.cpp'));
  const device = files.filter((file) => file.endsWith('.cu'));
  const code = `-arch=sm_${target ?? (card.capability && targetOf(card.capability))}`;
  const [compiler, ...words] = options.emulated
    ? [process.env.CXX ?? 'g++', '-O0', '-Wall', '-Wextra', '-Werror', '-Icuda/emulation/include', ...shared].concat(
        inFolders(['cuda/emulation'], '.cpp'),
        host,
        ['-x', 'c++'],
        device,
        ['-lpthread'],
      )
    : [
        'nvcc',
        '-O3',
        code,
        `--threads=${availableParallelism()}`,
        '-Werror=all-warnings',
        '-Xcompiler=-Wall,-Wextra',
      ].concat(shared, host, device);
  const { status, stdout, stderr, error } = spawnSync(compiler, words, { cwd: root, encoding: 'utf8' });
  if (status !== 0) giveUp(`${bench} does not compile:\n${error ?? stdout + stderr}`);
  return program;
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
  const answer = answerOf('python3', [join(root, 'bench', 'gpu', 'torch_peers.py')]);
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
}

function inFolders(folders, ending) {
  return folders.flatMap((path) =>
    readdirSync(join(root, path))
      .filter((name) => name.endsWith(ending))
      .sort()
      .map((name) => `${path}/${name}`),
  );
}
