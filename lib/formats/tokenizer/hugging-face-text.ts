// The `normalizer` and `pre_tokenizer` of a tokenizer.json as functions on text.
//
// @huggingface/tokenizers translates their regular expressions (Oniguruma's dialect to JavaScript's). The steps themselves
// are written out here, because some of the library's differ from the original: its Precompiled normaliser only
// approximates the map, Metaspace does not split, Split knows neither MergedWithPrevious, MergedWithNext nor Contiguous,
// and ByteLevel's and Whitespace's classes are V8's instead of Unicode's.
import { VivaceError } from '../../errors.js';
import { isObject, type JsonObject } from '../hugging-face/json.js';
import { CharacterMap } from './character-map.js';

export type Normalizer = (text: string) => string;
/** `first`: the piece begins the input. */
export type PreTokenizer = (text: string, first: boolean) => readonly string[];

type Behavior = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous';

/** Throws UNSUPPORTED_TOKENIZER for steps that are not known. */
export function readNormalizer(node: unknown): Normalizer {
  if (node === null || node === undefined) return (text) => text;
  const step = object(node, 'normalizer');
  switch (step.type) {
    case 'Sequence': {
      const steps = list(step.normalizers).map(readNormalizer);
      return (text) => steps.reduce((sofar, next) => next(sofar), text);
    }
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD': {
      const form = step.type;
      return (text) => text.normalize(form);
    }
    case 'Lowercase':
      return (text) => text.toLowerCase();
    case 'StripAccents':
      return (text) => text.replace(/\p{Mn}/gu, '');
    case 'Strip': {
      const left = step.strip_left !== false;
      const right = step.strip_right !== false;
      return (text) => strip(text, left, right);
    }
    case 'Prepend': {
      const prefix = string(step.prepend);
      return (text) => (text === '' ? text : prefix + text);
    }
    case 'Replace': {
      const content = string(step.content);
      const pattern = expression(step.pattern);
      return (text) => text.replace(pattern, () => content);
    }
    case 'Precompiled': {
      if (typeof step.precompiled_charsmap !== 'string' || step.precompiled_charsmap === '') return (text) => text;
      const map = new CharacterMap(Buffer.from(step.precompiled_charsmap, 'base64'));
      return (text) => Buffer.from(map.apply(Buffer.from(text, 'utf8'))).toString('utf8');
    }
    default:
      throw unsupported('normalizer', step.type);
  }
}

