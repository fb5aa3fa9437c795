// Pages of a cache lie in huge pages of memory when there are many of them, cost little more than their bytes, and give their
// memory back when nobody holds them.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

// A sanitizer's own memory is beyond every limit.
const canMeasure =
  !process.env['LD_PRELOAD'] && process.platform === 'linux' && spawnSync('prlimit', ['--version']).status === 0;

if (!canMeasure) console.log('memory of pages: skipped, it needs Linux, prlimit and no sanitizer');

/** Whether the system gives huge pages to those who ask. */
function givesHugePages(): boolean {
  try {
    return !readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8').includes('[never]');
  } catch {
    return false;
  }
}

(canMeasure ? test : test.skip)('memory of pages', () => {
  const child = join(__dirname, 'page-memory.ts');
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', child], {
    cwd: join(__dirname, '..', '..'),
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`ended with ${signal ?? status}\n${stdout}\n${stderr}`);
  const { small, large, short } = JSON.parse(stdout);
  // 256 KiB of pages; a huge page would be 2 MiB.
  expect(small.huge).toBe(0);
  expect(small.held).toBeLessThan(1.5);
  // 128 MiB. The first few are not in huge pages, and the process itself takes some or gives some back.
  if (givesHugePages()) expect(large.both.huge).toBeGreaterThan(96);
  expect(large.both.held).toBeGreaterThan(120);
  expect(large.both.held).toBeLessThan(138);
  // Every second page: 64 MiB, and 4 MiB of freed ones are kept. Nothing waits for a slab to be empty.
  expect(large.one).toBeLessThan(78);
  expect(large.half).toBeLessThan(46);
  expect(large.again).toBeGreaterThan(62);
  expect(large.again).toBeLessThan(78);
  expect(large.none).toBeLessThan(14);
  expect(large.closed).toBeLessThan(10);
  // Of 48 MiB of addresses only a few are lost, though slabs would be larger than what was left.
  expect(short.code).toBe('OUT_OF_MEMORY');
  expect(short.pages).toBeGreaterThan(32);
  expect(short.pages).toBeLessThan(49);
  expect(short.same).toBe(short.pages + 1);
});
