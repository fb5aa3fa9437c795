// Greedy speculation gives token for token the plain greedy text: drafters of every kind, alone and in batches, each type of cache.
//
// 24 of the 200 prompts by default; VIVACE_PROMPTS=200 takes all. On a card tiny models say two, as emulation is slow.
import type { CacheType, GenerateResult, SpeculationOptions } from '../../../lib/index.js';
import { sharedData } from '../../fixtures/shared-data.js';
import { testDevices } from '../../ops/executors.js';
import { answer, prompts, setUp, setUpOn, type Setting } from './setting.js';

const asked = prompts(Number(process.env['VIVACE_PROMPTS'] ?? 24));
const shapes: readonly Omit<SpeculationOptions, 'drafter'>[] = [
  { maxDraft: 6, adaptive: false },
  { maxDraft: 5, maxNodes: 14, adaptive: false },
];

/** What the model says to all prompts, `batch` of them at a time. */
async function say(
  { model }: Setting,
  texts: readonly string[],
  batch: number,
  type: CacheType,
  maxTokens: number,
  speculation?: SpeculationOptions,
): Promise<GenerateResult[]> {
  const results: GenerateResult[] = [];
  for (let first = 0; first < texts.length; first += batch) {
    const group = texts.slice(first, first + batch).map(async (text) => {
      using session = model.createSession({ cache: { keyType: type, valueType: type } });
      return await answer(session, text, { temperature: 0, maxTokens, ...(speculation ? { speculation } : {}) });
    });
    results.push(...(await Promise.all(group)));
  }
  return results;
}

/** Every drafter, in a chain and in a tree, says the plain text; the drafts are tried, and caches are empty afterwards. */
async function checkAll(
  setting: Setting,
  texts: readonly string[],
  caches: readonly CacheType[],
  maxTokens = 40,
): Promise<void> {
  let all = 0;
  for (const type of caches) {
    const plain = (await say(setting, texts, 8, type, maxTokens)).map(({ tokens }) => tokens);
    for (const name of setting.common) {
      for (const batch of [1, 8]) {
        const drafter = setting.make(name);
        const results = await say(setting, texts, batch, type, maxTokens, { ...shapes[batch === 1 ? 0 : 1], drafter });
        const said = results.map(({ tokens }) => tokens);
        const wrong = said.findIndex((tokens, i) => tokens.join() !== plain[i].join());
        expect([name, type, batch, wrong < 0 ? '' : texts[wrong], said[wrong]]).toEqual([
          name,
          type,
          batch,
          '',
          undefined,
        ]);
        const drafted = results.reduce((sum, { speculation }) => sum + speculation!.drafted, 0);
        all += drafted;
        // A few random tokens repeat nothing, so that some drafters find nothing.
        if (maxTokens >= 40) expect([name, drafted > texts.length]).toEqual([name, true]);
      }
    }
  }
  expect(all).toBeGreaterThan(texts.length * setting.names.length);
  expect(setting.isEmpty()).toBe(true);
}

test.each(testDevices())(
  'every drafter, on %s',
  async (device) => {
    const setting = await setUpOn(device, asked.slice(0, 12));
    if (device === 'cpu') await checkAll(setting, asked, ['f16', 'q8_0']);
    else await checkAll(setting, ['Once', 'red red'], ['f16'], 6);
    setting.dispose();
  },
  600_000,
);

const stories = sharedData('models/stories260K.gguf');
if (!stories) console.log('stories260K is not tested: ../shared/data/models/stories260K.gguf is missing');
(stories ? test : test.skip)(
  'stories260K, which drafts for itself',
  async () => {
    const begins = asked.filter((_, i) => i % 2 === 0);
    const setting = await setUp(stories!, stories!, begins.slice(0, 12));
    // Its heads of 8 are too small for blocks of 32.
    await checkAll(setting, begins, ['f16', 'f32']);
    setting.dispose();
  },
  600_000,
);
