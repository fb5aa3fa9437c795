// Builds the addon with cmake-js into build/Release: `node scripts/build-native.mjs [--out build] [--arch x64] [--NAME=VALUE …]`.
// Silent when all goes well; on failure the compiler's words and a likely remedy.
import { spawn, spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
const { out, command, defines } = parse(process.argv.slice(2));

if (spawnSync('cmake', ['--version']).error) {
  fail(
    'vivace needs cmake 3.19 or newer and a C++20 compiler to build its native addon.',
    'Debian/Ubuntu: apt-get install cmake g++; macOS: xcode-select --install, brew install cmake.',
  );
}
const started = Date.now();
const first = await run(command);
// A build folder of another compiler, machine or path cannot be configured again; start afresh once.
const result =
  first.status !== 0 &&
  /CMake Error: (The source|The current CMakeCache|Error: generator)|CMakeCache\.txt directory/.test(first.text)
    ? await again()
    : first;
if (result.status !== 0) {
  process.stderr.write(result.text);
  fail(
    `Building the native addon failed (cmake-js exited with ${result.status}).`,
    'The first error above says why; it needs cmake 3.19 and g++ 11, clang 14 or Visual Studio 2022, or newer.',
  );
}
if (process.stdout.isTTY) console.log(`Native addon built in ${((Date.now() - started) / 1000).toFixed(1)} s`);

async function again() {
  rmSync(resolve(root, out), { recursive: true, force: true });
  return run(command);
}

function parse(args) {
  const parsed = { out: 'build', command: 'build', defines: [] };
  for (let index = 0; index < args.length; ++index) {
    if (args[index] === '--')
      break; // what follows is for node-gyp
    else if (args[index] === '--out') parsed.out = args[++index];
    else if (args[index] === '--arch') parsed.defines.push('--arch', args[++index]);
    else if (args[index] === '--rebuild') parsed.command = 'rebuild';
    else if (/^--[A-Z_]+=/.test(args[index])) parsed.defines.push(`--CD${args[index].slice(2)}`);
    else fail(`Unknown option ${args[index]}`, 'Options: --out FOLDER, --arch ARCH, --rebuild, --NAME=VALUE');
  }
  // cmake-js passes definitions only when it configures.
  if (parsed.defines.length > 0) parsed.command = 'rebuild';
  return parsed;
}

function run(verb) {
  const options = [
    '--out',
    out,
    '--log-level',
    'error',
    '--parallel',
    String(Math.min(availableParallelism(), 8)),
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
