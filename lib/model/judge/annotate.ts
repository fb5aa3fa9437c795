// Examples for a judge from answers whose first mistake somebody has marked: Bachmann et al. 2025, "Judge Decoding" (arXiv 2501.19309),
// section 4. One run of the model per answer, without drawing.
import type { JudgeFeature } from '../../decode/speculation/judge/head.js';
import type { JudgeExample } from '../../decode/speculation/judge/train.js';
import { expected } from '../../errors.js';
import type { Model } from '../model.js';
import { hiddenStates } from './features.js';

export interface AnnotatedAnswer {
  /** As the model is asked, with its template for conversations if it has one. */
  readonly prompt: string;
  readonly answer: string;
  /** Where in the answer, in UTF-16 units, the first mistake begins; absent: the answer is right. */
  readonly mistake?: number;
  /** Answers to one question have the same; default: each is a question of its own. */
  readonly group?: number;
}

export interface AnnotateOptions {
  readonly model: Model;
  readonly answers: readonly AnnotatedAnswer[];
  /**
   * What the tokens behind a mistake's first one are: `wrong` (the default), `ignore` for no examples, or so many of them wrong
   * and the rest no examples.
   */
  readonly afterMistake?: 'wrong' | 'ignore' | number;
  /** What the head will read. Default `final_norm`. */
  readonly feature?: JudgeFeature;
}

export interface AnnotatedExample extends JudgeExample {
  readonly token: number;
  /** The token with which the mistake begins: that it is refused is what keeps answers right. */
  readonly first: boolean;
}

/** Throws INVALID_ARGUMENT, and what runs of the model throw. */
export async function annotateJudge(options: AnnotateOptions): Promise<AnnotatedExample[]> {
  const { model, answers, afterMistake = 'wrong', feature } = options;
  if (!Array.isArray(answers) || answers.length === 0) throw expected('at least one answer', 'answers', answers);
  const span = afterMistake === 'wrong' ? Infinity : afterMistake === 'ignore' ? 0 : afterMistake;
  if (!(span >= 0)) throw expected("'wrong', 'ignore' or a number of tokens", 'afterMistake', afterMistake);
  const width = model.hiddenWidth();
  const examples: AnnotatedExample[] = [];
  for (const [index, { prompt, answer, mistake = Infinity, group = index }] of answers.entries()) {
    if (!(mistake >= 0) || (mistake !== Infinity && mistake >= answer.length)) {
      throw expected(`a place from 0 to ${answer.length - 1}`, `answers[${index}].mistake`, mistake);
    }
    const before = [...model.tokenizer.encode(prompt)];
    const { tokens, offsets } = model.tokenizer.encodeWithOffsets(answer, { addSpecial: false });
    const states = await hiddenStates(model, [...before, ...tokens], feature);
    // The token that has the mistake's first unit: the last one that does not begin behind it.
    const begin = mistake === Infinity ? Infinity : offsets.findLastIndex((offset) => offset <= mistake);
    tokens.forEach((token, place) => {
      if (place > begin + span) return;
      const row = before.length + place;
      const hidden = states.slice(row * width, (row + 1) * width);
      examples.push({ group, token, right: place < begin, first: place === begin, hidden });
    });
  }
  return examples;
}
