// `vivace bench [model]`: prefill and decode speed, repeated, next to what this machine's memory allows.
import { availableParallelism } from 'node:os';
import { Command } from 'commander';
import { VivaceError } from '../../errors.js';
import { addCacheOptions, addJsonOption, addModelOptions, integer, sessionOptions } from '../arguments.js';
import type { CacheFlags, ModelOptions } from '../arguments.js';
import { statisticsLine } from './experts.js';
import { open, title, type Opened } from '../opened.js';
import { amount, bandwidth, bytes, percent, spread, table } from '../quantities.js';
import { printJson, progress, say } from '../terminal.js';
import {
  addSpeculationOptions,
  checkSpeculation,
  describe,
  draftersOf,
  openDrafters,
  openSpeculation,
  shapeOf,
} from '../speculation/options.js';
import { openVerifier, withFound } from '../speculation/verifiers.js';
import type { SpeculationFlags } from '../speculation/options.js';
import { bytesPerToken, measureTraffic } from './traffic.js';
import type { GenerateResult } from '../../decode/loop.js';
import type { SpeculationOptions } from '../../decode/speculation/options.js';
import { writeFile } from '../../formats/file.js';
import { compareDrafters, comparisonTable, namesOf } from './drafters.js';
import { measureProfile, profileTable } from './profile.js';
import { comparisonPage } from './report.js';
import { expertsCommand } from './experts/command.js';

interface Options extends ModelOptions, SpeculationFlags, CacheFlags {
  readonly prompt?: number;
  readonly generate?: number;
  readonly repeat: number;
  readonly profile?: boolean;
  readonly speculation?: string;
  readonly text?: string;
  readonly html?: string;
  readonly json?: boolean;
}

const DEFAULT_PROMPT = 512;
const DEFAULT_GENERATE = 128;
const DEFAULT_TEXT = 'Once upon a time';

export function benchCommand(): Command {
  const command = new Command('bench')
    .description('measure prefill and decode speed')
    .argument('[model]', 'GGUF file or Hugging Face directory (default: the embedded model)')
    .option('--prompt <tokens>', `tokens of the prompt (default: ${DEFAULT_PROMPT}, or what fits)`, integer(1))
    .option('--generate <tokens>', `tokens to generate (default: ${DEFAULT_GENERATE}, or what fits)`, integer(2))
    .option('--repeat <times>', 'measured runs, after one that is not measured', integer(1), 5)
    .option('--profile', 'show where the time goes, op by op, for a token and for the prompt')
    .option('--speculation <names>', 'compare drafters with plain decoding, greedily: all, or names with commas')
    .option('--text <text>', `what --speculation continues (default: "${DEFAULT_TEXT}")`)
    .option('--html <file>', 'write the comparison of --speculation as a page, too');
  addJsonOption(addModelOptions(addCacheOptions(addSpeculationOptions(command))));
  command.enablePositionalOptions().addCommand(expertsCommand()); // its options are its own
  return command.action(async (path: string | undefined, options: Options) => {
    const { speculation: list } = options;
    checkTogether(options);
    const names = list === undefined ? draftersOf(options) : namesOf(list, options);
    checkSpeculation(options, names);
    const opened = await open(path, { repack: 'load', ...options, prefixCache: false }, options.json === true);
    try {
      if (list !== undefined) return await compare(opened, names, options);
      const { speculation, dispose } = await openSpeculation(withFound(options, opened.path), opened.model);
      await bench(opened, options, speculation).finally(dispose);
    } finally {
      opened.model.dispose();
    }
  });
}

/** Throws INVALID_ARGUMENT for options that mean nothing together. */
function checkTogether(options: Options): void {
  const clashes: [boolean, string, string][] = [
    [options.profile === true && options.drafter !== undefined, '--profile measures single tokens', '--drafter'],
    [
      options.profile === true && options.speculation !== undefined,
      '--profile measures single tokens',
      '--speculation',
    ],
    [options.profile === true && options.cache !== undefined, '--profile measures the full cache', '--cache'],
    [options.speculation !== undefined && options.cache !== undefined, '--speculation compares without', '--cache'],
    [options.speculation !== undefined && options.drafter !== undefined, '--speculation names drafters', '--drafter'],
    [options.speculation !== undefined && options.prompt !== undefined, '--speculation continues --text', '--prompt'],
    [options.speculation === undefined && options.text !== undefined, 'Only --speculation continues a text', '--text'],
    [options.speculation === undefined && options.html !== undefined, 'Only --speculation has a page', '--html'],
  ];
  const clash = clashes.find(([found]) => found);
  if (!clash) return;
  throw new VivaceError('INVALID_ARGUMENT', clash[1], { remedy: `Leave out ${clash[2]}.` });
}

async function compare(opened: Opened, names: readonly string[], options: Options): Promise<void> {
  const { model } = opened;
  const prompt = options.text ?? DEFAULT_TEXT;
  const { make, dispose } = await openDrafters(options, model);
  const bar = progress('measuring', options.json === true);
  try {
    const verifier = await openVerifier(withFound(options, opened.path), model);
    const { generate } = lengths(model.info.contextLength, {
      ...options,
      prompt: model.tokenizer.encode(prompt).length,
    });
    const result = await compareDrafters(model, {
      prompt,
      generate,
      repeat: options.repeat,
      drafters: names.map(make),
      shape: ({ name }) => ({ ...shapeOf(options, name), ...verifier }),
      onProgress: (done) => bar.update(done),
    });
    bar.end();
    if (options.html !== undefined) {
      writeFile(options.html, [Buffer.from(comparisonPage(title(opened), prompt, result))]);
    }
    if (options.json === true) return printJson({ model: title(opened), prompt, ...result });
    say(
      `${title(opened)}\n${result.promptTokens} tokens of prompt, ${generate} generated, median of ${result.repeat}`,
      'dim',
    );
    process.stdout.write(`${comparisonTable(result)}\n`);
  } finally {
    bar.end();
    dispose();
  }
}

