// `vivace scale-probe`: what a target accepts of a ladder of drafters, the laws that it follows, and what the next rung would bring.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { Drafter } from '../../decode/speculation/drafter.js';
import { buildDatastore, tokenizerFingerprint } from '../../decode/speculation/drafters/datastore-build.js';
import { textsOfFiles } from '../../decode/speculation/drafters/datastore-texts.js';
import { datastore } from '../../decode/speculation/drafters/policies.js';
import { fitLaw, variedIn, type Measurement } from '../../decode/speculation/scaling/laws.js';
import { nextRungs, type Rung } from '../../decode/speculation/scaling/next-rung.js';
import { VivaceError } from '../../errors.js';
import { readText } from '../../formats/file.js';
import { openModelFile } from '../../formats/open.js';
import { draftModel } from '../../model/draft-model.js';
import { measureAcceptance } from '../../model/evaluation/acceptance.js';
import { loadModel } from '../../model/load.js';
import type { Model } from '../../model/model.js';
import { addJsonOption, addModelOptions, integer, type ModelOptions } from '../arguments.js';
import { interruptible, open, title, type Opened } from '../opened.js';
import { amount, count, table } from '../quantities.js';
import { printJson, progress, say } from '../terminal.js';
import { describeLaw } from './fit-scaling.js';

/** A drafter to measure. `open` gives it, and what closes it. */
interface Candidate {
  readonly name: string;
  readonly tokens?: number;
  readonly parameters?: number;
  readonly open: () => Promise<{ drafter: Drafter; dispose: () => void }>;
}

interface ProbeOptions extends ModelOptions {
  readonly prompts: string;
  readonly ladder?: string;
  readonly draftModels?: readonly string[];
  readonly corpus?: readonly string[];
  readonly maxTokens?: number;
  readonly maxDraft?: number;
  readonly speed?: number;
  readonly save?: string;
  readonly json?: boolean;
}

export function scaleProbeCommand(): Command {
  const command = new Command('scale-probe')
    .description('measure what a model accepts of a ladder of drafters, and fit laws to it')
    .argument('[model]', 'the target: GGUF file or Hugging Face directory (default: the embedded model)')
    .requiredOption('--prompts <file>', 'a prompt per line, or JSON lines with `prompt`')
    .option(
      '--ladder <file>',
      'JSON array of {draftModel, tokens?}, files beside it; training/partners/ladder.py makes one',
    )
    .option('--draft-models <files...>', 'small models with the same vocabulary, by their parameters')
    .option('--corpus <files...>', 'texts to look drafts up in: a thirtieth, a tenth, a third and all of them')
    .option('--max-tokens <count>', 'tokens of an answer at most (default: 64)', integer(4))
    .option('--max-draft <count>', 'tokens of a draft at most (default: 6)', integer(1))
    .addOption(
      new Option('--speed <operations>', 'floating-point operations per second of training: gains per hour').argParser(
        Number,
      ),
    )
    .option('--save <file>', 'write the measurements, for `vivace fit-scaling`');
  return addJsonOption(addModelOptions(command)).action(async (path: string | undefined, options: ProbeOptions) => {
    const prompts = promptsOf(options.prompts);
    const ladders = [options.ladder, options.draftModels, options.corpus].filter((one) => one !== undefined);
    if (ladders.length !== 1) {
      throw new VivaceError(
        'INVALID_ARGUMENT',
        'vivace scale-probe needs one of --ladder, --draft-models and --corpus',
      );
    }
    const opened = await open(path, options, options.json === true);
    const folder = mkdtempSync(join(tmpdir(), 'vivace-probe-'));
    const bar = progress('answering', options.json);
    const interrupt = interruptible();
    try {
      const rungs = options.corpus ? await rungsOfTexts(options.corpus, opened.model, folder) : rungsOfModels(options);
      const measured: (Measurement & { readonly name: string })[] = [];
      for (const [index, { name, open: openDrafter, ...place }] of rungs.entries()) {
        const { drafter, dispose } = await openDrafter();
        try {
          const { maxTokens, maxDraft } = options;
          const got = await measureAcceptance({
            model: opened.model,
            drafter,
            prompts,
            ...(maxTokens === undefined ? {} : { maxTokens }),
            ...(maxDraft === undefined ? {} : { maxDraft }),
            onProgress: (part) => bar.update((index + part) / rungs.length),
            signal: interrupt.signal,
          });
          measured.push({ name, ...place, ...got });
        } finally {
          dispose();
        }
      }
      bar.end();
      if (options.save !== undefined) writeFileSync(options.save, `${JSON.stringify(measured, undefined, 2)}\n`);
      report(measured, opened, options);
    } finally {
      bar.end();
      interrupt.done();
      rmSync(folder, { recursive: true, force: true });
      opened.model.dispose();
    }
  });
}

