// Examples for judges from answers whose mistakes are marked.
import { annotateJudge, embeddedModelPath, loadModel } from '../../../lib/index.js';
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
