// The emulated device: every primitive gives what CUDA's manual says, every kind of mistake is reported.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(__dirname, '..', '..');
const compiler = process.env['CXX'] ?? 'g++';
const hasCompiler = spawnSync(compiler, ['--version']).status === 0;

test.each([
  ['primitives', 12],
  ['matrices', 6],
])(
  '%s of kernels, and reports of their mistakes',
  (name, checks) => {
    if (!hasCompiler || !['x64', 'arm64'].includes(process.arch)) {
      console.log(`skipped: no ${compiler} to compile test/cuda/${name}.cu with`);
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), 'vivace-cuda-'));
    try {
      const program = join(folder, name);
      const sources = ['fiber', 'block', 'runtime'].map((part) => join(root, 'cuda', 'emulation', `${part}.cpp`));
      const includes = ['cuda/emulation/include', '.', 'cpp'].map((path) => `-I${join(root, path)}`);
      const kernels = join(root, 'test', 'cuda', `${name}.cu`);
      const flags = ['-std=c++20', '-O1', '-Wall', '-Wextra', '-Werror', ...includes, '-o', program];
      execFileSync(compiler, [...flags, ...sources, '-x', 'c++', kernels, '-lpthread'], { stdio: 'pipe' });
      const { stdout, status } = spawnSync(program, { encoding: 'utf8', timeout: 60_000 });
      expect(stdout.split('\n').filter((line) => line.startsWith('FAILED'))).toEqual([]);
      expect(stdout.split('\n').filter((line) => line.startsWith('ok')).length).toBeGreaterThanOrEqual(checks);
      expect(status).toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  120_000,
);
