// One peer of depth.mjs: reads `depth` tokens, then decodes some more for every line on its input, and prints the
// median time of a token.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const request = JSON.parse(process.argv[2]);
const { path, threads, depth, cache, generate, rounds } = request;
const tokens = Array.from({ length: depth }, (_, i) => 300 + ((i * 7919) % 31000));
const contextLength = depth + rounds * (generate + 2) + 64;
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

const { prefill, decode, bytesPerToken } = await { vivace, llama }[request.peer]();
const begin = performance.now();
await prefill();
print({ prefillMs: performance.now() - begin, bytesPerToken });
for await (const _ of createInterface(process.stdin)) {
  const times = [];
  let mark = 0;
  for await (const _ of decode()) {
    const now = performance.now();
    if (mark > 0) times.push(now - mark);
    mark = now;
    if (times.length === generate) break;
  }
  print({ milliseconds: median(times) });
}

async function vivace() {
  const { loadModel } = await import('../../dist/index.mjs');
  const require = createRequire(import.meta.url);
  const { openModelFile } = require('../../dist/formats/open.js');
  const { bytesPerToken: count } = require('../../dist/cli/bench/traffic.js');
  const model = await loadModel(path, { threads, contextLength, repack: 'load', prefixCache: false });
  const session = model.createSession({ cache: { keyType: cache, valueType: cache } });
  // Random weights may draw an end token at any time; it is banned so that both peers do the same work.
  const logitBias = Object.fromEntries([...model.tokenizer.endOfGeneration].map((id) => [id, -Infinity]));
  const options = { temperature: 0, logitBias };
  return {
    bytesPerToken: count(openModelFile(path), depth + (rounds * generate) / 2, cache.toUpperCase()),
    async prefill() {
      for await (const _ of session.generate(Int32Array.from(tokens), { ...options, maxTokens: 1 }));
    },
    decode: () => session.generate(Int32Array.of(300), { ...options, maxTokens: generate + 1 }),
  };
}

async function llama() {
  const { getLlama, LlamaLogLevel } = await import('node-llama-cpp');
  const instance = await getLlama({ gpu: false, build: 'never', maxThreads: threads, logLevel: LlamaLogLevel.error });
  const model = await instance.loadModel({ modelPath: path, gpuLayers: 0, useMmap: true });
  const context = await model.createContext({
    contextSize: contextLength,
    batchSize: 512,
    threads,
    flashAttention: request.flashAttention,
    experimentalKvCacheKeyType: cache.toUpperCase(),
    experimentalKvCacheValueType: cache.toUpperCase(),
  });
  const sequence = context.getSequence();
  return {
    prefill: () => sequence.evaluateWithoutGeneratingNewTokens(tokens),
    decode: () => sequence.evaluate([300], { temperature: 0, yieldEogToken: true }),
  };
}
