// A target with everything that can draft for it: each drafter of the command line by its name, and prompts to try it on.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import {
  buildDatastore,
  crossVocabulary,
  datastore,
  draftModel,
  draftTree,
  eagle,
  embeddedModelPath,
  inputCopy,
  loadModel,
  lookahead,
  medusa,
  nGram,
  suffix,
  tokenizerFingerprint,
} from '../../../lib/index.js';
import type {
  Device,
  Drafter,
  HeadDrafter,
  GenerateOptions,
  GenerateResult,
  Model,
  Session,
} from '../../../lib/index.js';
import { bpeModel } from '../../decode/speculation/cross-vocabulary/random-pairs.js';
import { modelOn } from '../../fixtures/model-on.js';
import { writeRandomEagle } from '../../fixtures/random/eagle.js';
import { writeRandomMedusa } from '../../fixtures/random/medusa.js';
import { variantsOf, type DrafterVariant } from './variants.js';

/** A model of a seventh of the embedded one's parameters, with the same vocabulary. */
export const smallModelPath = join(dirname(embeddedModelPath()), 'vivace-tiny-draft.gguf');

/** A model of that size with another vocabulary. */
const otherModelPath = join(dirname(embeddedModelPath()), 'vivace-tiny-other.gguf');

/** The embedded model's heads. */
const headPath = (name: string): string => join(dirname(embeddedModelPath()), `vivace-tiny-${name}`);

interface Tools {
  /** A datastore with some of what the target says. */
  readonly store: string;
  /** Another model with the target's vocabulary. */
  readonly small: Model;
  /** A model with another vocabulary. */
  readonly other: Model;
  /** Heads of the target, if it has some. */
  readonly heads: Heads | undefined;
}

interface Heads {
  readonly eagle: HeadDrafter;
  readonly eagle3: HeadDrafter;
  readonly medusa: HeadDrafter;
}

interface Row {
  make(tools: Tools): Drafter;
  /** Draws where the target draws, so that the ratio of the laws gives another text of the same law. */
  readonly draws?: boolean;
  /** Its greedy texts have a test of their own. */
  readonly apart?: boolean;
}

/** Every kind of drafter. */
const rows = {
  'n-gram': { make: () => nGram() },
  suffix: { make: () => suffix() },
  datastore: { make: ({ store }) => datastore(store) },
  'input-copy': { make: () => inputCopy() },
  lookahead: { make: () => lookahead({ n: 4, window: 4, candidates: 3 }), apart: true },
  'draft-model': { make: ({ small }) => draftModel(small), draws: true },
  'draft-tree': { make: ({ small }) => draftTree(small), draws: true, apart: true },
  'greedy draft-model': { make: ({ small }) => draftModel(small, { temperature: 0, minProbability: 0 }) },
  'cross-vocabulary': { make: ({ other }) => crossVocabulary(other) },
  'cross-vocabulary by exact laws': {
    make: ({ other }) => crossVocabulary(other, { exactness: 'ngram-exact', minProbability: 0 }),
    draws: true,
  },
  eagle: { make: ({ heads }) => (heads as Heads).eagle, draws: true },
  'eagle-3': { make: ({ heads }) => (heads as Heads).eagle3, draws: true },
  medusa: { make: ({ heads }) => (heads as Heads).medusa, draws: true },
} satisfies Record<string, Row>;

export interface Setting {
  readonly model: Model;
  /** Names of all drafters that work with this model, and those of them without greedy tests of their own. */
  readonly names: readonly string[];
  readonly common: readonly string[];
  make(name: string): Drafter;
  draws(name: string): boolean;
  /** Each option of each drafter. */
  readonly variants: readonly DrafterVariant[];
  /** Nothing is left of any generation, neither here nor in the drafters' models. */
  isEmpty(): boolean;
  dispose(): void;
}

/** The datastore has what the model says to `told`. */
export async function setUp(modelPath: string, smallPath: string, told: readonly string[]): Promise<Setting> {
  const model = await loadModel(modelPath, { threads: 2 });
  const small = await loadModel(smallPath, { threads: 1 });
  const other = await loadModel(otherModelPath, { threads: 1 });
  const folder = mkdtempSync(join(tmpdir(), 'vivace-drafters-'));
  return settingOf(folder, { model, small, other }, modelPath === embeddedModelPath() ? headPath : undefined, told, 60);
}

