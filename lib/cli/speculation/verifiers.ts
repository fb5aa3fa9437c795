// Which verifier a command asks for, with the settings that some of them have.
import { existsSync } from 'node:fs';
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import type { Verifier } from '../../decode/speculation/options.js';
import { VivaceError } from '../../errors.js';
import type { JudgeHead } from '../../decode/speculation/judge/head.js';
import { places, type Place } from '../../decode/speculation/where.js';
import { loadJudge } from '../../model/judge/head.js';
import { importAutoJudge } from '../../model/judge/import.js';
import { loadReflection, reflectionFileOf } from '../../model/reflection.js';
import type { Model } from '../../model/model.js';
import { integer } from '../arguments.js';

export interface VerifierFlags {
  readonly verifier?: string;
  readonly within?: Place;
  readonly divergenceBound?: number;
  readonly judgeHead?: string;
  readonly judgeThreshold?: number;
  readonly maxJudgedRun?: number;
  readonly reflectSettings?: string;
  readonly alpha?: number;
  readonly reflectPrompt?: string;
  readonly anchorTokens?: number;
  readonly reflectIn?: Place;
}

type Setting = Exclude<keyof VerifierFlags, 'verifier'>;

interface Row {
  /** Options that are for this one alone; the first must be there where `needs`. */
  readonly settings: readonly Setting[];
  readonly needs?: boolean;
  readonly make: (flags: VerifierFlags, model: Model) => Verifier | Promise<Verifier>;
}

/** A row per verifier. */
const verifiers: Readonly<Record<string, Row>> = {
  lossless: { settings: [], make: () => 'lossless' },
  match: { settings: [], make: () => 'match' },
  block: { settings: [], make: () => 'block' },
  typical: { settings: [], make: () => ({ name: 'typical' }) },
  relaxed: {
    settings: ['within'],
    make: ({ within }) => ({ name: 'relaxed', ...(within === undefined ? {} : { within }) }),
  },
  divergence: {
    settings: ['divergenceBound'],
    needs: true,
    make: ({ divergenceBound: bound = 0 }) => ({ name: 'divergence', bound }),
  },
  judge: {
    settings: ['judgeHead', 'judgeThreshold', 'maxJudgedRun'],
    needs: true,
    make: async ({ judgeHead = '', judgeThreshold: threshold, maxJudgedRun }, model) => ({
      name: 'judge',
      head: await openJudge(judgeHead, model),
      ...(threshold === undefined ? {} : { threshold }),
      ...(maxJudgedRun === undefined ? {} : { maxJudgedRun }),
    }),
  },
  reflective: {
    settings: ['reflectSettings', 'alpha', 'reflectPrompt', 'anchorTokens', 'reflectIn'],
    make: ({ reflectSettings, alpha, reflectPrompt: prompt, anchorTokens, reflectIn }, model) => ({
      ...(reflectSettings === undefined ? {} : loadReflection(reflectSettings, model)),
      name: 'reflective',
      ...(alpha === undefined ? {} : { alpha }),
      ...(prompt === undefined ? {} : { prompt }),
      ...(anchorTokens === undefined ? {} : { anchorTokens }),
      ...(reflectIn === undefined ? {} : { reflectIn }),
    }),
  },
};
export const verifierNames: readonly string[] = Object.keys(verifiers);

