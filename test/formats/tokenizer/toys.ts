// Small tokenizers trained or invented in the tests, random texts, and slow references of the three algorithms.
import { stringTable } from '../../../lib/formats/gguf.js';
import type { GgufTokenizerSource, SpecialTokens } from '../../../lib/formats/tokenizer-source.js';

/** Seeded, uniform in [0, 1). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Processor seconds that `work` takes: unlike the clock, not stretched by other processes. */
export function cpuSeconds(work: () => void): number {
  const start = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1e6;
}

const PARTS = [
  ...[
    'the',
    ' the',
    'low',
    'er',
    'est',
    ' new',
    'HELLO',
    'Ärger',
    'straße',
    ' a',
    "'s",
    "'LL",
    "don't",
    '123',
    '4567',
    '½',
    '٣',
  ],
  ...[
    ' ',
    '  ',
    '\t',
    '\n',
    '\r',
    '\r\n',
    '\n\n',
    '\u00a0',
    '\u0085',
    '\ufeff',
    '\u3000',
    '\u2028',
    '\u200b',
    '\u2581',
    '.',
    '...',
    '!?',
    '<s>',
    '</s>',
    '$',
  ],
  ...[
    '한국어',
    '한',
    '漢字',
    'かな',
    'ไทย',
    'नमस्ते',
    'עברית',
    'é',
    'e\u0301',
    '👩‍👩‍👧‍👦',
    '😀',
    '🇳🇴',
    '\u{10ffff}',
    '\u{1d400}',
    '\u0000',
    '\u007f',
    '\ud7ff',
    '\ue000',
  ],
];

/** Texts of words, white space of every kind, scripts of all planes, joined emoji, and long runs. */
export function randomText(next: () => number, longest = 12): string {
  const count = Math.floor(next() * longest);
  let text = '';
  for (let i = 0; i < count; i++) {
    const pick = next();
    if (pick < 0.8) text += PARTS[Math.floor(next() * PARTS.length)];
    else if (pick < 0.9) text += 'aeo 1\n'[Math.floor(next() * 6)].repeat(1 + Math.floor(next() * 30));
    else {
      const code = Math.floor(next() * 0x110000);
      text += code >= 0xd800 && code < 0xe000 ? 'x' : String.fromCodePoint(code);
    }
  }
  return text;
}

/** GPT-2's byte alphabet, from its definition. */
export const alphabet: readonly string[] = (() => {
  const kept = (byte: number): boolean => (byte > 32 && byte < 127) || (byte > 160 && byte < 173) || byte > 173;
  let extra = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(kept(byte) ? byte : extra++));
})();

export const spell = (text: string): string => [...Buffer.from(text, 'utf8')].map((byte) => alphabet[byte]).join('');

export interface ToyBpe {
  tokens: string[];
  merges: [string, string][];
}

