// The kernels of decoding for cards, on the emulated device.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(__dirname, '..', '..');
const compiler = process.env['CXX'] ?? 'g++';
const hasCompiler = spawnSync(compiler, ['--version']).status === 0;

const filesIn = (folder: string, extension: string) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith(extension))
    .map((name) => join(root, folder, name));

test('greedy choices and greedy verification give what the plainest rules give', () => {
  if (!hasCompiler || !['x64', 'arm64'].includes(process.arch)) {
    console.log(`skipped: no ${compiler} to compile test/cuda/decode.cu with`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'vivace-cuda-'));
  try {
    const program = join(folder, 'decode');
    const kernels = [...filesIn('cuda/decode', '.cu'), join(root, 'test', 'cuda', 'decode.cu')];
    const includes = ['cuda/emulation/include', '.', 'cpp'].map((path) => `-I${join(root, path)}`);
    const flags = ['-std=c++20', '-O1', '-ffp-contract=off', '-Wall', '-Wextra', '-Werror', ...includes];
    const sources = [...filesIn('cuda/emulation', '.cpp'), '-x', 'c++', ...kernels];
    execFileSync(compiler, [...flags, '-o', program, ...sources, '-lpthread'], { stdio: 'pipe' });
    const { stdout, status } = spawnSync(program, { encoding: 'utf8', timeout: 60_000 });
    expect(stdout.trim().split('\n')).toEqual([
      'ok greedy choices, their logprobs and errors',
      'ok greedy chains',
      'ok greedy trees',
    ]);
    expect(status).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 120_000);
