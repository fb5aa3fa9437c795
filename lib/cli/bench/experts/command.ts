// `vivace bench experts`: policies of a mixture that does not fit, measured on a model or simulated, and why they differ.
import { availableParallelism } from 'node:os';
import { Command } from 'commander';
import { VivaceError } from '../../../errors.js';
import { memoryBytes } from '../../../experts/options.js';
import { betterPlacement, comparePolicies, type ComparedPolicy } from '../../../experts/simulate/compare.js';
import { policyNames } from '../../../experts/simulate/policies.js';
import { timelineSvg } from '../../../experts/simulate/timeline.js';
import { traceAccuracy, type RoutingTrace } from '../../../experts/simulate/trace.js';
import { writeFile } from '../../../formats/file.js';
import { openModelFile } from '../../../formats/open.js';
import { addJsonOption, integer } from '../../arguments.js';
import { table } from '../../quantities.js';
import { printJson, progress, say } from '../../terminal.js';
import { measuredNames, measurePolicies } from './measure.js';
import { expertBytes } from './measured.js';
import { listed } from './numbers.js';
import { figures, lastRun, measuredFigures, simulationPage } from './page.js';
import { COSTS, ROUTING, simulationSource, type SourceOptions } from './source.js';

interface Options extends Omit<SourceOptions, 'threads'> {
  readonly simulate?: boolean;
  readonly slots?: number;
  readonly policies: string;
  readonly html?: string;
  readonly expertMemory?: string;
  readonly prompt: number;
  readonly repeat: number;
  readonly threads?: number;
  readonly json?: boolean;
}

export function expertsCommand(): Command {
  const command = new Command('experts')
    .description('policies of a mixture of experts that does not fit: what each waits for, measured or simulated')
    .argument('[model]', 'GGUF file or Hugging Face directory with experts; --simulate needs none')
    .option('--simulate', 'compute times from costs instead of measuring policies')
    .option('--expert-memory <size>', 'measured: memory for experts, as in 2GiB (default: a third of theirs)')
    .option('--expert-rate <bytes>', 'bytes a second that experts are copied with at most', integer(1))
    .option('--prompt <tokens>', 'measured: tokens of the prompt', integer(1), 64)
    .option('--repeat <times>', 'measured: turns, after one that brings the caches in', integer(1), 3)
    .option('--threads <count>', 'threads to compute with (default: one per core)', integer(1))
    .option('--trace <file>', 'simulated: routing that was recorded (writeRouting), instead of drawing it')
    .option('--costs <list>', `simulated without a model: milliseconds of ${listed(COSTS)} (low: as copy)`)
    .option('--routing <list>', `simulated: which experts tokens go to, ${listed(ROUTING)}`)
    .option('--text <text>', 'simulated with a model: what it continues')
    .option('--tokens <count>', 'tokens to decode; simulated, a third of them only warms caches up', integer(3), 90)
    .option('--slots <count>', 'simulated: experts that fit, of all layers together (default: a third)', integer(0))
    .option(
      '--policies <names>',
      `all, or some with commas between: ${policyNames.join(', ')}; measured: ${measuredNames.join(', ')}`,
      'all',
    )
    .option('--html <file>', 'simulated: a page with timelines, too; of a file ending in .svg, the first policy alone')
    .option('--seed <integer>', 'of drawn routing', integer(0), 1);
  addJsonOption(command);
  return command.action((path: string | undefined, options: Options) =>
    options.simulate === true ? simulated(path, options) : measured(path, options),
  );
}

async function measured(path: string | undefined, options: Options): Promise<void> {
  if (path === undefined) {
    throw new VivaceError('INVALID_ARGUMENT', 'Policies are measured on a model', {
      remedy: 'Name a mixture of experts, or add --simulate.',
    });
  }
  const source = openModelFile(path);
  const { experts } = source.config;
  const all = expertBytes(source) * (experts ? experts.count * experts.sparse.filter(Boolean).length : 0);
  const bar = progress('measuring', options.json === true);
  try {
    const result = await measurePolicies({
      path,
      policies: namesOf(options.policies, measuredNames),
      memory: options.expertMemory === undefined ? Math.floor(all / 3) : memoryBytes(options.expertMemory),
      rate: options.expertRate ?? 0,
      prompt: options.prompt,
      generate: options.tokens,
      repeat: options.repeat,
      threads: options.threads ?? availableParallelism(),
      onProgress: (done) => bar.update(done),
    });
    bar.end();
    if (options.json === true) return printJson(result);
    const { resident, slots, experts: count } = result;
    say(
      `${options.prompt} tokens of prompt, ${options.tokens} generated, ${slots} of ${count} experts in memory`,
      'dim',
    );
    process.stdout.write(
      `${table(measuredFigures(result))}\n\nall in memory: prompt ${resident.promptMs.toFixed(1)} ms, ` +
        `${resident.msPerToken.toFixed(2)} ms per token\n`,
    );
  } finally {
    bar.end();
  }
}

async function simulated(path: string | undefined, options: Options): Promise<void> {
  const names = namesOf(options.policies, policyNames);
  const threads = options.threads ?? availableParallelism();
  const { trace, costs, title } = await simulationSource(path, { ...options, threads });
  const layers = trace.steps[0].layers.length;
  const slots = options.slots ?? Math.floor((layers * trace.experts) / 3);
  const compare = { costs, slots, warm: Math.floor(trace.steps.length / 3) };
  // Computing where weights lie costs what somebody says it costs; a file computes nothing.
  const able = names.filter((name) => costs.there !== undefined || !['compute-in-place', 'static'].includes(name));
  const rows = comparePolicies(trace, able, { ...compare, record: options.html !== undefined });
  const accuracy = traceAccuracy(trace).map((one) => one.accuracy);
  const auto = betterPlacement(trace, compare);
  const heading = describe(title, slots, trace);
  if (options.html !== undefined) draw(options.html, rows, heading);
  if (options.json === true) {
    const policies = rows.map(({ simulated: _, ...row }) => row);
    return printJson({ slots, experts: layers * trace.experts, accuracy, auto, policies });
  }
  say(heading, 'dim');
  process.stdout.write(`${table(figures(rows))}\n\nplacement that is faster for fate here: ${auto}\n`);
}

/** Throws INVALID_ARGUMENT. */
function namesOf<T extends string>(list: string, known: readonly T[]): readonly T[] {
  if (list === 'all') return known;
  return [...new Set(list.split(',').map((name) => name.trim()))].map((name) => {
    const found = known.find((one) => one === name);
    if (found !== undefined) return found;
    throw new VivaceError('INVALID_ARGUMENT', `There is no policy of experts \`${name}\` here`, {
      remedy: `Use --policies all, or some of ${known.join(', ')} with commas between.`,
    });
  });
}

const describe = (title: string, slots: number, { steps, used, experts }: RoutingTrace): string =>
  `${steps.length} runs, ${used} of ${experts} experts in each of ${steps[0].layers.length} layers, ${slots} slots; ${title}`;

function draw(file: string, rows: readonly ComparedPolicy[], title: string): void {
  const page = file.endsWith('.svg') ? timelineSvg(rows[0].simulated, lastRun(rows[0])) : simulationPage(title, rows);
  writeFile(file, [Buffer.from(page)]);
}
