// Rows of what a model itself says, for its partners to learn: node outputs.mjs --arrays FOLDER [--rows N] [--file MODEL]
// Each row of 257 tokens is begin-of-text, the begin of a text, a story or an exercise, and what the model says then.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { embeddedModelPath, loadModel } from '../../dist/index.mjs';

const { values: given } = parseArgs({
  options: {
    arrays: { type: 'string' },
    rows: { type: 'string', default: '5000' },
    seed: { type: 'string', default: '29' },
    file: { type: 'string', default: embeddedModelPath() },
  },
});
if (!given.arrays) throw new Error('usage: node outputs.mjs --arrays FOLDER (made by prepare.py) [--rows N] [--seed N]');
const LENGTH = 257;

/** A little-endian uint16 array of numpy's format, version 1. */
function load(name) {
  const bytes = readFileSync(join(given.arrays, `${name}.npy`));
  return new Uint16Array(bytes.buffer.slice(bytes.byteOffset + 10 + bytes.readUInt16LE(8)));
}

function save(name, tokens, shape) {
  let header = `{'descr': '<u2', 'fortran_order': False, 'shape': (${shape.join(', ')}), }`;
  header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + '\n';
  const head = Buffer.alloc(10);
  head.write('\x93NUMPY\x01\x00', 'latin1');
  head.writeUInt16LE(header.length, 8);
  writeFileSync(join(given.arrays, `${name}.npy`), Buffer.concat([head, Buffer.from(header), Buffer.from(tokens.buffer)]));
}

/** mulberry32, as in exercises.py. */
function generator(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const model = await loadModel(given.file, { threads: 1 });
const { bos, eos, eot } = model.tokenizer.special;
const text = load('text');
const stories = load('fresh');
const exercises = load('short-ids');
const starts = [];
stories.forEach((token, at) => token === bos && at + 60 < stories.length && starts.push(at + 1));
const isChat = (tokens) => tokens.includes(eot - 1);

/** The begin of something, without begin-of-text. */
function prompt(next, below) {
  const kind = next();
  if (kind < 0.4) {
    const at = below(text.length - 64);
    return [...text.subarray(at, at + 4 + below(28))];
  }
  if (kind < 0.65) {
    const at = starts[below(starts.length)];
    return [...stories.subarray(at, at + 3 + below(17))];
  }
  const at = below(exercises.length / LENGTH) * LENGTH;
  return [...exercises.subarray(at + 1, at + 4 + below(150))];
}

async function row(seed) {
  const next = generator(seed);
  const below = (count) => Math.floor(next() * count);
  const said = [];
  while (said.length < LENGTH) {
    const begin = [bos, ...prompt(next, below)];
    const temperature = [0, 0, 0, 0.6, 1][below(5)];
    said.push(...begin);
    const maxTokens = Math.min(LENGTH - said.length, 60 + below(200));
    if (maxTokens <= 0) break;
    const session = model.createSession();
    const pieces = session.generate(begin, { maxTokens, temperature, seed: below(2 ** 31) });
    let piece = await pieces.next();
    while (!piece.done) piece = await pieces.next();
    session.dispose();
    said.push(...piece.value.tokens);
    if (piece.value.finishReason !== 'length') said.push(isChat(begin) ? eot : eos);
  }
  return said.slice(0, LENGTH);
}

const count = Number(given.rows);
const tokens = new Uint16Array(count * LENGTH);
const TOGETHER = 32;
for (let first = 0; first < count; first += TOGETHER) {
  const rows = [];
  for (let index = first; index < Math.min(count, first + TOGETHER); index++) {
    rows.push(row(Number(given.seed) * 1000003 + index));
  }
  (await Promise.all(rows)).forEach((said, place) => tokens.set(said, (first + place) * LENGTH));
  if (first % 512 === 0) console.log(`${first} of ${count} rows`);
}
save('outputs', tokens, [count, LENGTH]);
model.dispose();