/** The embedded model with all of its drafters; on a card tiny models, as emulation is slow. */
export async function setUpOn(device: Device, told: readonly string[]): Promise<Setting> {
  if (device === 'cpu') return setUp(embeddedModelPath(), smallModelPath, told);
  const folder = mkdtempSync(join(tmpdir(), 'vivace-drafters-'));
  const [model, small] = [await modelOn(device, 1), await modelOn(device, 2)];
  const other = await bpeModel(join(folder, 'other.gguf'), 15, { seed: 3, layers: 1, device });
  const heads = (kind: keyof Heads): string => join(folder, kind);
  const { config } = model.base();
  writeRandomEagle(heads('eagle'), config);
  const layers = { eagle_aux_hidden_state_layer_ids: [0, 0, config.layers - 1] };
  writeRandomEagle(heads('eagle3'), config, { third: Math.floor(config.vocab / 3), config: layers });
  writeRandomMedusa(heads('medusa'), config);
  return settingOf(folder, { model, small, other }, heads, told.slice(0, 2), 8);
}

async function settingOf(
  folder: string,
  { model, small, other }: Pick<Tools, 'small' | 'other'> & { model: Model },
  folders: ((kind: keyof Heads) => string) | undefined,
  told: readonly string[],
  maxTokens: number,
): Promise<Setting> {
  const store = join(folder, 'texts.store');
  const { tokenizer } = model;
  const answers: Int32Array[] = [];
  for (const prompt of told) {
    using session = model.createSession();
    await answer(session, prompt, { temperature: 0, maxTokens });
    answers.push(session.tokens);
  }
  await buildDatastore(store, answers, { vocab: tokenizer.vocabSize, fingerprint: tokenizerFingerprint(tokenizer) });
  const heads: Heads | undefined = folders && {
    eagle: eagle(model, folders('eagle')),
    eagle3: eagle(model, folders('eagle3')),
    medusa: medusa(model, folders('medusa')),
  };
  const kinds = new Map<string, Row>(Object.entries(rows));
  if (!heads) for (const name of ['eagle', 'eagle-3', 'medusa']) kinds.delete(name);
  const variants = variantsOf({ model, store, small, other, heads: folders, folder });
  const rowOf = (name: string): Row => kinds.get(name) as Row;
  return {
    model,
    names: [...kinds.keys()],
    common: [...kinds.keys()].filter((name) => rowOf(name).apart !== true),
    make: (name) => rowOf(name).make({ store, small, other, heads }),
    draws: (name) => rowOf(name).draws === true,
    variants: variants.drafters,
    isEmpty: () => [model, small, other].every((one) => one.memoryUsage().kv === 0),
    dispose() {
      variants.dispose();
      other.dispose();
      small.dispose();
      if (heads) for (const head of Object.values(heads)) (head as HeadDrafter).dispose();
      model.dispose();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export async function answer(
  session: Session,
  prompt: string | ArrayLike<number>,
  options: GenerateOptions,
): Promise<GenerateResult> {
  const pieces = session.generate(prompt, options);
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}

/** The same, which says how often JavaScript asks for a draft; without `native` in every round. */
export const asking = (drafter: Drafter, native: boolean, asked: () => void): Drafter => ({
  name: drafter.name,
  start(context) {
    const own = drafter.start(context);
    return {
      ...(own.taps ? { taps: own.taps } : {}),
      draws: own.draws,
      get native() {
        return native ? own.native : undefined;
      },
      accept: (tokens) => own.accept(tokens),
      draft(most, nodes, cycle) {
        asked();
        return own.draft(most, nodes, cycle);
      },
      dispose: () => own.dispose(),
    };
  },
});

const openings = [
  'Once upon a time',
  'One day',
  'Early in the morning,',
  'The prince looked at',
  '"My dear," said',
  'It was a cold evening, and',
  'She was so happy that',
  'In the garden there was',
  'KING RICHARD:\n',
  'When the war began,',
];
const people = [
  'a little girl',
  'Ben',
  'the old man',
  'Natasha',
  'Mr. Darcy',
  'the captain',
  'Anna',
  'a dog',
  'they',
  'I',
];

/** 100 begins of stories and 100 exercises, in turns. */
export function prompts(count = 200): string[] {
  const file = resolve(__dirname, '..', '..', '..', 'training', 'data', 'eval.jsonl');
  const cases = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { prompt: string });
  // 17 and the number of cases have no common factor, so that all kinds come early.
  return Array.from({ length: count }, (_, i) =>
    i % 2 === 0
      ? `${openings[(i / 2) % 10]} ${people[Math.floor(i / 20) % 10]}`
      : cases[(17 * ((i - 1) / 2)) % cases.length].prompt,
  );
}
