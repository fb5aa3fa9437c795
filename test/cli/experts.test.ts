// `vivace bench experts`: policies measured and simulated; a table, a page with timelines, figures for machines, and clear mistakes.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { measuredNames, type MeasuredPolicies } from '../../lib/cli/bench/experts/measure.js';
import { policyNames } from '../../lib/experts/simulate/policies.js';
import { root, vivace, vivaceJson } from './command.js';

const folder = mkdtempSync(join(tmpdir(), 'vivace-experts-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const small = ['--simulate', '--tokens', '12', '--routing', 'layers=4,experts=16,used=2'];

test('every policy has a row, and the page a timeline of each', async () => {
  const page = join(folder, 'page.html');
  const { code, stdout } = await vivace(['bench', 'experts', ...small, '--html', page]);
  expect(code).toBe(0);
  for (const name of policyNames) expect(stdout).toMatch(new RegExp(`^${name} +[\\d.]+`, 'm'));
  expect(stdout).toMatch(/faster for fate here: (shallow|uniform)\n$/);
  const html = readFileSync(page, 'utf8');
  expect(html.match(/<svg/g)).toHaveLength(policyNames.length);
  expect(html).not.toMatch(/NaN|undefined/);
});

test('figures for machines; a picture alone', async () => {
  const picture = join(folder, 'fate.svg');
  const policies = ['--policies', 'fate,lru', '--slots', '20', '--costs', 'layer=2,copy=0.5'];
  const result = await vivaceJson<{ policies: { policy: string; secondsPerStep: number }[]; accuracy: number[] }>([
    'bench',
    'experts',
    ...small,
    ...policies,
    '--html',
    picture,
  ]);
  expect(result.policies.map(({ policy }) => policy)).toEqual(['fate', 'lru']);
  // Never less than what is computed: four layers of 2 ms, two experts of 0.05 ms each.
  for (const { secondsPerStep } of result.policies) expect(secondsPerStep).toBeGreaterThanOrEqual(0.0084 - 1e-9);
  expect(result.accuracy).toHaveLength(4);
  expect(readFileSync(picture, 'utf8')).toMatch(/^<svg .*<\/svg>$/s);
});

test.each([
  [['--policies', 'belady'], /no policy of experts `belady` here/],
  [['--costs', 'copy=fast'], /--costs has `copy=fast`/],
  [['--routing', 'experts=4,used=4'], /no routing with/],
  [['--routing', 'accuracy=2'], /between 0 and 1/],
])('%j is a mistake with a remedy', async (given, message) => {
  const { code, stderr } = await vivace(['bench', 'experts', '--simulate', ...given]);
  expect(code).not.toBe(0);
  expect(stderr).toMatch(message);
});

const mixture = join(root, 'models', 'experts', 'vivace-tiny-experts.gguf');

test('policies on a model: each has its turn, with figures of what it read and what the simulator says', async () => {
  const result = await vivaceJson<MeasuredPolicies>([
    'bench',
    'experts',
    mixture,
    ...['--tokens', '6', '--prompt', '12', '--repeat', '1', '--threads', '1'],
    ...['--expert-memory', '1.9MB', '--expert-rate', '100000000'],
  ]);
  expect(result.policies.map(({ policy }) => policy)).toEqual([...measuredNames]);
  expect(result.experts).toBe(96);
  expect(result.slots).toBeGreaterThan(32);
  expect(result.slots).toBeLessThan(96);
  for (const { msPerToken, statistics, simulated } of result.policies) {
    expect(msPerToken.median).toBeGreaterThan(0);
    expect(statistics.bytesCopied).toBeGreaterThan(0);
    expect(simulated?.msPerToken).toBeGreaterThan(0);
  }
  const fate = result.policies.find(({ policy }) => policy === 'fate');
  expect(fate?.statistics.accuracy).toBeGreaterThan(0.85);
});

test('a simulation of what a model was heard to do', async () => {
  const result = await vivaceJson<{ accuracy: number[]; policies: { policy: string }[] }>([
    'bench',
    'experts',
    mixture,
    ...['--simulate', '--tokens', '20', '--threads', '1', '--expert-rate', '100000000'],
  ]);
  expect(result.accuracy).toHaveLength(6);
  for (const accuracy of result.accuracy.slice(1)) expect(accuracy).toBeGreaterThan(0.8);
  // Nothing computes where the weights lie, so nobody is said to.
  expect(result.policies.map(({ policy }) => policy)).not.toContain('static');
});

test('a trace from a file is simulated, too', async () => {
  const file = join(folder, 'trace.jsonl');
  const line = JSON.stringify({
    rows: 1,
    begins: false,
    chosen: [
      [0, 1],
      [2, 3],
    ],
    predicted: [null, [2, 3, 4]],
  });
  writeFileSync(file, [JSON.stringify({ experts: 8, used: 2, predicted: 3 }), line, line, line, line].join('\n'));
  const result = await vivaceJson<{ accuracy: number[]; slots: number }>([
    'bench',
    'experts',
    ...['--simulate', '--trace', file],
  ]);
  expect(result).toMatchObject({ accuracy: [0, 1], slots: 5 });
});
