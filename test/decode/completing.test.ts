// Tokens that may complete a text: whatever is said token by token, the one that makes the text whole is among them.
import { completing } from '../../lib/decode/completing.js';
import { loadModel } from '../../lib/index.js';
import type { Model } from '../../lib/index.js';
import { Generator } from '../fixtures/random/generator.js';

let model: Model;
beforeAll(async () => {
  model = await loadModel(undefined, { threads: 1 });
});
afterAll(() => model.dispose());

test('who completes a text is known beforehand', () => {
  const { tokenizer } = model;
  const random = new Generator(1, 'completing');
  const words = 'Once upon a time, Tim had a red ball.\n\nHe said: "Grüß dich, 猫!" <think>END</think>\n- one\n- two\n';
  let completed = 0;
  for (let turn = 0; turn < 300; turn++) {
    const from = random.integer(0, words.length - 2);
    const text = words.slice(from, from + random.integer(1, 7));
    const known = new Set(completing(tokenizer, text));
    // The model's own cut of the words, and a random one.
    const cuts = [tokenizer.encode(words, { addSpecial: false })];
    cuts.push(Int32Array.from([...words].flatMap((letter) => [...tokenizer.encode(letter, { addSpecial: false })])));
    for (const tokens of cuts) {
      for (let length = 1; length <= tokens.length; length++) {
        const [before, after] = [length - 1, length].map((end) => tokenizer.decode(tokens.subarray(0, end)));
        if (after.split(text).length === before.split(text).length) continue;
        completed++;
        expect([text, known.has(tokens[length - 1])]).toEqual([text, true]);
      }
    }
  }
  expect(completed).toBeGreaterThan(300);
});

test('and few others', () => {
  const { tokenizer } = model;
  const share = (text: string): number => completing(tokenizer, text).length / tokenizer.vocabSize;
  expect(share('')).toBe(0);
  expect(share('</think>')).toBeLessThan(0.02);
  expect(share('END')).toBeLessThan(0.05);
  expect(completing(tokenizer, 'END')).toBe(completing(tokenizer, 'END'));
  const kept = completing(tokenizer, 'END');
  for (let i = 0; i < 40; i++) completing(tokenizer, `text ${i}`);
  expect(completing(tokenizer, 'END')).toEqual(kept);
});
