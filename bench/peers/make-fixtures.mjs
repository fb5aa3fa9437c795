// Writes test/fixtures/llama-cpp/*.json: what llama.cpp says about models that the tests can also open.
// Usage: node --import tsx make-fixtures.mjs [stories260K.gguf]
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
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

const [storiesPath] = process.argv.slice(2);
if (storiesPath) await stories(storiesPath);
else console.log('stories260K.json is kept as it is: no path to stories260K.gguf was given');
process.exit(0);