/** Throws UNSUPPORTED_TOKENIZER for steps that are not known. */
export function readPreTokenizer(node: unknown): PreTokenizer {
  if (node === null || node === undefined) return (text) => [text];
  const step = object(node, 'pre_tokenizer');
  switch (step.type) {
    case 'Sequence':
      return sequence(list(step.pretokenizers));
    case 'ByteLevel':
      return byteLevel(step.add_prefix_space === true, step.use_regex !== false);
    case 'Split':
      return split(expression(step.pattern), behavior(step.behavior), step.invert === true);
    case 'Digits':
      return split(/\p{N}/gu, step.individual_digits === true ? 'Isolated' : 'Contiguous');
    case 'Punctuation':
      return split(/[!-/:-@[-`{-~\p{P}]/gu, behavior(step.behavior ?? 'Isolated'));
    case 'WhitespaceSplit':
      return split(/\p{White_Space}/gu, 'Removed');
    case 'Whitespace':
      return split(expression({ Regex: String.raw`\w+|[^\w\s]+` }), 'Removed', true);
    case 'CharDelimiterSplit':
      return split(expression({ String: step.delimiter }), 'Removed');
    case 'Metaspace':
      return metaspace(step);
    default:
      throw unsupported('pre_tokenizer', step.type);
  }
}

/** Does any step spell bytes in the GPT-2 alphabet. */
export function isByteLevel(node: unknown): boolean {
  if (!isObject(node)) return false;
  if (node.type === 'ByteLevel') return true;
  return [node.pretokenizers, node.decoders].some((steps) => Array.isArray(steps) && steps.some(isByteLevel));
}

function sequence(nodes: readonly unknown[]): PreTokenizer {
  const at = nodes.findIndex(isByteLevel);
  if (at >= 0 && at < nodes.length - 1) {
    throw new VivaceError('UNSUPPORTED_TOKENIZER', 'Steps of a pre_tokenizer after ByteLevel are not supported');
  }
  const steps = nodes.map(readPreTokenizer);
  return (text, first) =>
    steps.reduce<readonly string[]>(
      (pieces, step) => pieces.flatMap((piece, i) => step(piece, first && i === 0)),
      [text],
    );
}

const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const WHITE_SPACE = String.raw`\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`;

/** `\s` and `\S` as Unicode White_Space (V8's matches U+FEFF and not U+0085), inside classes and outside. */
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

/** The cut only: the encoder works on bytes, their spelling comes with the vocabulary. */
function byteLevel(prefix: boolean, useRegex: boolean): PreTokenizer {
  const cut = useRegex ? split(new RegExp(unicodeSpaces(GPT2), 'gu'), 'Isolated') : (text: string) => [text];
  return (text, first) => cut(prefix && !text.startsWith(' ') ? ` ${text}` : text, first);
}

function metaspace(step: JsonObject): PreTokenizer {
  const mark = typeof step.replacement === 'string' ? step.replacement : '\u2581';
  const legacy = step.add_prefix_space === false ? 'never' : 'always';
  const scheme = typeof step.prepend_scheme === 'string' ? step.prepend_scheme : legacy;
  const cut = step.split === false ? (text: string) => [text] : split(expression({ String: mark }), 'MergedWithNext');
  return (text, first) => {
    const marked = text.replaceAll(' ', mark);
    const prepend = !marked.startsWith(mark) && (scheme === 'always' || (scheme === 'first' && first));
    return cut(prepend ? mark + marked : marked, first);
  };
}

/** Cuts at the matches of a pattern, or with `invert` at what it does not match; `behavior` says where these go. */
function split(pattern: RegExp, kind: Behavior, invert = false): PreTokenizer {
  return (text) => {
    const pieces: string[] = [];
    let last: boolean | undefined; // was the piece before a delimiter
    const add = (piece: string, delimiter: boolean): void => {
      if (piece === '') return;
      const merges =
        (kind === 'MergedWithPrevious' && delimiter && last === false) ||
        (kind === 'MergedWithNext' && !delimiter && last === true) ||
        (kind === 'Contiguous' && delimiter === last);
      if (merges) pieces[pieces.length - 1] += piece;
      else if (!delimiter || kind !== 'Removed') pieces.push(piece);
      last = delimiter;
    };
    let at = 0;
    for (const match of text.matchAll(pattern)) {
      add(text.slice(at, match.index), invert);
      add(match[0], !invert);
      at = match.index + match[0].length;
    }
    add(text.slice(at), invert);
    return pieces;
  };
}

/** A pattern of tokenizer.json, {Regex} or {String}, as a global expression. */
function expression(pattern: unknown): RegExp {
  const { Regex: regex, String: literal } = object(pattern, 'pattern');
  if (typeof literal === 'string') return new RegExp(literal.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'gu');
  try {
    const { SplitPreTokenizer } = library();
    const { pattern: translated } = new SplitPreTokenizer({ pattern: { Regex: string(regex) }, invert: false });
    if (translated) return translated;
  } catch (cause) {
    throw new VivaceError('UNSUPPORTED_TOKENIZER', `The tokenizer's pattern ${String(regex)} cannot be read`, {
      cause,
    });
  }
  throw new VivaceError('UNSUPPORTED_TOKENIZER', `The tokenizer's pattern ${String(regex)} cannot be read`);
}

interface Library {
  readonly SplitPreTokenizer: new (config: object) => { readonly pattern: RegExp | null };
}

/** Loaded when a pattern needs it; GGUF files never do. (Its declarations leave out extensions, so tsc finds none.) */
function library(): Library {
  return require('@huggingface/tokenizers') as Library;
}

function strip(text: string, left: boolean, right: boolean): string {
  const space = /\p{White_Space}/u;
  let start = 0;
  let end = text.length;
  if (left) while (start < end && space.test(text[start])) start++;
  if (right) while (end > start && space.test(text[end - 1])) end--;
  return text.slice(start, end);
}

function behavior(value: unknown): Behavior {
  for (const kind of ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const) {
    if (String(value).toLowerCase() === kind.toLowerCase()) return kind;
  }
  throw unsupported('split behavior', value);
}

function object(value: unknown, what: string): JsonObject {
  if (isObject(value)) return value;
  throw new VivaceError('FORMAT_INVALID', `The ${what} in tokenizer.json is not an object`);
}

function list(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new VivaceError('FORMAT_INVALID', 'A sequence in tokenizer.json is not a list');
}

function string(value: unknown): string {
  if (typeof value === 'string') return value;
  throw new VivaceError('FORMAT_INVALID', 'A step in tokenizer.json lacks a text');
}

function unsupported(what: string, kind: unknown): VivaceError {
  return new VivaceError('UNSUPPORTED_TOKENIZER', `The ${what} "${String(kind)}" of tokenizer.json is not supported`);
}
