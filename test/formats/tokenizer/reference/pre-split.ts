// The pre-split rules of byte-level BPE as regular expressions: which patterns cut a text, in which order.
//
// The patterns are those of the models' own tokenizer.json files, in the order of llama.cpp's vocabulary source. Two
// differences between engines are levelled here: `\s` is Unicode White_Space (V8's matches U+FEFF and not U+0085), and
// inline `(?i:…)` groups, unknown to Node 20, are spelled out.
import { preSplit as known } from '../../../../lib/formats/tokenizer/pre-split.js';
import type { Splitter } from './byte-pair.js';
import { cased, digitGroups, digitGroupsBeforeBoundary, type Cut } from './pre-split-classes.js';

interface Rule {
  /** Applied in sequence: each cuts the pieces that the one before it left; what it does not match is a piece too. */
  readonly cuts: readonly (string | Cut)[];
}

const CONTRACTIONS = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]";
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const WORD = String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`;
const OTHER = String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const ASCII_PUNCTUATION = '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]';
const CJK_KANA = String.raw`[\u4e00-\u9fa5\u3040-\u30ff]+`;

const llama3 = (numbers: string): string => `${CONTRACTIONS}|${WORD}|${numbers}|${OTHER}|${SPACES}`;
/** Upper- and lower-case aware words; `tail` is what may end one. */
const casedWords = (letters: (set: string) => string, tail: string, numbers: string, breaks: string): string =>
  String.raw`[^\r\n\p{L}\p{N}]?${letters(UPPER)}*${letters(LOWER)}+${tail}|` +
  String.raw`[^\r\n\p{L}\p{N}]?${letters(UPPER)}+${letters(LOWER)}*${tail}|` +
  String.raw`${numbers}| ?[^\s\p{L}\p{N}]+${breaks}|${SPACES}`;
const all = (set: string): string => set;
const gpt4o = casedWords(all, `(?:${CONTRACTIONS})?`, String.raw`\p{N}{1,3}`, String.raw`[\r\n/]*`);
const deepseekWords = (breaks: string): string =>
  String.raw`${ASCII_PUNCTUATION}[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+${breaks}|\s+(?!\S)|\s+`;
const deepseek3 = deepseekWords(String.raw`[\r\n]*|\s*[\r\n]+`);
const BLOOM = String.raw` ?[^(\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+`;

const RULES: Readonly<Record<string, Rule>> = {
  default: {
    cuts: [String.raw`[\p{P}\$\+<=>\^~\|]+`, GPT2, String.raw`\p{N}+`, '[0-9][0-9][0-9]'],
  },
  'gpt-2': { cuts: [GPT2] },
  'llama-bpe': { cuts: [llama3(String.raw`\p{N}{1,3}`)] },
  dbrx: { cuts: [llama3(String.raw`\p{N}{1,3}`)] },
  qwen2: { cuts: [llama3(String.raw`\p{N}`)] },
  qwen35: {
    cuts: [String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|${SPACES}`],
  },
  ufakzeka: { cuts: [String.raw`${WORD}|\p{N}|${OTHER}|${SPACES}`] },
  minicpm5: { cuts: [String.raw`\p{N}{1,3}`, llama3(String.raw`\p{N}+`)] },
  laguna: { cuts: [String.raw`[^\n]+|[\n]+`, llama3(String.raw`\p{N}`)] },
  'seed-coder': {
    cuts: [String.raw`${CONTRACTIONS}|${WORD}|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|${SPACES}`],
  },
  bailingmoe: {
    cuts: [String.raw`'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|${WORD}|\p{N}|${OTHER}|\s*[\r\n]|\s+(?!\S)|\s+`],
  },
  'exaone-moe': {
    cuts: [
      String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|` +
        String.raw`\s*[\r\n]|\s+(?!\S)|\s+`,
    ],
  },
  'jais-2': {
    cuts: [
      String.raw`${CONTRACTIONS}|${WORD}|\p{N}{1,3}|${OTHER}|\s*[\r\n]+|` +
        [512, 256, 128, 64, 32, 16, 8, 4].map((n) => String.raw`\s{${n}}(?!\S)|`).join('') +
        String.raw`\s{1,2}(?!\S)|\s`,
    ],
  },
  starcoder: { cuts: [String.raw`\p{N}`, GPT2] },
  falcon: { cuts: ['[\\p{P}\\$\\+<=>\\^~\\|`]+', GPT2, '[0-9][0-9][0-9]'] },
  chameleon: {
    cuts: [
      '<sentinel:[0-9]+>',
      '(?:IMGIMG)(?:[A-I]{1,4})Z',
      String.raw`[\t\n]|    |  `,
      String.raw`\p{N}`,
      String.raw`[\p{P}!-\/:-@\[-\u0060\{-~]`,
      GPT2,
    ],
  },
  tekken: { cuts: [casedWords(all, '', String.raw`\p{N}`, String.raw`[\r\n/]*`)] },
  'gpt-4o': { cuts: [gpt4o] },
  'granite-embed-multi-97m': { cuts: [gpt4o] },
  tiny_aya: { cuts: [digitGroupsBeforeBoundary, gpt4o] },
  superbpe: { cuts: [String.raw`\p{N}+`, digitGroups(/[0-9]+/gu)] },
  youtu: {
    cuts: [
      String.raw`[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+|` +
        String.raw`[\u3105-\u312f]+|${CJK_KANA}`,
      casedWords(all, `(?:${CONTRACTIONS})?`, String.raw`\p{N}`, String.raw`[\r\n/]*`),
    ],
  },
  'kimi-k2': {
    cuts: [
      String.raw`\p{sc=Han}+|` +
        casedWords(
          (set) => String.raw`(?:(?!\p{sc=Han})${set})`,
          `(?:${CONTRACTIONS})?`,
          String.raw`\p{N}{1,3}`,
          String.raw`[\r\n]*`,
        ),
    ],
  },
  'deepseek-llm': {
    cuts: [
      String.raw`[\r\n]`,
      String.raw`\s?${cased}+`,
      String.raw`\s?[!-\/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+`,
      String.raw`\s+$`,
      String.raw`[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+`,
      String.raw`\p{N}+`,
    ],
  },
  'deepseek-coder': {
    cuts: [
      String.raw`[\r\n]`,
      String.raw`\s?\p{L}+`,
      String.raw`\s?\p{P}+`,
      String.raw`[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+`,
      String.raw`\p{N}`,
    ],
  },
  'deepseek-v3': { cuts: [String.raw`\p{N}{1,3}`, CJK_KANA, deepseek3] },
  spark2_5: { cuts: [String.raw`\p{N}{1,3}`, CJK_KANA, deepseekWords(String.raw`|[\r\n]`), String.raw`\p{N}`] },
  afmoe: {
    cuts: [
      digitGroups(/\p{N}+/gu),
      String.raw`[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0eff` +
        String.raw`\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+`,
      deepseek3,
    ],
  },
  bloom: { cuts: [BLOOM] },
  viking: { cuts: [BLOOM, String.raw`\p{N}`] },
};

export const referenceRules: readonly string[] = Object.keys(RULES);

/** By a rule's own name or a synonym of it. */
export function preSplit(name: string): { readonly split: Splitter; readonly ignoreMerges: boolean } {
  const { rule, ignoreMerges } = known(name);
  let split: Splitter | undefined;
  return { split: (text) => (split ??= compile(RULES[rule]))(text), ignoreMerges };
}

function compile(rule: Rule): Splitter {
  const cuts = rule.cuts.map((cut) => (typeof cut === 'string' ? cutBy(cut) : cut));
  return (text) => cuts.reduce<readonly string[]>((pieces, cut) => pieces.flatMap(cut), text === '' ? [] : [text]);
}

const WHITE_SPACE = String.raw`\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`;

/** `\s` and `\S` as Unicode White_Space, inside classes and outside. */
function unicodeSpaces(pattern: string): string {
  let inClass = false;
  return pattern.replace(/\\?[\s\S]/g, (token) => {
    if (token === '[') inClass = true;
    else if (token === ']') inClass = false;
    else if (token === '\\s') return inClass ? WHITE_SPACE : `[${WHITE_SPACE}]`;
    else if (token === '\\S' && !inClass) return `[^${WHITE_SPACE}]`;
    return token;
  });
}

function cutBy(pattern: string): Cut {
  const expression = new RegExp(unicodeSpaces(pattern), 'gu');
  return (text) => {
    const pieces = text.match(expression);
    if (!pieces) return [text];
    let matched = 0;
    for (const piece of pieces) matched += piece.length;
    if (matched === text.length) return pieces; // no gaps: the common case, without match positions
    const cut: string[] = [];
    let at = 0;
    for (const match of text.matchAll(expression)) {
      if (match.index > at) cut.push(text.slice(at, match.index));
      cut.push(match[0]);
      at = match.index + match[0].length;
    }
    if (at < text.length) cut.push(text.slice(at));
    return cut;
  };
}
