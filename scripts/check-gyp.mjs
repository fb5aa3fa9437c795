// Builds the addon from binding.gyp in a scratch folder and compares its face with that of CMake's build.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const folder = mkdtempSync(join(tmpdir(), 'vivace-gyp-'));
try {
  for (const file of ['binding.gyp', 'package.json']) copyFileSync(join(root, file), join(folder, file));
  for (const name of ['cpp', 'node_modules']) symlinkSync(join(root, name), join(folder, name), 'junction');

  // Node's own headers where the installation has them; otherwise node-gyp fetches them.
  const prefix = dirname(dirname(process.execPath));
  const local = existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? ['--nodedir', prefix] : [];
  const gyp = require.resolve('node-gyp/bin/node-gyp.js');
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [gyp, 'rebuild', '--loglevel', 'error', '--jobs', String(Math.min(availableParallelism(), 8)), ...local],
    { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 28 },
  );
  if (status !== 0) throw new Error(`node-gyp failed:\n${stdout}\n${stderr}`);

  const face = (path) => Object.keys(require(path)).sort().join(', ');
  const [gypFace, cmakeFace] = [folder, root].map((place) => face(join(place, 'build', 'Release', 'vivace.node')));
  if (gypFace !== cmakeFace) throw new Error(`binding.gyp gives ${gypFace}; CMake gives ${cmakeFace}`);
  console.log(`binding.gyp and CMakeLists.txt give the same addon: ${gypFace}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
