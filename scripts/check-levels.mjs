// Checks that no kernel object offers code that another level could link to: an inline function outside the level's own
// namespace would exist once for all levels, perhaps in its AVX-512 form. Needs a build and binutils' nm.
// `node scripts/check-levels.mjs [build folder] [nm]`
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const [build = join(root, 'build'), nm = 'nm'] = process.argv.slice(2);
const folder = join(build, 'CMakeFiles');
const levels = existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith('kernels_')) : [];
if (levels.length === 0) {
  console.error(`No kernel objects in ${folder}: run npm run build:native first`);
  process.exit(1);
}
let objects = 0;
const shared = [];
for (const level of levels) {
  const own = `vivace::${level.slice('kernels_'.length, -'.dir'.length)}::`;
  for (const file of readdirSync(join(folder, level), { recursive: true }).filter((name) => name.endsWith('.o'))) {
    objects++;
    const { status, stdout, error } = spawnSync(nm, ['-C', join(folder, level, file)], { encoding: 'utf8' });
    if (status !== 0) throw error ?? new Error(`nm failed on ${file}`);
    const weak = stdout.split('\n').filter((line) => / [VWuv] /.test(line) && !line.includes(own));
    shared.push(...weak.map((line) => `${level}/${file}: ${line.slice(19)}`));
  }
}
if (shared.length > 0) {
  console.error(`Code that levels could share:\n${shared.join('\n')}`);
  process.exit(1);
}
console.log(`${objects} kernel objects of ${levels.length} levels share no code`);
