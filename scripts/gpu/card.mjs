// What tests and benches on a card share: is a card here, which code it runs, and fresh builds of library and addon.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
export const library = join(root, 'build-cuda', process.platform === 'win32' ? 'vivace-cuda.dll' : 'vivace-cuda.so');
const addon = join(root, 'build', 'Release', 'vivace.node');

/** Ends the process with one line. */
export function giveUp(message) {
  console.error(message);
  process.exit(1);
}

/** Standard output of a command, or undefined when it is not there or fails. */
export function answerOf(program, args) {
  const { status, stdout } = spawnSync(program, args, { cwd: root, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

export const hasProgram = (program) => answerOf(program, ['--version']) !== undefined;

/** Name and compute capability (such as `9.0`) of the first card; ends the process where there is none. */
export function requireCard() {
  const answer = answerOf('nvidia-smi', ['--query-gpu=name,compute_cap', '--format=csv,noheader']);
  if (!answer) giveUp('There is no NVIDIA card here: `nvidia-smi` is missing or lists none. Nothing was run.');
  const [name, capability] = answer
    .split('\n')[0]
    .split(',')
    .map((part) => part.trim());
  return { name, capability };
}

/** What nvcc calls the code of a card; instructions of 9.0 alone have names of their own. */
export const targetOf = (capability) => (capability === '9.0' ? '90a' : capability.replace('.', ''));

/** The library for the card and the addon, built when they are missing or older than a source. */
export function build(capability) {
  if (isStale(library, ['cuda', 'cpp'])) {
    if (!hasProgram('nvcc')) giveUp('There is no library for cards and no nvcc on the PATH to build it with.');
    run('build-cuda.mjs', ['--targets', targetOf(capability)]);
  }
  if (isStale(addon, ['cpp'])) run('build-native.mjs', []);
}

function run(script, args) {
  const { status } = spawnSync(process.execPath, [join(root, 'scripts', script), ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) giveUp(`scripts/${script} failed with ${status}.`);
}

/** Whether a file is missing or a source in one of the folders is newer. */
function isStale(file, folders) {
  if (!existsSync(file)) return true;
  const built = statSync(file).mtimeMs;
  return folders.some((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true }).some(
      (entry) => entry.isFile() && statSync(join(entry.parentPath ?? entry.path, entry.name)).mtimeMs > built,
    ),
  );
}
