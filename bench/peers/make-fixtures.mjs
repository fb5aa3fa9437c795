// Writes test/fixtures/llama-cpp/*.json: what llama.cpp says about models that the tests can also open.
// Usage: node --import tsx make-fixtures.mjs [stories260K.gguf, or '' to keep that one] [experts, for that file alone]
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomModel, randomModels, writeRandomGguf } from '../../test/fixtures/random-model.ts';
import { Generator } from '../../test/fixtures/random/generator.ts';
import { randomVocabulary } from '../../test/fixtures/random/vocabulary.ts';
import { openOracle, probabilities, topOf } from './oracle.mjs';

const folder = join(import.meta.dirname, '../../test/fixtures/llama-cpp');
const storyPrompts = [
  'Once upon a time',
  'Lily and Tom went to the park. They saw a big',
  'One day, a little dog named Max found a red ball. He wanted to',
  'The sun was hot. "Mom, can we go to the beach?" asked',
  '',
];

const digits = (value) => Number(value.toPrecision(6));
const sha256 = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** Tokens and, in the same order, their probabilities. */
function top(logits, count) {
  const pairs = topOf(probabilities(logits), count);
  return { tokens: pairs.map(([token]) => token), probabilities: pairs.map(([, probability]) => digits(probability)) };
}

function save(name, fixture) {
  mkdirSync(folder, { recursive: true });
  // One line per list of numbers keeps diffs readable and files small.
  const text = JSON.stringify(fixture, null, 1).replace(
    /\[\s+([-\d.e,\s]+?)\s+\]/g,
    (_, list) => `[${list.replace(/\s+/g, '')}]`,
  );
  writeFileSync(join(folder, `${name}.json`), `${text}\n`);
  console.log(`${name}.json: ${(text.length / 1024).toFixed(0)} KiB`);
}

async function stories(path) {
  const oracle = await openOracle(path);
  const cases = [];
  for (const text of storyPrompts) {
    const prompt = [oracle.bos, ...oracle.tokenize(text)];
    const { tokens, logits } = await oracle.greedy(prompt, 100);
    cases.push({ text, prompt, tokens, next: top(logits[0], 50) });
  }
  await oracle.dispose();
  save('stories260K', { sha256: sha256(path), cases });
}

/** Steps of a continuation for which the whole distribution is kept. */
const fullSteps = [0, 10, 21, 31];

/** One model in one type: the prompt whose continuation has the clearest choices, and what llama.cpp makes of it. */
async function random(name, dtype, contextLength = 256) {
  const model = randomModel(name);
  const scratch = mkdtempSync(join(tmpdir(), 'vivace-'));
  try {
    const file = join(scratch, 'model.gguf');
    writeRandomGguf(file, model, dtype);
    const oracle = await openOracle(file, { contextLength });
    const best = { gap: 0 };
    for (let attempt = 0; attempt < 60 && best.gap < 0.2; attempt++) {
      const prompt = randomPrompt(model, attempt);
      const { tokens, logits } = await oracle.greedy(prompt, 32);
      const gap = Math.min(...logits.map(margin));
      // Continuations that only repeat themselves would test little.
      if (new Set(tokens).size >= 16 && gap > best.gap) Object.assign(best, { gap, prompt, tokens, logits });
    }
    await oracle.dispose();
    const { prompt, tokens, logits, gap } = best;
    console.log(`${name} ${dtype} ${contextLength}: the two best logits differ by at least ${gap.toFixed(3)}`);
    return {
      model: name,
      dtype,
      contextLength,
      sha256: sha256(file),
      prompt,
      tokens,
      top: logits.map((row) => top(row, 50)),
      full: Object.fromEntries(fullSteps.map((step) => [step, logProbabilities(logits[step])])),
    };
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** 20 ordinary tokens. */
function randomPrompt({ name, vocabulary }, attempt) {
  const [first, last] = randomVocabulary(vocabulary).ordinary;
  const generator = new Generator(attempt, `${name}/prompt`);
  return Array.from({ length: 20 }, () => generator.integer(first, last));
}

/** How far the best logit is above the second. */
function margin(logits) {
  const [first, second] = Float32Array.from(logits).sort().reverse();
  return first - second;
}

/** All natural logarithms, as base64 of little-endian float32. */
function logProbabilities(logits) {
  const values = Float32Array.from(probabilities(logits), Math.log);
  return Buffer.from(values.buffer).toString('base64');
}

async function architectures() {
  const cases = [];
  for (const { name } of randomModels.filter(({ name, config }) => !name.endsWith('-steady') && !config.experts)) {
    for (const dtype of ['F32', 'F16']) cases.push(await random(name, dtype));
  }
  // Beyond the original 256 positions longrope has other factors.
  cases.push(await random('phi3-longrope', 'F32', 512));
  save('architectures', { cases });
}

async function weightTypes() {
  const types = [
    'BF16',
    'Q4_0',
    'Q4_1',
    'Q5_0',
    'Q5_1',
    'Q8_0',
    'Q2_K',
    'Q3_K',
    'Q4_K',
    'Q5_K',
    'Q6_K',
    'IQ4_NL',
    'IQ4_XS',
  ];
  const cases = [];
  for (const dtype of types) cases.push(await random('llama-steady', dtype));
  // Row ranges of a quantised tensor.
  cases.push(await random('phi3-steady', 'Q4_K'));
  save('weight-types', { cases });
}

async function experts() {
  const cases = [];
  for (const { name } of randomModels.filter(({ config }) => config.experts)) {
    const quantised = {
      mixtral: ['Q8_0', 'Q4_0'],
      qwen2moe: ['Q5_1', 'Q4_K'],
      qwen3moe: ['Q6_K', 'IQ4_XS'],
      deepseek: ['Q5_0', 'Q5_K'],
    };
    const types = name.endsWith('-steady') ? quantised[name.replace('-steady', '')] : ['F32', 'F16'];
    for (const dtype of types) cases.push(await random(name, dtype));
  }
  save('experts', { cases });
}

const [storiesPath, only] = process.argv.slice(2);
if (only === 'experts') {
  await experts();
  process.exit(0);
}
if (storiesPath) await stories(storiesPath);
else console.log('stories260K.json is kept as it is: no path to stories260K.gguf was given');
await architectures();
await weightTypes();
await experts();
process.exit(0);
