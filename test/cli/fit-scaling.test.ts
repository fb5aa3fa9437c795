// `vivace fit-scaling`: a law out of a file of measurements, predictions, and mistakes.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vivace, vivaceJson } from './command.js';

let folder: string;
const file = (name: string, content: string): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'vivace-scaling-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const points = [1e5, 1e6, 1e7, 1e8].map((tokens, i) => ({
  tokens,
  accepted: 1 + 0.3 * (i + [0.01, -0.02, 0.02, -0.01][i]),
}));

test('a law and a prediction, of an array and of lines', async () => {
  for (const path of [
    file('array.json', JSON.stringify(points)),
    file('lines.jsonl', points.map((one) => JSON.stringify(one)).join('\n')),
  ]) {
    const law = await vivaceJson<{ coefficients: number[]; predictions: { value: number }[] }>([
      'fit-scaling',
      path,
      '--predict',
      'tokens=1e9',
      '--most',
      '2.1',
    ]);
    expect(law).toMatchObject({ law: 'data', count: 4, terms: ['1', 'log10 tokens'] });
    expect(law.coefficients[1]).toBeCloseTo(0.3, 1);
    expect(law.predictions).toMatchObject([{ at: { tokens: 1e9 }, value: 2.1, clipped: true }]);
    const { code, stdout } = await vivace(['fit-scaling', path, '--predict', 'tokens=1e9']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/log10 tokens +0\.29\d? +0\.00/);
    expect(stdout).toMatch(/1,000,000,000 tokens/);
  }
});

test('mistakes are one line', async () => {
  const cases: [string[], RegExp][] = [
    [[join(folder, 'none.json')], /cannot be read/],
    [[file('torn.json', '[{')], /is no JSON/],
    [[file('bad.json', '[1]')], /holds no measurements/],
    [[file('few.json', JSON.stringify(points.slice(0, 2)))], /too few/],
    [[file('array.json', JSON.stringify(points)), '--predict', 'tokens=1e12'], /more than a decade/],
    [[file('array.json', JSON.stringify(points)), '--predict', 'layers=3'], /Expected tokens=/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await vivace(['fit-scaling', ...args]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(message)]);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  }
});
