// Decoding with drafters against plain decoding, in turns: `npm run bench -- speculation [--threads N] [--repeat N] [--only
// task,…] [--target name] [--drafters name,…] [--json] [--save]`. Targets: the embedded model, which stays in the caches, and the same scaled up to 106 million
// parameters in F16 (scaled-model.ts) and in Q8_0, which memory bounds: in Q8_0 17 rows take 1.4 times as long as one, in F16
// that is so for eight. Tasks, greedy but for the last one:
//
// - copy: the lists of 9 and more words of training/data/eval.jsonl, whose copy the embedded model says;
// - correct: its corrections of a misspelt word;
// - again: two stories of 160 tokens that the model says once more, behind the same prompts. `input-copy` has the old answers as
//   its input, every 32nd token of them another one: a text that is known but for edits. Longer copies than lists of twelve words
//   the embedded model does not say, whatever text is in its prompt;
// - story: 128 tokens of a story;
// - hostile: 128 tokens drawn at a temperature of 50 behind 300 random tokens. Drafters find every last token somewhere, and
//   nothing that they draft is right. A model that draws its drafts at that temperature, too, is nearly always right; so it and
//   heads have a turn in which they choose the most probable tokens.
//
// Figures are of all answers of a task together, their prompts' time counted, those of drafters' models, too; medians of the
// turns, of which the embedded model has eight times as many, ratios to plain decoding in the same turn. `outside`: microseconds per round of the target outside of the ops of both models, drawing and verifying
// counted; measured in a run of its own, for op times want the members of the team to wait for each other.
import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { draftModel, eagle, embeddedModelPath, inputCopy, loadModel, medusa, nGram, suffix } from '../../lib/index.js';
import type { Drafter, GenerateOptions, GenerateResult, Model, SpeculationOptions } from '../../lib/index.js';
import { Generator } from '../../test/fixtures/random/generator.js';
import { scaledFile } from './scaled-model.js';

const { values: options } = parseArgs({
  options: {
    threads: { type: 'string', default: String(availableParallelism()) },
    repeat: { type: 'string', default: '5' },
    only: { type: 'string' },
    target: { type: 'string' },
    drafters: { type: 'string' },
    json: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
  },
});
const repeat = Number(options.repeat);
const threads = Number(options.threads);

interface Task {
  readonly name: string;
  readonly prompts: readonly (string | Int32Array)[];
  readonly options: GenerateOptions;
  /** By prompt: texts that answers are nearly copies of. */
  readonly inputs?: readonly Int32Array[];
}

interface Way {
  readonly name: string;
  readonly speculation?: SpeculationOptions;
}

interface Row {
  readonly target: string;
  readonly task: string;
  readonly drafter: string;
  readonly tokensPerRound: number;
  readonly acceptance: number;
  readonly tokensPerSecond: number;
  readonly ratio: number;
  readonly sameTokens: boolean;
  readonly outside: number;
}

const fileOf = (name: string): string => join(dirname(embeddedModelPath()), `vivace-tiny-${name}`);

void main();

async function main(): Promise<void> {
  const targets = {
    small: () => embeddedModelPath(),
    scaled: () => scaledFile('F16'),
    'scaled Q8_0': () => scaledFile('Q8_0'),
  };
  const rows: Row[] = [];
  const small = await loadModel(fileOf('draft.gguf'), { threads: 1, prefixCache: false });
  for (const [name, path] of Object.entries(targets)) {
    if (options.target !== undefined && options.target !== name) continue;
    const model = await loadModel(await path(), { threads, repack: 'load', prefixCache: false });
    for (const task of await tasks(model)) {
      if (options.only !== undefined && !options.only.split(',').includes(task.name)) continue;
      rows.push(...(await compare(name, model, small, task)));
      if (!options.json) console.table(rows.filter((row) => row.target === name && row.task === task.name).map(shown));
    }
    model.dispose();
  }
  small.dispose();
  const record = { date: new Date().toISOString(), cpu: cpus()[0].model, node: process.version, threads, repeat, rows };
  if (options.json) console.log(JSON.stringify(record, null, 2));
  if (options.save) {
    const file = join(__dirname, '..', 'results', 'speculation.json');
    writeFileSync(file, `${JSON.stringify(record, null, 2)}\n`);
  }
}

