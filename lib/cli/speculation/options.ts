// Options of speculative decoding that commands share: by name which drafter, which verifier, and how large drafts are.
import { existsSync } from 'node:fs';
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { Datastore } from '../../decode/speculation/drafters/datastore.js';
import { tokenizerFingerprint } from '../../decode/speculation/drafters/datastore-build.js';
import { exactnessWords, type Exactness } from '../../decode/speculation/drafters/cross-vocabulary/policy.js';
import { datastore, inputCopy, lookahead, nGram, suffix } from '../../decode/speculation/drafters/policies.js';
import type { Drafter } from '../../decode/speculation/drafter.js';
import type { SpeculationOptions } from '../../decode/speculation/options.js';
import type { SpeculationResult } from '../../decode/speculation/result.js';
import { VivaceError } from '../../errors.js';
import { crossVocabulary } from '../../model/cross-vocabulary.js';
import { AcceptanceProfile } from '../../decode/speculation/trees/acceptance-profile.js';
import { draftModel, draftTree } from '../../model/draft-model.js';
import { kindOfHead } from '../../formats/hugging-face/heads/directory.js';
import { eagle } from '../../model/eagle.js';
import type { HeadDrafter } from '../../model/head-runs.js';
import { medusa } from '../../model/medusa.js';
import type { Model } from '../../model/model.js';
import { integer, type ModelOptions } from '../arguments.js';
import { open } from '../opened.js';
import { amount, percent } from '../quantities.js';
import { addVerifierOptions, checkVerifier, openVerifier, verifierFlags, type VerifierFlags } from './verifiers.js';

/** What a drafter may need besides its name. */
interface Needs {
  readonly datastore: Datastore;
  readonly model: Model;
  /** Opens the head, once. */
  readonly head: (open: typeof eagle | typeof medusa) => Drafter;
  readonly exactness: Exactness;
  readonly profile: AcceptanceProfile;
}

interface Row {
  /** The option that must be there, and for nobody else. */
  readonly needs?: 'datastore' | 'draftModel' | 'draftHead';
  /** One that may be there. */
  readonly takes?: 'exactness' | 'draftProfile';
  /** Only where it is named, not among `all`. */
  readonly named?: boolean;
  readonly make: (needs: Partial<Needs>) => Drafter;
}

/** A row per drafter that has a name on the command line. */
const drafters: Readonly<Record<string, Row>> = {
  ngram: { make: () => nGram() },
  suffix: { make: () => suffix() },
  datastore: { needs: 'datastore', make: (needs) => datastore(needs.datastore as Datastore) },
  'input-copy': { make: () => inputCopy() },
  lookahead: { make: () => lookahead() },
  'draft-model': { needs: 'draftModel', make: (needs) => draftModel(needs.model as Model) },
  'draft-tree': {
    needs: 'draftModel',
    takes: 'draftProfile',
    make: ({ model, profile }) => draftTree(model as Model, profile ? { profile } : {}),
  },
  'cross-vocabulary': {
    needs: 'draftModel',
    takes: 'exactness',
    named: true,
    make: ({ model, exactness }) => crossVocabulary(model as Model, exactness === undefined ? {} : { exactness }),
  },
  eagle: { needs: 'draftHead', make: ({ head }) => (head as Needs['head'])(eagle) },
  medusa: { needs: 'draftHead', make: ({ head }) => (head as Needs['head'])(medusa) },
};
export const drafterNames: readonly string[] = Object.keys(drafters);

/** Names of those that have what they need. */
export const possibleDrafters = (flags: SpeculationFlags): readonly string[] =>
  drafterNames.filter((name) => {
    const { needs, named: byName } = drafters[name];
    const other = flags.draftHead !== undefined && needs === 'draftHead' && kindOfHead(flags.draftHead) !== name;
    return byName !== true && !other && (needs === undefined || flags[needs] !== undefined);
  });

export interface SpeculationFlags extends VerifierFlags {
  readonly drafter?: string;
  readonly datastore?: string;
  readonly draftModel?: string;
  readonly exactness?: Exactness;
  readonly draftHead?: string;
  readonly draftProfile?: string;
  readonly maxDraft?: number;
  readonly maxNodes?: number;
}

