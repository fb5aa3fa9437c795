// Fails when a Linux addon needs newer system libraries than promised: `node scripts/check-symbols.mjs FILE…`.
import { spawnSync } from 'node:child_process';

// glibc 2.28 (Debian 10, Ubuntu 20.04, RHEL 8) and the libstdc++ of GCC 8.
const limits = { GLIBC: [2, 28], GLIBCXX: [3, 4, 25], CXXABI: [1, 3, 11] };

let failed = false;
for (const file of process.argv.slice(2)) {
  const { stdout, error, status } = spawnSync('objdump', ['-T', file], { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (error || status !== 0) throw error ?? new Error(`objdump -T ${file} failed`);
  for (const [family, limit] of Object.entries(limits)) {
    const versions = [...stdout.matchAll(new RegExp(`\\b${family}_([\\d.]+)`, 'g'))].map((match) =>
      match[1].split('.').map(Number),
    );
    const newest = versions.sort(compare).at(-1);
    if (newest === undefined) continue;
    const fits = compare(newest, limit) <= 0;
    failed ||= !fits;
    console.log(`${file}: ${family}_${newest.join('.')} ${fits ? '≤' : '>'} ${limit.join('.')}`);
  }
}
if (failed) process.exit(1);

function compare(a, b) {
  for (let index = 0; index < Math.max(a.length, b.length); ++index) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
