// Predictions that are always right and ones that never are give the same bits, for every room, placement and delay.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel, openModelFile, planExperts, type ExpertOptions, type Model } from '../../../lib/index.js';
import type { RoutedRun } from '../../../lib/experts/trace.js';
import { writeRandomGguf } from '../../fixtures/random-model.js';
import { mixture } from './mixture.js';

const folder = mkdtempSync(join(tmpdir(), 'vivace-'));
const file = join(folder, 'mixture.gguf');
const { count, used } = mixture.config.experts!;
const all = Array.from({ length: count }, (_, id) => id);
const prompt = Int32Array.from({ length: 5 }, (_, i) => 5 + ((i * 37) % 300));
type Script = NonNullable<ExpertOptions['script']>;
let plain: number[];
let scripts: Readonly<Record<'oracle' | 'always wrong' | 'too many', Script>>;
let room: (slots: number) => number;

/** Tokens, and the log probabilities of the best twenty at each place. */
async function tell(experts: ExpertOptions, look?: (model: Model) => void): Promise<number[]> {
  const model = await loadModel(file, { device: 'cpu', threads: 2, contextLength: 64, prefixCache: false, experts });
  try {
    using session = model.createSession();
    const said: number[] = [];
    for await (const { logprobs = [] } of session.generate(prompt, { maxTokens: 12, temperature: 0, logprobs: 20 }))
      for (const { token, logprob, top = [] } of logprobs)
        said.push(token, logprob, ...top.flatMap((other) => [other.token, other.logprob]));
    look?.(model);
    return said;
  } finally {
    model.dispose();
  }
}

const script = (runs: readonly RoutedRun[], of: (needed: number[]) => number[]): Script =>
  runs.map(({ layers }) => layers.map(({ chosen }) => of([...new Set(chosen)])));

beforeAll(async () => {
  writeRandomGguf(file, mixture, 'Q4_0');
  const plan = planExperts(openModelFile(file), { memory: 2 ** 20 })!;
  room = (slots) => plan.bytes + (slots - plan.slots) * plan.slotBytes;
  plain = await tell({ trace: true }, (model) => {
    const { runs } = model.experts.routing();
    scripts = {
      oracle: script(runs, (needed) => needed),
      'always wrong': script(runs, (needed) => all.filter((id) => !needed.includes(id)).slice(0, used + 1)),
      'too many': script(runs, (needed) => [...all.filter((id) => !needed.includes(id)), ...needed]),
    };
  });
  expect(plain.length).toBeGreaterThan(12 * 40);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(['oracle', 'always wrong', 'too many'] as const)('%s', (name) => {
  test.each([
    [used + 1, 'uniform', 0],
    [used + 2, 'none', 300],
    [10, 'layers', 100],
    [17, 'shallow', 300],
    [31, 'uniform', 300],
    [40, 'shallow', 0],
  ] as const)('with room for %i, placed %s, delays up to %i us', async (slots, placement, delayUs) => {
    const memory = room(slots);
    const experts = { memory, placement, delayUs, chunkBytes: 4096, readers: 3, script: scripts[name] };
    const said = await tell(experts, (model) => {
      expect(model.experts.plan).toMatchObject({ slots, placement, resident: false });
      const [first, ...later] = model.experts.statistics()!.layers;
      expect(first.accuracy).toBeUndefined();
      for (const { accuracy, predicted, missed } of later) {
        expect(accuracy).toBe(name === 'always wrong' ? 0 : 1);
        if (name === 'always wrong') expect(predicted).toBe(0);
        else expect(missed).toBe(0);
      }
    });
    expect(said).toEqual(plain);
  });
});
