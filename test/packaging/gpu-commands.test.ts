// `npm run test:gpu` and `npm run bench:gpu` themselves: they say when there is no card; tests are counted, and fail when
// there are none; benches run at tiny sizes on the emulated card.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
  'under a program that watches, benches run at tiny sizes, and end with its complaint',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'vivace-watch-test-'));
    try {
      const watcher = (name: string, last: string): string => {
        const file = join(folder, name);
        writeFileSync(
          file,
          `#!/bin/sh\necho "== watched $*" >> ${join(folder, 'log')}\nshift\n"$@" > /dev/null\n${last}\n`,
        );
        chmodSync(file, 0o755);
        return `${file} --tool`;
      };
      const arguments_ = (tool: string): string[] => ['--emulated', '--only', 'load', '--out', folder, '--under', tool];
      const good = command('bench.mjs', [
        ...arguments_(watcher('good', 'exit 0')),
        '--under',
        watcher('other', 'exit 0'),
      ]);
      expect(good).toMatchObject({ stderr: '', status: 0 });
      expect(good.lines).toEqual(
        ['good', 'other'].map((name) => `load under ${join(folder, name)} --tool: no complaint`),
      );
      const log = readFileSync(join(folder, 'log'), 'utf8').trim().split('\n');
      expect(log).toHaveLength(2);
      for (const line of log) expect(line).toMatch(/^== watched --tool \/.*\/load --tiny$/);
      expect(readdirSync(folder).some((name) => name.endsWith('.json'))).toBe(false);
      const bad = command('bench.mjs', arguments_(watcher('bad', 'echo "========= Invalid read"\nexit 99')));
      expect(bad.status).toBe(1);
      expect(bad.stderr).toMatch(/^load under .* ended with 99:\n========= Invalid read\n/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  400_000,
);

whenEmulated(
  'benches run, and leave a record of bars with what was reached, the limit and their ratio, and tables of choices',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'vivace-bench-test-'));
    try {
      const header = join(folder, 'choice.h');
      const tables = readFileSync(join(root, 'cuda/ops/linear/choice.h'), 'utf8');
      writeFileSync(header, tables);
      const where = ['--out', folder, '--name', 'tiny', '--choose', '--header', header];
      const { lines, stderr, status } = command('bench.mjs', ['--emulated', ...where]);
      expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
      expect(lines.at(-1)).toMatch(/gpu-tiny\.json: \d+ of \d+ bars met$/);
      const { bars, figures } = JSON.parse(readFileSync(join(folder, 'gpu-tiny.json'), 'utf8')) as {
        bars: {
          bench: string;
          what: string;
          achieved: number;
          limit: number;
          ratio: number;
          met: boolean;
          wanted?: number;
          atMost?: number;
        }[];
        figures: Record<string, { value: number }>;
      };
      expect([...new Set(bars.map(({ bench }) => bench))]).toEqual([
        'linear',
        'attention',
        'policies',
        'experts',
        'load',
        'model',
      ]);
      for (const { achieved, limit, ratio } of bars) {
        expect(achieved).toBeGreaterThan(0);
        expect(limit).toBeGreaterThan(0);
        expect(ratio).toBeGreaterThan(0);
      }
      // Set-ups of papers, by name.
      const setUps = bars.flatMap(({ bench, what }) => (bench === 'policies' ? [what.split(',')[0]] : []));
      expect([...new Set(setUps)]).toEqual([
        'double-sparsity-operator',
        'double-sparsity-decode',
        'snapkv-16k',
        'snapkv-128k',
        'snapkv-prompt',
        'lm-infinite-32k',
        'longgen-128k-window',
        'longgen-128k-blocks',
      ]);
      for (const { bench, wanted, atMost } of bars)
        if (bench === 'policies') expect(wanted ?? atMost).toBeGreaterThan(0);
      expect(Object.keys(figures)).toEqual(
        expect.arrayContaining([
          'copy bandwidth',
          "int8 products' peak",
          'matmul F16',
          'matmul BF16',
          'causal attention F16',
          'Q4_K, 256 to 64, 65 rows: time decoded once over decoded in every tile',
        ]),
      );
      // The same types in the tables of products, and numbers of rows that were timed.
      const chosen = readFileSync(header, 'utf8');
      const linesOf = (text: string) => text.match(/\{DType::\w+, [^}]+\}/g) ?? [];
      const types = (text: string) => linesOf(text).map((line) => /\w+(?=,)/.exec(line)?.[0]);
      expect(types(chosen)).toEqual(types(tables));
      expect(types(chosen)).toHaveLength(27);
      for (const line of linesOf(chosen)) expect(line).toMatch(/, (33|never)\}$|, (65|never), (65|never)\}$/);
      expect(chosen).toMatch(/^\/\/ Where the numbers are from: measured on emulated, \d{4}-\d\d-\d\d\.$/m);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  400_000,
);
