// One process of node-llama-cpp: load, prompt, decode; prints its times as JSON. Started by compare.mjs.
const begin = performance.timeOrigin;
const since = () => performance.timeOrigin + performance.now() - begin;
const { path, threads, prompt, generate, depth, flashAttention, cache } = JSON.parse(process.argv[2]);

const { getLlama, LlamaLogLevel } = await import('node-llama-cpp');
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: threads, logLevel: LlamaLogLevel.error });
const imported = since();
const model = await llama.loadModel({ modelPath: path, gpuLayers: 0, useMmap: true });
const context = await model.createContext({
  contextSize: depth + prompt + generate + 64,
  batchSize: 512,
  threads,
  flashAttention,
  experimentalKvCacheKeyType: cache.toUpperCase(),
  experimentalKvCacheValueType: cache.toUpperCase(),
});
const loaded = since();
const sequence = context.getSequence();
const tokens = (count, offset) => Array.from({ length: count }, (_, i) => 300 + ((i * 7919 + offset) % 31000));

// Start: the first token after a short prompt.
for await (const token of sequence.evaluate([1, ...tokens(7, 0)], { temperature: 0, yieldEogToken: true })) {
  if (token !== undefined) break;
}
const firstToken = since();
await sequence.clearHistory();

// Prompt: time to the first token after it.
let mark = performance.now();
for await (const token of sequence.evaluate([1, ...tokens(prompt - 1, 1)], { temperature: 0, yieldEogToken: true })) {
  if (token !== undefined) break;
}
const promptMs = performance.now() - mark;

// Decode: tokens one after the other, after `depth` more tokens of context.
if (depth > 0) await sequence.evaluateWithoutGeneratingNewTokens(tokens(depth, 2));
const times = [];
mark = 0;
for await (const _ of sequence.evaluate([300], { temperature: 0, yieldEogToken: true })) {
  const now = performance.now();
  if (mark > 0) times.push(now - mark);
  mark = now;
  if (times.length >= generate) break;
}
console.log(
  JSON.stringify({
    importMs: imported,
    loadedMs: loaded,
    firstTokenMs: firstToken,
    promptTokensPerSecond: (prompt / promptMs) * 1000,
    tokenMs: times,
    peakBytes: process.resourceUsage().maxRSS * 1024,
  }),
);
process.exit(0);
