// What a caller may ask of the reflective verifier, with defaults and checks.
import { expected, VivaceError } from '../../../errors.js';
import type { Tokenizer } from '../../../formats/tokenizer/tokenizer.js';
import { checkNames, integer, number } from '../../option-checks.js';
import type { ReadingOptions } from './reading.js';
import { checkWhere, type Where } from '../where.js';

/**
 * The model reads each draft twice in one run, the second time after a request to check it; what it says then is mixed into
 * what it said at first. Keeps more of what is right in other words. Lossy: docs/systems/reflective.md.
 */
export interface ReflectiveSettings {
  /** Weight of the second reading, 0 to 0.5, with `force` to 1. Default 0.3. */
  readonly alpha?: number;
  /** The request, text or tokens, at most 64 tokens, none of them special. Default: a sentence in English. */
  readonly prompt?: string | ArrayLike<number>;
  /** So many tokens before the draft are said again between the request and the copy, 0 to 16. Default 0. */
  readonly anchorTokens?: number;
  /** What a refused token is followed by: the mixture's, or that of the first reading alone. Default `fused`. */
  readonly correctionFrom?: 'fused' | 'base';
  /** Mixes also what follows a draft that was kept whole. Default false. */
  readonly fuseBonus?: boolean;
  /** Paths of a tree that are read again, 0 to 4. Default 1. */
  readonly reflectPaths?: number;
  /** Reads twice only while it is faster than once. Default true. */
  readonly autoSkip?: boolean;
  /** With `autoSkip`: each so manieth draft is read in the other way, 2 to 256. Default 16. */
  readonly probeEvery?: number;
  /** Reads twice only what the drafter gives a mean probability below this, 0 to 1. Default: any draft. */
  readonly entropyGate?: number;
  /** Where in the answer drafts are read twice; a function is not kept in a file. Default `all`. */
  readonly reflectIn?: Where;
  /** Allows `alpha` above 0.5, where the model repeats nearly any draft. */
  readonly force?: boolean;
}

export const reflectiveNames = [
  'alpha',
  'prompt',
  'anchorTokens',
  'correctionFrom',
  'fuseBonus',
  'reflectPaths',
  'autoSkip',
  'probeEvery',
  'entropyGate',
  'reflectIn',
  'force',
] as const satisfies readonly (keyof ReflectiveSettings)[];

export const defaultPrompt = '\n(Read the last words again and write them once more, with any mistake put right.)\n';
const MOST_PROMPT = 64;

export interface ResolvedReflection extends Omit<ReadingOptions, 'prompt'> {
  readonly prompt: string | readonly number[];
  readonly autoSkip: boolean;
  readonly probeEvery: number;
  readonly entropyGate?: number;
  readonly reflectIn: Where;
}

/** Throws INVALID_ARGUMENT. */
export function resolveReflection(given: ReflectiveSettings): ResolvedReflection {
  const { prompt = defaultPrompt, correctionFrom = 'fused', entropyGate } = given;
  const alpha = number('alpha', given.alpha, 0.3, 0, 1);
  const force = flag('force', given.force, false);
  if (alpha > 0.5 && !force) {
    throw expected(
      'a number from 0 to 0.5',
      'alpha',
      alpha,
      'Above 0.5 nearly any draft is kept; `force: true` allows it.',
    );
  }
  const isTokens = typeof prompt === 'object' && prompt !== null && typeof prompt.length === 'number';
  if (typeof prompt !== 'string' && !isTokens) throw expected('a text or token ids', 'prompt', prompt);
  if (correctionFrom !== 'fused' && correctionFrom !== 'base') {
    throw expected("'fused' or 'base'", 'correctionFrom', correctionFrom);
  }
  const anchorTokens = integer('anchorTokens', given.anchorTokens, 0, 0, 16);
  if (prompt.length === 0 && anchorTokens === 0) {
    throw expected(
      'a text or token ids',
      'prompt',
      prompt,
      'Without a prompt the copy needs `anchorTokens` before it.',
    );
  }
  return {
    alpha,
    prompt: typeof prompt === 'string' ? prompt : Array.from(prompt),
    anchorTokens,
    correctionFrom,
    fuseBonus: flag('fuseBonus', given.fuseBonus, false),
    reflectPaths: integer('reflectPaths', given.reflectPaths, 1, 0, 4),
    autoSkip: flag('autoSkip', given.autoSkip, true),
    probeEvery: integer('probeEvery', given.probeEvery, 16, 2, 256),
    reflectIn: checkWhere('reflectIn', given.reflectIn),
    ...(entropyGate === undefined ? {} : { entropyGate: number('entropyGate', entropyGate, 0, 0, 1) }),
  };
}

export function checkReflectiveNames(given: unknown): void {
  checkNames(given, ['name', 'rule', ...reflectiveNames], 'the reflective verifier');
}

function flag(name: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== 'boolean') throw expected('true or false', name, value);
  return value;
}

/** The request as tokens that go on from a text. Throws INVALID_ARGUMENT. */
export function promptTokens(prompt: string | readonly number[], tokenizer: Tokenizer): Int32Array {
  const tokens = typeof prompt === 'string' ? continuation(prompt, tokenizer) : Int32Array.from(prompt);
  if (tokens.length > MOST_PROMPT) {
    throw new VivaceError('INVALID_ARGUMENT', `The reflective verifier's prompt has ${tokens.length} tokens`, {
      remedy: `It may have ${MOST_PROMPT}: each is a row of every round.`,
    });
  }
  for (const token of tokens) {
    if (!Number.isInteger(token) || token < 0 || token >= tokenizer.vocabSize) {
      throw expected(`token ids from 0 to ${tokenizer.vocabSize - 1}`, 'prompt', token);
    }
    if (tokenizer.isSpecial(token) || tokenizer.endOfGeneration.has(token)) {
      throw new VivaceError('INVALID_ARGUMENT', `The reflective verifier's prompt has the special token ${token}`, {
        remedy: 'It is read in the middle of an answer: use plain text.',
      });
    }
  }
  return tokens;
}

/** Behind a line break, so that no tokenizer puts a space before it that the text does not have. */
function continuation(text: string, tokenizer: Tokenizer): Int32Array {
  const plainly = tokenizer.encode(text, { addSpecial: false });
  if (!tokenizer.addsSpacePrefix) return plainly;
  const { tokens, offsets } = tokenizer.encodeWithOffsets(`\n${text}`, { addSpecial: false });
  const begin = offsets.lastIndexOf(1);
  return begin < 0 ? plainly : tokens.slice(begin);
}
