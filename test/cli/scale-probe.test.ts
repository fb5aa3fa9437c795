// `vivace scale-probe`: ladders of models and of texts, whose measurements fit-scaling reads; `vivace selfcheck`; and mistakes.
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { embedded, vivace, vivaceJson } from './command.js';

interface Probe {
  measured: { tokens?: number; parameters?: number; accepted: number; groups: number[] }[];
  law: { law: string; count: number };
  next: { tokens?: number; gain: number; operations?: number; gainPerHour?: number }[];
}

const small = join(dirname(embedded), 'vivace-tiny-draft.gguf');
let folder: string;
const file = (name: string, content: string): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
let prompts: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vivace-probe-test-'));
  const lines = [
    'Once upon a time',
    '{"prompt": "copy: dog cat river →"}',
    'The prince looked at',
    '7+8=',
    'One day',
    'red',
  ];
  prompts = file('prompts.txt', lines.join('\n'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('a ladder of models: what is saved is what fit-scaling reads, and larger drafters are accepted more', async () => {
  copyFileSync(small, join(folder, 'small.gguf'));
  copyFileSync(embedded, join(folder, 'large.gguf'));
  const rungs = [
    { draftModel: 'small.gguf', tokens: 1e6 },
    { draftModel: 'small.gguf', tokens: 3e6 },
    { draftModel: 'large.gguf', tokens: 1e7 },
    { draftModel: 'large.gguf', tokens: 3e7 },
    { draftModel: 'small.gguf', tokens: 1e8 },
  ];
  const ladder = file('ladder.json', JSON.stringify(rungs));
  const saved = join(folder, 'measured.json');
  const args = [
    'scale-probe',
    embedded,
    '--prompts',
    prompts,
    '--ladder',
    ladder,
    '--max-tokens',
    '24',
    '--speed',
    '1e12',
  ];
  const { measured, law, next } = await vivaceJson<Probe>([...args, '--save', saved]);
  expect(law).toMatchObject({ law: 'joint', count: 5 });
  expect(measured.map(({ tokens }) => tokens)).toEqual([1e6, 3e6, 1e7, 3e7, 1e8]);
  const [a, b, c] = measured;
  expect(b).toMatchObject({ accepted: a.accepted, parameters: a.parameters });
  expect(c.parameters!).toBeGreaterThan(a.parameters!);
  expect(c.accepted).toBeGreaterThan(a.accepted); // the target drafts for itself
  expect(a.groups).toHaveLength(6);
  for (const { operations, gain, gainPerHour } of next)
    expect(gainPerHour).toBeCloseTo((gain * 3600e12) / operations!, 9);
  const again = await vivaceJson<{ coefficients: number[] }>(['fit-scaling', saved]);
  expect((law as unknown as typeof again).coefficients).toEqual(again.coefficients);
  expect(JSON.parse(readFileSync(saved, 'utf8'))).toEqual(measured);
});

test('a ladder of texts', async () => {
  const prompt = 'Once upon a time';
  const { text } = await vivaceJson<{ text: string }>(['run', prompt, '-n', '200', '--temperature', '0']);
  const corpus = file('corpus.txt', `${prompt}${text}\n`);
  const own = file(
    'own.txt',
    [prompt, prompt + text.slice(0, 40), prompt + text.slice(0, 90)].join('\n').replace(/\n+(?!Once)/g, ' '),
  );
  const args = ['scale-probe', '--prompts', own, '--corpus', corpus, '--max-tokens', '40'];
  const { measured, law } = await vivaceJson<Probe>(args);
  expect(law.law).toBe('data');
  expect(measured).toHaveLength(4);
  const accepted = measured.map((one) => one.accepted);
  expect(accepted[3]).toBeGreaterThan(accepted[0] + 1); // it knows what will be said
  const { stdout, code } = await vivace(args);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^drafter +tokens +parameters +tokens\/round$/m);
  expect(stdout).toMatch(/^ *next rung +tokens\/round +gain +operations$/m);
});

test('selfcheck: a sound drafter agrees with itself', async () => {
  const args = ['selfcheck', '--prompts', prompts, '--draft-model', small, '--max-tokens', '20'];
  expect(await vivaceJson(args)).toMatchObject({ differ: 0, agree: true });
  const { stdout, code } = await vivace(args);
  expect(code).toBe(0);
  expect(stdout).toMatch(/differ at 0 of \d+ places/);
});

test('mistakes are one line', async () => {
  const probe = ['scale-probe', '--prompts', prompts];
  const cases: [string[], RegExp][] = [
    [probe, /needs one of --ladder, --draft-models and --corpus/],
    [['scale-probe', '--prompts', join(folder, 'none'), '--draft-models', small], /none/],
    [['scale-probe', '--prompts', file('empty.txt', '\n'), '--draft-models', small], /has no prompts/],
    [['scale-probe', '--prompts', file('torn.txt', 'a\n{"text": 1}'), '--draft-models', small], /has no prompt:/],
    [[...probe, '--ladder', file('ladder.txt', '{}')], /no JSON array of/],
    [[...probe, '--draft-models', small, '--max-tokens', '8'], /too few/],
    [['selfcheck', '--prompts', prompts], /needs --drafter/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await vivace(args);
    expect([code, stderr.trim().split('\n').at(-1)]).toEqual([1, expect.stringMatching(message)]);
  }
});
