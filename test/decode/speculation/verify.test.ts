// Native verification: the reference's tokens on random drafts, and the target's law in many trials.
import { createReferenceSampler } from '../../../lib/decode/reference-sampler.js';
import { native, nativeCall } from '../../../lib/native.js';
import type { VerifyRule } from '../../../lib/program/executor.js';
import { Generator } from '../../fixtures/random/generator.js';
import { plain } from '../sampler-options.js';
import { randomDraft, randomMasks, randomOptions, verifyNative } from './random-drafts.js';
import type { TestDraft as Draft } from './random-drafts.js';

const rules: VerifyRule[] = [
  { name: 'match' },
  { name: 'ratio' },
  { name: 'block' },
  { name: 'typical', epsilon: 0.09, delta: 0.3 },
  { name: 'relaxed', top: 4, gap: 0.2 },
  { name: 'divergence', bound: 1.5, measure: 'q from p' },
  { name: 'divergence', bound: 0.2, measure: 'jensen-shannon' },
  { name: 'divergence', bound: 1, measure: 'p from q' },
];

test('native code keeps the same rows and says the same tokens as the reference', () => {
  const random = new Generator(5, 'verify.test');
  const limits = new Generator(5, 'masks');
  const lengths = new Map<string, number>();
  for (let trial = 0; trial < 600; trial++) {
    const vocab = random.integer(2, trial % 10 === 0 ? 3000 : 90);
    const rule = rules[trial % rules.length];
    const draft = randomDraft(
      random,
      vocab,
      (['chain', 'tree', 'replacement', 'chosen'] as const)[random.integer(0, 3)],
    );
    const options = randomOptions(random, vocab);
    const rows = draft.tokens.length;
    // A model that likes the draft, so that paths are long.
    const logits = Float32Array.from({ length: rows * vocab }, () => 2 * random.normal());
    draft.parents.forEach((parent, row) => {
      if (parent >= 0) logits[parent * vocab + draft.tokens[row]] += 2.5;
    });
    const before = logits.slice();
    const beyond = trial % 4 === 3 ? { masks: randomMasks(limits, rows, vocab) } : {};
    const reference = createReferenceSampler(options);
    const sampler = new (native().Sampler)({ ...options });
    const prompt = Int32Array.from({ length: 5 }, () => random.integer(0, vocab - 1));
    reference.accept(prompt);
    sampler.accept(prompt);
    for (let cycle = 1; cycle <= 2; cycle++) {
      const rowsOf = Array.from({ length: rows }, (_, row) => logits.subarray(row * vocab, (row + 1) * vocab));
      const expected = reference.verify(draft, rule, rowsOf, cycle, draft.drawing, beyond);
      const { out, kept } = verifyNative(sampler, draft, logits, rule, cycle, beyond);
      expect({ trial, kept: [...kept.keys()].filter((row) => kept[row] === 1) }).toEqual({
        trial,
        kept: expected.kept,
      });
      expect({ trial, said: expected.kept.map((row) => out[row]) }).toEqual({ trial, said: expected.tokens });
      out.forEach((token, row) => expect(token >= 0).toBe(kept[row] === 1));
      lengths.set(rule.name, Math.max(lengths.get(rule.name) ?? 0, expected.kept.length));
    }
    expect(logits).toEqual(before);
  }
  for (const { name } of rules) expect([name, lengths.get(name)]).toEqual([name, expect.any(Number)]);
  expect(Math.min(...lengths.values())).toBeGreaterThan(3);
});

test('a block that was looked at leaves no trace in penalties', () => {
  const random = new Generator(9, 'retract');
  const options = {
    ...plain,
    vocab: 12,
    repetitionPenalty: 1.3,
    presencePenalty: 0.5,
    frequencyPenalty: 0.4,
    seed: 4n,
  };
  for (let trial = 0; trial < 50; trial++) {
    const draft = randomDraft(random, 12, 'chain');
    const logits = Float32Array.from({ length: draft.tokens.length * 12 }, () => random.normal());
    const [looked, plainly] = [0, 1].map(() => new (native().Sampler)({ ...options }));
    for (const sampler of [looked, plainly]) sampler.accept(Int32Array.of(1, 2, 2));
    const { out, kept } = verifyNative(looked, draft, logits, { name: 'block' }, 1);
    const said = out.filter((_, row) => kept[row] === 1);
    // The other one has said the same, one token after the other.
    const sample = plainly as unknown as { sample(logits: Float32Array): { token: number } };
    sample.sample(logits.slice(0, 12));
    plainly.accept(said);
    const next = Float32Array.from({ length: 12 }, () => random.normal());
    const again = looked as unknown as { sample(logits: Float32Array): { token: number; logprob: number } };
    expect(again.sample(next)).toEqual(sample.sample(next));
  }
});

test('errors end a draft and keep what came before', () => {
  const sampler = new (native().Sampler)({ ...plain, vocab: 3, temperature: 0 });
  const draft = { tokens: Int32Array.of(0, 1, 2), parents: Int32Array.of(-1, 0, 1) };
  const logits = Float32Array.of(0, 5, 0, NaN, 0, 0, 0, 0, 0);
  expect(() => verifyNative(sampler, draft, logits, { name: 'match' }, 1)).toThrow(/NaN/);
  const wrong: [Partial<Draft>, RegExp][] = [
    [{ parents: Int32Array.of(-1, 1, 1) }, /make no sense/],
    [{ parents: Int32Array.of(0, 0, 1) }, /make no sense/],
    [{ parents: Int32Array.of(-1, 0) }, /make no sense/],
  ];
  for (const [change, message] of wrong) {
    expect(() => verifyNative(sampler, { ...draft, ...change }, logits, { name: 'match' }, 1)).toThrow(message);
  }
  const proposal = new (native().Proposal)(false);
  expect(() => nativeCall(() => proposal.set(0, Int32Array.of(2, 1), Float32Array.of(1, 1), new Int32Array()))).toThrow(
    /no sense/,
  );
  expect(() => nativeCall(() => proposal.set(0, Int32Array.of(1), Float32Array.of(0), new Int32Array()))).toThrow();
  sampler.dispose();
  expect(() => verifyNative(sampler, draft, logits, { name: 'match' }, 1)).toThrow(/disposed/);
});
