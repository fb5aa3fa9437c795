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

test('kernels give what the plainest rules and the host give', () => {
  if (!hasCompiler || !['x64', 'arm64'].includes(process.arch)) {
    console.log(`skipped: no ${compiler} to compile test/cuda/decode.cu with`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'vivace-cuda-'));
  try {
    const program = join(folder, 'decode');
    const checks = ['decode.cu', 'sample.cu'].map((name) => join(root, 'test', 'cuda', name));
    const host = [...filesIn('cpp/decode', '.cpp'), join(root, 'cpp', 'core', 'isa.cpp')];
    const includes = ['cuda/emulation/include', '.', 'cpp'].map((path) => `-I${join(root, path)}`);
    const flags = [
      '-std=c++20',
      '-O1',
      '-ffp-contract=off',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-DVIVACE_ISA=baseline',
      ...includes,
    ];
    const sources = [
      ...filesIn('cuda/emulation', '.cpp'),
      ...host,
      '-x',
      'c++',
      ...filesIn('cuda/decode', '.cu'),
      ...checks,
    ];
    execFileSync(compiler, [...flags, '-o', program, ...sources, '-lpthread'], { stdio: 'pipe' });
    const { stdout, status } = spawnSync(program, { encoding: 'utf8', timeout: 200_000 });
    expect(stdout.trim().split('\n')).toEqual([
      'ok greedy choices, their logprobs and errors',
      'ok greedy chains',
      'ok greedy trees',
      "ok draws of small vocabularies are the host's",
      "ok draws of a large vocabulary are the host's",
      "ok draws of flat rows are the host's",
    ]);
    expect(status).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 400_000);
