// The long siblings of the embedded model do what training/README.md says of them: they read all of their 8192 tokens, under cache
// policies too.
import { join } from 'node:path';
import type { CacheOptions } from '../../lib/index.js';
import { embeddedModelPath, evaluateNeedle, loadModel, openModelFile, snapKv, window } from '../../lib/index.js';

const file = (name: string): string => join(embeddedModelPath(), '..', 'long', `${name}.gguf`);

describe.each(['vivace-tiny-long', 'vivace-tiny-longgen'])('%s', (name) => {
  test('finds values anywhere in texts of 2048 tokens, and at both ends of 8192', async () => {
    const model = await loadModel(file(name), { threads: 2 });
    expect(model.info.contextLength).toBe(8192);
    const half = await evaluateNeedle({ model, lengths: [2048], depths: [0, 0.35, 0.7, 1], cases: 3 });
    const whole = await evaluateNeedle({ model, lengths: [8192], depths: [0, 1], cases: 1 });
    model.dispose();
    expect(half.right).toBeGreaterThanOrEqual(0.9);
    expect(whole.right).toBe(1);
  }, 60_000);
});

test('the embedded model is not asked for what it was not trained for', async () => {
  const model = await loadModel(embeddedModelPath(), { threads: 2 });
  await expect(evaluateNeedle({ model, lengths: [2048] })).rejects.toMatchObject({ code: 'CONTEXT_FULL' });
  model.dispose();
});

test('an eighth of a prompt is enough if a row of it has looked for what is asked', async () => {
  const model = await loadModel(file('vivace-tiny-long'), { threads: 2 });
  const ask = async (length: number, cache: CacheOptions, question?: string): Promise<number> => {
    const depths = length > 2048 ? [0.5] : [0.2, 0.5, 0.8];
    return (await evaluateNeedle({ model, lengths: [length], depths, cases: 2, question, session: { cache } })).right;
  };
  expect(await ask(2048, snapKv({ budget: 256 }))).toBe(1);
  expect(await ask(8192, snapKv({ budget: 1024 }))).toBe(1);
  // What no row has looked for, or what a window has left behind, is gone.
  expect(await ask(2048, snapKv({ budget: 256 }), '{key}→')).toBeLessThan(0.5);
  expect(await ask(2048, window({ sinks: 4, recent: 251 }))).toBeLessThan(0.5);
  model.dispose();
});

test('in sessions of longgen only the second layer keeps everything', async () => {
  const model = await loadModel(file('vivace-tiny-longgen'), { threads: 2 });
  using session = model.createSession();
  const tokens = Int32Array.from({ length: 8000 }, (_, index) => 256 + (index % 90));
  for await (const piece of session.generateFrom(tokens, { maxTokens: 1 })) void piece;
  const cell = 2 * 2 * 64 * 2; // keys and values of two heads of 64 in a layer, f16
  const { kv } = model.memoryUsage();
  expect(kv).toBeGreaterThan((8000 + 3 * 544) * cell);
  // What the last piece of the prompt still needed is given back by runs that follow.
  expect(kv).toBeLessThan(0.4 * 4 * 8000 * cell);
  model.dispose();
});

test('the pattern stands in the file: the layer in the middle third sees everything', () => {
  const { metadata } = openModelFile(file('vivace-tiny-longgen'));
  const [sliding, full] = ['sliding_attention', 'full_attention'];
  expect(metadata.get('llama.longgen.layer_types')).toEqual([sliding, full, sliding, sliding]);
  expect([metadata.get('llama.longgen.sinks'), metadata.get('llama.longgen.sliding_window')]).toEqual([32, 512]);
});
