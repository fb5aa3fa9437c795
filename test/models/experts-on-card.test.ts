// Whole mixtures of experts through the kernels for cards: the CPU's greedy tokens and, nearly, its probabilities, in
// sessions that share rounds.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel } from '../../lib/index.js';
import type { Device } from '../../lib/model/load.js';
import type { DType } from '../../lib/program/dtype.js';
import { randomModel, writeRandomGguf } from '../fixtures/random-model.js';
import { cardName, emulatedDevice } from '../ops/executors.js';

const folder = mkdtempSync(join(tmpdir(), 'vivace-'));
afterAll(() => rmSync(folder, { recursive: true }));
const onCard = emulatedDevice() ? test : test.skip;

interface Told {
  readonly tokens: number[][];
  readonly logprobs: number[][];
}

async function tell(file: string, device: Device, prompts: readonly Int32Array[], maxTokens: number): Promise<Told> {
  const model = await loadModel(file, { device, threads: 1, contextLength: 160 });
  const one = async (prompt: Int32Array): Promise<[number[], number[]]> => {
    using session = model.createSession();
    const said: [number[], number[]] = [[], []];
    for await (const { logprobs = [] } of session.generate(prompt, { maxTokens, temperature: 0, logprobs: true }))
      for (const { token, logprob } of logprobs) {
        said[0].push(token);
        said[1].push(logprob);
      }
    return said;
  };
  try {
    const all = await Promise.all(prompts.map(one));
    return { tokens: all.map(([tokens]) => tokens), logprobs: all.map(([, logprobs]) => logprobs) };
  } finally {
    model.dispose();
  }
}

/**
 * Activations of quantised weights have eight bits: where the card's sums, which are formed in another order, fall on the other
 * side of a rounding, probabilities differ by more than roundings of floats.
 */
const tolerance = (dtype: DType): number => (/^B?F/.test(dtype) ? 2e-3 : 3e-2);

async function compare(file: string, prompts: readonly Int32Array[], maxTokens: number, dtype: DType): Promise<void> {
  const [card, cpu] = [
    await tell(file, cardName, prompts, maxTokens),
    await tell(file, 'cpu', prompts, maxTokens),
  ];
  expect(cpu.tokens.flat().length).toBeGreaterThan(prompts.length * 2);
  expect(card.tokens).toEqual(cpu.tokens);
  const wanted = cpu.logprobs.flat();
  const worst = Math.max(...card.logprobs.flat().map((logprob, i) => Math.abs(logprob - wanted[i])));
  expect(worst).toBeLessThan(tolerance(dtype));
}

const prompts = [
  Int32Array.from([3, 17, 5, 200, 42, 9, 77]),
  Int32Array.from([8, 90]),
  Int32Array.from({ length: 34 }, (_, i) => 5 + ((i * 37) % 300)),
];

describe.each([
  ['mixtral-steady', ['F16', 'Q4_0']],
  ['qwen2moe-steady', ['Q4_K']],
  ['qwen3moe-steady', ['Q6_K']],
  ['deepseek-steady', ['BF16']],
] as [string, DType[]][])('%s', (name, types) => {
  onCard.each(types)('%s', async (dtype) => {
    const file = join(folder, `${name}-${dtype}.gguf`);
    writeRandomGguf(file, randomModel(name), dtype);
    await compare(file, prompts, 4, dtype);
  });
});

onCard('the trained mixture tells the same', async () => {
  const file = join(__dirname, '..', '..', 'models', 'experts', 'vivace-tiny-experts.gguf');
  await compare(file, [Int32Array.from([5, 40, 33, 80, 7, 12]), Int32Array.from([50])], 6, 'Q8_0');
}, 120_000);
