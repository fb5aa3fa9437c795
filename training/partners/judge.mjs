// Trains a judge's head for the embedded model and its drafter: mines examples from exercises with the drafter's mistakes,
// fits, compares with a threshold on the two laws' divergence on other exercises, and measures answers with and without.
// node training/partners/judge.mjs [file, default models/vivace-tiny-judge.safetensors] [exercises of a kind, default 250] [evaluate]
// With `evaluate` the file is read, and only answers are measured.
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  areaUnderCurve,
  draftModel,
  judgeHeadOf,
  loadJudge,
  loadModel,
  mineJudge,
  saveJudge,
  trainJudge,
} from '../../dist/index.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const [out = join(here, '../../models/vivace-tiny-judge.safetensors'), size = '250', only] =
  process.argv.slice(2);
const KINDS = ['copy', 'sort', 'add', 'subtract', 'correct', 'recall'];
const MAX_TOKENS = 24;

/** Of each kind so many, by seeds that neither training of models nor their evaluation has. */
function exercises(count, seed) {
  const code = `
import json, sys
sys.path.insert(0, ${JSON.stringify(join(here, '..'))})
import exercises
rows = [exercises.make(kind, ${seed} + i, **({"pairs": 2 + i % 6} if kind == "recall" else {}))
        for i in range(${count}) for kind in ${JSON.stringify(KINDS)}]
print(json.dumps([{"prompt": prompt, "answer": answer} for prompt, answer in rows]))`;
  return JSON.parse(execFileSync('python3', ['-c', code], { maxBuffer: 2 ** 28 }).toString());
}

/** The answer proper: what comes behind it is free. */
const essence = (text) => text.split(/[\n;]/)[0].trim();

const target = await loadModel(join(here, '../../models/vivace-tiny.gguf'), { threads: 1 });
const draft = await loadModel(join(here, '../../models/vivace-tiny-draft.gguf'), { threads: 1 });

async function mine(count, seed, others) {
  const prompts = exercises(count, seed).map(({ prompt }) => prompt);
  const same = (a, b) => essence(a) === essence(b);
  return mineJudge({ target, draft, prompts, same, maxTokens: MAX_TOKENS, others });
}

/** Share of tokens kept where so many of the wrong ones are refused. */
function keptAt(recall, scores, right) {
  const wrong = scores.filter((_, i) => !right[i]).sort((a, b) => b - a);
  const bound = wrong[Math.floor((1 - recall) * wrong.length)] ?? -Infinity;
  return scores.filter((score) => score > bound).length / scores.length;
}

async function train() {
  const begin = performance.now();
  const examples = await mine(Number(size), 500_000, 8);
  const wrong = examples.filter(({ right }) => !right).length;
  const mined = performance.now();
  console.log(`${examples.length} examples, ${wrong} wrong, in ${((mined - begin) / 1000).toFixed(0)} s`);
  const trained = trainJudge(examples);
  console.log(
    `fitted in ${((performance.now() - mined) / 1000).toFixed(0)} s: C ${trained.c.toPrecision(2)}, ` +
      `AUC ${trained.auc.toFixed(3)} on questions held out, threshold ${trained.threshold.toFixed(3)}`,
  );
  const head = await judgeHeadOf(target, trained, 'autojudge', 'vivace-tiny');
  saveJudge(out, head);

  // The drafter's own mistakes, and with others among them, on exercises of their own.
  for (const others of [0, 8]) {
    const held = await mine(Math.ceil(Number(size) / 4), 900_000, others);
    const right = held.map((one) => one.right);
    const dot = ({ hidden }) => hidden.reduce((sum, x, i) => sum + x * trained.weights[i], trained.bias);
    for (const [name, scores] of [
      ['head', held.map(dot)],
      ['divergence', held.map(({ divergence }) => -divergence)],
    ]) {
      console.log(
        `${name} on ${held.length} examples held out (${right.filter((one) => !one).length} wrong): ` +
          `AUC ${areaUnderCurve(scores, right).toFixed(3)}, kept where 90 % of the wrong ones are refused ` +
          `${(100 * keptAt(0.9, scores, right)).toFixed(0)} %, 95 %: ${(100 * keptAt(0.95, scores, right)).toFixed(0)} %`,
      );
    }
  }
  return head;
}

