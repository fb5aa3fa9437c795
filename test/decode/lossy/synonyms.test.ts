// A judge from end to end on a toy: a model whose language has two words of one meaning, and facts (training/partners/synonyms.py).
import { join } from 'node:path';
import { annotateJudge, judgeHeadOf, loadModel, trainJudge } from '../../../lib/index.js';
import type { AnnotatedAnswer, Drafter, GenerateResult, JudgeHead, Model, Verifier } from '../../../lib/index.js';
import { Generator } from '../../fixtures/random/generator.js';

const NOUNS = 'abcdefgh';
const FACTS = '37150826';
const random = new Generator(3, 'synonyms');
const one = (letters: string): string => letters[random.integer(0, letters.length - 1)];
const factOf = (noun: string): string => FACTS[NOUNS.indexOf(noun)];
const otherThan = (fact: string): string => one([...'0123456789'].filter((digit) => digit !== fact).join(''));
const sentence = (word = one('xy')): string => {
  const noun = one(NOUNS);
  return `${noun}${word}${factOf(noun)}.`;
};
const sentences = (count: number): string => Array.from({ length: count }, () => sentence()).join('');

let model: Model;
let head: JudgeHead;
beforeAll(async () => {
  model = await loadModel(join(__dirname, '..', '..', 'fixtures', 'synonyms.gguf'), { threads: 1 });
  // Annotated answers: every second one has a wrong fact somewhere.
  const answers = Array.from({ length: 300 }, (_, i): AnnotatedAnswer => {
    const [prompt, answer] = [sentences(2), sentences(4)];
    const mistake = 2 + 4 * random.integer(0, 3);
    if (i % 2 === 0) return { prompt, answer };
    return {
      prompt,
      answer: answer.slice(0, mistake) + otherThan(answer[mistake]) + answer.slice(mistake + 1),
      mistake,
    };
  });
  const examples = await annotateJudge({ model, answers, afterMistake: 'ignore' });
  head = await judgeHeadOf(model, trainJudge(examples), 'judge', 'synonyms');
});
afterAll(() => model.dispose());

/** Goes on in the language, always with the rarer word. */
const drafter: Drafter = {
  name: 'prefers y',
  start() {
    let text = '';
    return {
      accept: (tokens) => void (text += model.tokenizer.decode(tokens)),
      draft(maxTokens) {
        let more = '';
        let noun = text.at(-2) ?? '';
        while (more.length < maxTokens) {
          const last = (text + more).at(-1) ?? '.';
          if (last === '.') more += noun = one(NOUNS);
          else if (NOUNS.includes(last)) [noun, more] = [last, `${more}y`];
          else more += 'xy'.includes(last) ? factOf(noun) : '.';
        }
        const tokens = model.tokenizer.encode(more, { addSpecial: false });
        return { tokens, parents: tokens.map((_, i) => i - 1), scores: new Float32Array(tokens.length).fill(0.9) };
      },
      dispose: () => undefined,
    };
  },
};

async function answer(prompt: string, maxTokens: number, by: Drafter, verifier: Verifier): Promise<GenerateResult> {
  using session = model.createSession();
  const speculation = { drafter: by, verifier, maxDraft: 8, adaptive: false };
  const pieces = session.generate(prompt, { temperature: 0, maxTokens, speculation });
  for (let next = await pieces.next(); ; next = await pieces.next()) if (next.done) return next.value;
}

test('the trained head keeps the other word, and nearly whole drafts', async () => {
  const kept = { lossless: 0, judge: 0 };
  const rounds = { lossless: 0, judge: 0 };
  for (let i = 0; i < 10; i++) {
    const prompt = sentences(3);
    for (const [name, verifier] of [
      ['lossless', 'lossless'],
      ['judge', { name: 'judge', head }],
    ] as const) {
      const { speculation, text } = await answer(prompt, 60, drafter, verifier);
      kept[name] += speculation!.accepted;
      rounds[name] += speculation!.rounds;
      // What is kept is right: no fact is wrong, and no sentence is broken.
      if (name === 'judge') expect(text).toMatch(/^([a-h][xy]\d(~\d)?\.)+[a-h]?[xy]?\d?$/);
      for (const [, noun, fact] of text.matchAll(/([a-h])[xy](\d)/g)) expect(fact).toBe(factOf(noun));
    }
  }
  const perRound = { lossless: kept.lossless / rounds.lossless, judge: kept.judge / rounds.judge };
  expect(perRound.lossless).toBeLessThan(2);
  expect(perRound.judge).toBeGreaterThan(0.9 * 7.5); // 60 tokens are six rounds of nine, and a short one
});

test('of wrong facts it refuses at least 95 %, of other words and right facts nothing', async () => {
  const offer = async (prompt: string, token: string): Promise<boolean> => {
    const tokens = model.tokenizer.encode(token, { addSpecial: false });
    const says: Drafter = {
      name: 'says',
      start: () => ({
        accept: () => undefined,
        draft: () => ({ tokens, parents: Int32Array.of(-1), scores: Float32Array.of(0.9) }),
        dispose: () => undefined,
      }),
    };
    const result = await answer(prompt, 2, says, { name: 'judge', head });
    return result.tokens[0] === tokens[0];
  };
  const refused: boolean[] = [];
  const kept: boolean[] = [];
  for (const noun of NOUNS) {
    for (const word of 'xy') {
      const begin = sentences(3) + noun;
      kept.push(await offer(begin, word), await offer(begin + word, factOf(noun)));
      for (let i = 0; i < 6; i++) refused.push(!(await offer(begin + word, otherThan(factOf(noun)))));
    }
  }
  const share = (list: boolean[]): number => list.filter(Boolean).length / list.length;
  expect(refused).toHaveLength(96);
  expect(share(refused)).toBeGreaterThanOrEqual(0.95);
  expect(share(kept)).toBeGreaterThanOrEqual(0.95);
});