async function bench(opened: Opened, options: Options, speculation?: SpeculationOptions): Promise<void> {
  const { model } = opened;
  using first = model.createSession(sessionOptions(options)); // texts may be longer than the model's context
  const { prompt, generate } = lengths(first.contextLength, options);
  if (options.profile === true) return showProfile(opened, prompt, generate, options);
  const bar = progress('measuring', options.json === true);
  const prefill: number[] = [];
  const decode: number[] = [];
  let drafts: GenerateResult['speculation'];
  let counted: ReturnType<typeof model.experts.counts>; // before the runs that are measured
  try {
    for (let round = 0; round <= options.repeat; ++round) {
      if (round === 1) counted = model.experts.counts();
      const { timings, speculation: statistics } = await measure(
        opened,
        prompt,
        generate,
        sessionOptions(options),
        speculation,
      );
      bar.update((round + 1) / (options.repeat + 1));
      if (round === 0) continue;
      drafts = statistics; // those of the last run
      prefill.push(timings.promptTokensPerSecond);
      decode.push(timings.completionTokensPerSecond);
    }
  } finally {
    bar.end();
  }
  const last = model.experts.counts();
  const experts = last && model.experts.since(last, counted);
  const result = {
    model: title(opened),
    prompt,
    generate,
    repeat: options.repeat,
    prefillTokensPerSecond: spread(prefill),
    decodeTokensPerSecond: spread(decode),
    ...(await measureTraffic(bytesPerToken(opened.source, prompt + generate / 2), spread(decode).median)),
    ...(drafts === undefined ? {} : { speculation: drafts }),
    ...(experts === undefined ? {} : { experts: { plan: model.experts.plan, ...experts } }),
  };
  if (options.json === true) return printJson(result);
  say(result.model, 'dim');
  const row = (name: string, tokens: number, { min, median, max }: ReturnType<typeof spread>): string[] => [
    name,
    `${tokens} tokens`,
    amount(min),
    amount(median),
    amount(max),
  ];
  const rows = [
    ['tokens/s', '', 'min', 'median', 'max'],
    row('prefill', prompt, result.prefillTokensPerSecond),
    row('decode', generate, result.decodeTokensPerSecond),
  ];
  process.stdout.write(
    `${table(rows)}\n\n` +
      `read per token    ${bytes(result.bytesPerToken)}\n` +
      `read per second   ${bandwidth(result.bytesPerSecond)}\n` +
      `memory bandwidth  ${bandwidth(result.memoryBandwidth)} (measured)\n` +
      `fraction reached  ${percent(result.fraction)}${result.fraction > 1 ? ' (the weights fit into the caches)' : ''}\n${
        drafts === undefined ? '' : `drafts            ${describe(drafts)}\n`
      }${experts === undefined ? '' : `experts           ${statisticsLine(experts)}\n`}`,
  );
}

async function showProfile(opened: Opened, prompt: number, generate: number, options: Options): Promise<void> {
  const threads = options.threads ?? availableParallelism();
  const bar = progress('measuring', options.json === true);
  const phase = { prompt, generate, repeat: options.repeat, threads, onProgress: (done: number) => bar.update(done) };
  const { limits, prefill, decode } = await measureProfile(opened.model, phase).finally(() => bar.end());
  const { repeat } = options;
  if (options.json === true) {
    return printJson({ model: title(opened), prompt, generate, repeat, threads, limits, prefill, decode });
  }
  say(title(opened), 'dim');
  const { bytesPerSecond, int8Operations, floatOperations } = limits;
  process.stdout.write(
    `a token, one of ${generate}\n${profileTable(decode)}\n\n` +
      `a prompt of ${prompt} tokens\n${profileTable(prefill)}\n\n` +
      `limits            ${bandwidth(bytesPerSecond)}, ${amount(int8Operations / 1e9)} G int8 and ` +
      `${amount(floatOperations / 1e9)} G float operations/s (measured, ${threads} threads)\n`,
  );
}

/** What was asked for, or the defaults as far as they fit into the context. */
function lengths(contextLength: number, options: Options): { prompt: number; generate: number } {
  const generate = options.generate ?? Math.max(2, Math.min(DEFAULT_GENERATE, contextLength >> 2));
  const prompt = options.prompt ?? Math.max(1, Math.min(DEFAULT_PROMPT, contextLength - generate));
  if (prompt + generate > contextLength) {
    throw new VivaceError(
      'CONTEXT_FULL',
      `${prompt} prompt tokens and ${generate} to generate exceed the context of ${contextLength} tokens`,
      { remedy: 'Use smaller numbers for --prompt and --generate.' },
    );
  }
  return { prompt, generate };
}

async function measure(
  { model }: Opened,
  prompt: number,
  generate: number,
  cache: ReturnType<typeof sessionOptions>,
  speculation?: SpeculationOptions,
): Promise<GenerateResult> {
  const session = model.createSession(cache);
  try {
    // Any tokens will do; the model must not end before its time.
    const tokens = Int32Array.from({ length: prompt }, (_, index) => (index * 7919 + 13) % model.tokenizer.vocabSize);
    const logitBias = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
    const answer = session.generate(tokens, {
      maxTokens: generate,
      temperature: 0,
      logitBias,
      ...(speculation === undefined ? {} : { speculation }),
    });
    for (;;) {
      const next = await answer.next();
      if (next.done === true) return next.value;
    }
  } finally {
    session.dispose();
  }
}
