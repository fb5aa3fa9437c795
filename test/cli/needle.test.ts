// `vivace evaluate needle`: values found in long texts, by length and depth, on the embedded model.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { evaluateNeedle, loadModel, type EncodeOptions, type Model, type NeedleReport } from '../../lib/index.js';
import { embedded, vivace, vivaceJson } from './command.js';

let folder: string;
let model: Model;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vivace-needle-'));
  model = await loadModel(embedded, { threads: 1 });
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const quick = ['--threads', '1', '--lengths', '128,256', '--depths', '0,0.5,1', '--cases', '2', '--pairs', '11'];

test('cells by length and depth: the embedded model finds every value; the picture says so', async () => {
  const svg = join(folder, 'a.svg');
  const html = join(folder, 'a.html');
  const report = await vivaceJson<NeedleReport>(['eval', 'needle', embedded, ...quick, '--picture', svg]);
  expect(report).toMatchObject({ lengths: [128, 256], depths: [0, 0.5, 1], pairs: 11, right: 1, aborted: false });
  expect(report.cells.map(({ length, depth }) => [length, depth])).toEqual([
    ...[0, 0.5, 1].map((depth) => [128, depth]),
    ...[0, 0.5, 1].map((depth) => [256, depth]),
  ]);
  for (const cell of report.cells) expect(cell).toMatchObject({ cases: 2, right: 1 });
  const picture = readFileSync(svg, 'utf8');
  expect(picture).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
  expect(picture.match(/<title>256 tokens, depth 50 %: 100 % of 2<\/title>/g)).toHaveLength(1);
  const { code, stdout } = await vivace(['evaluate', 'needle', ...quick, '--picture', html]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^Right answers, one of 11 values asked for:\ntokens +depth 0 % +depth 50 % +depth 100 %\n/);
  expect(stdout).toMatch(/^ +256 +100 % +100 % +100 %$/m);
  expect(readFileSync(html, 'utf8')).toContain(picture.slice(picture.indexOf('<title>')));
});

test('a text is as long as asked for and holds the value where asked for; nothing outside counts as found', async () => {
  const seen: Int32Array[] = [];
  const spied = new Proxy(model, {
    get: (target, name) => {
      if (name !== 'createSession') return Reflect.get(target, name, target) as unknown;
      return () => {
        const session = target.createSession();
        const generate = session.generateFrom.bind(session);
        session.generateFrom = (tokens, options) => {
          seen.push(Int32Array.from(tokens));
          return generate(tokens, options);
        };
        return session;
      };
    },
  });
  const depths = [0, 0.4, 1];
  const report = await evaluateNeedle({ model: spied, lengths: [300], depths, pairs: 11, cases: 2, seed: 3 });
  expect(report.right).toBe(1);
  expect(seen).toHaveLength(6);
  for (const [index, tokens] of seen.entries()) {
    expect(tokens.length + 2).toBeGreaterThan(294); // the answer is two tokens, a word at most three
    expect(tokens.length + 2).toBeLessThanOrEqual(300);
    const text = model.tokenizer.decode(tokens);
    const [, key] = /; (k\d\d)→v\?; \1→$/.exec(text) ?? [];
    const place = text.indexOf(`${key}=v`);
    expect(place).toBeGreaterThanOrEqual(0);
    expect(place / text.length).toBeCloseTo(depths[index % 3], 0.5);
    expect(text.match(/k\d\d=v\d\d/g)).toHaveLength(11);
  }
  // One case: the same text at each depth, another question; the next case: another text.
  const body = (tokens: Int32Array): string => model.tokenizer.decode(tokens).replace(/(k\d\d→(v\?; )?)+$/, '');
  expect(body(seen[0])).toBe(body(seen[2]));
  expect(body(seen[0])).not.toBe(body(seen[3]));
});

