// Compiles a program of checks together with kernels and the emulated device, and runs it.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(__dirname, '..', '..');
const compiler = process.env['CXX'] ?? 'g++';
const canRun = spawnSync(compiler, ['--version']).status === 0 && ['x64', 'arm64'].includes(process.arch);

/** Paths, from the project's root, of the files in a folder whose names end so. */
export const filesIn = (folder: string, ending: string): string[] =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name));

interface Checks {
  /** In test/cuda. */
  readonly programs: readonly string[];
  /** Compiled with them: kernels, and files of the host. */
  readonly kernels?: readonly string[];
  readonly host?: readonly string[];
  readonly flags?: readonly string[];
}

/** What the program printed, in lines, after it ended well; undefined, with a line that says why: no compiler is here. */
export function runChecks({ programs, kernels = [], host = [], flags = [] }: Checks): string[] | undefined {
  if (!canRun) {
    console.log(`skipped: no ${compiler} to compile test/cuda/${programs[0]} with`);
    return undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'vivace-cuda-'));
  try {
    const program = join(folder, 'checks');
    const strict = ['-std=c++20', '-O1', '-ffp-contract=off', '-Wall', '-Wextra', '-Werror', ...flags];
    const includes = ['cuda/emulation/include', '.', 'cpp'].map((path) => `-I${path}`);
    const plain = [...filesIn('cuda/emulation', '.cpp'), ...host];
    const device = [...kernels, ...programs.map((name) => join('test', 'cuda', name))];
    execFileSync(compiler, [...strict, ...includes, '-o', program, ...plain, '-x', 'c++', ...device, '-lpthread'], {
      cwd: root,
      stdio: 'pipe',
    });
    const { stdout, stderr, status, signal } = spawnSync(program, { encoding: 'utf8', timeout: 200_000 });
    const failed = stdout.split('\n').filter((line) => line.startsWith('FAILED'));
    if (status !== 0 || failed.length > 0)
      throw new Error([`ended with ${signal ?? status}`, ...failed, stderr].join('\n'));
    return stdout.trim().split('\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
}