export function addVerifierOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--verifier <name>',
        'which drafts stay: lossless (default), match, block; ' +
          'typical, relaxed, divergence, judge and reflective change the text',
      ).argParser((text) => {
        if (verifierNames.includes(text)) return text;
        throw new InvalidArgumentError(`Expected one of ${verifierNames.join(', ')}.`);
      }),
    )
    .addOption(
      new Option(
        '--within <where>',
        `where the verifier relaxed is in use: ${places.join(', ')} (the model's, between <think> and </think>); elsewhere lossless`,
      ).argParser(place),
    )
    .addOption(
      new Option(
        '--divergence-bound <nats>',
        'the verifier divergence keeps what was drawn where the laws are nearer than this',
      ).argParser(amountOf),
    )
    .option('--judge-head <file>', 'the head that the verifier judge asks')
    .addOption(
      new Option('--judge-threshold <share>', 'keep what the head finds more probable than this to be right').argParser(
        share,
      ),
    )
    .addOption(
      new Option('--max-judged-run <count>', 'tokens in a row that only the judge keeps, at most').argParser(
        integer(0),
      ),
    )
    .addOption(
      new Option(
        '--alpha <share>',
        'weight of the second reading, for the verifier reflective (default: 0.3)',
      ).argParser(share),
    )
    .option(
      '--reflect-settings <file>',
      'settings of the verifier reflective that `vivace evaluate` found for the model',
    )
    .option('--reflect-prompt <text>', 'what the model is asked before it reads a draft again')
    .addOption(
      new Option('--anchor-tokens <count>', 'tokens before the draft that are read again, too').argParser(integer(0)),
    )
    .addOption(
      new Option('--reflect-in <where>', `where drafts are read again: ${places.join(', ')}`).argParser(place),
    );
}

/** Throws INVALID_ARGUMENT for settings of other verifiers, and for what is missing, before anything is loaded. */
export function checkVerifier(flags: VerifierFlags): void {
  const { verifier = 'lossless' } = flags;
  for (const [name, { settings, needs }] of Object.entries(verifiers)) {
    const given = settings.find((key) => flags[key] !== undefined);
    if (name !== verifier && given !== undefined) {
      throw new VivaceError('INVALID_ARGUMENT', `${flag(given)} is of no use to the verifier \`${verifier}\``, {
        remedy: `Use --verifier ${name}, or leave ${flag(given)} out.`,
      });
    }
    if (name === verifier && needs === true && flags[settings[0]] === undefined) {
      throw new VivaceError('INVALID_ARGUMENT', `The verifier \`${name}\` needs ${flag(settings[0])}`, {
        remedy: `Say which with ${flag(settings[0])}; see --help.`,
      });
    }
  }
}

/** Options that are of no use without drafts. */
export const verifierFlags: readonly (keyof VerifierFlags)[] = [
  'verifier',
  ...Object.values(verifiers).flatMap(({ settings }) => settings),
];

/** A head's own file, or one that AutoJudge exports. */
export async function openJudge(file: string, model: Model): Promise<JudgeHead> {
  return /\.(pkl|pickle)$/.test(file) ? importAutoJudge(file, model) : loadJudge(file, model);
}

/** With the settings that lie beside a model (`reflectionFileOf`), where the verifier reflective is given none of its own. */
export function withFound<T extends VerifierFlags>(flags: T, modelPath: string): T {
  const { verifier, reflectSettings, alpha, reflectPrompt, anchorTokens } = flags;
  const given = [reflectSettings, alpha, reflectPrompt, anchorTokens].some((one) => one !== undefined);
  const file = verifier === 'reflective' && !given ? reflectionFileOf(modelPath) : undefined;
  return file !== undefined && existsSync(file) ? { ...flags, reflectSettings: file } : flags;
}

/** Nothing where nothing was asked for, so that the default is applied once. */
export async function openVerifier(flags: VerifierFlags, model: Model): Promise<{ verifier?: Verifier }> {
  if (flags.verifier === undefined) return {};
  return { verifier: await verifiers[flags.verifier].make(flags, model) };
}

const flag = (key: string): string => `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

function amountOf(text: string): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (value >= 0) return value;
  throw new InvalidArgumentError('Expected a number from 0.');
}

function place(text: string): Place {
  const found = places.find((one) => one === text);
  if (found !== undefined) return found;
  throw new InvalidArgumentError(`Expected one of ${places.join(', ')}.`);
}

function share(text: string): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError('Expected a number from 0 to 1.');
}
