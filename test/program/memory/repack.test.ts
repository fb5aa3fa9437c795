// Without memory for weights in the order that is read fastest, rewriting them is an error with a code or, behind the
// caller's back, a warning; the weights are read where they lie, and may be rewritten when there is memory again.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const root = join(__dirname, '..', '..', '..');
// A sanitizer's own memory is beyond every limit.
const hasPrlimit =
  !process.env['LD_PRELOAD'] && process.platform === 'linux' && spawnSync('prlimit', ['--version']).status === 0;

(hasPrlimit ? test : test.skip)('a process that is short of address space', () => {
  const child = join(__dirname, 'short-of-memory.ts');
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', child], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`ended with ${signal ?? status}\n${stdout}\n${stderr}`);
  const { thrown, warnings, same, packedThen, packed, weight, later } = JSON.parse(stdout);
  expect(thrown).toMatchObject({
    code: 'OUT_OF_MEMORY',
    message: expect.stringContaining(String(packed)),
    remedy: expect.stringContaining("repack: 'never'"),
  });
  expect(warnings).toEqual(['OUT_OF_MEMORY']);
  expect(same).toBe(true);
  expect(packedThen).toBe(0);
  expect(packed).toBeGreaterThanOrEqual(weight);
  expect(later).toBe(true);
});
