// Drafters of vivace against token predictors of node-llama-cpp: the same two GGUF files, prompts, threads and numbers of
// tokens, greedy, in fresh processes that take turns. Usage:
//   node speculation.mjs [--rounds 5] [--turns 1] [--threads 2] [--only draft,lookup] [--save]
// The target is the embedded model scaled to 106 M parameters (bench/speculation/scaled-model.ts), which memory bounds, the
// draft model models/vivace-tiny-draft.gguf. Each side has several settings, its defaults among them; of the peer's the best
// one counts, of vivace's the defaults. An answer has the tokens of vivace's plain decoding before its first end token, at most
// 64 of a story; times begin with the prompt. Needs `npm ci` in this folder and `npm run build` in the project.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const here = import.meta.dirname;
const root = join(here, '../..');
const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    turns: { type: 'string', default: '1' },
    threads: { type: 'string', default: '2' },
    only: { type: 'string', default: 'draft,lookup' },
    save: { type: 'boolean', default: false },
  },
});
const [rounds, turns, threads] = [options.rounds, options.turns, options.threads].map(Number);
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const { loadModel } = await import('../../dist/index.mjs');

const plain = { name: 'plain', kind: 'plain' };
const suites = {
  draft: {
    prompts: ['Once upon a time there was a little girl', 'One day Ben'],
    most: 64,
    vivace: [plain, { name: 'draftModel', kind: 'draft' }],
    llama: [
      plain,
      { name: 'defaults', kind: 'draft' },
      { name: 'maxTokens 4', kind: 'draft', options: { maxTokens: 4 } },
      { name: 'minTokens 4, maxTokens 8', kind: 'draft', options: { minTokens: 4, maxTokens: 8 } },
    ],
  },
  lookup: {
    prompts: copies(),
    most: 60,
    vivace: [plain, { name: 'nGram', kind: 'nGram' }, { name: 'inputCopy', kind: 'inputCopy' }],
    llama: [
      plain,
      { name: 'defaults', kind: 'lookup' },
      { name: 'predictionLength 8', kind: 'lookup', options: { predictionLength: { max: 8 } } },
      { name: 'predictionLength 16', kind: 'lookup', options: { predictionLength: { max: 16 } } },
    ],
  },
};

const target = scaled();
const draft = join(root, 'models/vivace-tiny-draft.gguf');
const compared = [];
for (const name of options.only.split(',')) compared.push(await compare(name, suites[name]));
if (options.save) save();

/** Suites that were not run stay in the record. */
function save() {
  const path = join(here, '../results/peers-speculation.json');
  const old = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).suites : [];
  const kept = old.filter(({ name }) => !compared.some((one) => one.name === name));
  const record = { cpu: cpus()[0].model, node: process.version, threads, suites: [...kept, ...compared] };
  writeFileSync(path, `${JSON.stringify(record, null, 1)}\n`);
}

/** The lists that the acceptance tests have the model copy, the longer ones. */
function copies() {
  const lines = readFileSync(join(root, 'training/data/eval.jsonl'), 'utf8').trim().split('\n');
  const cases = lines.map((line) => JSON.parse(line));
  return cases
    .filter(({ kind, prompt }) => kind === 'copy' && prompt.split(' ').length >= 11)
    .slice(0, 4)
    .map(({ prompt }) => prompt);
}

function scaled() {
  const folder = join(tmpdir(), 'vivace-bench');
  const path = join(folder, 'scaled-F16.gguf');
  mkdirSync(folder, { recursive: true });
  if (existsSync(path)) return path;
  const script = `import { scaledModel } from './bench/speculation/scaled-model.ts'; scaledModel(${JSON.stringify(path)});`;
  const made = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
    cwd: root,
    stdio: 'inherit',
  });
  if (made.status !== 0) process.exit(1);
  return path;
}

