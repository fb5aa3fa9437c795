// A target with everything that can draft for it: each drafter of the command line by its name, and prompts to try it on.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { buildDatastore, embeddedModelPath, loadModel, tokenizerFingerprint } from '../../../lib/index.js';
import type { Drafter, GenerateOptions, GenerateResult, Model, Session } from '../../../lib/index.js';
import { openDrafters, possibleDrafters } from '../../../lib/cli/speculation/options.js';

/** A model of an eighth of the embedded one's size, with the same vocabulary. */
export const smallModelPath = join(dirname(embeddedModelPath()), 'vivace-tiny-draft.gguf');

export interface Setting {
  readonly model: Model;
  /** Names of all drafters that work with this model. */
  readonly names: readonly string[];
  make(name: string): Drafter;
  dispose(): void;
}

/** The datastore has what the model says to `told`. */
export async function setUp(modelPath: string, draftModelPath: string, told: readonly string[]): Promise<Setting> {
  const model = await loadModel(modelPath, { threads: 2 });
  const folder = mkdtempSync(join(tmpdir(), 'vivace-drafters-'));
  const datastore = join(folder, 'texts.store');
  const { tokenizer } = model;
  const answers: Int32Array[] = [];
  for (const prompt of told) {
    using session = model.createSession();
    await answer(session, prompt, { temperature: 0, maxTokens: 60 });
    answers.push(session.tokens);
  }
  await buildDatastore(datastore, answers, {
    vocab: tokenizer.vocabSize,
    fingerprint: tokenizerFingerprint(tokenizer),
  });
  const flags = { datastore, draftModel: draftModelPath, threads: 1 };
  const { make, dispose } = await openDrafters(flags, model);
  return {
    model,
    names: possibleDrafters(flags),
    make,
    dispose() {
      dispose();
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
