// `vivace run [model] [prompt]`: continues a text, streams it, and says how fast that was.
import { Command } from 'commander';
import {
  addCacheOptions,
  addGenerationOptions,
  addJsonOption,
  addModelOptions,
  generationOptions,
  modelAndPrompt,
  sessionOptions,
  type CacheFlags,
  type ModelOptions,
} from './arguments.js';
import { statisticsLine } from './bench/experts.js';
import { interruptible, open, title, type Opened } from './opened.js';
import { amount, bandwidth, bytes, percent, table } from './quantities.js';
import {
  addSpeculationOptions,
  checkSpeculation,
  describe,
  draftersOf,
  openSpeculation,
  type SpeculationFlags,
} from './speculation/options.js';
import { withFound } from './speculation/verifiers.js';
import { printJson, say, style } from './terminal.js';
import { bytesPerToken, measureTraffic } from './bench/traffic.js';
import type { GenerateResult } from '../decode/loop.js';
import type { Piece } from '../decode/answer.js';
import type { SpeculationOptions } from '../decode/speculation/options.js';

const DEFAULT_PROMPT = 'Once upon a time';

interface Options extends ModelOptions, SpeculationFlags, CacheFlags {
  readonly prompt?: string;
  readonly json?: boolean;
}

export function runCommand(): Command {
  const command = new Command('run')
    .description('continue a text with a model (the embedded one, if none is named)')
    .argument('[model]', 'GGUF file or Hugging Face directory')
    .argument('[prompt]', `the text to continue (default: "${DEFAULT_PROMPT}")`)
    .option('-p, --prompt <text>', 'the text to continue');
  addJsonOption(addModelOptions(addSpeculationOptions(addCacheOptions(addGenerationOptions(command)))));
  return command.action(async (first: string | undefined, second: string | undefined, options: Options) => {
    const given = modelAndPrompt(
      [first, second].filter((text) => text !== undefined),
      options.prompt,
    );
    checkSpeculation(options, draftersOf(options));
    const opened = await open(given.model, options, options.json === true);
    try {
      const { speculation, dispose } = await openSpeculation(withFound(options, opened.path), opened.model);
      await run(opened, given.prompt ?? DEFAULT_PROMPT, options, speculation).finally(dispose);
    } finally {
      opened.model.dispose();
    }
  });
}

async function run(opened: Opened, prompt: string, options: Options, speculation?: SpeculationOptions): Promise<void> {
  const json = options.json === true;
  const interrupt = interruptible();
  const session = opened.model.createSession(sessionOptions(options));
  const answer = session.generate(prompt, {
    ...generationOptions({ ...options }),
    ...(speculation === undefined ? {} : { speculation }),
    signal: interrupt.signal,
  });
  if (!json) {
    say(title(opened), 'dim');
    if (process.stdout.isTTY === true) process.stdout.write(style(process.stdout, 'bold', prompt));
  }
  const pieces: Piece[] = [];
  let result: GenerateResult;
  try {
    for (;;) {
      const next = await answer.next();
      if (next.done === true) {
        result = next.value;
        break;
      }
      pieces.push(next.value);
      if (!json) process.stdout.write(next.value.text);
    }
  } finally {
    interrupt.done();
  }
  if (json) printResult(result, pieces, opened);
  else {
    process.stdout.write('\n');
    await summarise(result, opened);
  }
}

function printResult(result: GenerateResult, pieces: readonly Piece[], { model, loadMs }: Opened): void {
  const { text, tokens, usage, finishReason, stopString, seed, timings, speculation, experts, offload } = result;
  const logprobs = pieces.flatMap((piece) => piece.logprobs ?? []);
  printJson({
    text,
    tokens,
    promptTokens: usage.promptTokens,
    cachedTokens: usage.cachedTokens,
    sharedTokens: usage.sharedTokens,
    finishReason,
    ...(stopString === undefined ? {} : { stopString }),
    ...(logprobs.length === 0 ? {} : { logprobs }),
    seed,
    ...(speculation === undefined ? {} : { speculation }),
    ...(experts === undefined ? {} : { experts: { plan: model.experts.plan, ...experts } }),
    ...(offload === undefined ? {} : { offload }),
    timings: {
      loadMs,
      prefillMs: timings.promptMs,
      decodeMs: timings.completionMs,
      prefillTokensPerSecond: timings.promptTokensPerSecond,
      decodeTokensPerSecond: timings.completionTokensPerSecond,
    },
  });
}

async function summarise(
  { usage, timings, finishReason, speculation, experts, offload }: GenerateResult,
  opened: Opened,
): Promise<void> {
  const { promptTokens, completionTokens } = usage;
  const speed = timings.completionTokensPerSecond;
  const perToken = bytesPerToken(opened.source, promptTokens + completionTokens / 2);
  const rows = [
    ['prompt', `${promptTokens} tokens`, `${amount(timings.promptTokensPerSecond)} tokens/s`],
    ['decode', `${completionTokens} tokens`, `${amount(speed)} tokens/s`],
  ];
  say(`\n${table(rows)}`, 'dim');
  if (speculation !== undefined) say(`drafts  ${describe(speculation)}`, 'dim');
  if (experts !== undefined) say(`experts ${statisticsLine(experts)}`, 'dim');
  if (offload !== undefined) {
    const there = percent(offload.resident + offload.kept + offload.foreseen);
    say(`offload ${there} of ${offload.rows} rows in memory, ${bytes(offload.bytesRead)} read`, 'dim');
  }
  if (speed === 0) return;
  const traffic = await measureTraffic(perToken, speed);
  const share = `${percent(traffic.fraction)} of the ${bandwidth(traffic.memoryBandwidth)} that this machine's memory gives`;
  const cached = traffic.fraction > 1 ? ' (the weights fit into its caches)' : '';
  say(`memory  ${bandwidth(traffic.bytesPerSecond)}, ${share}${cached}`, 'dim');
  if (finishReason === 'abort') say('stopped', 'yellow');
}