/** Token ids of the prompts, and how many tokens answer each. */
async function asked({ prompts, most }) {
  const model = await loadModel(target, { threads });
  const list = [];
  for (const text of prompts) {
    const tokens = [...model.tokenizer.encode(text)];
    const session = model.createSession();
    for await (const _ of session.generate(Int32Array.from(tokens), { temperature: 0, maxTokens: most }));
    list.push({ tokens, count: session.lastResult.tokens.length, answer: [...session.lastResult.tokens] });
    session.dispose();
  }
  model.dispose();
  return list;
}

async function compare(name, suite) {
  const prompts = await asked(suite);
  const tokens = prompts.reduce((sum, { count }) => sum + count, 0);
  const speeds = { vivace: suite.vivace.map(() => []), llama: suite.llama.map(() => []) };
  const last = {};
  for (let round = 0; round < rounds; ++round) {
    for (const peer of ['vivace', 'llama']) {
      last[peer] = worker({ peer, target, draft, threads, draftThreads: 1, ways: suite[peer], prompts, turns });
      last[peer].forEach(({ ms }, place) => speeds[peer][place].push((1000 * tokens) / median(ms)));
    }
  }
  const sides = Object.fromEntries(
    ['vivace', 'llama'].map((peer) => [
      peer,
      suite[peer].map(({ name: way, options: settings = {} }, place) => ({
        way,
        settings,
        tokensPerSecond: median(speeds[peer][place]),
        toPlain: median(speeds[peer][place].map((speed, round) => speed / speeds[peer][0][round])),
        sameTokens: agreement(last[peer][place].tokens, prompts),
        more: last[peer][place].more,
      })),
    ]),
  );
  const theirs = sides.llama.slice(1).reduce((a, b) => (a.tokensPerSecond > b.tokensPerSecond ? a : b));
  const place = sides.llama.indexOf(theirs);
  const ratios = sides.vivace.slice(1).map(({ way }, index) => ({
    way,
    toBest: median(speeds.vivace[index + 1].map((speed, round) => speed / speeds.llama[place][round])),
  }));
  const plainRatio = median(speeds.vivace[0].map((speed, round) => speed / speeds.llama[0][round]));
  console.log(`\n${name}: ${prompts.length} prompts, ${tokens} tokens`);
  console.table(sides.vivace.map(shown));
  console.table(sides.llama.map(shown));
  console.log(
    `plain ${plainRatio.toFixed(2)}; against ${theirs.way}:`,
    ratios.map(({ way, toBest }) => `${way} ${toBest.toFixed(2)}`).join(', '),
  );
  const date = new Date().toISOString();
  return { name, date, rounds, turns, prompts: prompts.length, tokens, ...sides, plainRatio, best: theirs.way, ratios };
}

/** The share of tokens that are vivace's plain ones, up to the first other one of each answer. */
function agreement(answers, prompts) {
  let same = 0;
  let all = 0;
  answers.forEach((answer, i) => {
    const expected = prompts[i].answer;
    const first = expected.findIndex((token, at) => token !== answer[at]);
    same += first < 0 ? expected.length : first;
    all += expected.length;
  });
  return same / all;
}

function shown({ way, tokensPerSecond, toPlain, sameTokens, more }) {
  return {
    way,
    'tokens/s': tokensPerSecond.toFixed(0),
    'to plain': toPlain.toFixed(2),
    same: `${(100 * sameTokens).toFixed(0)} %`,
    more: JSON.stringify(more),
  };
}

function worker(request) {
  const run = spawnSync(process.execPath, [join(here, 'speculation-worker.mjs'), JSON.stringify(request)], {
    encoding: 'utf8',
    cwd: here,
  });
  const line = run.stdout?.trim().split('\n').at(-1) ?? '';
  if (run.status !== 0 || !line.startsWith('[')) {
    console.error(`speculation-worker.mjs failed:\n${run.stdout}${run.stderr}`);
    process.exit(1);
  }
  return JSON.parse(line);
}