async function tasks(model: Model): Promise<Task[]> {
  const { tokenizer } = model;
  const cases = readFileSync(join(__dirname, '..', '..', 'training', 'data', 'eval.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string; prompt: string });
  const of = (kind: string, words: number): string[] =>
    cases.filter((one) => one.kind === kind && one.prompt.split(' ').length >= words).map(({ prompt }) => prompt);
  const greedy = { temperature: 0, stop: '\n' };
  // Answers must not end before their time.
  const endless = { logitBias: new Map([...tokenizer.endOfGeneration].map((token) => [token, -Infinity] as const)) };
  const random = new Generator(1, 'hostile');
  const hostile = Int32Array.from({ length: 300 }, () => random.integer(300, 340));
  const begins = ['Once upon a time there was a little girl', 'One day Ben'];
  const story: GenerateOptions = { temperature: 0, ...endless };
  const inputs: Int32Array[] = [];
  for (const begin of begins) {
    const { tokens } = await generate(model, begin, { ...story, maxTokens: 160 }, undefined);
    inputs.push(Int32Array.from(tokens, (token, place) => (place % 32 === 31 ? random.integer(300, 340) : token)));
  }
  return [
    { name: 'again', prompts: begins, options: { ...story, maxTokens: 160 }, inputs },
    { name: 'copy', prompts: of('copy', 11).slice(0, 6), options: { ...greedy, maxTokens: 60 } },
    { name: 'correct', prompts: of('correct', 7).slice(0, 6), options: { ...greedy, maxTokens: 60 } },
    { name: 'story', prompts: begins, options: { ...story, maxTokens: 128 } },
    {
      name: 'hostile',
      prompts: [hostile],
      options: { temperature: 50, topK: 0, topP: 1, minP: 0, seed: 3, maxTokens: 128, ...endless },
    },
  ];
}

async function compare(target: string, model: Model, small: Model, task: Task): Promise<Row[]> {
  const wanted = options.drafters?.split(',');
  const named = (drafter: Drafter): Way => ({ name: drafter.name, speculation: { drafter } });
  const all: Way[] = [nGram(), suffix(), inputCopy(), draftModel(small)].map(named);
  all.push({
    name: 'draft-model-tree',
    speculation: { drafter: { ...draftModel(small), name: 'draft-model-tree' }, maxNodes: 24 },
  });
  const chosen = { temperature: 0 };
  using eagleHead = eagle(model, fileOf('eagle'), chosen);
  using medusaHeads = medusa(model, fileOf('medusa'), chosen);
  if (task.name === 'hostile') {
    const choosing = [draftModel(small, chosen), eagleHead, medusaHeads];
    all.push(...choosing.map((own) => named({ ...own, name: `${own.name}, chosen` })));
  }
  const ways: Way[] = [{ name: 'plain' }, ...all.filter(({ name }) => !wanted || wanted.includes(name))];
  const speeds: number[][] = ways.map(() => []);
  const last: GenerateResult[][] = [];
  const turns = target === 'small' ? 8 * repeat : repeat;
  for (let turn = 0; turn <= turns; turn++) {
    for (const [place, way] of ways.entries()) {
      last[place] = await run(model, task, way);
      if (turn > 0) speeds[place].push(speedOf(last[place]));
    }
  }
  const rows: Row[] = [];
  for (const [place, way] of ways.entries()) {
    const drafter = way.speculation?.drafter;
    const results = last[place];
    const sum = (part: (one: NonNullable<GenerateResult['speculation']>) => number): number =>
      results.reduce((total, { speculation }) => total + (speculation ? part(speculation) : 0), 0);
    const tokens = results.reduce((total, one) => total + one.tokens.length, 0);
    const rounds = drafter ? sum((one) => one.rounds) : tokens;
    rows.push({
      target,
      task: task.name,
      drafter: way.name,
      tokensPerRound: drafter ? 1 + sum((one) => one.accepted) / rounds : 1,
      acceptance:
        sum((one) => one.accepted) /
        Math.max(
          1,
          sum((one) => one.drafted),
        ),
      tokensPerSecond: median(speeds[place]),
      ratio: median(speeds[place].map((speed, turn) => speed / speeds[0][turn])),
      sameTokens: results.every((one, i) => one.tokens.join() === last[0][i].tokens.join()),
      outside: await outside(model, small, task, way),
    });
  }
  return rows;
}

/** Tokens per second of all prompts together. Prompts count: with a draft behind it, a prompt's round gives several tokens. */
function speedOf(results: readonly GenerateResult[]): number {
  const ms = results.reduce((sum, { timings }) => sum + timings.promptMs + timings.completionMs, 0);
  return (1000 * results.reduce((sum, { tokens }) => sum + tokens.length, 0)) / ms;
}

async function run(model: Model, task: Task, { name, speculation }: Way): Promise<GenerateResult[]> {
  const results: GenerateResult[] = [];
  for (const [place, prompt] of task.prompts.entries()) {
    const input = task.inputs?.[place];
    const own = input && name === 'input-copy' ? { drafter: inputCopy({ input }) } : speculation;
    results.push(await generate(model, prompt, task.options, own));
  }
  return results;
}

async function generate(
  model: Model,
  prompt: string | Int32Array,
  given: GenerateOptions,
  speculation: SpeculationOptions | undefined,
): Promise<GenerateResult> {
  using session = model.createSession();
  const pieces = session.generate(prompt, { ...given, ...(speculation ? { speculation } : {}) });
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}

/** Microseconds per round outside of all ops, prompts and the begins of sessions counted. */
async function outside(model: Model, small: Model, task: Task, way: Way): Promise<number> {
  const figures: number[] = [];
  for (let turn = 0; turn < 3; turn++) {
    const before = inOps(model, true) + inOps(small, true);
    const begin = performance.now();
    const results = await run(model, task, way);
    const ms = performance.now() - begin;
    const ops = inOps(model, false) + inOps(small, false) - before;
    const rounds = results.reduce((sum, one) => sum + (one.speculation?.rounds ?? one.tokens.length), 0);
    figures.push((1000 * (ms - ops)) / rounds);
  }
  return median(figures);
}

/** Milliseconds in ops so far. */
function inOps(model: Model, on: boolean): number {
  const calls = model.profile(on) ?? [];
  return calls.reduce((sum, { op, seconds }) => sum + (op === 'sample' ? 0 : 1000 * seconds), 0);
}

function shown({ tokensPerRound, acceptance, tokensPerSecond, ratio, outside: us, ...row }: Row): object {
  return {
    ...row,
    'tokens/round': tokensPerRound.toFixed(2),
    accepted: `${(100 * acceptance).toFixed(0)} %`,
    'tokens/s': tokensPerSecond.toFixed(0),
    ratio: ratio.toFixed(2),
    'outside µs': us.toFixed(0),
  };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}