function report(measured: readonly (Measurement & { name: string })[], opened: Opened, options: ProbeOptions): void {
  const { speed, maxDraft = 6, json } = options;
  const law = fitLaw(variedIn(measured), measured);
  const last = measured[measured.length - 1];
  const next = nextRungs(law, { ...last, target: opened.model.info.parameters, most: maxDraft + 1 });
  const perHour = ({ gain, operations }: Rung): number | undefined =>
    speed === undefined || operations === undefined ? undefined : (gain * 3600 * speed) / operations;
  if (json === true) {
    const { fit: _, ...plain } = law;
    printJson({ measured, law: plain, next: next.map((rung) => ({ ...rung, gainPerHour: perHour(rung) })) });
    return;
  }
  say(title(opened), 'dim');
  const size = (value: number | undefined): string => (value === undefined ? '–' : count(value));
  const rows = measured.map((one) => [one.name, size(one.tokens), size(one.parameters), one.accepted.toFixed(3)]);
  process.stdout.write(
    `${table([['drafter', 'tokens', 'parameters', 'tokens/round'], ...rows])}\n\n${describeLaw(law)}\n\n`,
  );
  const rungs = next.map((rung) => [
    [
      ...(rung.tokens ? [`${count(rung.tokens)} tokens`] : []),
      ...(rung.parameters ? [`${count(rung.parameters)} parameters`] : []),
    ].join(', '),
    amount(rung.accepted),
    amount(rung.gain),
    size(rung.operations),
    ...(speed === undefined ? [] : [amount(perHour(rung) ?? NaN)]),
  ]);
  const heads = ['next rung', 'tokens/round', 'gain', 'operations', ...(speed === undefined ? [] : ['gain/hour'])];
  process.stdout.write(`${table([heads, ...rungs])}\n`);
}

function rungsOfModels({ ladder, draftModels = [] }: ProbeOptions): Candidate[] {
  const listed =
    ladder === undefined
      ? draftModels.map((draft): { draftModel: string; tokens?: number } => ({ draftModel: draft }))
      : readLadder(ladder);
  return listed.map(({ draftModel: file, tokens }) => ({
    name: basename(file),
    ...(tokens === undefined ? {} : { tokens }),
    parameters: parametersOf(file),
    open: async () => {
      const small = await loadModel(file, { threads: 1 });
      return { drafter: draftModel(small, { minProbability: 0 }), dispose: () => small.dispose() };
    },
  }));
}

/** Without embeddings and output matrix, as the law counts. */
function parametersOf(file: string): number {
  const tensors = [...openModelFile(file).tensors].filter(([name]) => !/^(token_embd|output)\.weight$/.test(name));
  return tensors.reduce((sum, [, { shape }]) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

function readLadder(file: string): { draftModel: string; tokens?: number }[] {
  let list: unknown;
  try {
    list = JSON.parse(readText(file));
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
  }
  const rows = (Array.isArray(list) ? list : []) as ({ draftModel?: unknown; tokens?: number } | null)[];
  if (rows.length > 0 && rows.every((one) => typeof one?.draftModel === 'string')) {
    return rows.map((one) => ({ ...one, draftModel: resolve(dirname(file), one?.draftModel as string) }));
  }
  throw new VivaceError('FORMAT_INVALID', `${file} is no JSON array of {draftModel, tokens?}`);
}

/** Datastores of the texts' first tokens: drafters that have read so much. */
async function rungsOfTexts(files: readonly string[], model: Model, folder: string): Promise<Candidate[]> {
  const texts: Int32Array[] = [];
  for await (const { text } of textsOfFiles(files, 'text'))
    texts.push(model.tokenizer.encode(text, { addSpecial: false }));
  const all = texts.reduce((sum, { length }) => sum + length, 0);
  const sizes = [30, 10, 3, 1].map((part) => Math.floor(all / part)).filter((size) => size > 0);
  return sizes.map((size) => ({
    name: `datastore of ${size}`,
    tokens: size,
    open: async () => {
      const file = join(folder, `${size}.store`);
      let left = size;
      const begin = texts.flatMap((text) => {
        const part = text.subarray(0, Math.max(0, left));
        left -= part.length;
        return part.length > 0 ? [part] : [];
      });
      const { tokenizer } = model;
      await buildDatastore(file, begin, { vocab: tokenizer.vocabSize, fingerprint: tokenizerFingerprint(tokenizer) });
      return { drafter: datastore(file), dispose: () => undefined };
    },
  }));
}

/** A prompt per line, or JSON lines with `prompt`. Throws FILE_*, FORMAT_INVALID. */
export function promptsOf(file: string): string[] {
  const lines = readText(file)
    .split('\n')
    .filter((line) => line.trim() !== '');
  const prompts = lines.map((line) => {
    if (!line.startsWith('{')) return line;
    try {
      return (JSON.parse(line) as { prompt?: unknown }).prompt;
    } catch {
      return undefined;
    }
  });
  const wrong = prompts.findIndex((one) => typeof one !== 'string');
  if (prompts.length > 0 && wrong < 0) return prompts as string[];
  const message = prompts.length === 0 ? `${file} has no prompts` : `A line of ${file} has no prompt: ${lines[wrong]}`;
  throw new VivaceError('FORMAT_INVALID', message);
}
