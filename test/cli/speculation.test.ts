// Drafters on the command line: the same text with each, statistics for machines, comparisons, and clear mistakes.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { judgeHeadOf, loadModel, saveJudge } from '../../lib/index.js';
import { embedded, vivace, vivaceJson } from './command.js';

interface Drafts {
  drafter: string;
  rounds: number;
  drafted: number;
  accepted: number;
  tokensPerRound: number;
  acceptanceByPosition: number[];
}

const prompt = 'red blue red blue red blue';
const other = join(__dirname, '..', '..', 'models', 'vivace-tiny-other.gguf');
const eagleHead = join(dirname(embedded), 'vivace-tiny-eagle');
const medusaHeads = join(dirname(embedded), 'vivace-tiny-medusa');
let folder: string;
let store: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vivace-speculation-'));
  store = join(folder, 'texts.store');
  // What the model says to the prompt, so that looking it up helps.
  const { text } = await vivaceJson<{ text: string }>(['run', prompt, '-n', '40', '--temperature', '0']);
  writeFileSync(join(folder, 'texts.txt'), `${prompt}${text}`);
  await vivaceJson(['datastore', 'build', embedded, store, join(folder, 'texts.txt')]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const drafters = (): [string, string[]][] => [
  ['ngram', []],
  ['suffix', ['--max-draft', '8', '--max-nodes', '20']],
  ['datastore', ['--datastore', store, '--verifier', 'block']],
  ['input-copy', ['--verifier', 'match']],
  ['lookahead', ['--max-draft', '4', '--max-nodes', '28']],
  ['draft-model', ['--draft-model', embedded, '--max-draft', '4']],
  ['draft-tree', ['--draft-model', embedded, '--max-nodes', '9']],
  ['draft-tree', ['--draft-model', embedded, '--draft-profile', join(folder, 'profile.json')]],
  ['cross-vocabulary', ['--draft-model', other, '--max-draft', '4']],
  ['cross-vocabulary', ['--draft-model', other, '--exactness', 'direct']],
  ['eagle', ['--draft-head', eagleHead, '--max-draft', '3']],
  ['medusa', ['--draft-head', medusaHeads, '--max-draft', '3', '--max-nodes', '8']],
];

/** Those that `all` stands for: one with another vocabulary must be named, and a head is of one kind. */
const among = (): string[] =>
  [...new Set(drafters().map(([name]) => name))].filter((name) => !['cross-vocabulary', 'medusa'].includes(name));

test('vivace run says the same with every drafter, and how drafts went', async () => {
  const args = ['run', prompt, '-n', '40', '--temperature', '0'];
  const plain = await vivaceJson<{ text: string; speculation?: Drafts }>(args);
  expect(plain.speculation).toBeUndefined();
  for (const [name, more] of drafters()) {
    const result = await vivaceJson<typeof plain>([...args, '--drafter', name, ...more]);
    expect(result.text).toBe(plain.text);
    const { rounds, drafted, accepted, tokensPerRound, acceptanceByPosition } = result.speculation!;
    expect(result.speculation!.drafter).toBe(name);
    expect(tokensPerRound).toBeCloseTo(1 + accepted / rounds, 9);
    expect(accepted).toBeLessThanOrEqual(drafted);
    expect(acceptanceByPosition.every((share) => share >= 0 && share <= 1)).toBe(true);
  }
  // A profile learns; a draft model alone says which drafter.
  const { cycles } = JSON.parse(readFileSync(join(folder, 'profile.json'), 'utf8')) as { cycles: number };
  expect(cycles).toBeGreaterThan(0);
  await vivaceJson([
    ...args,
    '--drafter',
    'draft-tree',
    '--draft-model',
    embedded,
    '--draft-profile',
    join(folder, 'profile.json'),
  ]);
  expect(JSON.parse(readFileSync(join(folder, 'profile.json'), 'utf8'))).not.toMatchObject({ cycles });
  const alone = await vivaceJson<typeof plain>([...args, '--draft-model', embedded]);
  expect([alone.text, alone.speculation!.drafter]).toEqual([plain.text, 'draft-model']);
  const { stderr } = await vivace([...args, '--drafter', 'ngram']);
  expect(stderr).toMatch(/^drafts +ngram, [\d.]+ tokens per round, [\d.]+ % of \d+ drafted tokens kept$/m);
});

test('looking up what the model will say takes fewer rounds than tokens', async () => {
  const args = ['run', prompt, '-n', '30', '--temperature', '0', '--drafter', 'datastore', '--datastore', store];
  const { speculation } = await vivaceJson<{ speculation: Drafts }>(args);
  expect(speculation.accepted).toBeGreaterThan(0);
  expect(speculation.rounds).toBeLessThan(30);
  const none = await vivaceJson<{ speculation: Drafts }>([...args, '--max-draft', '0']);
  expect(none.speculation).toMatchObject({ drafted: 0, accepted: 0, rounds: 30, tokensPerRound: 1 });
});

test('vivace chat reports drafts of each turn', async () => {
  const args = ['chat', '-n', '12', '--seed', '1', '--json', '--drafter', 'suffix'];
  const { code, stdout } = await vivace(args, 'Hello!\nHow are you?\n');
  expect(code).toBe(0);
  const turns = stdout.trim().split('\n');
  expect(turns).toHaveLength(2);
  for (const turn of turns) expect(JSON.parse(turn)).toMatchObject({ speculation: { drafter: 'suffix' } });
});

test('vivace bench measures with a drafter', async () => {
  const args = ['bench', '--prompt', '20', '--generate', '30', '--repeat', '1', '--drafter', 'ngram'];
  const { speculation } = await vivaceJson<{ speculation: Drafts }>(args);
  expect(speculation).toMatchObject({ drafter: 'ngram', rounds: expect.any(Number) });
  const { code, stdout } = await vivace(args);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^drafts +ngram, [\d.]+ tokens per round/m);
});

