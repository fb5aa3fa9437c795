// `npm run bench -- <name> [options]`: runs one of the benches; without a name, lists them.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const benches: Readonly<Record<string, { readonly file: string; readonly about: string }>> = {
  ops: {
    file: 'ops.ts',
    about: 'every op and weight type at realistic sizes, from memory, against the limits of this machine',
  },
  cases: { file: 'cases.ts', about: 'the cases that the tests of all other ops check, against memory bandwidth' },
  overhead: { file: 'overhead.ts', about: 'what a token, a start and a model cost besides the work of kernels' },
  drafters: { file: 'drafters.ts', about: 'drafters without a model: time per draft and token, memory' },
  acceptance: { file: 'acceptance.ts', about: 'how much of a drafter’s drafts the embedded model accepts' },
  speculation: {
    file: 'speculation/speed.ts',
    about: 'decoding with drafters against plain decoding, on models that caches hold and do not',
  },
  offload: {
    file: 'sparse/offload.ts',
    about: 'experts that do not fit into memory: every policy, and the memory that a process takes',
  },
  rounds: {
    file: 'speculation/rounds.ts',
    about: 'what a round with drafts costs besides the passes of the models',
  },
  tokenize: { file: 'tokenize.ts', about: 'tokenizers against llama.cpp' },
  peers: {
    file: 'peers/compare.mjs',
    about: 'whole models against node-llama-cpp, in fresh processes that take turns',
  },
};

const [name = '', ...rest] = process.argv.slice(2);
const bench = benches[name];
if (bench) {
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', join(__dirname, bench.file), ...rest], {
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
} else {
  console.log('Usage: npm run bench -- <name> [options]\n');
  for (const [known, { about }] of Object.entries(benches)) console.log(`  ${known.padEnd(10)} ${about}`);
  process.exitCode = name === '' ? 0 : 1;
}
