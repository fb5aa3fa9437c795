// A value hidden in a long text and asked for at its end: how much of the answers is right, by the text's length and the place in it.
import { integer, number, signal as checkedSignal } from '../../decode/option-checks.js';
import { Draws } from '../../decode/speculation/judge/draws.js';
import { expected, VivaceError } from '../../errors.js';
import { Model, type SessionOptions } from '../model.js';
import { Haystack } from './haystack.js';

export interface NeedleOptions {
  readonly model: Model;
  /** Tokens of text, question and answer. Default: an eighth, a quarter, a half and all of the model's context, or the session's. */
  readonly lengths?: readonly number[];
  /** Where the value is, from 0 (the beginning) to 1. Default: 0, 0.25, 0.5, 0.75, 1. */
  readonly depths?: readonly number[];
  /** Questions for each length and depth. Default 5. */
  readonly cases?: number;
  /** Keys that have a value, spread evenly over the text; one of them is asked for. 2 to 100, default 21. */
  readonly pairs?: number;
  /** What lies between them, word by word. Default: words of a short list, drawn at random. */
  readonly text?: string;
  /** What stands behind the text; `{key}` is the key asked for, and the answer its value. Default `{key}→v?; {key}→`. */
  readonly question?: string;
  /** How texts are read: their cache above all. */
  readonly session?: SessionOptions;
  /** The same seed makes the same texts. Default 1. */
  readonly seed?: number;
  /** Between 0 and 1, after each answer. */
  readonly onProgress?: (fraction: number) => void;
  readonly signal?: AbortSignal;
}

export interface NeedleCell {
  readonly length: number;
  readonly depth: number;
  readonly cases: number;
  /** Share of answers whose tokens are those of the value. */
  readonly right: number;
}

export interface NeedleReport {
  readonly lengths: readonly number[];
  readonly depths: readonly number[];
  readonly pairs: number;
  readonly question: string;
  readonly seed: number;
  /** Length by length, and in each depth by depth; without those that an abort left out. */
  readonly cells: readonly NeedleCell[];
  /** Share of right answers of all. */
  readonly right: number;
  /** Some answers were not asked for any more. */
  readonly aborted: boolean;
}

/**
 * Each case is a text with pairs `k17=v93` and words between them, and a question, answered greedily. Cases of the same number share
 * their text from depth to depth. Each is a session of its own that reads the whole prompt at once, as a user's would.
 * Throws INVALID_ARGUMENT, CONTEXT_FULL, and what `createSession` and `generate` throw; an abort is a report of what there is.
 */
export async function evaluateNeedle(options: NeedleOptions): Promise<NeedleReport> {
  const { model, session: seat, onProgress } = options;
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  const cases = integer('cases', options.cases, 5, 1, 1e6);
  const pairs = integer('pairs', options.pairs, 21, 2, 100);
  const seed = integer('seed', options.seed, 1, 0, Number.MAX_SAFE_INTEGER);
  const question = questionOf(options.question);
  const signal = checkedSignal('signal', options.signal);
  const context = contextOf(model, seat);
  const trained = Math.min(context, model.info.contextLength); // endless policies let texts be longer
  const lengths = list('lengths', options.lengths ?? [8, 4, 2, 1].map((part) => Math.floor(trained / part)), (value) =>
    integer('a length', value, 0, 1, Number.MAX_SAFE_INTEGER),
  );
  const depths = list('depths', options.depths ?? [0, 0.25, 0.5, 0.75, 1], (value) =>
    number('a depth', value, 0, 0, 1),
  );
  const tooLong = lengths.find((length) => length > context);
  if (tooLong !== undefined) {
    throw new VivaceError('CONTEXT_FULL', `A text of ${tooLong} tokens does not fit into a context of ${context}`, {
      remedy: 'Ask for shorter texts.',
    });
  }
  const right = new Map<string, number[]>();
  const total = lengths.length * depths.length * cases;
  let done = 0;
  let aborted = false;
  const key = (length: number, depth: number): string => `${length} ${depth}`;
  outer: for (const length of lengths) {
    for (let index = 0; index < cases; ++index) {
      const draws = new Draws(seed + index);
      const haystack = new Haystack({ tokenizer: model.tokenizer, draws, pairs, length, question, text: options.text });
      for (const depth of depths) {
        const { prompt, answer } = haystack.ask(Math.round(depth * (pairs - 1)));
        const said = await answerOf(model, prompt, answer.length, seat, signal);
        if (said === undefined) {
          aborted = true;
          break outer;
        }
        const cell = key(length, depth);
        const same = said.length === answer.length && answer.every((token, at) => token === said[at]);
        right.set(cell, [...(right.get(cell) ?? []), Number(same)]);
        onProgress?.(++done / total);
      }
    }
  }
  const cells = lengths.flatMap((length) =>
    depths.flatMap((depth) => {
      const marks = right.get(key(length, depth));
      return marks === undefined ? [] : [{ length, depth, cases: marks.length, right: mean(marks) }];
    }),
  );
  return { lengths, depths, pairs, question, seed, cells, right: mean([...right.values()].flat()), aborted };
}

/** The tokens that the model says, or undefined where it was stopped before. */
async function answerOf(
  model: Model,
  prompt: Int32Array,
  maxTokens: number,
  options: SessionOptions | undefined,
  signal: AbortSignal | undefined,
): Promise<Int32Array | undefined> {
  if (signal?.aborted === true) return undefined;
  using session = model.createSession(options);
  const pieces = session.generateFrom(prompt, { temperature: 0, maxTokens, ...(signal ? { signal } : {}) });
  let next = await pieces.next();
  while (!next.done) next = await pieces.next();
  return next.value.finishReason === 'abort' ? undefined : Int32Array.from(next.value.tokens);
}

function contextOf(model: Model, options: SessionOptions | undefined): number {
  using session = model.createSession(options);
  return session.contextLength;
}

/** A plain `{key}→` is looked up by the answer's first token alone, behind the prompt; here a row of the prompt does so before. */
const QUESTION = '{key}→v?; {key}→';

function questionOf(given: unknown): string {
  if (given === undefined) return QUESTION;
  if (typeof given === 'string' && given.includes('{key}')) return given;
  throw expected('a text with {key} in it', 'question', given);
}

function list(name: string, given: unknown, check: (value: unknown) => number): number[] {
  if (!Array.isArray(given) || given.length === 0) throw expected('at least one number', name, given);
  return [...new Set(given.map(check))];
}

const mean = (values: readonly number[]): number =>
  values.length === 0 ? 0 : values.reduce((a, b) => a + b, 0) / values.length;
