// `vivace datastore`: text files and JSON lines become a file of their tokens, which `inspect` checks.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openModelFile } from '../../lib/formats/open.js';
import { createTokenizer } from '../../lib/formats/tokenizer/tokenizer.js';
import { embedded, vivace, vivaceJson } from './command.js';

let folder: string;
const file = (name: string, content: string): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'vivace-datastore-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const tokenizer = createTokenizer(openModelFile(embedded).tokenizer);
const tokensOf = (text: string): number[] => [...tokenizer.encode(text, { addSpecial: false })];

test('texts of all kinds of files, and what is said about them', async () => {
  const story = 'Once upon a time there was a dog.\nThe dog was happy.\n';
  const output = join(folder, 'all.store');
  const inputs = [
    file('story.txt', story),
    file('lines.jsonl', `${JSON.stringify('The cat sat.')}\n\n${JSON.stringify({ text: 'A big tree 🌳' })}\n`),
    file('last.NDJSON', JSON.stringify({ text: 'no end of line', other: 1 })),
  ];
  const texts = [story, 'The cat sat.', 'A big tree 🌳', 'no end of line'].map(tokensOf);
  const tokens = texts.flat().length;
  const built = await vivaceJson(['datastore', 'build', embedded, output, ...inputs]);
  const bytes = 64 + 8 * (tokens + texts.length);
  expect(built).toEqual({ path: output, texts: 4, tokens, bytes, seconds: expect.any(Number) });
  const words = new Uint32Array(new Uint8Array(readFileSync(output)).buffer, 64);
  expect([...words.subarray(0, tokens + 4)]).toEqual(texts.flatMap((text) => [...text, 2 ** 32 - 1]));

  const inspected = await vivaceJson<{ fingerprint: string }>(['datastore', 'inspect', output, embedded]);
  expect(inspected).toMatchObject({ path: output, texts: 4, tokens, bytes, vocab: tokenizer.vocabSize });
  expect(inspected.fingerprint).toMatch(/^[0-9a-f]{16}$/);
  const { code, stdout } = await vivace(['datastore', 'inspect', output]);
  expect(code).toBe(0);
  expect(stdout).toMatch(new RegExp(`tokens +${tokens}\\n`));
});

test('a large text is cut at ends of lines, and nothing of it is lost', async () => {
  const line = `${'word '.repeat(20)}\n`;
  const text = line.repeat(25000);
  const input = file('large.txt', text);
  const output = join(folder, 'large.store');
  const built = await vivaceJson<{ texts: number; tokens: number }>(['datastore', 'build', embedded, output, input]);
  expect(built.texts).toBe(3);
  const words = new Uint32Array(new Uint8Array(readFileSync(output)).buffer, 64);
  const kept = words.subarray(0, built.tokens + built.texts).filter((token) => token !== 2 ** 32 - 1);
  expect(tokenizer.decode(Int32Array.from(kept))).toBe(text);
});

test('mistakes are one line, name the place, and leave nothing behind', async () => {
  const bad = file('bad.jsonl', `"fine"\n{"txt": 1}\n`);
  const torn = file('torn.jsonl', '"fine"\n{"text": "a\n');
  const output = join(folder, 'bad.store');
  const cases: [string[], RegExp][] = [
    [['build', embedded, output, bad], /bad\.jsonl:2 .*--field/],
    [['build', embedded, output, torn], /torn\.jsonl:2 is no JSON/],
    [['build', embedded, output, join(folder, 'none.txt')], /No such file/],
    [['build', embedded, output, file('empty.txt', '')], /no text with tokens/],
    [['build', embedded, bad, bad], /another file/],
    [['build', embedded, output, file('long.txt', 'a b c d e f g h'), '--max-tokens', '3'], /more than 3 tokens/],
    [['inspect', bad], /no datastore/],
    [['inspect'], /missing required argument/],
    [['make'], /unknown command/],
  ];
  for (const [args, message] of cases) {
    const { code, stdout, stderr } = await vivace(['datastore', ...args]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr.trim()).toMatch(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  }
  expect(readdirSync(folder).filter((name) => name.startsWith('bad.store'))).toEqual([]);
});
