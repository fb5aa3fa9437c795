// Experts that do not fit: prompt and decode under each policy, in a process of its own each, and the memory that it took.
// Usage: node --import tsx bench/sparse/offload.ts model.gguf [--memory 390MB] [--rate 2e9] [--prompt 256] [--generate 48] [--policies fate,lru]
//   [--placement uniform] [--repeat 2] [--save name: bench/results/name.json]
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { expertPolicyNames, type ExpertPlacement, type ExpertPolicy } from '../../lib/experts/policies.js';
import { loadModel, openModelFile, planExperts, type ExpertStatistics } from '../../lib/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    memory: { type: 'string' },
    rate: { type: 'string', default: '0' },
    prompt: { type: 'string', default: '256' },
    generate: { type: 'string', default: '48' },
    policies: { type: 'string', default: expertPolicyNames.join(',') },
    placement: { type: 'string' },
    repeat: { type: 'string', default: '2' },
    threads: { type: 'string', default: '2' },
    save: { type: 'string' },
    one: { type: 'string' },
  },
});
const [file] = positionals;
if (file === undefined) throw new Error('A model is missing');

interface Row {
  readonly policy: string;
  readonly prefill: number; // tokens a second, the median
  readonly decode: number;
  readonly peakBytes: number; // of the process's resident memory
  readonly startBytes: number; // before loading
  readonly decodeExperts?: ExpertStatistics;
}

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1];

/** VmRSS or VmHWM of this process. */
const resident = (name: string): number =>
  1024 * Number(new RegExp(`${name}:\\s*(\\d+)`).exec(readFileSync('/proc/self/status', 'latin1'))?.[1]);

async function measure(policy: string): Promise<Row> {
  const startBytes = resident('VmRSS');
  const model = await loadModel(file, {
    device: 'cpu',
    threads: Number(values.threads),
    repack: 'load',
    prefixCache: false,
    ...(policy === 'resident'
      ? {}
      : {
          experts: {
            memory: values.memory as string,
            policy: policy as ExpertPolicy,
            bytesPerSecond: Number(values.rate),
            ...(values.placement ? { placement: values.placement as ExpertPlacement } : {}),
          },
        }),
  });
  const [prefill, decode]: [number[], number[]] = [[], []];
  const generate = Number(values.generate);
  const logitBias = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
  let statistics: ExpertStatistics | undefined;
  for (let round = 0; round <= Number(values.repeat); round++) {
    using session = model.createSession();
    const prompt = Int32Array.from(
      { length: Number(values.prompt) },
      (_, i) => (i * 7919 + 13 + round) % model.tokenizer.vocabSize,
    );
    const answer = session.generate(prompt, { maxTokens: generate, temperature: 0, logitBias });
    await answer.next(); // the prompt and the first token
    const before = model.experts.counts();
    for (;;) {
      const next = await answer.next();
      if (next.done !== true) continue;
      const { timings } = next.value;
      const now = model.experts.counts();
      if (now) statistics = model.experts.since(now, before);
      if (round > 0) {
        prefill.push(timings.promptTokensPerSecond);
        decode.push(timings.completionTokensPerSecond);
      }
      break;
    }
  }
  model.dispose();
  const speeds = { prefill: median(prefill), decode: median(decode) };
  return {
    policy,
    ...speeds,
    startBytes,
    peakBytes: resident('VmHWM'),
    ...(statistics ? { decodeExperts: statistics } : {}),
  };
}

async function main(): Promise<void> {
  if (values.one !== undefined) {
    process.stdout.write(JSON.stringify(await measure(values.one)));
    return;
  }
  const plan = values.memory ? planExperts(openModelFile(file), { memory: values.memory }) : undefined;
  console.log(
    `${file}: experts ${plan?.expertBytes} bytes, budget ${plan?.memory}, slots ${plan?.slots}, rate ${values.rate}`,
  );
  const rows: Row[] = [];
  for (const policy of values.policies.split(',')) {
    const own = [...process.execArgv, __filename, ...process.argv.slice(2), '--one', policy];
    const row = JSON.parse(execFileSync(process.execPath, own, { encoding: 'utf8' })) as Row;
    rows.push(row);
    const { hitRate = 1, accuracy, stallMs = 0, bytesCopied = 0 } = row.decodeExperts ?? {};
    console.log(
      `${policy.padEnd(16)} prompt ${row.prefill.toFixed(1)} t/s, decode ${row.decode.toFixed(1)} t/s, hits ${(100 * hitRate).toFixed(0)} %, ` +
        `predicted ${accuracy === undefined ? '–' : (100 * accuracy).toFixed(0) + ' %'}, ${(bytesCopied / 1e6).toFixed(0)} MB, ` +
        `waited ${stallMs.toFixed(0)} ms, resident at most ${(row.peakBytes / 2 ** 20).toFixed(0)} MiB (${(row.startBytes / 2 ** 20).toFixed(0)} before loading)`,
    );
  }
  if (values.save) {
    const path = join(__dirname, '..', 'results', `${values.save}.json`);
    writeFileSync(
      path,
      `${JSON.stringify({ date: new Date().toISOString(), file, ...values, plan, rows }, null, 2)}\n`,
    );
  }
}

void main();
