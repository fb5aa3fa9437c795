// Compiles a program of checks together with kernels and the emulated device, and runs it. With a real card (test:gpu), nvcc
// compiles it.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cardName } from '../ops/executors.js';

const root = join(__dirname, '..', '..');
export const onCard = cardName === 'cuda';
const compiler = onCard ? 'nvcc' : (process.env['CXX'] ?? 'g++');
const canRun = spawnSync(compiler, ['--version']).status === 0 && ['x64', 'arm64'].includes(process.arch);
/** What programs are run under, in words: compute-sanitizer and its options. */
const runner = JSON.parse(process.env['VIVACE_TEST_RUNNER'] ?? '[]') as string[];
/** scripts/test-sanitize.mjs: programs bring the sanitizers themselves. */
export const sanitized = process.env['LD_PRELOAD']?.includes('asan') ?? false;
const clean: NodeJS.ProcessEnv = { ...process.env, LD_PRELOAD: '' };
const strict = '-Wall,-Wextra,-ffp-contract=off';

/** Paths, from the project's root, of the files in a folder whose names end so. */
export const filesIn = (folder: string, ending: string): string[] =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name));

interface Checks {
  /** Paths in test/cuda. */
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
    const device = [...kernels, ...programs.map((name) => join('test', 'cuda', name))];
    const command = onCard ? forCard(device, host) : forEmulation(device, host);
    execFileSync(compiler, [...command, ...flags, '-I.', '-Icpp', '-o', program], {
      cwd: root,
      stdio: 'pipe',
      env: clean,
    });
    const [first, ...rest] = [...runner, program];
    const { stdout, stderr, status, signal } = spawnSync(first, rest, {
      encoding: 'utf8',
      timeout: 800_000,
      env: clean,
    });
    const failed = stdout.split('\n').filter((line) => line.startsWith('FAILED'));
    if (status !== 0 || failed.length > 0)
      throw new Error([`ended with ${signal ?? status}`, ...failed, ...errorsIn(stdout), stderr].join('\n'));
    return stdout.split('\n').filter((line) => line.startsWith('ok '));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function forEmulation(device: readonly string[], host: readonly string[]): string[] {
  const plain = [...filesIn('cuda/emulation', '.cpp'), ...host];
  const checked = sanitized ? ['-fsanitize=address,undefined', '-fno-sanitize-recover=undefined', '-g'] : [];
  const warnings = [...strict.split(','), '-Werror', ...checked];
  return ['-std=c++20', '-O1', ...warnings, '-Icuda/emulation/include', ...plain, '-x', 'c++', ...device, '-lpthread'];
}

/** Code for this machine's card; VIVACE_TEST_ARCH names another one, to compile where there is none. */
function forCard(device: readonly string[], host: readonly string[]): string[] {
  const arch = process.env['VIVACE_TEST_ARCH'] ?? 'native';
  const code = ['-std=c++20', '-O1', `-arch=${arch}`, '-Werror=all-warnings', `-Xcompiler=${strict}`];
  return [...code, '-DVIVACE_NO_KERNELS', ...host, ...device];
}

/** What compute-sanitizer found. */
const errorsIn = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => /^=+ /.test(line))
    .slice(0, 40);