let head = only === 'evaluate' ? await loadJudge(out, target) : await train();
const drafter = draftModel(draft, { minProbability: 0 });
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/** Answers to exercises, greedily: which are right, and what it took. */
async function answers(cases, verifier) {
  const correct = [];
  let [tokens, rounds, accepted, judged, ms] = [0, 0, 0, 0, 0];
  for (const { prompt, answer } of cases) {
    const session = target.createSession();
    const options = { temperature: 0, maxTokens: MAX_TOKENS };
    const speculation = verifier && { drafter, verifier, maxDraft: 8, adaptive: false };
    let text = '';
    const start = performance.now();
    for await (const piece of session.generate(prompt, { ...options, ...(speculation ? { speculation } : {}) })) {
      text += piece.text;
    }
    ms += performance.now() - start;
    correct.push(essence(text) === essence(answer) ? 1 : 0);
    const { lastResult } = session;
    tokens += lastResult.tokens.length;
    rounds += lastResult.speculation?.rounds ?? lastResult.tokens.length;
    accepted += lastResult.speculation?.accepted ?? 0;
    judged += lastResult.speculation?.judged ?? 0;
    session.dispose();
  }
  return { correct, perRound: 1 + accepted / rounds, length: tokens / cases.length, judged: judged / tokens, rate: (1000 * tokens) / ms };
}

/** Share of right answers beside the model's own, with the interval of 95 % of the difference. */
function difference(correct, alone) {
  const each = correct.map((value, i) => value - alone[i]);
  const spread = Math.sqrt(mean(each.map((d) => (d - mean(each)) ** 2)) / each.length);
  return [mean(each), 1.96 * spread];
}

const THRESHOLDS = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
if (only !== 'evaluate') {
  // The lowest threshold that costs no right answers, on exercises of their own.
  const cases = exercises(Math.ceil(Number(size) / 2), 1_100_000);
  const alone = await answers(cases);
  let threshold = 1;
  for (const one of THRESHOLDS.toReversed()) {
    const { correct } = await answers(cases, { name: 'judge', head, threshold: one });
    const [lost] = difference(correct, alone.correct);
    if (lost < -0.002) break;
    threshold = one;
  }
  head = { ...head, threshold };
  saveJudge(out, head);
  console.log(`threshold ${threshold}, by answers to ${cases.length} exercises`);
}

const cases = exercises(Math.ceil(Number(size) / 2), 1_300_000);
const alone = await answers(cases);
const runs = [
  ['the model alone', undefined],
  ['lossless', 'lossless'],
  ...[1, 0.99, 0.95, 0.9, 0.8, 0.5, 0.1, 0].map((threshold) => [`judge ${threshold}`, { name: 'judge', head, threshold }]),
  ...[0, 0.1, 0.2, 0.3, 0.5].map((alpha) => [`reflective ${alpha}`, { name: 'reflective', alpha, autoSkip: false }]),
  ...['\n', ' →'].map((prompt) => [
    `reflective 0.2 after ${JSON.stringify(prompt)}`,
    { name: 'reflective', alpha: 0.2, prompt, autoSkip: false },
  ]),
  ['reflective 0.3, anchor 4', { name: 'reflective', alpha: 0.3, anchorTokens: 4, autoSkip: false }],
  ['reflective 0.3, skipped where slow', { name: 'reflective', alpha: 0.3 }],
];
console.log(`${cases.length} other exercises, greedy, drafts of 8; the head's own threshold is ${head.threshold}`);
for (const [name, verifier] of runs) {
  const { correct, perRound, length, judged, rate } = await answers(cases, verifier);
  const [lost, spread] = difference(correct, alone.correct);
  console.log(
    `${name}: ${(100 * mean(correct)).toFixed(1)} % right (${(100 * lost).toFixed(1)} ± ${(100 * spread).toFixed(1)}), ` +
      `${perRound.toFixed(2)} tokens per round, ${length.toFixed(1)} tokens an answer, ` +
      `${(100 * judged).toFixed(0)} % by the judge alone, ${rate.toFixed(0)} tokens/s`,
  );
}
draft.dispose();
target.dispose();
