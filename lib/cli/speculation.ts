// Options of speculative decoding that commands share: by name which drafter, which verifier, and how large drafts are.
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { Datastore } from '../decode/speculation/drafters/datastore.js';
import { tokenizerFingerprint } from '../decode/speculation/drafters/datastore-build.js';
import { datastore, inputCopy, nGram, suffix } from '../decode/speculation/drafters/policies.js';
import type { Drafter } from '../decode/speculation/drafter.js';
import type { SpeculationOptions, Verifier } from '../decode/speculation/options.js';
import type { SpeculationResult } from '../decode/speculation/speculator.js';
import { VivaceError } from '../errors.js';
import type { Tokenizer } from '../formats/tokenizer/tokenizer.js';
import { integer } from './arguments.js';
import { amount, percent } from './quantities.js';

/** A row per drafter that has a name on the command line; `file`: what `--datastore` named. */
const drafters: Readonly<Record<string, (file: Datastore | undefined) => Drafter>> = {
  ngram: () => nGram(),
  suffix: () => suffix(),
  datastore: (file) => datastore(file as Datastore),
  'input-copy': () => inputCopy(),
};
export const drafterNames: readonly string[] = Object.keys(drafters);

const verifiers: Readonly<Record<string, Verifier>> = {
  lossless: 'lossless',
  match: 'match',
  block: 'block',
  typical: { name: 'typical' },
  relaxed: { name: 'relaxed' },
};

export interface SpeculationFlags {
  readonly drafter?: string;
  readonly datastore?: string;
  readonly verifier?: string;
  readonly maxDraft?: number;
  readonly maxNodes?: number;
}

export function addSpeculationOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--drafter <name>', `draft tokens and verify several at once: ${drafterNames.join(', ')}`).argParser(
        (text) => named(text, drafterNames),
      ),
    )
    .option('--datastore <file>', 'what the datastore drafter looks drafts up in (see `vivace datastore build`)')
    .addOption(
      new Option(
        '--verifier <name>',
        'which drafts stay: lossless (default), match, block; typical and relaxed change the text',
      ).argParser((text) => named(text, Object.keys(verifiers))),
    )
    .addOption(
      new Option('--max-draft <count>', 'tokens of a draft from first to last at most (default: 16)').argParser(
        integer(0),
      ),
    )
    .addOption(
      new Option('--max-nodes <count>', 'tokens of a draft at most; more than --max-draft: a tree').argParser(
        integer(0),
      ),
    );
}

/** What the options ask for, or nothing. `dispose` closes what was opened. Throws INVALID_ARGUMENT. */
export async function openSpeculation(
  flags: SpeculationFlags,
  tokenizer: Tokenizer,
): Promise<{ speculation?: SpeculationOptions; dispose: () => void }> {
  const { drafter } = flags;
  if (drafter === undefined) {
    for (const name of ['datastore', 'verifier', 'max-draft', 'max-nodes'] as const) {
      const key = name.replace(/-(.)/, (_, letter: string) => letter.toUpperCase()) as keyof SpeculationFlags;
      if (flags[key] === undefined) continue;
      throw new VivaceError('INVALID_ARGUMENT', `--${name} was given without --drafter`, {
        remedy: `Add --drafter: ${drafterNames.join(', ')}.`,
      });
    }
    return { dispose: () => undefined };
  }
  const { make, dispose } = await openDrafters([drafter], flags.datastore, tokenizer);
  return { speculation: { drafter: make(drafter), ...shapeOf(flags) }, dispose };
}

/** Makes drafters by their names. Throws INVALID_ARGUMENT when a datastore is missing, or there is no use for it. */
export async function openDrafters(
  names: readonly string[],
  path: string | undefined,
  tokenizer: Tokenizer,
): Promise<{ make: (name: string) => Drafter; dispose: () => void }> {
  const wanted = names.includes('datastore');
  if (wanted && path === undefined) {
    throw new VivaceError('INVALID_ARGUMENT', 'The drafter `datastore` needs --datastore with a file', {
      remedy: 'Build one of texts like those that are expected: `vivace datastore build model file texts`.',
    });
  }
  if (!wanted && path !== undefined) {
    throw new VivaceError('INVALID_ARGUMENT', `--datastore is of no use to the drafter \`${names.join(', ')}\``, {
      remedy: 'Use --drafter datastore, or leave --datastore out.',
    });
  }
  const file =
    path === undefined ? undefined : await Datastore.open(path, { fingerprint: tokenizerFingerprint(tokenizer) });
  return { make: (name) => drafters[name](file), dispose: () => file?.dispose() };
}

/** All but the drafter; absent options stay absent, so that defaults are applied once. */
export const shapeOf = ({ verifier, maxDraft, maxNodes }: SpeculationFlags): Omit<SpeculationOptions, 'drafter'> => ({
  ...(verifier === undefined ? {} : { verifier: verifiers[verifier] }),
  ...(maxDraft === undefined ? {} : { maxDraft }),
  ...(maxNodes === undefined ? {} : { maxNodes }),
});

/** The share of drafted tokens that were kept. */
export const acceptanceOf = ({ drafted, accepted }: SpeculationResult): number =>
  drafted === 0 ? 0 : accepted / drafted;

/** `ngram, 3.2 tokens per round, 41 % of 120 drafted tokens kept` */
export const describe = (result: SpeculationResult): string =>
  `${result.drafter}, ${amount(result.tokensPerRound)} tokens per round, ` +
  `${percent(acceptanceOf(result))} of ${result.drafted} drafted tokens kept`;

function named(text: string, names: readonly string[]): string {
  if (names.includes(text)) return text;
  throw new InvalidArgumentError(`Expected one of ${names.join(', ')}.`);
}
