// Arguments that commands share: the model, the prompt, where to run, and every option of a generation.
import { existsSync } from 'node:fs';
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { cacheNames, parseCache } from '../caches/parse.js';
import type { CacheOptions } from '../caches/policy.js';
import { generateDefaults, generateOptionNames } from '../decode/options.js';
import type { GenerateOptions } from '../decode/options.js';
import { VivaceError } from '../errors.js';
import type { ExpertOptions } from '../experts/options.js';
import { expertPolicyNames, type ExpertPolicy } from '../experts/policies.js';

type OptionName = Exclude<
  (typeof generateOptionNames)[number],
  'signal' | 'speculation' | 'constraint' | 'prefixCache'
>;

/** One row per option of `GenerateOptions` that makes sense on a command line. Ranges are checked where defaults are. */
const generation: Readonly<Record<OptionName, () => Option>> = {
  maxTokens: () => new Option('-n, --max-tokens <count>', 'tokens to generate at most').argParser(integer(1)),
  temperature: () =>
    option('--temperature <number>', '0: always the most probable token', generateDefaults.temperature),
  topK: () => option('--top-k <count>', 'only so many most probable tokens; 0: all', generateDefaults.topK),
  topP: () =>
    option('--top-p <number>', 'only the most probable tokens that hold this probability', generateDefaults.topP),
  minP: () => option('--min-p <number>', 'only tokens with this share of the best one', generateDefaults.minP),
  typicalP: () => option('--typical-p <number>', 'only tokens of typical surprise that hold this probability', 1),
  repetitionPenalty: () => option('--repetition-penalty <number>', 'above 1: fewer tokens of prompt and answer', 1),
  presencePenalty: () => option('--presence-penalty <number>', 'subtracted for tokens that the answer has', 0),
  frequencyPenalty: () =>
    option('--frequency-penalty <number>', 'subtracted once per time that the answer has the token', 0),
  logitBias: () =>
    new Option('--logit-bias <token=bias>', 'added to the logit of a token, -Infinity bans it; repeatable').argParser(
      bias,
    ),
  seed: () =>
    new Option('--seed <integer>', 'the same seed gives the same text (default: random)').argParser(bigInteger),
  stop: () => new Option('--stop <text>', 'end before this text; repeatable').argParser(collect),
  logprobs: () =>
    new Option('--logprobs [count]', 'report log-probabilities, and of so many alternatives (needs --json)')
      .argParser(integer(0))
      .preset(true),
};

export interface ModelOptions {
  readonly device?: string;
  readonly threads?: number;
  readonly context?: number;
  readonly repack?: string;
  /** False: nothing is kept of texts for others that begin the same. */
  readonly prefixCache?: boolean;
  readonly expertMemory?: string;
  readonly expertPolicy?: string;
  readonly expertRate?: number;
}

export interface CacheFlags {
  readonly cache?: string;
  readonly cacheOptions?: string;
}

export function addModelOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--device <name>',
        'where to run: auto, cpu, cuda or cuda-emulated (the kernels for cards, very slow)',
      ),
    )
    .addOption(new Option('--threads <count>', 'threads to compute with (default: one per core)').argParser(integer(1)))
    .addOption(
      new Option('--context <tokens>', "longest text, prompt and answer (default: the model's)").argParser(integer(1)),
    )
    .addOption(
      new Option(
        '--repack <when>',
        'rewrite weights in the fastest order: background (default), load, or never (they stay in the shared file)',
      ),
    )
    .addOption(
      new Option(
        '--expert-memory <size>',
        'memory for experts, as in 2GiB; the others are read from the file when needed',
      ),
    )
    .addOption(
      new Option('--expert-policy <name>', `which experts stay and are read ahead: ${expertPolicyNames.join(', ')}`),
    )
    .addOption(
      new Option('--expert-rate <bytes>', 'bytes a second that experts are read with at most').argParser(integer(1)),
    );
}

