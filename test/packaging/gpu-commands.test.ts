// `npm run test:gpu` itself: it says when there is no card, counts what it ran, and fails when it ran nothing.
import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { cardName, emulatedDevice } from '../ops/executors.js';

const root = resolve(__dirname, '..', '..');

function command(script: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const { stdout, stderr, status } = spawnSync(process.execPath, [join(root, 'scripts', 'gpu', script), ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 110_000,
  });
  return { lines: stdout.trim().split('\n'), stderr, status };
}

test('without a card it says so in one line', () => {
  const { lines, stderr, status } = command('test.mjs', [], { PATH: '/nowhere' });
  expect({ lines, stderr, status }).toEqual({
    lines: [''],
    stderr: 'There is no NVIDIA card here: `nvidia-smi` is missing or lists none. Nothing was run.\n',
    status: 1,
  });
});

// Emulation stands for the card: what happens after one was found. On a card the whole command is what runs this test.
(emulatedDevice() && cardName !== 'cuda' ? test : test.skip)('it ends with how many tests passed and failed', () => {
  const { lines, status } = command('test.mjs', ['--emulated', 'test/ops/pointwise/add', 'test/ops/norm/softmax']);
  expect(lines.at(-1)).toMatch(/^[1-9]\d* passed, 0 failed$/);
  expect(status).toBe(0);
  const nothing = command('test.mjs', ['--emulated', 'test/no-such-folder']);
  expect(nothing.lines.at(-1)).toMatch(/^0 passed, 1 failed$/);
  expect(nothing.status).toBe(1);
});
