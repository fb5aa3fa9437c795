// `vivace bench experts --simulate`: a table, a page with timelines, figures for machines, and clear mistakes.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { policyNames } from '../../lib/experts/simulate/policies.js';
import { vivace, vivaceJson } from './command.js';

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
  [['--policies', 'belady'], /no policy of experts `belady`/],
  [['--costs', 'copy=fast'], /--costs has `copy=fast`/],
  [['--routing', 'experts=4,used=4'], /no routing with/],
  [['--routing', 'accuracy=2'], /between 0 and 1/],
])('%j is a mistake with a remedy', async (given, message) => {
  const { code, stderr } = await vivace(['bench', 'experts', '--simulate', ...given]);
  expect(code).not.toBe(0);
  expect(stderr).toMatch(message);
});
