// `vivace evaluate`: answers to a task by the model alone, by lossless drafts, and by a verifier that changes the text, over its
// settings; and the settings that lose no more than is allowed, kept in a file.
import { Command, InvalidArgumentError, Option } from 'commander';
import { readFileSync } from 'node:fs';
import type { GenerateOptions } from '../../decode/options.js';
import type { JudgeHead } from '../../decode/speculation/judge/head.js';
import type { SpeculationOptions, Verifier } from '../../decode/speculation/options.js';
import { defaultPrompt } from '../../decode/speculation/reflective/options.js';
import { VivaceError } from '../../errors.js';
import { fileError } from '../../formats/file.js';
import { readCases } from '../../model/evaluation/cases.js';
import { bestRow, evaluate, type EvaluationRow } from '../../model/evaluation/evaluate.js';
import { saveJudge } from '../../model/judge/head.js';
import type { Model } from '../../model/model.js';
import { saveReflection } from '../../model/reflection.js';
import {
  addGenerationOptions,
  addJsonOption,
  addModelOptions,
  generationOptions,
  type ModelOptions,
} from '../arguments.js';
import { open, title } from '../opened.js';
import { amount, percent, table } from '../quantities.js';
import { printJson, progress, say } from '../terminal.js';
import {
  addSpeculationOptions,
  checkSpeculation,
  draftersOf,
  openDrafters,
  shapeOf,
  type SpeculationFlags,
} from '../speculation/options.js';
import { needleCommand } from './needle.js';
import { perplexityCommand } from './perplexity.js';
import { openJudge, openVerifier } from '../speculation/verifiers.js';

interface Options extends ModelOptions, SpeculationFlags {
  readonly cases?: string;
  readonly thresholds?: readonly number[];
  readonly alphas?: readonly number[];
  readonly anchors?: readonly number[];
  readonly reflectPrompts?: string;
  readonly allowLoss: number;
  readonly save?: string;
  readonly json?: boolean;
}

/** A way to verify, and how it is kept in a file if it is chosen. */
interface Way {
  readonly name: string;
  readonly verifier: Verifier;
  readonly save?: (file: string, row: EvaluationRow, sampling: GenerateOptions) => void;
}

const THRESHOLDS = [1, 0.99, 0.95, 0.9, 0.8, 0.5, 0.2, 0.1];
const ALPHAS = [0, 0.1, 0.2, 0.3, 0.5];
const ANCHORS = [0, 4];

export function evaluateCommand(): Command {
  const command = new Command('evaluate')
    .alias('eval')
    .enablePositionalOptions()
    .addCommand(needleCommand())
    .addCommand(perplexityCommand())
    .description('measure answers and speed with a verifier that changes the text, and choose its settings')
    .argument('[model]', 'GGUF file or Hugging Face directory (default: the embedded model)')
    .option('--cases <file>', 'a task: a JSON object per line, {prompt, checker}; see docs/systems/judge.md')
    .addOption(new Option('--thresholds <list>', 'of the verifier judge, with commas').argParser(shares))
    .addOption(new Option('--alphas <list>', 'of the verifier reflective, with commas').argParser(shares))
    .addOption(new Option('--anchors <list>', 'of the verifier reflective: numbers of tokens').argParser(integers))
    .option('--reflect-prompts <file>', 'of the verifier reflective: a JSON array of requests')
    .addOption(
      new Option('--allow-loss <share>', 'of right answers that the chosen setting may lose')
        .argParser(share)
        .default(0.002),
    )
    .option('--save <file>', 'write the chosen settings: the head with its threshold, or reflect.json');
  addJsonOption(addModelOptions(addSpeculationOptions(addGenerationOptions(command))));
  return command.action(async (path: string | undefined, options: Options) => {
    const { cases: file } = options;
    if (file === undefined) {
      throw new VivaceError('INVALID_ARGUMENT', 'vivace evaluate needs --cases, the file of a task', {
        remedy: 'What needs no task is `vivace evaluate needle`, and `vivace evaluate perplexity`.',
      });
    }
    const [drafter] = draftersOf(options);
    if (drafter === undefined) {
      throw new VivaceError('INVALID_ARGUMENT', 'vivace evaluate needs --drafter', { remedy: 'For instance ngram.' });
    }
    checkSpeculation(options, [drafter]);
    const cases = readCases(file);
    const opened = await open(path, options, options.json === true);
    const { make, dispose } = await openDrafters(options, opened.model);
    const bar = progress('answering', options.json);
    try {
      const ways = await waysOf(options, opened.model);
      // Every draft is verified: what pays on this machine is no matter of answers.
      const shape = { adaptive: false, ...shapeOf(options, drafter), drafter: make(drafter) };
      const speculation = ({ verifier }: Way): SpeculationOptions => ({ ...shape, verifier });
      const generate = { temperature: 0, maxTokens: 128, seed: 1, ...generationOptions({ ...options }) };
      const rows = await evaluate({
        model: opened.model,
        cases,
        settings: ways.map((way) => ({ name: way.name, speculation: speculation(way) })),
        generate,
        onProgress: (fraction) => bar.update(fraction),
      });
      bar.end();
      const lossy = ways.filter(({ save }) => save !== undefined);
      const chosen = bestRow(
        rows.filter(({ name }) => lossy.some((way) => way.name === name)),
        options.allowLoss,
      );
      const way = lossy.find(({ name }) => name === chosen?.name);
      if (options.save !== undefined) {
        if (!chosen || !way) throw nothingToSave(options);
        way.save?.(options.save, chosen, generate);
      }
      if (options.json === true)
        printJson({ cases: cases.length, generate, rows, ...(chosen ? { chosen: chosen.name } : {}) });
      else {
        say(title(opened), 'dim');
        process.stdout.write(`${report(rows, cases.length, generate)}\n`);
        if (chosen) process.stdout.write(`\nchosen: ${chosen.name}\n`);
      }
    } finally {
      bar.end();
      dispose();
      opened.model.dispose();
    }
  });
}