test('vivace bench --speculation compares drafters with plain decoding', async () => {
  const args = ['bench', '--text', prompt, '--generate', '30', '--repeat', '2', '--speculation'];
  const all = await vivaceJson<{
    prompt: string;
    generate: number;
    drafters: (Drafts & { sameTokens: boolean; ratio: number; tokensPerSecond: { median: number } })[];
  }>([...args, 'all', '--datastore', store, '--draft-model', embedded, '--draft-head', eagleHead]);
  expect(all).toMatchObject({ prompt, generate: 30, repeat: 2 });
  expect(all.drafters.map(({ drafter }) => drafter)).toEqual(['plain', ...among()]);
  for (const row of all.drafters) {
    expect(row.sameTokens).toBe(true);
    expect(row.ratio).toBeGreaterThan(0);
    expect(row.tokensPerSecond.median).toBeGreaterThan(0);
  }
  expect(all.drafters[0]).toMatchObject({ ratio: 1, rounds: 30, drafted: 0, tokensPerRound: 1 });
  const { code, stdout } = await vivace([...args, 'suffix,ngram']);
  expect(code).toBe(0);
  const [head, ...rows] = stdout.trim().split('\n');
  expect(head).toMatch(/^drafter +tokens\/round +acceptance +tokens\/s +ratio +text$/);
  expect(rows.map((row) => row.split(' ')[0])).toEqual(['plain', 'suffix', 'ngram']);
});