test('the question is what one says it is', async () => {
  const said: string[] = [];
  const spied = new Proxy(model.tokenizer, {
    get: (target, name) => {
      if (name !== 'encode') return Reflect.get(target, name, target) as unknown;
      return (text: string, options?: EncodeOptions) => (said.push(text), target.encode(text, options));
    },
  });
  const asked = new Proxy(model, {
    get: (target, name) => (name === 'tokenizer' ? spied : (Reflect.get(target, name, target) as unknown)),
  });
  const question = 'what of {key}? {key}→';
  const report = await evaluateNeedle({ model: asked, lengths: [200], depths: [0.5], pairs: 5, cases: 2, question });
  expect(report).toMatchObject({ question, right: 1 });
  expect(said.filter((text) => /; what of (k\d\d)\? \1→$/.test(text))).toHaveLength(2);
  await expect(evaluateNeedle({ model, question: 'and?' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('wrong answers count as wrong: a small drafter mixes up some of a hundred values', async () => {
  const small = await loadModel(join(embedded, '..', 'vivace-tiny-draft.gguf'), { threads: 1 });
  const report = await evaluateNeedle({ model: small, lengths: [700], depths: [0, 0.5], pairs: 100, cases: 4 });
  small.dispose();
  expect(report.right).toBeLessThan(1);
  expect(report.right).toBeGreaterThan(0.3);
  expect(report.right).toBe((report.cells[0].right + report.cells[1].right) / 2);
});

test('options of sessions arrive, words of a text are the filler, and an abort leaves what was asked', async () => {
  const text = 'It was the best of times, it was the worst of times.';
  const session = { cache: { keyType: 'q8_0', valueType: 'q8_0' } as const, contextLength: 400 };
  const controller = new AbortController();
  const report = await evaluateNeedle({
    ...{ model, session, text, depths: [0, 1], pairs: 5, cases: 2, signal: controller.signal },
    onProgress: (fraction) => {
      if (fraction >= 0.25) controller.abort();
    },
  });
  expect(report.lengths).toEqual([50, 100, 200, 400]);
  expect(report.aborted).toBe(true);
  expect(report.cells.reduce((sum, { cases }) => sum + cases, 0)).toBe(4);
});

test('a cache policy decides what is found: with a window, what it still has', async () => {
  const report = await vivaceJson<NeedleReport>([
    ...['eval', 'needle', embedded, '--threads', '1', '--lengths', '600', '--depths', '0.2,1', '--cases', '3'],
    ...['--cache', 'window', '--cache-options', 'sinks=4,recent=128'],
  ]);
  expect(report.cells).toMatchObject([{ depth: 0.2 }, { depth: 1, right: 1 }]);
  expect(report.cells[0].right).toBeLessThan(0.5);
});

test('mistakes are one line', async () => {
  const none = join(folder, 'none.txt');
  const empty = join(folder, 'empty.txt');
  writeFileSync(empty, ' \n');
  const wrong: [string[], RegExp][] = [
    [['--lengths', '5000'], /5000 tokens does not fit into a context of 1024/],
    [['--lengths', '60', '--pairs', '30'], /no room for 30 pairs/],
    [['--lengths', 'a'], /integer of at least 1/],
    [['--depths', '2'], /from 0 to 1/],
    [['--question', 'which?'], /\{key\}/],
    [['--pairs', '101'], /from 2 to 100/],
    [['--text', none], /No such file/],
    [['--text', empty], /at least one word/],
    [['--cache', 'window', '--cache-options', 'sinks=-1'], /sinks/],
    [['--picture', 'a.png'], /ends in .svg or .html/],
  ];
  for (const [given, message] of wrong) {
    const { code, stderr } = await vivace(['eval', 'needle', '--threads', '1', ...given]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(message)]);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  }
  const { code, stderr } = await vivace(['evaluate', '--drafter', 'ngram']);
  expect([code, stderr]).toEqual([1, expect.stringMatching(/needs --cases/)]);
});
