// The emulated device: every primitive gives what CUDA's manual says, every kind of mistake is reported.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(__dirname, '..', '..');
const compiler = process.env['CXX'] ?? 'g++';
const hasCompiler = spawnSync(compiler, ['--version']).status === 0;

test.each([
  ['primitives', 6],
  ['matrices', 6],
  ['arithmetic', 5],
  ['mistakes', 43],
])(
  '%s of kernels',
  (name, checks) => {
    if (!hasCompiler || !['x64', 'arm64'].includes(process.arch)) {
      console.log(`skipped: no ${compiler} to compile test/cuda/${name}.cu with`);
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), 'vivace-cuda-'));
    try {
      const program = join(folder, name);
      const emulation = join(root, 'cuda', 'emulation');
      const sources = readdirSync(emulation).filter((file) => file.endsWith('.cpp'));
      const includes = ['cuda/emulation/include', '.', 'cpp'].map((path) => `-I${join(root, path)}`);
      const kernels = join(root, 'test', 'cuda', `${name}.cu`);
      const flags = [
        '-std=c++20',
        '-O1',
        '-ffp-contract=off',
        '-Wall',
        '-Wextra',
        '-Werror',
        ...includes,
        '-o',
        program,
      ];
      execFileSync(
        compiler,
        [...flags, ...sources.map((file) => join(emulation, file)), '-x', 'c++', kernels, '-lpthread'],
        { stdio: 'pipe' },
      );
      const { stdout, status } = spawnSync(program, { encoding: 'utf8', timeout: 60_000 });
      expect(stdout.split('\n').filter((line) => line.startsWith('FAILED'))).toEqual([]);
      expect(stdout.split('\n').filter((line) => line.startsWith('ok')).length).toBe(checks);
      expect(status).toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  120_000,
);