/** Lossless drafts first, then the verifier by its settings. */
async function waysOf(options: Options, model: Model): Promise<Way[]> {
  const lossless: Way = { name: 'lossless', verifier: 'lossless' };
  const { verifier: name } = options;
  if (name === 'judge') {
    const head = await openJudge(options.judgeHead as string, model);
    return [lossless, ...judges(options, head)];
  }
  if (name === 'reflective') return [lossless, ...readings(options, model)];
  if (name === undefined || name === 'lossless') return [lossless];
  const { verifier = 'lossless' } = await openVerifier(options, model);
  return [lossless, { name, verifier }];
}

function judges({ thresholds, judgeThreshold, maxJudgedRun }: Options, head: JudgeHead): Way[] {
  const list = thresholds ?? (judgeThreshold === undefined ? THRESHOLDS : [judgeThreshold]);
  return list.map((threshold) => ({
    name: `judge ${threshold}`,
    verifier: { name: 'judge', head, threshold, ...(maxJudgedRun === undefined ? {} : { maxJudgedRun }) },
    save: (file) => saveJudge(file, { ...head, threshold }),
  }));
}

/** Drafts are always read twice: what is measured is not what the clock makes of it. */
function readings(options: Options, model: Model): Way[] {
  const { alphas, alpha, anchors, anchorTokens, reflectPrompt, reflectPrompts, reflectIn } = options;
  const where = reflectIn === undefined ? {} : { reflectIn };
  const prompts = reflectPrompts === undefined ? [reflectPrompt ?? defaultPrompt] : requests(reflectPrompts);
  return prompts.flatMap((prompt) =>
    (anchors ?? (anchorTokens === undefined ? ANCHORS : [anchorTokens])).flatMap((anchor) =>
      (alphas ?? (alpha === undefined ? ALPHAS : [alpha])).map((weight): Way => {
        const settings = { alpha: weight, anchorTokens: anchor, prompt, ...where };
        const request = prompts.length > 1 ? ` after ${JSON.stringify(prompt)}` : '';
        return {
          name: `reflective ${weight}, anchor of ${anchor}${request}`,
          verifier: { name: 'reflective', ...settings, autoSkip: false },
          save: (file, row, sampling) => {
            const { temperature, maxTokens } = sampling;
            saveReflection(file, model, settings, { ...row, cases: options.cases, temperature, maxTokens });
          },
        };
      }),
    ),
  );
}

function requests(file: string): string[] {
  let list: unknown;
  try {
    list = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    if (cause instanceof SyntaxError) list = undefined;
    else throw fileError(file, cause);
  }
  if (Array.isArray(list) && list.length > 0 && list.every((one) => typeof one === 'string')) return list as string[];
  throw new VivaceError('FORMAT_INVALID', `${file} is no JSON array of texts`);
}

function report(
  rows: readonly EvaluationRow[],
  cases: number,
  { temperature, seed, maxTokens }: GenerateOptions,
): string {
  const signed = (value: number): string => `${value < 0 ? '−' : '+'}${amount(Math.abs(100 * value))}`;
  const lines = rows.map((row) => [
    row.name,
    percent(row.right),
    `${signed(row.difference.mean)} (${signed(row.difference.low)} to ${signed(row.difference.high)})`,
    row.tokensPerRound.toFixed(2),
    amount(row.tokensPerSecond),
    amount(row.length),
    percent(row.judged),
  ]);
  const heads = ['verifier', 'right', 'difference (95 %)', 'tokens/round', 'tokens/s', 'tokens/answer', 'judged'];
  const warned = rows.some(({ judged }) => judged > 0.5)
    ? '\nMost of some answers is kept by the judge alone: they are the drafter’s.'
    : '';
  return (
    `${cases} cases, temperature ${temperature}, seed ${seed}, at most ${maxTokens} tokens; all other settings of drawing as given; every draft is verified.\n` +
    `${table([heads, ...lines])}${warned}`
  );
}

const nothingToSave = ({ verifier = 'lossless', allowLoss }: Options): VivaceError =>
  verifier === 'judge' || verifier === 'reflective'
    ? new VivaceError(
        'INVALID_ARGUMENT',
        `No setting loses at most ${100 * allowLoss} % of right answers: nothing was saved`,
        {
          remedy: 'Allow more with --allow-loss, or measure other settings.',
        },
      )
    : new VivaceError('INVALID_ARGUMENT', `The verifier \`${verifier}\` has no settings to save`, {
        remedy: 'Leave --save out, or use --verifier judge or reflective.',
      });

function share(text: string): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError('Expected numbers from 0 to 1.');
}
const shares = (text: string): number[] => text.split(',').map(share);

function integers(text: string): number[] {
  const values = text.split(',').map((part) => (/^\d+$/.test(part.trim()) ? Number(part) : NaN));
  if (values.every((value) => value <= 16)) return values;
  throw new InvalidArgumentError('Expected integers from 0 to 16.');
}
