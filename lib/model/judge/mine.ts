// Examples for a judge without annotation, from questions whose answers can be compared: where a drafter says something
// else than the model, the model goes on from that, and what it answers in the end says whether the token mattered.
// Garipov et al. 2025, "AutoJudge" (arXiv 2504.20039), algorithm 1.
import { Draws } from '../../decode/speculation/judge/draws.js';
import type { JudgeFeature } from '../../decode/speculation/judge/head.js';
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
  /**
   * Besides, at so many places of each answer some other token: of the drafter's ten most probable ones, or any. The
   * drafter's own mistakes are few, and a head that has seen no others takes them for right. Default 0.
   */
  readonly others?: number;
  /** Of these. Default 52. */
  readonly seed?: number;
  /** What the head will read. Default `final_norm`. */
  readonly feature?: JudgeFeature;
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
  const { target, draft, prompts, same, maxTokens = 64, others = 0, seed = 52, firstGroup = 0 } = options;
  if (typeof same !== 'function') throw expected('a function that compares two answers', 'same', same);
  const draws = new Draws(seed);
  const examples: MinedExample[] = [];
  for (const [index, prompt] of prompts.entries()) {
    const begin = [...target.tokenizer.encode(prompt)];
    let answer = await complete(target, begin, maxTokens);
    const first = target.tokenizer.decode(answer);
    /** Goes on from `token` at a place of the answer; gives the answer that comes of it if that is as good. */
    const attempt = async (laws: Rows, place: number, token: number): Promise<number[] | undefined> => {
      const row = begin.length + place - 1;
      const changed = [...answer.slice(0, place), token];
      const ends = target.tokenizer.endOfGeneration.has(token);
      const rest = ends ? [] : await complete(target, [...begin, ...changed], maxTokens - changed.length);
      const other = ends ? changed.slice(0, -1) : [...changed, ...rest];
      const right = same(target.tokenizer.decode(other), first, prompt);
      const states = await hiddenStates(target, [...begin, ...changed], options.feature);
      const own = await logitsOf(target, [...begin, ...answer].slice(0, row + 1));
      examples.push({
        group: firstGroup + index,
        token,
        right,
        hidden: states.slice(-target.hiddenWidth()),
        divergence: divergence(own.rows.subarray(row * own.vocab), laws.rows.subarray(row * laws.vocab), laws.vocab),
      });
      return right ? other : undefined;
    };
    for (let count = 0; count < others && answer.length > 0; count++) {
      const laws = await logitsOf(draft, [...begin, ...answer]);
      const place = draws.below(answer.length);
      const likely = ranked(laws, begin.length + place - 1).slice(0, 10);
      const token = count % 2 === 0 ? likely[draws.below(10)] : draws.below(target.tokenizer.vocabSize);
      if (token !== answer[place] && !target.tokenizer.isSpecial(token)) await attempt(laws, place, token);
    }
    for (let left = 0; ;) {
      const laws = await logitsOf(draft, [...begin, ...answer]);
      const likeliest = (place: number): number => ranked(laws, begin.length + place - 1)[0];
      const place = answer.findIndex((token, at) => at >= left && likeliest(at) !== token);
      if (place < 0) break;
      answer = (await attempt(laws, place, likeliest(place))) ?? answer;
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

/** Tokens by descending logit, of equals the lowest first. */
function ranked({ rows, vocab }: Rows, row: number): number[] {
  const own = rows.subarray(row * vocab, (row + 1) * vocab);
  return [...own.keys()].sort((a, b) => own[b] - own[a] || a - b);
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
