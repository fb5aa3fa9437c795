// A model with experts: the same logits for any team, any batch mates, fused or not, and while its weights are repacked.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel } from '../../lib/index.js';
import { randomModel, writeRandomGguf } from '../fixtures/random-model.js';

const folder = mkdtempSync(join(tmpdir(), 'vivace-'));
afterAll(() => rmSync(folder, { recursive: true }));

const prompts = [[3, 17, 5, 200, 42, 9, 77], [8, 90], Array.from({ length: 70 }, (_, i) => 5 + ((i * 37) % 300))];

/** Greedy tokens and their log probabilities, one session per prompt, at once or one after the other. */
async function tell(file: string, threads: number, together: boolean, repack: 'never' | 'load'): Promise<number[][]> {
  const model = await loadModel(file, { device: 'cpu', threads, repack, contextLength: 128 });
  const one = async (prompt: readonly number[]): Promise<number[]> => {
    using session = model.createSession();
    const said: number[] = [];
    const options = { maxTokens: 12, temperature: 0, logprobs: true };
    for await (const { logprobs = [] } of session.generate(Int32Array.from(prompt), options))
      for (const { token, logprob } of logprobs) said.push(token, logprob);
    return said;
  };
  try {
    if (together) return await Promise.all(prompts.map(one));
    const all: number[][] = [];
    for (const prompt of prompts) all.push(await one(prompt));
    return all;
  } finally {
    model.dispose();
  }
}

test.each([
  ['mixtral-steady', 'Q4_0'],
  ['qwen2moe-steady', 'Q4_K'],
  ['deepseek', 'F16'],
] as const)('%s in %s', async (name, dtype) => {
  const file = join(folder, `${name}.gguf`);
  writeRandomGguf(file, randomModel(name), dtype);
  const alone = await tell(file, 1, false, 'never');
  expect(alone.map((said) => said.length).every((length) => length > 10)).toBe(true);
  expect(alone.flat().every(Number.isFinite)).toBe(true);
  expect(await tell(file, 2, true, 'never')).toEqual(alone);
  expect(await tell(file, 3, true, 'load')).toEqual(alone);
});
