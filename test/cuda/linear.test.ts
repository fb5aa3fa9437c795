// The kernels of linear for cards, on the emulated device.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dtypes } from '../../lib/program/dtype.js';

const root = join(__dirname, '..', '..');
const compiler = process.env['CXX'] ?? 'g++';
const hasCompiler = spawnSync(compiler, ['--version']).status === 0;

const filesIn = (folder: string, pattern: RegExp) =>
  readdirSync(join(root, folder))
    .filter((name) => pattern.test(name))
    .map((name) => join(root, folder, name));

test('linear for every type of weights gives what sums in 64 bits give, and the same row in every batch', () => {
  if (!hasCompiler || !['x64', 'arm64'].includes(process.arch)) {
    console.log(`skipped: no ${compiler} to compile test/cuda/linear.cu with`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'vivace-cuda-'));
  try {
    const program = join(folder, 'linear');
    const plain = [...filesIn('cuda/emulation', /\.cpp$/), ...filesIn('cpp/quant', /\.cpp$/)];
    const kernels = [
      ...filesIn('cuda/ops/linear', /_linear\.cu$/),
      ...filesIn('cuda/ops/linear/blocks', /_linear\.cu$/),
      ...filesIn('cuda/ops/linear/fragments', /_linear\.cu$/),
      join(root, 'cuda', 'quant', 'fragments.cu'),
      join(root, 'test', 'cuda', 'linear.cu'),
    ];
    const includes = ['cuda/emulation/include', '.', 'cpp'].map((path) => `-I${join(root, path)}`);
    const flags = ['-std=c++20', '-O1', '-ffp-contract=off', '-Wall', '-Wextra', '-Werror', ...includes];
    execFileSync(compiler, [...flags, '-o', program, ...plain, '-x', 'c++', ...kernels, '-lpthread'], {
      stdio: 'pipe',
    });
    const { stdout, status } = spawnSync(program, { encoding: 'utf8', timeout: 120_000 });
    const lines = stdout.trim().split('\n');
    const weightTypes = Object.values(dtypes).filter(({ weight }) => weight);
    expect(lines.sort()).toEqual(weightTypes.map(({ name }) => `ok ${name}`).sort());
    expect(status).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 300_000);
