// Packs the library for NVIDIA cards as the package `vivace-cuda`, of the same version as vivace: `node scripts/gpu/pack.mjs
// [--library file] [--platform linux-x64] [--out folder]`. The tarball lies in build-cuda/ unless `--out` says otherwise.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const { values } = parseArgs({
  options: {
    library: {
      type: 'string',
      default: join(root, 'build-cuda', `vivace-cuda${process.platform === 'win32' ? '.dll' : '.so'}`),
    },
    platform: { type: 'string', default: `${process.platform}-${process.arch}` },
    out: { type: 'string', default: join(root, 'build-cuda') },
  },
});
const [os, cpu] = values.platform.split('-');
if (!existsSync(values.library)) {
  console.error(`There is no library ${values.library} to pack; \`npm run build:cuda\` makes it.`);
  process.exit(1);
}

const { version, license, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const stage = join(resolve(values.out), 'package');
rmSync(stage, { recursive: true, force: true });
mkdirSync(join(stage, values.platform), { recursive: true });
const manifest = {
  name: 'vivace-cuda',
  version,
  description: 'What vivace needs to run models on NVIDIA graphics cards: kernels, and nothing else',
  license,
  ...(process.env.GITHUB_REPOSITORY ? { repository: `github:${process.env.GITHUB_REPOSITORY}` } : {}),
  engines,
  files: [values.platform],
  // Of its library, which is no program for other systems.
  os: [os],
  cpu: [cpu],
  ...(os === 'linux' ? { libc: ['glibc'] } : {}),
  // Both speak through a table of functions that must be of the same version.
  peerDependencies: { vivace: version },
};
writeFileSync(join(stage, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
copyFileSync(join(root, 'LICENSE'), join(stage, 'LICENSE'));
copyFileSync(join(root, 'docs', 'vivace-cuda.md'), join(stage, 'README.md'));
const library = join(stage, values.platform, `vivace-cuda${extname(values.library)}`);
copyFileSync(values.library, library);
if (os === process.platform && os !== 'win32') run('strip', ['--strip-unneeded', library]);

const tarball = run('npm', ['pack', '--ignore-scripts', '--pack-destination', resolve(values.out)], stage).trim();
const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const path = join(resolve(values.out), tarball.split('\n').at(-1));
console.log(`${path}: ${mebibytes(statSync(path).size)}, its library ${mebibytes(statSync(library).size)}`);

function run(program, args, cwd = root) {
  // npm is a script of its own on Windows.
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed\n${stdout}\n${stderr}`);
  return stdout;
}
