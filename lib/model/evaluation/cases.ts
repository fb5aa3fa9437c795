// Tasks to measure answers by: prompts, and what is asked of each answer.
import { readFileSync } from 'node:fs';
import { expected, VivaceError } from '../../errors.js';
import { fileError } from '../../formats/file.js';

export interface EvaluationCase {
  readonly prompt: string;
  /** Of the whole answer: is it right? */
  readonly check: (answer: string) => boolean;
}

/** One way to check: the answer, up to where `until` (a regular expression) first matches, and without space around it. */
interface Checker {
  readonly equals?: string;
  readonly contains?: string;
  readonly matches?: string;
  /** The last number in the answer. */
  readonly number?: number;
  readonly until?: string;
}

const kinds = ['equals', 'contains', 'matches', 'number'] as const;

/**
 * Cases in a file of a JSON object per line, `{ prompt, checker }`, where the checker has one of `equals`, `contains`, `matches` (a
 * regular expression) or `number` (the answer's last), and perhaps `until`. `{ prompt, answer }` is short for an answer whose text up
 * to the first line break or semicolon is that. Throws FILE_*, FORMAT_INVALID.
 */
export function readCases(file: string): EvaluationCase[] {
  if (typeof file !== 'string' || file === '') throw expected('a path', 'file', file);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw fileError(file, cause);
  }
  const cases = text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    try {
      return [caseOf(JSON.parse(line) as Record<string, unknown>)];
    } catch (cause) {
      throw new VivaceError('FORMAT_INVALID', `${file}, line ${index + 1}: ${(cause as Error).message}`, {
        cause,
        remedy:
          'Each line is { "prompt": "…", "checker": { "equals": "…" } }; docs/systems/judge.md lists the checkers.',
      });
    }
  });
  if (cases.length === 0) throw new VivaceError('FORMAT_INVALID', `${file} has no cases`);
  return cases;
}

function caseOf(line: Record<string, unknown> | null): EvaluationCase {
  const { prompt, answer, checker } = line ?? {};
  if (typeof prompt !== 'string' || prompt === '') throw new Error('a prompt is missing');
  if (typeof answer === 'string') return { prompt, check: checkOf({ equals: answer, until: '[\\n;]' }) };
  if (typeof checker !== 'object' || checker === null) throw new Error('neither `checker` nor `answer` is there');
  return { prompt, check: checkOf(checker as Checker) };
}

function checkOf(checker: Checker): EvaluationCase['check'] {
  const unknown = Object.keys(checker).find((name) => name !== 'until' && !(kinds as readonly string[]).includes(name));
  const given = kinds.filter((kind) => checker[kind] !== undefined);
  if (unknown !== undefined || given.length !== 1) throw new Error(`a checker has one of ${kinds.join(', ')}`);
  const [kind] = given;
  const wanted = checker[kind];
  if (typeof wanted !== (kind === 'number' ? 'number' : 'string')) throw new Error(`\`${kind}\` is of the wrong type`);
  const until = checker.until === undefined ? undefined : new RegExp(checker.until);
  const pattern = kind === 'matches' ? new RegExp(wanted as string) : undefined;
  return (whole) => {
    const end = until ? whole.search(until) : -1;
    const answer = (end < 0 ? whole : whole.slice(0, end)).trim();
    if (pattern) return pattern.test(answer);
    if (kind === 'equals') return answer === (wanted as string).trim();
    if (kind === 'contains') return answer.includes(wanted as string);
    const numbers = answer.match(/-?\d[\d,]*(?:\.\d+)?/g);
    return numbers !== null && Number(numbers[numbers.length - 1].replaceAll(',', '')) === wanted;
  };
}