/** Absent where no option speaks of experts. */
export function expertOptions({ expertMemory, expertPolicy, expertRate }: ModelOptions): ExpertOptions | undefined {
  if (expertMemory === undefined && expertPolicy === undefined && expertRate === undefined) return undefined;
  if (expertMemory === undefined) {
    throw new VivaceError(
      'INVALID_ARGUMENT',
      '--expert-policy and --expert-rate are of experts that are not all in memory',
      {
        remedy: 'Give --expert-memory, too.',
      },
    );
  }
  return {
    memory: expertMemory,
    ...(expertPolicy === undefined ? {} : { policy: expertPolicy as ExpertPolicy }),
    ...(expertRate === undefined ? {} : { bytesPerSecond: expertRate }),
  };
}

export function addGenerationOptions(command: Command): Command {
  for (const make of Object.values(generation)) command.addOption(make());
  return command.option('--no-prefix-cache', 'compute every prompt whole, also one that begins like an earlier text');
}

/** For commands with sessions of their own. */
export function addCacheOptions(command: Command): Command {
  const names = cacheNames.map(({ name, what }) => `${name} (${what})`).join(', ');
  return command
    .addOption(new Option('--cache <name>', `what is kept of a text: ${names}; default: full`))
    .addOption(new Option('--cache-options <list>', 'options of --cache, as in sinks=4,recent=1024,keyType=q8_0'));
}

/** Options of sessions. Throws INVALID_ARGUMENT. */
export function sessionOptions({ cache, cacheOptions }: CacheFlags): { cache?: CacheOptions } {
  const parsed = parseCache(cache, cacheOptions);
  return parsed === undefined ? {} : { cache: parsed };
}

export const addJsonOption = (command: Command): Command => command.option('--json', 'print the result as JSON');

/** The generation options among all options of a command; absent ones stay absent, so that defaults are applied once. */
export const generationOptions = (options: Readonly<Record<string, unknown>>): GenerateOptions =>
  Object.fromEntries(
    Object.keys(generation)
      .filter((name) => options[name] !== undefined)
      .map((name) => [name, options[name]]),
  );

/** What is a model among positional arguments: an existing file or directory, or a name that ends in .gguf. */
const isModel = (text: string): boolean => text.endsWith('.gguf') || existsSync(text);

/** `[model] [prompt]` or `[prompt]`; a prompt given by option leaves only the model. */
export function modelAndPrompt(
  positional: readonly string[],
  prompt: string | undefined,
): { model?: string; prompt?: string } {
  const [first, second] = positional;
  if (first === undefined) return { prompt };
  if (second === undefined && !isModel(first)) {
    if (prompt === undefined) return { prompt: first };
    throw twoPrompts(first, prompt);
  }
  if (!isModel(first)) {
    throw new VivaceError('FILE_NOT_FOUND', `There is no model file or directory \`${first}\``, {
      remedy: 'With two arguments the first is the model; put a prompt of several words in quotation marks.',
    });
  }
  if (second !== undefined && prompt !== undefined) throw twoPrompts(second, prompt);
  return { model: first, prompt: second ?? prompt };
}

const twoPrompts = (one: string, other: string): VivaceError =>
  new VivaceError('INVALID_ARGUMENT', `Two prompts were given: ${JSON.stringify(one)} and ${JSON.stringify(other)}`, {
    remedy: 'Give the prompt once, as an argument or with -p.',
  });

const option = (flags: string, description: string, byDefault: number): Option =>
  new Option(flags, `${description} (default: ${byDefault})`).argParser(real);

/** Parser of whole numbers from `least` on. */
export function integer(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`Expected an integer of at least ${least}.`);
    }
    return value;
  };
}

function real(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('Expected a number.');
  return value;
}

function bigInteger(text: string): bigint {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('Expected an integer from 0 to 2^64 − 1.');
  return BigInt(text);
}

const collect = (text: string, previous: readonly string[] | undefined): readonly string[] => [
  ...(previous ?? []),
  text,
];

function bias(text: string, previous: ReadonlyMap<number, number> | undefined): ReadonlyMap<number, number> {
  const [, token, value] = /^(\d+)=(-Infinity|[-+]?[\d.]+(?:e[-+]?\d+)?)$/i.exec(text) ?? [];
  if (token === undefined || Number.isNaN(Number(value))) {
    throw new InvalidArgumentError('Expected token=bias, as in 42=-5.');
  }
  return new Map([...(previous ?? []), [Number(token), Number(value)]]);
}
