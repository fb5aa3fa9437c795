// Builds the addon with cmake-js into build/Release: `node scripts/build-native.mjs [--out build] [--arch x64] [--NAME=VALUE …]`.
// Silent when all goes well; on failure the compiler's words and a likely remedy. `--reuse FOLDER` takes the addon out of
// another build folder instead of compiling.
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
const { out, arch, defines, reuse } = parse(process.argv.slice(2));
if (reuse) {
  const [from, to] = [reuse, out].map((folder) => resolve(root, folder, 'Release'));
  cpSync(from, to, { recursive: true, filter: (path) => !/\.[a-z]+$/.test(path) || path.endsWith('.node') });
  process.exit(0);
}

if (spawnSync('cmake', ['--version']).error) {
  fail(
    'vivace needs cmake 3.19 or newer and a C++20 compiler to build its native addon.',
    'Debian/Ubuntu: apt-get install cmake g++; macOS: xcode-select --install, brew install cmake.',
  );
}
const started = Date.now();
let result = await build();
// A build folder of another compiler, machine or path cannot be configured again; start afresh once.
if (result.status !== 0 && /CMakeCache\.txt|CMake Error: Error: generator/.test(result.text)) {
  rmSync(resolve(root, out), { recursive: true, force: true });
  result = await build();
}
if (result.status !== 0) {
  process.stderr.write(result.text);
  fail(
    `Building the native addon failed (cmake-js exited with ${result.status}).`,
    'The first error above says why; it needs cmake 3.19 and g++ 11, clang 14 or Visual Studio 2022, or newer.',
  );
}
if (process.stdout.isTTY) console.log(`Native addon built in ${((Date.now() - started) / 1000).toFixed(1)} s`);

function parse(args) {
  const parsed = { out: 'build', arch: undefined, defines: [], reuse: undefined };
  for (let index = 0; index < args.length; ++index) {
    if (args[index] === '--out') parsed.out = args[++index];
    else if (args[index] === '--arch') parsed.arch = args[++index];
    else if (args[index] === '--reuse') parsed.reuse = args[++index];
    else if (/^--[A-Z_]+=/.test(args[index])) parsed.defines.push(`--CD${args[index].slice(2)}`);
    else if (args[index] === '--')
      break; // what follows is for node-gyp
    else fail(`Unknown option ${args[index]}`, 'Options: --out FOLDER, --arch ARCH, --reuse FOLDER, --NAME=VALUE');
  }
  return parsed;
}

/** Definitions reach CMake only when it configures; what is compiled already stays. */
async function build() {
  const configured = defines.length > 0 ? await run('configure') : { status: 0 };
  return configured.status === 0 ? run('build') : configured;
}

function run(verb) {
  const options = [
    '--out',
    out,
    '--log-level',
    'error',
    '--parallel',
    String(Math.min(availableParallelism(), 8)),
    ...(arch ? ['--arch', arch] : []),
    ...defines,
  ];
  const child = spawn(process.execPath, [cmakeJs, verb, ...options], { cwd: root });
  let text = '';
  child.stdout.on('data', (chunk) => (text += chunk));
  child.stderr.on('data', (chunk) => (text += chunk));
  return new Promise((done) => {
    child.on('error', (error) => done({ status: 1, text: `${error.message}\n` }));
    child.on('close', (status) => done({ status: status ?? 1, text }));
  });
}

function fail(message, remedy) {
  console.error(`${message}\n${remedy}`);
  process.exit(1);
}