test('the page of a comparison is whole by itself and shows what was asked for as text', async () => {
  const page = join(folder, 'report.html');
  const text = 'red <b>blue</b> & "red" <b>blue</b> &';
  const args = ['bench', '--text', text, '--generate', '20', '--repeat', '1', '--speculation', 'suffix,datastore'];
  const { drafters: rows } = await vivaceJson<{ drafters: Drafts[] }>([...args, '--datastore', store, '--html', page]);
  const html = readFileSync(page, 'utf8');
  expect(html).not.toMatch(/<script|<link|src=|href=|url\(|<b>/);
  expect(html).toContain('red &lt;b&gt;blue&lt;/b&gt; &amp; &quot;red&quot;');
  for (const { drafter } of rows) expect(html).toContain(`<td>${drafter}</td>`);
  const bars = rows.reduce((sum, { acceptanceByPosition }) => sum + acceptanceByPosition.length, 0);
  expect(bars).toBeGreaterThan(0);
  expect(html.match(/<rect /g)).toHaveLength(bars);
});

test.each<[string, string[], RegExp]>([
  [
    'an unknown drafter',
    ['run', '--drafter', 'oracle'],
    /--drafter.*ngram, suffix, datastore, input-copy, lookahead, draft-model/,
  ],
  ['an unknown verifier', ['run', '--drafter', 'ngram', '--verifier', 'strict'], /--verifier.*lossless, match, block/],
  ['a verifier of nothing', ['run', '--verifier', 'match'], /--verifier was given without --drafter/],
  ['a size of nothing', ['chat', '--max-nodes', '9'], /--max-nodes was given without --drafter/],
  ['no datastore', ['run', '--drafter', 'datastore'], /needs --datastore/],
  ['a datastore of no use', ['run', '--drafter', 'ngram', '--datastore', 'x'], /--datastore is of no use/],
  ['no draft model', ['chat', '--drafter', 'draft-model'], /needs --draft-model/],
  ['a draft model of no use', ['bench', '--drafter', 'ngram', '--draft-model', 'x'], /--draft-model is of no use/],
  ['no draft model of any vocabulary', ['run', '--drafter', 'cross-vocabulary'], /needs --draft-model/],
  ['an exactness of no use', ['run', '--drafter', 'ngram', '--exactness', 'match'], /--exactness is of no use/],
  [
    'an exactness that does not exist',
    ['run', '--exactness', 'exact'],
    /--exactness.*greedy, match, direct, ngram-exact, paper/,
  ],
  ['a missing draft model', ['run', '--drafter', 'draft-model', '--draft-model', 'none.gguf'], /none\.gguf/],
  ['a profile of no use', ['run', '--drafter', 'ngram', '--draft-profile', 'x'], /--draft-profile is of no use/],
  ['a profile without a drafter', ['run', '--draft-profile', 'x'], /--draft-profile was given without --drafter/],
  ['a missing datastore', ['run', '--drafter', 'datastore', '--datastore', 'none.store'], /none\.store/],
  ['a file that is no datastore', ['run', '--drafter', 'datastore', '--datastore', embedded], /no datastore/],
  ['too long a draft', ['run', '--drafter', 'ngram', '--max-draft', '65'], /maxDraft.*65/],
  ['drafters that do not exist', ['bench', '--speculation', 'ngram,oracle'], /no drafter `oracle`/],
  ['a comparison of one', ['bench', '--speculation', 'all', '--drafter', 'ngram'], /Leave out --drafter/],
  ['a profile of drafts', ['bench', '--profile', '--drafter', 'ngram'], /Leave out --drafter/],
  ['a page of no comparison', ['bench', '--html', 'a.html'], /Leave out --html/],
  ['a text for no comparison', ['bench', '--text', 'a'], /Leave out --text/],
])('%s', async (_, args, message) => {
  const { code, stdout, stderr } = await vivace(args, 'Hello\n');
  expect(stderr.trim().split('\n').at(-1)).toMatch(message);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
});

test('verifiers with settings: judge and reflective, and mistakes', async () => {
  const args = ['run', prompt, '-n', '24', '--temperature', '0', '--drafter', 'ngram'];
  const head = join(folder, 'judge.safetensors');
  const model = await loadModel(embedded, { threads: 1 });
  const weights = new Float32Array(model.hiddenWidth());
  const trained = { weights, bias: 0, threshold: 0.5, thresholds: [], c: 1, auc: 0.5 };
  saveJudge(head, await judgeHeadOf(model, trained, 'judge', 'vivace-tiny'));
  model.dispose();
  const plain = await vivaceJson<{ text: string }>(args);
  const judge = ['--verifier', 'judge', '--judge-head', head];
  const never = await vivaceJson<{ text: string; speculation: { judged: number } }>([
    ...args,
    ...judge,
    '--judge-threshold',
    '1',
  ]);
  expect([never.text, never.speculation.judged]).toEqual([plain.text, 0]);
  const reflective = ['--verifier', 'reflective', '--alpha', '0', '--anchor-tokens', '2'];
  const again = await vivaceJson<{ text: string; speculation: { reflection: { rounds: number } } }>([
    ...args,
    ...reflective,
  ]);
  expect(again.text).toBe(plain.text);
  expect(again.speculation.reflection.rounds).toBeGreaterThan(0);
  // Where they are in use: nothing here is thinking, so that the text is the plain one.
  const sampled = [...args.slice(0, 4), '--seed', '3', '--drafter', 'ngram'];
  const drawn = await vivaceJson<{ text: string }>(sampled.slice(0, -2));
  const nowhere = ['--verifier', 'reflective', '--alpha', '0.5', '--reflect-in', 'thinking'];
  for (const more of [['--verifier', 'relaxed', '--within', 'thinking'], nowhere]) {
    expect(await vivaceJson([...sampled, ...more])).toMatchObject({ text: drawn.text });
  }
  const { stdout } = await vivace(
    ['chat', '-n', '24', '--seed', '1', '--json', '--drafter', 'ngram', ...nowhere],
    `${prompt}\n`,
  );
  expect(JSON.parse(stdout)).toMatchObject({ speculation: { reflection: { rounds: 0 } } });
  const wrong: [string[], RegExp][] = [
    [['--within', 'text'], /--within is of no use to the verifier `lossless`/],
    [['--verifier', 'relaxed', '--reflect-in', 'text'], /--reflect-in is of no use to the verifier `relaxed`/],
    [['--verifier', 'relaxed', '--within', 'somewhere'], /Expected one of all, text, thinking/],
    [['--verifier', 'judge'], /needs --judge-head/],
    [['--alpha', '0.2'], /--alpha is of no use to the verifier `lossless`/],
    [['--verifier', 'reflective', '--judge-head', head], /--judge-head is of no use/],
    [['--verifier', 'reflective', '--alpha', '2'], /from 0 to 1/],
    [['--verifier', 'reflective', '--alpha', '0.9'], /0 to 0\.5/],
    [['--verifier', 'judge', '--judge-head', join(folder, 'none')], /none/],
  ];
  for (const [more, message] of wrong) {
    const { stderr, code } = await vivace([...args, ...more]);
    expect(stderr).toMatch(message);
    expect(code).not.toBe(0);
  }
});
