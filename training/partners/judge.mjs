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

async function mine(count, seed) {
  const prompts = exercises(count, seed).map(({ prompt }) => prompt);
  const same = (a, b) => essence(a) === essence(b);
  return mineJudge({ target, draft, prompts, same, maxTokens: MAX_TOKENS });
}

/** Share of tokens kept where so many of the wrong ones are refused. */
function keptAt(recall, scores, right) {
  const wrong = scores.filter((_, i) => !right[i]).sort((a, b) => b - a);
  const bound = wrong[Math.floor((1 - recall) * wrong.length)] ?? -Infinity;
  return scores.filter((score) => score > bound).length / scores.length;
}

async function train() {
  const begin = performance.now();
  const examples = await mine(Number(size), 500_000);
  const wrong = examples.filter(({ right }) => !right).length;
  const mined = performance.now();
  console.log(`${examples.length} examples, ${wrong} wrong, in ${((mined - begin) / 1000).toFixed(0)} s`);
  const trained = trainJudge(examples, { recall: 0.99 });
  console.log(
    `fitted in ${((performance.now() - mined) / 1000).toFixed(0)} s: C ${trained.c.toPrecision(2)}, ` +
      `AUC ${trained.auc.toFixed(3)} on questions held out, threshold ${trained.threshold.toFixed(3)}`,
  );
  const head = await judgeHeadOf(target, trained, 'autojudge', 'vivace-tiny');
  saveJudge(out, head);

  const other = await mine(Math.ceil(Number(size) / 4), 900_000);
  const right = other.map((one) => one.right);
  const dot = ({ hidden }) => hidden.reduce((sum, x, i) => sum + x * head.weights[i], head.bias);
  for (const [name, scores] of [
    ['head', other.map(dot)],
    ['divergence', other.map(({ divergence }) => -divergence)],
  ]) {
    console.log(
      `${name} on ${other.length} other examples (${right.filter((one) => !one).length} wrong): ` +
        `AUC ${areaUnderCurve(scores, right).toFixed(3)}, kept where 90 % of the wrong ones are refused ` +
        `${(100 * keptAt(0.9, scores, right)).toFixed(0)} %, 95 %: ${(100 * keptAt(0.95, scores, right)).toFixed(0)} %`,
    );
  }
  return head;
}

const head = only === 'evaluate' ? await loadJudge(out, target) : await train();
const cases = exercises(Math.ceil(Number(size) / 2), 1_300_000);
const drafter = draftModel(draft, { minProbability: 0 });
const runs = [['the model alone', undefined], ['lossless', 'lossless']];
for (const threshold of [0.99, 0.9, head.threshold, 0.5, 0.1, 0]) {
  runs.push([`judge ${threshold.toFixed(3)}`, { name: 'judge', head, threshold }]);
}
let alone;
for (const [name, verifier] of runs) {
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
    tokens += session.lastResult.tokens.length;
    rounds += session.lastResult.speculation?.rounds ?? session.lastResult.tokens.length;
    accepted += session.lastResult.speculation?.accepted ?? 0;
    judged += session.lastResult.speculation?.judged ?? 0;
    session.dispose();
  }
  alone ??= correct;
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const differences = correct.map((value, i) => value - alone[i]);
  const spread = Math.sqrt(mean(differences.map((d) => (d - mean(differences)) ** 2)) / cases.length);
  console.log(
    `${name}: ${(100 * mean(correct)).toFixed(1)} % right (difference ${(100 * mean(differences)).toFixed(1)} ± ` +
      `${(196 * spread).toFixed(1)}), ${(1 + accepted / rounds).toFixed(2)} tokens per round, ` +
      `${(tokens / cases.length).toFixed(1)} tokens an answer, ${(100 * (judged / tokens)).toFixed(0)} % by the judge alone, ` +
      `${((1000 * tokens) / ms).toFixed(0)} tokens/s`,
  );
}
draft.dispose();
target.dispose();
