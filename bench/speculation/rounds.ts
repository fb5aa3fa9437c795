// What a round with drafts costs besides the passes of both models: `npm run bench -- rounds [--threads N] [--tokens 128]
// [--repeat 5] [--ways name,…] [--target scaled|embedded] [--drawn] [--json] [--save]`. Without --target, the embedded model
// scaled up to 106 million parameters (scaled-model.ts), whose weights drive everything else out of the caches.
//
// Microseconds on the clock minus those in ops of both models, over a whole answer, from `createSession` to its `dispose`, divided
// by its rounds. Drafting, drawing, verifying, moving cells, JavaScript and waking threads are in it, ops are not. Answers of
// three lengths tell what belongs to a round and what to an answer: `per round` is the slope between the shortest and the longest,
// `per answer` what is left. `draws`: of a round's share, choosing tokens from logits, of both models, as profiles tell.
// `--drawn`: with the default sampling instead of greedily.
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { draftModel, eagle, embeddedModelPath, inputCopy, loadModel, medusa, nGram, suffix } from '../../lib/index.js';
import type { GenerateOptions, GenerateResult, Model, SpeculationOptions } from '../../lib/index.js';
import { scaledFile } from './scaled-model.js';

const { values: options } = parseArgs({
  options: {
    threads: { type: 'string', default: String(availableParallelism()) },
    tokens: { type: 'string', default: '128' },
    repeat: { type: 'string', default: '5' },
    ways: { type: 'string' },
    target: { type: 'string', default: 'scaled' },
    drawn: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
  },
});
const repeat = Number(options.repeat);
const threads = Number(options.threads);
const tokens = Number(options.tokens);
/** Microseconds that a round may cost. */
const LIMIT = 60;
const PROMPT = 'One day Ben';

interface Row {
  readonly way: string;
  readonly rounds: number;
  /** Microseconds: of whole answers of `tokens`, the slope, what is left, and of the slope what draws take. */
  readonly perRound: number;
  readonly slope: number;
  readonly perAnswer: number;
  readonly draws: number;
}

void main();

async function main(): Promise<void> {
  const path = options.target === 'embedded' ? embeddedModelPath() : await scaledFile('F16');
  const model = await loadModel(path, { threads, repack: 'load', prefixCache: false });
  const place = (name: string): string => join(dirname(embeddedModelPath()), `vivace-tiny-${name}`);
  const small = await loadModel(`${place('draft')}.gguf`, { threads: 1 });
  const logitBias = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity] as const));
  const asked = { logitBias, ...(options.drawn ? { seed: 1 } : { temperature: 0 }) };
  const said = await answer(model, { ...asked, maxTokens: 2 * tokens });
  const input = Int32Array.from(said.tokens, (token, place) => (place % 32 === 31 ? 300 + (place % 40) : token));
  const e1 = eagle(model, place('eagle'));
  const ways: readonly [string, SpeculationOptions | undefined][] = [
    ['plain', undefined],
    ['n-gram', { drafter: nGram() }],
    ['suffix', { drafter: suffix() }],
    ['input-copy', { drafter: inputCopy({ input }) }],
    ['draft model', { drafter: draftModel(small) }],
    ['draft model trees', { drafter: draftModel(small), adaptive: false, maxDraft: 6, maxNodes: 16 }],
    ['eagle', { drafter: e1 }],
    ['eagle trees', { drafter: e1, adaptive: false, maxDraft: 6, maxNodes: 16 }],
    ['medusa', { drafter: medusa(model, place('medusa')), maxDraft: 4 }],
    ['medusa trees', { drafter: medusa(model, place('medusa')), adaptive: false, maxDraft: 4, maxNodes: 16 }],
  ];
  const wanted = options.ways?.split(',');
  const rows: Row[] = [];
  for (const [way, speculation] of ways) {
    if (wanted && !wanted.includes(way)) continue;
    rows.push(await measure(way, [model, small], { ...asked, ...(speculation ? { speculation } : {}) }));
    if (!options.json) show(rows[rows.length - 1]);
  }
  model.dispose();
  small.dispose();
  const { target, drawn } = options;
  const machine = { date: new Date().toISOString(), cpu: cpus()[0].model, node: process.version };
  const record = { ...machine, target, threads, tokens, repeat, drawn, limit: LIMIT, rows };
  if (options.json) console.log(JSON.stringify(record, null, 1));
  if (!options.save) return;
  const folder = join(__dirname, '..', 'results');
  mkdirSync(folder, { recursive: true });
  const name = `rounds${target === 'scaled' ? '' : `-${target}`}${drawn ? '-drawn' : ''}.json`;
  writeFileSync(join(folder, name), `${JSON.stringify(record, null, 1)}\n`);
}

/** Before anything counts: an answer takes half as much in JavaScript, or less, once V8 has compiled what it runs. */
const SHORT_ANSWERS = 24;

/** Answers of three lengths in turns, and before them some short answers and two turns that do not count. */
async function measure(way: string, models: readonly Model[], asked: GenerateOptions): Promise<Row> {
  const lengths = [Math.ceil(tokens / 4), tokens, 2 * tokens];
  for (let i = 0; i < SHORT_ANSWERS; i++) await answer(models[0], { ...asked, maxTokens: 8 });
  const points = lengths.map(() => ({ rounds: [] as number[], us: [] as number[], draws: [] as number[] }));
  for (let turn = -2; turn < repeat; turn++) {
    for (const [i, maxTokens] of lengths.entries()) {
      const before = inOps(models, true);
      const begin = performance.now();
      const result = await answer(models[0], { ...asked, maxTokens });
      const us = 1000 * (performance.now() - begin);
      const after = inOps(models, false);
      if (turn < 0) continue;
      points[i].rounds.push(result.speculation?.rounds ?? result.tokens.length);
      points[i].us.push(us - (after.ops - before.ops));
      points[i].draws.push(after.draws - before.draws);
    }
  }
  const [short, whole, long] = points.map(({ rounds, us, draws }) => {
    return {
      rounds: middle(rounds),
      us: middle(us),
      draws: middle(draws),
      each: middle(us.map((t, i) => t / rounds[i])),
    };
  });
  const more = long.rounds - short.rounds;
  const slope = (long.us - short.us) / more;
  return {
    way,
    rounds: whole.rounds,
    perRound: whole.each,
    slope,
    perAnswer: short.us - slope * short.rounds,
    draws: (long.draws - short.draws) / more,
  };
}

async function answer(model: Model, asked: GenerateOptions): Promise<GenerateResult> {
  using session = model.createSession();
  const pieces = session.generate(PROMPT, asked);
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}

/** Microseconds in ops and in draws so far. */
function inOps(models: readonly Model[], on: boolean): { ops: number; draws: number } {
  const sums = { ops: 0, draws: 0 };
  for (const { op, seconds } of models.flatMap((model) => model.profile(on) ?? [])) {
    sums[op === 'sample' ? 'draws' : 'ops'] += 1e6 * seconds;
  }
  return sums;
}

function show({ way, rounds, perRound, slope, perAnswer, draws }: Row): void {
  const us = (value: number): string => `${value.toFixed(0).padStart(5)} us`;
  console.log(
    `${way.padEnd(20)} ${String(rounds).padStart(4)} rounds  ${us(perRound)} each, ${((100 * perRound) / LIMIT).toFixed(0).padStart(4)} % of ` +
      `${LIMIT} us  per round ${us(slope)}, of which draws ${us(draws)}  per answer ${us(perAnswer)}`,
  );
}

function middle(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}
