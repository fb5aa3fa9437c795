// Examples for a judge without annotation, from questions whose answers can be compared: where a drafter says something
// else than the model, the model goes on from that, and what it answers in the end says whether the token mattered.
// Garipov et al. 2025, "AutoJudge" (arXiv 2504.20039), algorithm 1.
import type { JudgeExample } from '../../decode/speculation/judge/train.js';
import { expected } from '../../errors.js';
import type { Model } from '../model.js';
import { hiddenStates } from './features.js';

export interface MineOptions {
  readonly target: Model;
  /** Of the same vocabulary. */
  readonly draft: Model;
  readonly prompts: readonly string[];
  /** Of two answers to a prompt: do they say the same? */
  readonly same: (answer: string, other: string, prompt: string) => boolean;
  /** Tokens of an answer. Default 64. */
  readonly maxTokens?: number;
  /** Number of the first prompt, for `JudgeExample.group`. Default 0. */
  readonly firstGroup?: number;
}

export interface MinedExample extends JudgeExample {
  readonly token: number;
  /** Of the target's law from the drafter's, where the token stands: Σ p · ln(p / q), at temperature 1. */
  readonly divergence: number;
}

/** One generation of the target per example. `said` hears of each prompt that is done. */
export async function mineJudge(
  options: MineOptions,
  said?: (prompts: number, examples: number) => void,
): Promise<MinedExample[]> {
  const { target, draft, prompts, same, maxTokens = 64, firstGroup = 0 } = options;
  if (typeof same !== 'function') throw expected('a function that compares two answers', 'same', same);
  const examples: MinedExample[] = [];
  for (const [index, prompt] of prompts.entries()) {
    const begin = [...target.tokenizer.encode(prompt)];
    const answerOf = (tokens: readonly number[]): string => target.tokenizer.decode(tokens);
    let answer = await complete(target, begin, maxTokens);
    const first = answerOf(answer);
    for (let left = 0; ;) {
      const text = [...begin, ...answer];
      const laws = await logitsOf(draft, text);
      const place = answer.findIndex((token, at) => at >= left && greatest(laws, begin.length + at - 1) !== token);
      if (place < 0) break;
      const row = begin.length + place - 1;
      const token = greatest(laws, row);
      const changed = [...answer.slice(0, place), token];
      const ends = target.tokenizer.endOfGeneration.has(token);
      const rest = ends ? [] : await complete(target, [...begin, ...changed], maxTokens - changed.length);
      const other = ends ? changed.slice(0, -1) : [...changed, ...rest];
      const right = same(answerOf(other), first, prompt);
      const states = await hiddenStates(target, [...begin, ...changed]);
      const own = await logitsOf(target, text.slice(0, row + 1));
      examples.push({
        group: firstGroup + index,
        token,
        right,
        hidden: states.slice(-target.hiddenWidth()),
        divergence: divergence(own.rows.subarray(row * own.vocab), laws.rows.subarray(row * laws.vocab), laws.vocab),
      });
      if (right) answer = other;
      left = place + 1;
    }
    said?.(index + 1, examples.length);
  }
  return examples;
}

async function complete(model: Model, tokens: readonly number[], maxTokens: number): Promise<number[]> {
  if (maxTokens <= 0) return [];
  using session = model.createSession();
  const pieces = session.generate([...tokens], { temperature: 0, maxTokens });
  let next = await pieces.next();
  while (!next.done) next = await pieces.next();
  return [...next.value.tokens];
}

interface Rows {
  readonly rows: Float32Array;
  readonly vocab: number;
}

async function logitsOf(model: Model, tokens: readonly number[]): Promise<Rows> {
  using session = model.createSession();
  return { rows: await session.forward([...tokens]), vocab: model.info.vocabSize };
}

function greatest({ rows, vocab }: Rows, row: number): number {
  const own = rows.subarray(row * vocab, (row + 1) * vocab);
  return own.indexOf(own.reduce((a, b) => Math.max(a, b)));
}

function divergence(p: Float32Array, q: Float32Array, vocab: number): number {
  const logs = (row: Float32Array): Float64Array => {
    const own = Float64Array.from(row.subarray(0, vocab));
    const most = own.reduce((a, b) => Math.max(a, b), -Infinity);
    const total = most + Math.log(own.reduce((sum, value) => sum + Math.exp(value - most), 0));
    return own.map((value) => value - total);
  };
  const [a, b] = [logs(p), logs(q)];
  return a.reduce((sum, value, i) => (value > -Infinity ? sum + Math.exp(value) * (value - b[i]) : sum), 0);
}
