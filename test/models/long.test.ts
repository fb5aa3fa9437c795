// The long siblings of the embedded model do what training/README.md says of them: they read all of their 8192 tokens.
import { join } from 'node:path';
import { embeddedModelPath, evaluateNeedle, loadModel, openModelFile } from '../../lib/index.js';

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