/** The textbook training: the most frequent pair (of equals the first) becomes a token, `count` times. */
export function trainBpe(text: string, count: number): ToyBpe {
  let words = text.split(/(?= )/).map((word) => [...Buffer.from(word, 'utf8')].map((byte) => alphabet[byte]));
  const tokens = [...alphabet];
  const merges: [string, string][] = [];
  while (merges.length < count) {
    const pairs = new Map<string, number>();
    for (const word of words) {
      for (let i = 1; i < word.length; i++) {
        const pair = `${word[i - 1]} ${word[i]}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
      }
    }
    const best = [...pairs].reduce((a, b) => (b[1] > a[1] ? b : a), ['', 1]);
    if (best[0] === '') break;
    const [left, right] = best[0].split(' ');
    merges.push([left, right]);
    if (!tokens.includes(left + right)) tokens.push(left + right);
    words = words.map((word) => mergeAll(word, left, right));
  }
  return { tokens, merges };
}

function mergeAll(word: string[], left: string, right: string): string[] {
  const out: string[] = [];
  for (let i = 0; i < word.length; i++) {
    if (word[i] === left && word[i + 1] === right) out.push(left + word[++i]);
    else out.push(word[i]);
  }
  return out;
}

export interface ToyOptions {
  pre?: string;
  special?: SpecialTokens;
  /** Text and type of more tokens. */
  more?: [text: string, type: number][];
}

export function bpeSource({ tokens, merges }: ToyBpe, options: ToyOptions = {}): GgufTokenizerSource {
  const more = options.more ?? [];
  const types = Int32Array.from([...tokens.map(() => 1), ...more.map(([, type]) => type)]);
  return {
    kind: 'gguf',
    model: 'gpt2',
    pre: options.pre ?? 'gpt-2',
    tokens: stringTable([...tokens, ...more.map(([text]) => text)]),
    types: () => types,
    merges: stringTable(merges.map((pair) => pair.join(' '))),
    special: options.special ?? {},
  };
}

/** One merge at a time, by looking at all pairs: quadratic. */
export function slowBpe({ tokens, merges }: ToyBpe, ignoreMerges = false): (piece: string) => number[] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const ranks = new Map(merges.map(([left, right], rank) => [`${left} ${right}`, rank]));
  return (piece) => {
    const whole = ids.get(spell(piece));
    if (ignoreMerges && whole !== undefined) return [whole];
    const parts = [...spell(piece)];
    for (;;) {
      let best = -1;
      let lowest = Infinity;
      for (let i = 1; i < parts.length; i++) {
        const rank = ranks.get(`${parts[i - 1]} ${parts[i]}`) ?? Infinity;
        if (rank < lowest) [best, lowest] = [i - 1, rank];
      }
      if (best < 0) return parts.map((part) => ids.get(part) ?? -1);
      parts.splice(best, 2, parts[best] + parts[best + 1]);
    }
  };
}

export interface ToyPieces {
  tokens: string[];
  scores: number[];
  types: number[];
}

/** Unknown, BOS, EOS and 256 byte tokens, then the pieces with their scores. */
export function pieces(entries: readonly [string, number][]): ToyPieces {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  return {
    tokens: ['<unk>', '<s>', '</s>', ...bytes, ...entries.map(([text]) => text)],
    scores: [0, 0, 0, ...bytes.map(() => 0), ...entries.map(([, score]) => score)],
    types: [2, 3, 3, ...bytes.map(() => 6), ...entries.map(() => 1)],
  };
}

export function piecesSource(
  model: 'llama' | 't5',
  toy: ToyPieces,
  more: Partial<GgufTokenizerSource> = {},
): GgufTokenizerSource {
  return {
    kind: 'gguf',
    model,
    tokens: stringTable(toy.tokens),
    scores: () => Float32Array.from(toy.scores),
    types: () => Int32Array.from(toy.types),
    special: { bos: 1, eos: 2, unknown: 0 },
    ...more,
  };
}

/** One merge at a time, the best score first, of equals the leftmost. */
export function slowSentencePiece(toy: ToyPieces): (text: string) => number[] {
  const ids = new Map<string, number>();
  toy.tokens.forEach((token, id) => {
    if (toy.types[id] === 1 || toy.types[id] === 4) ids.set(token, id);
  });
  return (text) => {
    const parts = [...text.replaceAll(' ', '\u2581')];
    for (;;) {
      let best = -1;
      let highest = -Infinity;
      for (let i = 1; i < parts.length; i++) {
        const id = ids.get(parts[i - 1] + parts[i]);
        if (id !== undefined && Math.fround(toy.scores[id]) > highest)
          [best, highest] = [i - 1, Math.fround(toy.scores[id])];
      }
      if (best < 0) break;
      parts.splice(best, 2, parts[best] + parts[best + 1]);
    }
    return parts.flatMap((part) => ids.get(part) ?? [...Buffer.from(part, 'utf8')].map((byte) => 3 + byte));
  };
}
