// Examples for judges from answers whose mistakes are marked; what a head reads, after the last norm or before it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { annotateJudge, embeddedModelPath, judgeHeadOf, loadJudge, loadModel, saveJudge } from '../../../lib/index.js';
import { hiddenStates } from '../../../lib/model/judge/features.js';

test('annotated answers: right before the mistake, and behind it as is asked', async () => {
  const model = await loadModel(embeddedModelPath(), { threads: 1 });
  const width = model.hiddenWidth();
  const answers = [
    { prompt: 'copy: dog cat river →', answer: ' dog cat lamp dog', mistake: 10, group: 7 },
    { prompt: '1+2=', answer: '3' },
  ];
  const all = await annotateJudge({ model, answers });
  const { tokens, offsets } = model.tokenizer.encodeWithOffsets(answers[0].answer, { addSpecial: false });
  const begin = offsets.findLastIndex((offset) => offset <= 10);
  expect(all.map(({ token }) => token)).toEqual([...tokens, ...model.tokenizer.encode('3', { addSpecial: false })]);
  expect(all.map(({ right }) => right)).toEqual([...tokens, 0].map((_, i) => i < begin || i === tokens.length));
  expect(all.map(({ first }) => first)).toEqual([...tokens, 0].map((_, i) => i === begin));
  expect(all.map(({ group }) => group)).toEqual([...tokens, 0].map((_, i) => (i < tokens.length ? 7 : 1)));
  // The feature is the token's own row.
  const states = await hiddenStates(model, [...model.tokenizer.encode(answers[0].prompt), ...tokens]);
  expect(all[tokens.length - 1].hidden).toEqual(states.slice(-width));
  const ignored = await annotateJudge({ model, answers, afterMistake: 'ignore' });
  expect(ignored).toHaveLength(begin + 2);
  expect(await annotateJudge({ model, answers, afterMistake: 1 })).toHaveLength(Math.min(tokens.length, begin + 2) + 1);
  await expect(annotateJudge({ model, answers: [] })).rejects.toThrow(/at least one answer/);
  await expect(annotateJudge({ model, answers: [{ ...answers[0], mistake: 99 }] })).rejects.toThrow(/0 to 16/);
  await expect(annotateJudge({ model, answers, afterMistake: -1 })).rejects.toThrow(/afterMistake/);
  model.dispose();
});

test('heads before the last norm: examples, files, and scores that tell one feature from the other', async () => {
  const model = await loadModel(embeddedModelPath(), { threads: 1 });
  const file = join(mkdtempSync(join(tmpdir(), 'judge-')), 'judge.safetensors');
  const answers = [{ prompt: '1+2=', answer: '3' }];
  const [after] = await annotateJudge({ model, answers });
  const [before] = await annotateJudge({ model, answers, feature: 'pre_norm' });
  const tokens = [...model.tokenizer.encode('1+2='), ...model.tokenizer.encode('3', { addSpecial: false })];
  const states = await hiddenStates(model, tokens, 'pre_norm');
  expect(before.hidden).toEqual(states.slice(-before.hidden.length));
  expect(before.hidden).not.toEqual(after.hidden);
  const weights = Float32Array.from(before.hidden, (_, i) => Math.sin(i));
  const trained = { weights, bias: 0.25, threshold: 0.75, thresholds: [], c: 1, auc: 1 };
  const head = await judgeHeadOf(model, trained, 'judge', 'vivace-tiny', 'pre_norm');
  saveJudge(file, head);
  expect(await loadJudge(file, model)).toEqual(head);
  const { feature, ...normed } = head;
  expect(feature).toBe('pre_norm');
  saveJudge(file, normed);
  await expect(loadJudge(file, model)).rejects.toThrow(/otherwise/);
  saveJudge(file, { ...head, feature: 'draft+target' as never });
  await expect(loadJudge(file, model)).rejects.toMatchObject({ code: 'UNSUPPORTED_FEATURE' });
  rmSync(join(file, '..'), { recursive: true });
  model.dispose();
});
