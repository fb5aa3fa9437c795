// One formatter for each language: prettier and clang-format over the files that git knows. `--write` changes files, without
// it those that differ are named and the exit code is 1. Further arguments limit it to files or folders.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const write = process.argv.includes('--write');
const places = process.argv.slice(2).filter((argument) => argument !== '--write');

const native = list(['*.cpp', '*.h', '*.cu', '*.cuh']);
const others = list(['*.ts', '*.mjs', '*.js', '*.json', '*.md', '*.yml']);
const prettier = join(dirname(require.resolve('prettier/package.json')), 'bin', 'prettier.cjs');
const clangFormat = require('clang-format').getNativeBinary();
const statuses = [
  run(process.execPath, [prettier, write ? '--write' : '--check', '--log-level', 'warn', ...others], others),
  write ? run(clangFormat, ['-i', ...native], native) : checkNative(),
];
process.exit(statuses.some((status) => status !== 0) ? 1 : 0);

/** Names files once, where clang-format reports every place. */
function checkNative() {
  if (native.length === 0) return 0;
  const { stderr, status } = spawnSync(clangFormat, ['--dry-run', '-Werror', ...native], {
    cwd: root,
    encoding: 'utf8',
  });
  const names = new Set([...stderr.matchAll(/^(\S+?):\d+:\d+: error/gm)].map(([, name]) => name));
  for (const name of names) console.error(`[warn] ${name}`);
  return status ?? 1;
}

/** Files that git tracks or would add, below the given places. */
function list(patterns) {
  const { stdout, status } = spawnSync(
    'git',
    ['ls-files', '-co', '--exclude-standard', '--deduplicate', '--', ...patterns],
    {
      cwd: root,
      encoding: 'utf8',
    },
  );
  if (status !== 0) throw new Error('git ls-files failed');
  const files = stdout
    .split('\n')
    .filter((file) => file !== '' && !file.startsWith('test/fixtures/') && existsSync(join(root, file)));
  return places.length === 0
    ? files
    : files.filter((file) => places.some((place) => file === place || file.startsWith(`${place.replace(/\/$/, '')}/`)));
}

function run(program, args, files) {
  return files.length === 0 ? 0 : (spawnSync(program, args, { cwd: root, stdio: 'inherit' }).status ?? 1);
}
