// Pre-tokenizers of tokenizer.json that are known by their patterns: native code has the same rules under GGUF's names.
import { isObject } from '../hugging-face/json.js';

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const LEAD = String.raw`[^\r\n\p{L}\p{N}]?`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;

const words = (numbers: string): string =>
  String.raw`${CONTRACTIONS}|${LEAD}\p{L}+|${numbers}| ?[^\s\p{L}\p{N}]+[\r\n]*|${SPACES}`;
const casedWords = (tail: string, numbers: string): string =>
  String.raw`${LEAD}${UPPER}*${LOWER}+${tail}|${LEAD}${UPPER}+${LOWER}*${tail}|${numbers}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${SPACES}`;

/** Rule → the patterns of its steps, each a Split that isolates what it matches. */
export const rulePatterns: Readonly<Record<string, readonly string[]>> = {
  dbrx: [words(String.raw`\p{N}{1,3}`)],
  qwen2: [words(String.raw`\p{N}`)],
  'gpt-4o': [casedWords(`${CONTRACTIONS}?`, String.raw`\p{N}{1,3}`)],
  tekken: [casedWords('', String.raw`\p{N}`)],
  'deepseek-v3': [
    String.raw`\p{N}{1,3}`,
    '[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+',
    '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|' +
      String.raw`[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|${SPACES}`,
  ],
  'deepseek-coder': [
    String.raw`[\r\n]`,
    String.raw`\s?\p{L}+`,
    String.raw`\s?\p{P}+`,
    '[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+',
    String.raw`\p{N}`,
  ],
};
const GPT2_STEP = 'ByteLevel';

const KNOWN: ReadonlyMap<string, string> = new Map([
  ...Object.entries(rulePatterns).map(([rule, patterns]): [string, string] => [patterns.join('\0'), rule]),
  [GPT2_STEP, 'gpt-2'],
  [`${String.raw`\p{N}`}\0${GPT2_STEP}`, 'starcoder'],
]);

/** The native rule that cuts as this pre_tokenizer does, if it is a known one. */
export function nativeRule(node: unknown): string | undefined {
  const steps = isObject(node) && node.type === 'Sequence' ? node.pretokenizers : [node];
  if (!Array.isArray(steps) || steps.length === 0) return undefined;
  const patterns: string[] = [];
  for (const step of steps as unknown[]) {
    const pattern = patternOf(step);
    if (pattern === undefined) return undefined;
    if (pattern !== '') patterns.push(pattern);
  }
  return KNOWN.get(patterns.join('\0'));
}

/** '' where a step only spells bytes; undefined where native code has no such step. */
function patternOf(step: unknown): string | undefined {
  if (!isObject(step)) return undefined;
  if (step.type === 'ByteLevel') {
    if (step.add_prefix_space === true) return undefined;
    return step.use_regex === false ? '' : GPT2_STEP;
  }
  if (step.type === 'Digits') return step.individual_digits === true ? String.raw`\p{N}` : undefined;
  const isolates = step.type === 'Split' && step.behavior === 'Isolated' && step.invert !== true;
  const regex = isolates && isObject(step.pattern) ? step.pattern.Regex : undefined;
  return typeof regex === 'string' ? regex : undefined;
}
