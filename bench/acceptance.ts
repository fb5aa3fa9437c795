// How much of its drafts a drafter gets accepted by the embedded model: greedy answers of 64 tokens to the tests' 200 prompts.
// `npm run bench -- acceptance --drafter <name> [--draft-model FILE …] [--max-draft N]`, the options of `vivace run`; without
// --max-draft for 4, 6 and 8. Drafts are verified as they come, so the figures say nothing of speed.
import { Command } from 'commander';
import {
  addSpeculationOptions,
  checkSpeculation,
  openSpeculation,
  type SpeculationFlags,
} from '../lib/cli/speculation/options.js';
import { table } from '../lib/cli/quantities.js';
import { embeddedModelPath, loadModel } from '../lib/index.js';
import type { SpeculationOptions, SpeculationResult } from '../lib/index.js';
import { answer, prompts } from '../test/session/speculation/setting.js';

const maxTokens = 64;
const texts = prompts();
const kinds: readonly [string, (index: number) => boolean][] = [
  ['stories', (index) => index % 2 === 0],
  ['exercises', (index) => index % 2 === 1],
  ['all', () => true],
];

/** What all answers' drafts came to. Tokens per round are those of all answers over their rounds. */
function sum(results: readonly SpeculationResult[]): string[] {
  const add = (part: (result: SpeculationResult) => number): number =>
    results.reduce((total, result) => total + part(result), 0);
  const [rounds, drafted, accepted] = [add((r) => r.rounds), add((r) => r.drafted), add((r) => r.accepted)];
  return [
    (1 + accepted / rounds).toFixed(2),
    `${((100 * accepted) / drafted).toFixed(1)} %`,
    (drafted / rounds).toFixed(2),
    (add((r) => r.draftMs) / add((r) => r.draftedRounds)).toFixed(2),
  ];
}

async function main(flags: SpeculationFlags): Promise<void> {
  checkSpeculation(flags, flags.drafter === undefined ? [] : [flags.drafter]);
  const model = await loadModel(embeddedModelPath(), { threads: 1 });
  const { speculation, dispose } = await openSpeculation({ ...flags, threads: 1 }, model);
  if (!speculation) throw new Error('Say which drafter: --drafter NAME');
  const rows = [['prompts', 'max draft', 'tokens per round', 'acceptance', 'drafted per round', 'ms per draft']];
  for (const maxDraft of flags.maxDraft === undefined ? [4, 6, 8] : [flags.maxDraft]) {
    const options: SpeculationOptions = { ...speculation, maxDraft, adaptive: false };
    const results: SpeculationResult[] = [];
    for (const text of texts) {
      const session = model.createSession();
      results.push((await answer(session, text, { temperature: 0, maxTokens, speculation: options })).speculation!);
      session.dispose();
    }
    for (const [kind, belongs] of kinds) {
      rows.push([kind, String(maxDraft), ...sum(results.filter((_, index) => belongs(index)))]);
    }
  }
  console.log(table(rows));
  dispose();
  model.dispose();
}

void addSpeculationOptions(new Command('acceptance')).action(main).parseAsync();
