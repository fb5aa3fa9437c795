// `vivace calibrate`: a file of channels that `--cache double-sparsity` takes; mistakes in one line.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vivace, vivaceJson } from './command.js';

let folder: string;
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'vivace-calibrate-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the embedded model decodes by the channels of a text', async () => {
  const [text, channels] = [join(folder, 'text.txt'), join(folder, 'channels.json')];
  writeFileSync(text, 'Once upon a time there was a little house by the sea. '.repeat(40));
  const { code, stdout, stderr } = await vivace(['calibrate', '--text', text, '-o', channels, '--block-length', '128']);
  expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
  expect(stderr).toMatch(/channels of \d+ layers/);
  expect(Object.keys(JSON.parse(readFileSync(channels, 'utf8')))).toContain('model.layers.0.self_attn.qk_proj');
  const options = `channels=${channels},heavyChannels=16,sparseThreshold=0,tokens=64,sparsity=0`;
  const run = [
    'run',
    '--cache',
    'double-sparsity',
    '--cache-options',
    options,
    '-p',
    'Once upon a time. '.repeat(30),
    '-n',
    '8',
    '--temperature',
    '0',
  ];
  const { text: answer, ...told } = await vivaceJson<{ text: string; offload?: unknown }>(run);
  expect(answer.length).toBeGreaterThan(5);
  expect(told.offload).toBeUndefined();
  // The same with layers in a file, and what that came to.
  const inFile = await vivaceJson<{ text: string; offload: { rows: number } }>(
    run.map((word) => (word === options ? `${options},offload=64MiB` : word)),
  );
  expect(inFile.text).toBe(answer);
  expect(inFile.offload.rows).toBeGreaterThan(0);
});

test.each([
  [['--text', 'none.txt', '-o', 'x.json'], /No such file: none.txt/],
  [['--text', 'package.json', '-o', join('none', 'x.json'), '--block-length', '8'], /Cannot write/],
  [['--text', 'package.json'], /required option/],
])('%j', async (args, message) => {
  const { code, stderr } = await vivace(['calibrate', ...args]);
  expect(code).toBe(1);
  expect(stderr).toMatch(message);
});
