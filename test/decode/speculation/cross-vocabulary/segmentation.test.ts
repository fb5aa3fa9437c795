// A drafter that knows the text letter by letter, for a target that says it in larger tokens: runs make all of it right.
import { MergingDrafter } from '../../../../lib/decode/speculation/drafters/cross-vocabulary/merging-drafter.js';
import type { DraftSeat } from '../../../../lib/decode/speculation/drafters/draft-model.js';
import { TokenList } from '../../../../lib/decode/token-list.js';
import { Engine } from '../../../../lib/engine.js';
import type { Proposal, SamplerOptions } from '../../../../lib/program/executor.js';
import { FakeExecutor } from '../../../session/fake-executor.js';
import { bpe, bytesOf, cacheOptions, pairs, story, translationOf } from './vocabularies.js';

const letters = bpe(0); // a token per byte
const target = bpe(150);
const said = target.encode(story, { addSpecial: false });

/** Goes through the text; gives the share of drafts that were right, and of the text that drafts have said. */
async function run(
  learned: boolean,
  how: 'chosen' | 'recut' = 'chosen',
  maxEntries = 1000,
): Promise<{ right: number; drafted: number; lone: boolean }> {
  const bytes = letters.encode(story);
  const fake = new FakeExecutor({ vocab: letters.vocabSize, follow: (text) => bytes[text.length] ?? 0 });
  const kv = fake.createKvCache();
  const seat: DraftSeat = {
    rounds: new Engine(fake, letters.vocabSize),
    executor: fake,
    kv,
    sequence: kv.create(),
    contextLength: 1e6,
    logitsWidth: letters.vocabSize,
    vocab: letters.vocabSize,
    tokenizer: letters,
  };
  const translation = translationOf(target, letters, { ...cacheOptions, maxN: 8, maxEntries });
  if (learned) translation.learnAll();
  const drafter = new MergingDrafter(
    seat,
    translation,
    { how, minProbability: 0, resegmentTail: 0 },
    {
      tokenizer: target,
      sampler: { vocab: target.vocabSize, temperature: 0 } as SamplerOptions,
      createProposal: () => undefined as unknown as Proposal,
    },
  );
  let at = 1;
  let right = 0;
  let drafted = 0;
  let lone = true; // all that was right were single bytes
  drafter.accept(said.subarray(0, 1));
  for (let cycle = 1; at < said.length; cycle++) {
    const { tokens } = await drafter.draft(6, 6, cycle);
    let kept = 0;
    while (kept < tokens.length && tokens[kept] === said[at + kept]) kept++;
    right += kept;
    drafted += Math.min(tokens.length, said.length - at);
    lone &&= said.subarray(at, at + kept).every((token) => target.piece(token).length === 1);
    drafter.accept(said.subarray(at, at + kept + 1));
    at += kept + 1;
  }
  drafter.dispose();
  return { right, drafted, lone };
}

test('all runs are known: nearly every draft is right, and all of them where they are cut as the target cuts', async () => {
  const { right, drafted, lone } = await run(true);
  // The longest run is not always what merges make of a word.
  expect(right / drafted).toBeGreaterThan(0.85);
  expect(right).toBeGreaterThan(0.6 * said.length);
  expect(lone).toBe(false);
  const recut = await run(false, 'recut');
  expect(recut.right / recut.drafted).toBeGreaterThan(0.97);
  expect(recut.right).toBeGreaterThan(right);
});

test('runs are learned from what the target says: a text that repeats is drafted better', async () => {
  const cold = await run(false);
  expect(cold.right).toBeGreaterThan(0);
  expect(cold.right).toBeLessThan((await run(true)).right);
});

test('no runs: only what is one letter is ever right', async () => {
  const { right, lone } = await run(false, 'chosen', 0);
  expect(right).toBeGreaterThan(0);
  expect(lone).toBe(true);
});

test.each(pairs)('the end of a text is written anew as the drafter writes it: %s', (_, makeTarget, makeDrafter) => {
  const [from, drafter] = [makeTarget(), makeDrafter()];
  const translation = translationOf(from, drafter);
  const text = new TokenList();
  let changed = 0;
  for (const token of from.encode(story.slice(0, 300), { addSpecial: false })) {
    text.append(translation.tokensOf(token));
    const before = text.slice();
    const again = translation.resegmented(text, 16);
    if (!again) continue;
    changed++;
    expect(again.begin).toBeGreaterThanOrEqual(Math.max(0, before.length - 16));
    text.truncate(again.begin);
    text.append(again.tokens);
    expect(bytesOf(drafter, text.slice()).equals(bytesOf(drafter, before))).toBe(true);
    expect(translation.resegmented(text, 16)).toBeUndefined(); // it is written so now
  }
  // Words that are whole are those of the drafter's own tokenizer.
  const plain = story.slice(0, 300).split(' ').slice(0, -1).join(' ');
  const wanted = drafter.encode(plain, { addSpecial: false });
  const share = wanted.reduce((same, token, i) => same + Number(text.at(i) === token), 0) / wanted.length;
  expect(share).toBeGreaterThan(from.addsSpacePrefix === drafter.addsSpacePrefix ? 0.99 : 0);
  // Bytes are written in one way only.
  if (drafter.vocabSize > 300) expect(changed).toBeGreaterThan(0);
});