export function addSpeculationOptions(command: Command): Command {
  return addVerifierOptions(command)
    .addOption(
      new Option('--drafter <name>', `draft tokens and verify several at once: ${drafterNames.join(', ')}`).argParser(
        (text) => named(text, drafterNames),
      ),
    )
    .option('--datastore <file>', 'what the drafter datastore looks drafts up in (see `vivace datastore build`)')
    .option(
      '--draft-model <model>',
      'a small model for the drafters draft-model, draft-tree (same vocabulary) and cross-vocabulary (any); alone: draft-model',
    )
    .addOption(
      new Option(
        '--exactness <how>',
        `how the drafter cross-vocabulary drafts: ${exactnessWords.join(', ')}`,
      ).argParser((text) => named(text, exactnessWords)),
    )
    .option(
      '--draft-profile <file>',
      'how often drafted tokens were kept, for the drafter draft-tree: read, and written with what it learns',
    )
    .option('--draft-head <directory>', 'what was trained for the model, for the drafters eagle and medusa')
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

const flag = (key: string): string => `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** Throws INVALID_ARGUMENT for options that need others, before anything is loaded. */
export function checkSpeculation(flags: SpeculationFlags, names: readonly string[]): void {
  if (names.length === 0) {
    const lonely = (
      ['datastore', 'draftHead', 'exactness', 'draftProfile', ...verifierFlags, 'maxDraft', 'maxNodes'] as const
    ).find((key) => flags[key] !== undefined);
    if (lonely === undefined) return;
    throw new VivaceError('INVALID_ARGUMENT', `${flag(lonely)} was given without --drafter`, {
      remedy: `Add --drafter: ${drafterNames.join(', ')}.`,
    });
  }
  checkVerifier(flags);
  for (const name of names) {
    const { needs } = drafters[name];
    if (needs === undefined || flags[needs] !== undefined) continue;
    throw new VivaceError('INVALID_ARGUMENT', `The drafter \`${name}\` needs ${flag(needs)}`, {
      remedy: `Say which with ${flag(needs)}; see --help.`,
    });
  }
  for (const key of ['datastore', 'draftModel', 'exactness', 'draftProfile'] as const) {
    const users = drafterNames.filter((name) => drafters[name].needs === key || drafters[name].takes === key);
    if (flags[key] === undefined || users.some((name) => names.includes(name))) continue;
    throw new VivaceError('INVALID_ARGUMENT', `${flag(key)} is of no use to the drafter \`${names.join(', ')}\``, {
      remedy: `Use --drafter ${users.join(' or ')}, or leave ${flag(key)} out.`,
    });
  }
}

/** What the options ask for, or nothing. `dispose` closes what was opened. */
export async function openSpeculation(
  flags: SpeculationFlags & ModelOptions,
  model: Model,
): Promise<{ speculation?: SpeculationOptions; dispose: () => void }> {
  const [drafter] = draftersOf(flags);
  if (drafter === undefined) return { dispose: () => undefined };
  const verifier = await openVerifier(flags, model);
  const { make, dispose } = await openDrafters(flags, model);
  try {
    return { speculation: { drafter: make(drafter), ...shapeOf(flags, drafter), ...verifier }, dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** Opens what was named, and makes drafters by their names. */
export async function openDrafters(
  flags: SpeculationFlags & ModelOptions,
  model: Model,
): Promise<{ make: (name: string) => Drafter; dispose: () => void }> {
  const needs: { -readonly [Name in keyof Needs]?: Needs[Name] } = {};
  let head: HeadDrafter | undefined;
  const { draftProfile } = flags;
  const dispose = (): void => {
    if (draftProfile !== undefined) needs.profile?.save(draftProfile);
    needs.datastore?.dispose();
    needs.model?.dispose();
    head?.dispose();
  };
  try {
    if (flags.datastore !== undefined) {
      needs.datastore = await Datastore.open(flags.datastore, { fingerprint: tokenizerFingerprint(model.tokenizer) });
    }
    if (draftProfile !== undefined) {
      needs.profile = existsSync(draftProfile) ? AcceptanceProfile.open(draftProfile) : new AcceptanceProfile();
    }
    if (flags.exactness !== undefined) needs.exactness = flags.exactness;
    if (flags.draftModel !== undefined) needs.model = (await open(flags.draftModel, flags, true)).model;
    const { draftHead } = flags;
    if (draftHead !== undefined) needs.head = (openHead) => (head ??= openHead(model, draftHead));
    return { make: (name) => drafters[name].make(needs), dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** A tree of `draft-tree`, where nothing else is said: more tokens than a draft is deep. */
const tree = { maxDraft: 5, maxNodes: 16 };

/** All but the drafter and the verifier; absent options stay absent, so that defaults are applied once. */
export const shapeOf = (
  { maxDraft, maxNodes }: SpeculationFlags,
  drafter?: string,
): Omit<SpeculationOptions, 'drafter' | 'verifier'> => ({
  ...(drafter === 'draft-tree' ? tree : {}),
  ...(maxDraft === undefined ? {} : { maxDraft }),
  ...(maxNodes === undefined ? {} : { maxNodes }),
});

/** The drafter that was named, or the one that a draft model alone stands for. */
export const draftersOf = ({ drafter, draftModel: model }: SpeculationFlags): string[] =>
  drafter !== undefined ? [drafter] : model !== undefined ? ['draft-model'] : [];

/** The share of drafted tokens that were kept. */
export const acceptanceOf = ({ drafted, accepted }: SpeculationResult): number =>
  drafted === 0 ? 0 : accepted / drafted;

/** `ngram, 3.2 tokens per round, 41 % of 120 drafted tokens kept` */
export const describe = (result: SpeculationResult): string =>
  `${result.drafter}, ${amount(result.tokensPerRound)} tokens per round, ` +
  `${percent(acceptanceOf(result))} of ${result.drafted} drafted tokens kept` +
  (result.judged === undefined ? '' : `, ${result.judged} by the judge alone`) +
  (result.reflection === undefined ? '' : `, ${result.reflection.rounds} drafts read twice`);

function named<T extends string>(text: string, names: readonly T[]): T {
  const found = names.find((name) => name === text);
  if (found !== undefined) return found;
  throw new InvalidArgumentError(`Expected one of ${names.join(', ')}.`);
}
