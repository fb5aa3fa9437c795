// Makes prebuilds/<platform>-<arch>/: prebuildify drives CMake (scripts/build-native.mjs) in a folder of its own, so that a
// checkout's build stays as it is. `node scripts/prebuild.mjs [--arch arm64] [--out FOLDER] [--reuse]`; --arch arm64 on x64
// Linux cross-compiles with aarch64-linux-gnu-g++; --reuse takes the addon of build/ instead of compiling it.
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch as hostArch, platform } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const prebuildify = createRequire(import.meta.url)('prebuildify');
const { values } = parseArgs({
  options: {
    arch: { type: 'string', default: hostArch() },
    out: { type: 'string', default: root },
    reuse: { type: 'boolean' },
  },
});

const cross = platform() === 'linux' && values.arch !== hostArch();
if (cross && values.arch !== 'arm64') throw new Error(`Cannot cross-compile for ${values.arch}; only for arm64`);
const defines = cross
  ? ['--CMAKE_SYSTEM_NAME=Linux', '--CMAKE_SYSTEM_PROCESSOR=aarch64', '--CMAKE_CXX_COMPILER=aarch64-linux-gnu-g++']
  : [];
defines.push('--VIVACE_EMULATED_CUDA=OFF'); // no part of the package

// prebuildify looks for build/Release below its working folder.
const stage = join(root, `build-prebuild-${values.reuse ? 'reused' : values.arch}`);
mkdirSync(stage, { recursive: true });
const build = [process.execPath, join(root, 'scripts', 'build-native.mjs'), '--out', join(stage, 'build')];
const how = values.reuse ? ['--reuse', 'build'] : ['--arch', values.arch, ...defines];
await promisify(prebuildify)({
  cwd: stage,
  out: resolve(values.out),
  name: 'vivace',
  arch: values.arch,
  napi: true,
  targets: [process.versions.node],
  tagLibc: platform() === 'linux',
  libc: 'glibc',
  strip: true,
  stripBin: cross ? 'aarch64-linux-gnu-strip' : 'strip',
  // Instead of node-gyp; its arguments (rebuild --target=… --release) go behind `--` and are not ours.
  shell: true,
  nodeGyp: [...build, ...how, '--'].map((word) => JSON.stringify(word)).join(' '),
});

const folder = join(resolve(values.out), 'prebuilds', `${platform()}-${values.arch}`);
for (const file of readdirSync(folder))
  console.log(`${join(folder, file)}: ${(statSync(join(folder, file)).size / 1024).toFixed(0)} KiB`);
