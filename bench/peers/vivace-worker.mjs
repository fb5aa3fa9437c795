// One process of vivace: load, prompt, decode; prints its times as JSON. Started by compare.mjs.
import { createRequire } from 'node:module';

const begin = performance.timeOrigin;
const since = () => performance.timeOrigin + performance.now() - begin;
const { path, threads, prompt, generate, depth, cache } = JSON.parse(process.argv[2]);

const { loadModel } = await import('../../dist/index.mjs');
const imported = since();
const model = await loadModel(path, {
  threads,
  contextLength: depth + prompt + generate + 64,
  prefixCache: false,
});
const loaded = since();
const tokens = (count, offset) => Int32Array.from({ length: count }, (_, i) => 300 + ((i * 7919 + offset) % 31000));
// Random weights may draw an end token at any time; it is banned so that both peers do the same work.
const options = {
  temperature: 0,
  logitBias: Object.fromEntries([...model.tokenizer.endOfGeneration].map((id) => [id, -Infinity])),
};
const sessionOptions = { cache: { keyType: cache, valueType: cache } };

const start = model.createSession(sessionOptions);
for await (const _ of start.generate(Int32Array.of(1, ...tokens(7, 0)), { ...options, maxTokens: 1 }));
const firstToken = since();
start.dispose();

// Like the peer, which does it before the first token.
await model.repack();
const session = model.createSession(sessionOptions);
const mark = performance.now();
for await (const _ of session.generate(Int32Array.of(1, ...tokens(prompt - 1, 1)), { ...options, maxTokens: 1 }));
const promptMs = performance.now() - mark;

if (depth > 0) for await (const _ of session.generate(tokens(depth, 2), { ...options, maxTokens: 1 }));
// Tokens come in bursts (JavaScript is woken once for many rounds): only time and tokens of all of them tell the speed.
let [first, last, done] = [0, 0, 0];
for await (const piece of session.generate(Int32Array.of(300), { ...options, maxTokens: generate + 1 })) {
  last = performance.now();
  if (first === 0) first = last;
  else done += piece.tokens.length;
}
const rowsMs = await timesOfRows();
const { openModelFile } = createRequire(import.meta.url)('../../dist/formats/open.js');
const { bytesPerToken } = createRequire(import.meta.url)('../../dist/cli/bench/traffic.js');
console.log(
  JSON.stringify({
    bytesPerToken: bytesPerToken(openModelFile(path), prompt + depth + generate / 2, cache.toUpperCase()),
    importMs: imported,
    loadedMs: loaded,
    firstTokenMs: firstToken,
    promptTokensPerSecond: (prompt / promptMs) * 1000,
    tokenMs: [(last - first) / done],
    rowsMs,
    generated: done,
    peakBytes: process.resourceUsage().maxRSS * 1024,
  }),
);
process.exit(0);

/** Milliseconds of a run that verifies so many drafted tokens: that many rows of one sequence, a draw after each. */
async function timesOfRows() {
  const { executor } = model;
  const { kv, sequence } = session.seat;
  const past = kv.length(sequence);
  const all = Object.fromEntries([1, 4, 8].map((rows) => [rows, []]));
  const drawing = {
    topK: 0,
    topP: 1,
    minP: 0,
    typicalP: 1,
    repetitionPenalty: 1,
    presencePenalty: 0,
    frequencyPenalty: 0,
  };
  const greedy = { ...drawing, temperature: 0, logitBias: new Map(), seed: 1n, logprob: false, topLogprobs: 0 };
  const samplers = Array.from({ length: 8 }, () => executor.createSampler({ ...greedy, vocab: model.info.vocabSize }));
  for (let round = -2; round < 15; ++round) {
    for (const [rows, times] of Object.entries(all)) {
      const count = Number(rows);
      const begin = performance.now();
      await executor.run(kv, {
        tokens: tokens(count, round + 9),
        positions: Int32Array.from({ length: count }, (_, i) => past + i),
        sequences: new Int32Array(count).fill(sequence),
        outputs: Int32Array.from({ length: count }, (_, i) => i),
        samplers: samplers.slice(0, count),
      });
      if (round >= 0) times.push(performance.now() - begin);
      kv.truncate(sequence, past);
    }
  }
  const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
  return Object.fromEntries(Object.entries(all).map(([rows, times]) => [rows, median(times)]));
}
