// `npm run test:gpu` and `npm run bench:gpu` themselves: they say when there is no card; tests are counted, and fail when
// there are none; benches run at tiny sizes on the emulated card.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { cardName, emulatedDevice } from '../ops/executors.js';

const root = resolve(__dirname, '..', '..');

function command(script: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const { stdout, stderr, status } = spawnSync(process.execPath, [join(root, 'scripts', 'gpu', script), ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 400_000,
  });
  return { lines: stdout.trim().split('\n'), stderr, status };
}

test.each(['test.mjs', 'bench.mjs'])('without a card %s says so in one line', (script) => {
  const { lines, stderr, status } = command(script, [], { PATH: '/nowhere' });
  expect({ lines, stderr, status }).toEqual({
    lines: [''],
    stderr: 'There is no NVIDIA card here: `nvidia-smi` is missing or lists none. Nothing was run.\n',
    status: 1,
  });
});

// Emulation stands for the card: what happens after one was found. On a card the whole command is what runs this test.
const whenEmulated = emulatedDevice() && cardName !== 'cuda' ? test : test.skip;

whenEmulated('tests end with how many tests passed and failed', () => {
  const { lines, status } = command('test.mjs', ['--emulated', 'test/ops/pointwise/add', 'test/ops/norm/softmax']);
  expect(lines.at(-1)).toMatch(/^[1-9]\d* passed, 0 failed$/);
  expect(status).toBe(0);
  const nothing = command('test.mjs', ['--emulated', 'test/no-such-folder']);
  expect(nothing.lines.at(-1)).toMatch(/^0 passed, 1 failed$/);
  expect(nothing.status).toBe(1);
});

whenEmulated(
  'benches run, and leave a record of bars with what was reached, the limit and their ratio',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'vivace-bench-test-'));
    try {
      const { lines, stderr, status } = command('bench.mjs', ['--emulated', '--out', folder, '--name', 'tiny']);
      expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
      expect(lines.at(-1)).toMatch(/gpu-tiny\.json: \d+ of \d+ bars met$/);
      const { bars, figures } = JSON.parse(readFileSync(join(folder, 'gpu-tiny.json'), 'utf8')) as {
        bars: { bench: string; what: string; achieved: number; limit: number; ratio: number; met: boolean }[];
        figures: Record<string, { value: number }>;
      };
      expect([...new Set(bars.map(({ bench }) => bench))]).toEqual(['linear', 'attention', 'load', 'model']);
      for (const { achieved, limit, ratio } of bars) {
        expect(achieved).toBeGreaterThan(0);
        expect(limit).toBeGreaterThan(0);
        expect(ratio).toBeGreaterThan(0);
      }
      expect(Object.keys(figures)).toEqual(
        expect.arrayContaining([
          'copy bandwidth',
          "int8 products' peak",
          'matmul F16',
          'matmul BF16',
          'causal attention F16',
        ]),
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  400_000,
);
