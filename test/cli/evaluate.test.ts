// `vivace evaluate`: answers beside speed, settings that are chosen by answers and kept, and what tasks look like.
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { bestRow, evaluate, loadJudge, loadModel, loadReflection, nGram, readCases } from '../../lib/index.js';
import type { EvaluationRow } from '../../lib/index.js';
import { embedded, vivace, vivaceJson } from './command.js';

const small = join(dirname(embedded), 'vivace-tiny-draft.gguf');
const head = join(dirname(embedded), 'vivace-tiny-judge.safetensors');
let folder: string;
let tasks: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vivace-evaluate-'));
  const cases = readFileSync(join(__dirname, '..', '..', 'training', 'data', 'eval.jsonl'), 'utf8')
    .trim()
    .split('\n');
  tasks = file('tasks.jsonl', cases.filter((_, index) => index % 67 === 0).join('\n'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, content: string): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

interface Report {
  cases: number;
  generate: { temperature: number; maxTokens: number };
  rows: EvaluationRow[];
  chosen?: string;
}
const drafting = ['--draft-model', small, '--max-draft', '8', '-n', '16', '--threads', '1'];

test('a judge: right answers, their interval and speed by threshold, and the threshold that is kept in the head', async () => {
  const saved = join(folder, 'judge.safetensors');
  const args = ['evaluate', '--cases', tasks, ...drafting, '--verifier', 'judge', '--judge-head', head];
  const report = await vivaceJson<Report>([
    ...args,
    '--thresholds',
    '1,0.9,0',
    '--allow-loss',
    '0.01',
    '--save',
    saved,
  ]);
  expect(report.rows.map(({ name }) => name)).toEqual([
    'the model alone',
    'lossless',
    'judge 1',
    'judge 0.9',
    'judge 0',
  ]);
  const [alone, lossless, never, some, all] = report.rows;
  expect(report.generate).toMatchObject({ temperature: 0, maxTokens: 16 });
  expect(alone).toMatchObject({ difference: { mean: 0, low: 0, high: 0 }, tokensPerRound: 1, judged: 0 });
  for (const row of [lossless, never]) expect(row).toMatchObject({ right: alone.right, judged: 0 });
  expect(never.tokensPerRound).toBe(lossless.tokensPerRound);
  expect(some.tokensPerRound).toBeGreaterThan(never.tokensPerRound);
  expect(all.tokensPerRound).toBeGreaterThan(some.tokensPerRound);
  expect(all.judged).toBeGreaterThan(0.1);
  expect(all.difference.mean).toBeLessThan(0);
  expect(all.difference.low).toBeLessThan(all.difference.mean);
  expect(report.chosen).toBe('judge 0.9');
  const model = await loadModel(embedded, { threads: 1 });
  expect(await loadJudge(saved, model)).toEqual({ ...(await loadJudge(head, model)), threshold: 0.9 });
  model.dispose();
}, 120_000);

test('second readings: settings in reflect.json, found beside the model and by their option', async () => {
  const link = join(folder, 'm.gguf');
  symlinkSync(embedded, link);
  const saved = join(folder, 'm.reflect.json');
  const prompts = file('prompts.json', JSON.stringify(['\n', ' →']));
  const few = file('few.jsonl', readFileSync(tasks, 'utf8').split('\n').slice(0, 4).join('\n'));
  const report = await vivaceJson<Report>([
    ...['evaluate', '--cases', few, ...drafting, '--verifier', 'reflective', '--alphas', '0,0.2', '--anchors', '4'],
    ...['--reflect-prompts', prompts, '--allow-loss', '1', '--save', saved],
  ]);
  expect(report.rows).toHaveLength(6);
  expect(report.rows[2]).toMatchObject({ right: report.rows[0].right, tokensPerRound: report.rows[1].tokensPerRound });
  const model = await loadModel(embedded, { threads: 1 });
  const settings = loadReflection(saved, model);
  expect(report.chosen).toBe(`reflective ${settings.alpha}, anchor of 4 after ${JSON.stringify(settings.prompt)}`);
  expect(JSON.parse(readFileSync(saved, 'utf8'))).toMatchObject({ evaluated: { right: expect.any(Number) } });
  model.dispose();
  const run = ['run', link, 'Once', '-n', '12', '--temperature', '0', '--drafter', 'ngram', '--verifier', 'reflective'];
  interface Run {
    text: string;
    speculation: { reflection: object };
  }
  const beside = await vivaceJson<Run>(run);
  const moved = file('other.json', readFileSync(saved, 'utf8'));
  const named = await vivaceJson<Run>([...run, '--reflect-settings', moved]);
  expect([beside.text, Object.keys(beside.speculation.reflection)]).toEqual([
    named.text,
    Object.keys(named.speculation.reflection),
  ]);
  // What lies beside the model is read: broken, it is an error, unless settings are given.
  writeFileSync(saved, '{}');
  expect((await vivace(run)).stderr).toMatch(/m\.reflect\.json has no settings/);
  const plainly = await vivaceJson<Run>(run.slice(0, -2));
  expect((await vivaceJson<Run>([...run, '--alpha', '0'])).text).toBe(plainly.text);
}, 120_000);

test('the table has answers and speed, never one alone; drafts may be those of any drafter', async () => {
  const few = file(
    'two.jsonl',
    '{"prompt":"1+2=","answer":"3"}\n\n{"prompt":"copy: dog →","checker":{"contains":"dog"}}',
  );
  const { code, stdout } = await vivace([
    'evaluate',
    '--cases',
    few,
    '--drafter',
    'ngram',
    '-n',
    '6',
    '--verifier',
    'typical',
  ]);
  expect(code).toBe(0);
  const [first, heads, ...rows] = stdout.trim().split('\n');
  expect(first).toMatch(/^2 cases, temperature 0, seed 1, at most 6 tokens/);
  expect(heads).toMatch(/^verifier +right +difference \(95 %\) +tokens\/round +tokens\/s +tokens\/answer +judged$/);
  expect(rows.map((row) => row.split('  ')[0])).toEqual(['the model alone', 'lossless', 'typical']);
});

test('mistakes are one line', async () => {
  const args = ['evaluate', '--drafter', 'ngram'];
  const judge = ['--verifier', 'judge', '--judge-head', head, '--cases', tasks];
  const wrong: [string[], RegExp][] = [
    [args, /--cases/],
    [['evaluate', '--cases', tasks], /needs --drafter/],
    [[...args, '--cases', join(folder, 'none')], /No such file/],
    [[...args, '--cases', file('a', '{"prompt":"a"}')], /line 1: neither/],
    [[...args, '--cases', file('b', '{"prompt":"a","checker":{"is":"b"}}')], /a checker has one of/],
    [[...args, '--cases', file('c', '{"prompt":"a","checker":{"equals":1}}')], /wrong type/],
    [[...args, '--cases', file('d', '{"prompt":"a","answer":"1"}\n{')], /line 2/],
    [[...args, '--cases', file('e', '{"answer":"1"}')], /prompt is missing/],
    [[...args, '--cases', file('f', '')], /no cases/],
    [[...args, ...judge, '--thresholds', '0.5,2'], /from 0 to 1/],
    [[...args, '--cases', tasks, '--alphas', ''], /from 0 to 1/],
    [[...args, '--cases', tasks, '--anchors', '17'], /0 to 16/],
    [
      [...args, '--cases', file('g', '{"prompt":"1+2=","answer":"3"}'), '-n', '2', '--save', 'x'],
      /no settings to save/,
    ],
  ];
  for (const [given, message] of wrong) {
    const { code, stderr } = await vivace(given);
    expect([code, stderr]).toEqual([1, expect.stringMatching(message)]);
  }
});

test('checkers', () => {
  const check = (checker: object, answer: string): boolean =>
    readCases(file('case', JSON.stringify({ prompt: 'p', checker })))[0].check(answer);
  expect(check({ equals: 'a b', until: '\\.' }, ' a b . c')).toBe(true);
  expect(check({ equals: 'a b' }, 'a b.')).toBe(false);
  expect(check({ contains: 'cat' }, 'a cat.')).toBe(true);
  expect(check({ matches: '^[ab]+$' }, ' abba ')).toBe(true);
  expect(check({ number: 1234.5 }, 'first 3, then 1,234.5 apples')).toBe(true);
  expect(check({ number: -3 }, 'none')).toBe(false);
  const [{ check: short }] = readCases(file('case', '{"prompt":"p","answer":"v1"}'));
  expect([short(' v1; k2'), short('v12')]).toEqual([true, false]);
});

test('differences are paired, and the best setting loses no more than is allowed', async () => {
  const model = await loadModel(embedded, { threads: 1 });
  const cases = ['a', 'b', 'c', 'd'].map((prompt, i) => ({ prompt, check: () => i !== 0 }));
  const settings = [{ name: 'ngram', speculation: { drafter: nGram() } }];
  const rows = await evaluate({ model, cases, settings, generate: { maxTokens: 2 } });
  expect(rows).toMatchObject([
    { right: 0.75 },
    { name: 'ngram', right: 0.75, difference: { mean: 0, low: 0, high: 0 } },
  ]);
  await expect(evaluate({ model, cases: [], settings })).rejects.toThrow(/at least one case/);
  model.dispose();
  const row = (name: string, mean: number, tokensPerRound: number): EvaluationRow => {
    return { ...rows[0], name, difference: { mean, low: mean - 1, high: mean + 1 }, tokensPerRound };
  };
  const list = [row('a', 0, 1), row('b', -0.01, 3), row('c', 0.02, 2)];
  expect([0, 0.01].map((loss) => bestRow(list, loss)?.name)).toEqual(['c', 'b']);
  expect(bestRow([row('d', -0.5, 9)], 0)).toBeUndefined();
});
