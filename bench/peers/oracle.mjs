// Asks llama.cpp, through node-llama-cpp, what follows given tokens: logits after each of them, and a greedy continuation.
// As a command: node oracle.mjs model.gguf '{"prompt":[1,2,3],"count":8}' prints tokens and top probabilities as JSON.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

let llama;

/**
 * Opens a model on the CPU: no flash attention, keys and values in F16, and one thread: for tiny models llama.cpp spends its
 * time waiting for the others (2 ms a token alone, up to 300 ms with two threads on a busy machine of two cores).
 */
export async function openOracle(path, { contextLength = 256 } = {}) {
  const problems = [];
  llama ??= await getLlama({
    gpu: false,
    build: 'never',
    maxThreads: 2,
    logLevel: LlamaLogLevel.warn,
    logger: () => {},
  });
  llama.logger = (level, message) => {
    if (level === 'error' || level === 'fatal') problems.push(message.trim());
  };
  try {
    const model = await llama.loadModel({ modelPath: resolve(path), gpuLayers: 0, useMmap: true });
    const context = await model.createContext({
      contextSize: contextLength,
      batchSize: contextLength,
      threads: 1,
      flashAttention: false,
      swaFullCache: true,
    });
    return new Oracle(model, context);
  } catch (cause) {
    throw new Error(`llama.cpp refuses ${path}: ${problems.join('; ') || cause.message}`, { cause });
  }
}

class Oracle {
  constructor(model, context) {
    this.model = model;
    this.context = context;
  }

  /** Token ids of a text, without special ones. */
  tokenize(text) {
    return [...this.model.tokenize(text, false)];
  }

  get bos() {
    return this.model.tokens.bos;
  }

  /** Greedy continuation: `tokens` (count) and `logits`, one Float32Array [vocab] per token, from which it was chosen. */
  async greedy(prompt, count) {
    const sequence = this.context.getSequence();
    const tokens = [];
    const logits = [];
    try {
      let input = prompt;
      while (tokens.length < count) {
        const row = (await evaluate(sequence, input)).at(-1);
        logits.push(row);
        tokens.push(argmax(row));
        input = tokens.slice(-1);
      }
    } finally {
      sequence.dispose();
    }
    return { tokens, logits };
  }

  async dispose() {
    await this.context.dispose();
    await this.model.dispose();
  }
}

/** Logits after the last token of `input`. */
async function evaluate(sequence, input) {
  const items = input.map((token, index) =>
    index === input.length - 1 ? [token, { generateNext: { logits: true, options: { temperature: 0 } } }] : token,
  );
  const results = await sequence.controlledEvaluate(items);
  return results.filter(Boolean).map(({ next }) => {
    const row = new Float32Array(next.logits.size);
    for (const [token, logit] of next.logits) row[token] = logit;
    return row;
  });
}

function argmax(row) {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i] > row[best]) best = i;
  return best;
}

/** Softmax in float64. */
export function probabilities(logits) {
  const top = Math.max(...logits);
  const weights = Float64Array.from(logits, (logit) => Math.exp(logit - top));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** The `count` most probable tokens as [token, probability], most probable first. */
export function topOf(distribution, count) {
  return Array.from(distribution, (probability, token) => [token, probability])
    .sort((a, b) => b[1] - a[1] || a[0] - b[0])
    .slice(0, count);
}

async function main([path, request]) {
  const { prompt, text, count = 16, top = 10 } = JSON.parse(request);
  const oracle = await openOracle(path);
  const input = prompt ?? [oracle.bos, ...oracle.tokenize(text)];
  const { tokens, logits } = await oracle.greedy(input, count);
  await oracle.dispose();
  const steps = logits.map((row) => topOf(probabilities(row), top));
  console.log(JSON.stringify({ prompt: input, tokens, steps }));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(process.argv.slice(2));
  process.exit(0);
}
