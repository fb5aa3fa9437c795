// What types of keys and values lose and win. Usage:
//   npm run build && node --import tsx bench/sparse/kv-types.ts loss TEXT [--model FILE] [--tokens 2000] [--texts 4]
//     perplexity of a file's text and how far the next token's distribution is from that with f16 (mean KL divergence), over
//     so many stretches of so many tokens
//   node --import tsx bench/sparse/kv-types.ts speed --model FILE [--tokens 3600] [--generate 16] [--rounds 9] [--threads 2]
//     milliseconds of a decoded token that far into a text, types taking turns
//   [--types f16,q8_0,q4_0,f16+q4_0]: of keys and values, or keys + values
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { loadModel, type CacheType, type Model, type Session } from '../../lib/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string' },
    tokens: { type: 'string' },
    texts: { type: 'string', default: '4' },
    generate: { type: 'string', default: '16' },
    rounds: { type: 'string', default: '9' },
    threads: { type: 'string', default: '2' },
    types: { type: 'string', default: 'f16,q8_0,q4_0' },
  },
});
const types = values.types.split(',');

function sessionOf(model: Model, type: string): Session {
  const [keyType, valueType = keyType] = type.split('+') as CacheType[];
  return model.createSession({ cache: { keyType, valueType } });
}

/** Natural logarithms of probabilities. */
function logSoftmax(logits: Float32Array): Float64Array {
  const largest = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  const sum = logits.reduce((total, value) => total + Math.exp(value - largest), 0);
  return Float64Array.from(logits, (value) => value - largest - Math.log(sum));
}

async function loss(model: Model, path: string): Promise<void> {
  const vocab = model.info.vocabSize;
  const length = Number(values.tokens ?? Math.min(2000, model.info.contextLength - 1));
  const text = model.tokenizer.encode(readFileSync(path, 'utf8').slice(0, 12 * length * Number(values.texts)));
  const sums = types.map(() => ({ surprise: 0, divergence: 0, same: 0 }));
  let count = 0;
  for (let turn = 0; turn < Number(values.texts); ++turn) {
    const tokens = text.slice(turn * length, (turn + 1) * length);
    const sessions = types.map((type) => sessionOf(model, type));
    for (let from = 0; from < tokens.length; from += 64) {
      const part = tokens.slice(from, from + 64);
      const logits = await Promise.all(sessions.map((session) => session.forward(part)));
      for (let i = 0; i < part.length && from + i + 1 < tokens.length; ++i, ++count) {
        const rows = logits.map((all) => logSoftmax(all.subarray(i * vocab, (i + 1) * vocab)));
        const [first] = rows;
        const best = first.indexOf(Math.max(...first));
        rows.forEach((row, type) => {
          sums[type].surprise -= row[tokens[from + i + 1]];
          sums[type].divergence += first.reduce((sum, own, k) => sum + Math.exp(own) * (own - row[k]), 0);
          sums[type].same += row.indexOf(Math.max(...row)) === best ? 1 : 0;
        });
      }
    }
    sessions.forEach((session) => session.dispose());
  }
  console.log(`${count} tokens in ${values.texts} texts`);
  sums.forEach(({ surprise, divergence, same }, type) => {
    const parts = [Math.exp(surprise / count).toFixed(4), (divergence / count).toExponential(2)];
    console.log(
      `${types[type].padEnd(12)} perplexity ${parts[0]}  KL ${parts[1]}  same first ${(same / count).toFixed(4)}`,
    );
  });
}

async function speed(model: Model): Promise<void> {
  const [length, generate] = [Number(values.tokens ?? 3600), Number(values.generate)];
  const tokens = Int32Array.from({ length }, (_, i) => 3 + ((i * 7919) % (model.info.vocabSize - 3)));
  const sessions = types.map((type) => sessionOf(model, type));
  for (const session of sessions)
    for (let at = 0; at < length; at += 512) await session.forward(tokens.slice(at, at + 512));
  const times: number[][] = types.map(() => []);
  for (let round = 0; round < Number(values.rounds); ++round) {
    for (const [type, session] of sessions.entries()) {
      const pieces = session.generate([5], { maxTokens: generate, temperature: 0 });
      for (let next = await pieces.next(); ; next = await pieces.next()) {
        if (!next.done) continue;
        times[type].push(1000 / next.value.timings.completionTokensPerSecond);
        break;
      }
      session.rollback(session.length - length);
    }
  }
  times.forEach((list, type) => {
    const sorted = list.toSorted((a, b) => a - b);
    console.log(
      `${types[type].padEnd(12)} ${sorted[sorted.length >> 1].toFixed(3)} ms (${sorted[0].toFixed(3)} to ${sorted.at(-1)?.toFixed(3)})`,
    );
  });
}

async function main(): Promise<void> {
  const model = await loadModel(values.model ?? 'default', {
    threads: Number(values.threads),
    prefixCache: false,
    device: 'cpu',
  });
  try {
    if (positionals[0] === 'speed') await speed(model);
    else await loss(model, positionals[1]);
  } finally {
    model.dispose();
  }
}

void main();
