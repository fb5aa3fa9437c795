// Compiles lib/ to dist/ (CommonJS) and adds the ES module face: one copy of every class for require and import.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');

mkdirSync(dist, { recursive: true });
writeFileSync(join(dist, 'index.mjs'), "export * from './index.js';\n");
writeFileSync(join(dist, 'index.d.mts'), "export * from './index.js';\n");
const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--pretty', 'false'], {
  cwd: root,
  stdio: 'inherit',
});
if (status !== 0) process.exit(status ?? 1);
removeStale(dist);

/** Deletes what was compiled from sources that no longer exist, and folders left empty. */
function removeStale(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      removeStale(path);
      if (readdirSync(path).length === 0) rmdirSync(path);
    } else if (!/\.d\.mts$|\.mjs$/.test(entry.name)) {
      const source = path.replace(dist, join(root, 'lib')).replace(/(\.d\.ts|\.js|\.js\.map)$/, '.ts');
      if (!existsSync(source)) rmSync(path);
    }
  }
}
