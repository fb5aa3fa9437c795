// The native engines: equal to the plain TypeScript ones, linear, exact in their places, and never brought down by a file.
import { stringTable } from '../../../lib/formats/gguf.js';
import type { GgufTokenizerSource } from '../../../lib/formats/tokenizer-source.js';
import { preSplitRules } from '../../../lib/formats/tokenizer/pre-split.js';
import { createTokenizer } from '../../../lib/formats/tokenizer/tokenizer.js';
import { native } from '../../../lib/native.js';
import { referenceEncoder } from './reference/engines.js';
import { bpeSource, cpuSeconds, pieces, piecesSource, random, randomText, trainBpe } from './toys.js';

const CORPUS =
  'the lower the newer the lowest low low newest wider wide widest straße Ärger 한국어 한국 漢字 漢字 123 1234 12 ... !!!   \n\n   ' +
  "the é é 😀 😀 👩‍👩‍👧‍👦 hello HELLO hello aaaa aaaaaaaa eeee don't we'll नमस्ते नमस्ते ไทย ไทย עברית עברית ";
const toy = trainBpe(CORPUS.repeat(2), 400);

/** Random texts with lone surrogates among them. */
function someText(next: () => number): string {
  const text = randomText(next, 16);
  if (next() < 0.9) return text;
  const at = Math.floor(next() * text.length);
  return `${text.slice(0, at)}${next() < 0.5 ? '\ud83d' : '\udc00'}${text.slice(at)}`;
}

/** Words of two alphabets, marks, and a token or two across words; scores tie now and then. */
function inventPieces(next: () => number, joined: boolean): ReturnType<typeof pieces> {
  const letters = [...'\u2581thelowrsnaHELOd123.!\n한국漢é😀<>/'];
  const words = new Set<string>(joined ? ['e\u2581', 'e\u2581l'] : []);
  while (words.size < 150) {
    const length = 2 + Math.floor(next() * 4);
    const word = Array.from({ length }, () => letters[Math.floor(next() * letters.length)]).join('');
    if (joined || !/[^\u2581]\u2581/u.test(word)) words.add(word);
  }
  return pieces([
    ...[...words].map((word): [string, number] => [word, -Math.floor(next() * 40) / 2]),
    ...letters.map((letter): [string, number] => [letter, -30]),
  ]);
}

const next = random(61);
const sources: [string, GgufTokenizerSource][] = [
  ...preSplitRules.map((pre): [string, GgufTokenizerSource] => [pre, bpeSource(toy, { pre })]),
  ['SentencePiece', piecesSource('llama', inventPieces(next, false))],
  ['SentencePiece across words', piecesSource('llama', inventPieces(next, true))],
  ['SentencePiece without prefix', piecesSource('llama', inventPieces(next, false), { addSpacePrefix: false })],
  ['unigram', piecesSource('t5', inventPieces(next, true), { special: { unknown: 0 } })],
  [
    'unigram without extra spaces',
    piecesSource('t5', inventPieces(next, true), { addSpacePrefix: true, removeExtraWhitespaces: true }),
  ],
];

describe.each(sources)('%s', (_, source) => {
  const tokenizer = createTokenizer(source);
  const encode = (text: string): number[] => [...tokenizer.encode(text, { addSpecial: false })];

  test('equals the plain engine on random texts', () => {
    const reference = referenceEncoder(source);
    for (let i = 0; i < 1000; i++) {
      const text = someText(next);
      expect([text, encode(text)]).toEqual([text, reference(text)]);
    }
  });

  test('the places of tokens cover the text, and those of byte-level tokens are their bytes', () => {
    for (let i = 0; i < 200; i++) {
      const text = someText(next);
      const bytes = Buffer.from(text, 'utf8');
      const { tokens, offsets } = tokenizer.encodeWithOffsets(text, { addSpecial: false });
      expect([...tokens]).toEqual(encode(text));
      expect(offsets[0]).toBe(0);
      if (tokens.length > 0) expect(offsets[tokens.length]).toBe(bytes.length);
      for (const [k, token] of tokens.entries()) {
        expect(offsets[k]).toBeLessThanOrEqual(offsets[k + 1]);
        if (source.model === 'gpt2') {
          expect(bytes.subarray(offsets[k], offsets[k + 1]).equals(tokenizer.piece(token))).toBe(true);
        }
      }
    }
  });

  test('a megabyte of one thing takes linear time', () => {
    for (const unit of ['a', ' ', '1', 'ab', '😀', '\n', "'s "]) {
      const text = unit.repeat(1_000_000 / Buffer.byteLength(unit));
      expect(cpuSeconds(() => tokenizer.encode(text))).toBeLessThan(4); // 0.01 to 0.5 s
    }
  });
});

test('places of SentencePiece tokens: marks are the spaces that they stand for', () => {
  const vocabulary = pieces([
    ['\u2581', -3],
    ['a', -3],
    ['\u2581a', -1],
  ]);
  const { tokens, offsets } = createTokenizer(piecesSource('llama', vocabulary)).encodeWithOffsets('a é a');
  const texts = [...tokens].map((token) => vocabulary.tokens[token]);
  expect(texts).toEqual(['<s>', '\u2581a', '\u2581', '<0xC3>', '<0xA9>', '\u2581a']);
  expect([...offsets]).toEqual([0, 0, 1, 2, 3, 4, 6]);
});

test('places around special tokens: the white space that they swallow is theirs', () => {
  const source = bpeSource(toy, { more: [['<|a|>', 3]], special: { bos: toy.tokens.length, addBos: true } });
  const { tokens, offsets } = createTokenizer(source).encodeWithOffsets('é<|a|>é', { parseSpecial: true });
  expect(tokens[0]).toBe(toy.tokens.length);
  const place = tokens.lastIndexOf(toy.tokens.length);
  expect([offsets[1], offsets[place], offsets[place + 1], offsets[tokens.length]]).toEqual([0, 2, 7, 9]);
});

test('a tokenizer.json with a normalizer that changes the text has no places for it', () => {
  const json = (normalizer: unknown): unknown => ({
    model: { type: 'BPE', vocab: Object.fromEntries(toy.tokens.map((token, id) => [token, id])), merges: toy.merges },
    added_tokens: [],
    normalizer,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    decoder: { type: 'ByteLevel' },
  });
  const open = (normalizer: unknown) =>
    createTokenizer({ kind: 'hugging-face', json: json(normalizer), config: {}, special: {} });
  const plain = open(null);
  const composing = open({ type: 'NFC' });
  expect([plain.engine, composing.engine]).toEqual(['native', 'mixed']);
  const text = 'the é';
  expect(composing.encodeWithOffsets(text)).toEqual(plain.encodeWithOffsets(text));
  expect(() => composing.encodeWithOffsets('e\u0301')).toThrow(
    expect.objectContaining({ code: 'UNSUPPORTED_FEATURE' }),
  );
  expect([...composing.encode('e\u0301')]).toEqual([...plain.encode('é')]);
});

describe('damaged vocabularies are refused or encoded with, never more', () => {
  const { Tokenizer } = native();
  const base = {
    kind: 'byte-pair' as const,
    bytes: Buffer.from('ab'),
    offsets: Uint32Array.of(0, 1, 2),
    alphabet: true,
  };
  const types = Int32Array.of(1, 1);
  const none = { mergeBytes: new Uint8Array(0), mergeOffsets: new Uint32Array(1), separator: 32 };
  const invalid = expect.objectContaining({ code: expect.stringMatching(/^(FORMAT_INVALID|INVALID_ARGUMENT)$/) });

  test.each<[string, object]>([
    ['offsets that fall', { offsets: Uint32Array.of(0, 2, 1) }],
    ['offsets outside of the bytes', { offsets: Uint32Array.of(0, 1, 3) }],
    ['no offsets', { offsets: new Uint32Array(0) }],
    ['too few types', { types: Int32Array.of(1) }],
    ['merges outside of their bytes', { mergeOffsets: Uint32Array.of(0, 9) }],
    ['an unknown token outside of the vocabulary', { unknown: 2 }],
    ['offsets of another kind', { offsets: Int32Array.of(0, 1, 2) }],
    ['too few scores', { kind: 'unigram', scores: new Float64Array(1) }],
    ['scores of another kind', { kind: 'sentencepiece', scores: new Float64Array(2) }],
    ['an empty character map', { kind: 'unigram', scores: new Float64Array(2), characterMap: new Uint8Array(0) }],
    ['a kind that does not exist', { kind: 'wordpiece' }],
  ])('%s', (_, damage) => {
    expect(() => new Tokenizer({ ...base, types, ...none, ...damage })).toThrow(invalid);
  });

  test('parts outside of the text', () => {
    const tokenizer = new Tokenizer({ ...base, types, ...none });
    const text = Buffer.from('ab');
    for (const parts of [
      [-1, 3],
      [-1, -1],
      [-9, 2],
      [-1, 2, -1, 1],
    ]) {
      expect(() => tokenizer.encode(text, Int32Array.from(parts), false)).toThrow(invalid);
    }
    expect(tokenizer.encode(text, Int32Array.of(-1, 2), false)).toBe(2);
    expect(() => tokenizer.take(new Int32Array(1))).toThrow(invalid);
    expect(() => tokenizer.take(new Int32Array(2), new Uint32Array(3))).toThrow(invalid);
  });

  test('random bytes, types, merges, scores and maps', () => {
    const byte = (): number => (next() < 0.5 ? 97 + Math.floor(next() * 4) : Math.floor(next() * 256));
    const word = (longest: number): string =>
      Buffer.from(Array.from({ length: Math.floor(next() * longest) }, byte)).toString('latin1');
    const table = (count: number, longest: number) => {
      const list = Array.from({ length: count }, () => Buffer.from(word(longest), 'latin1'));
      const offsets = Uint32Array.from([
        0,
        ...list.map((_, i) => list.slice(0, i + 1).reduce((n, b) => n + b.length, 0)),
      ]);
      return { bytes: Buffer.concat(list), offsets };
    };
    let built = 0;
    for (let round = 0; round < 1500; round++) {
      const size = Math.floor(next() * 40);
      const merges = table(Math.floor(next() * 60), 6);
      for (let i = 1; i < merges.bytes.length; i += 3) merges.bytes[i] = 0x20;
      const number = (): number => [NaN, Infinity, -Infinity, 0, -1e38, next() * -20][Math.floor(next() * 6)];
      const kind = (['byte-pair', 'sentencepiece', 'unigram'] as const)[round % 3];
      const scores = Array.from({ length: size }, number);
      try {
        const tokenizer = new Tokenizer({
          kind,
          ...table(size, 5),
          types: Int32Array.from({ length: size }, () => Math.floor(next() * 9) - 1),
          mergeBytes: merges.bytes,
          mergeOffsets: merges.offsets,
          separator: 0x20,
          alphabet: next() < 0.5,
          rule: next() < 0.5 ? preSplitRules[Math.floor(next() * preSplitRules.length)] : undefined,
          ignoreMerges: next() < 0.5,
          byteFallback: next() < 0.5,
          fuseUnknown: next() < 0.5,
          unknown: next() < 0.5 ? undefined : Math.floor(next() * (size + 1)),
          scores: kind === 'unigram' ? Float64Array.from(scores) : Float32Array.from(scores),
          singlePrecision: next() < 0.5,
          spacePrefix: next() < 0.5,
          removeExtraSpaces: next() < 0.5,
          characterMap: next() < 0.7 ? undefined : randomMap(next),
        });
        for (let i = 0; i < 4; i++) {
          const text = Buffer.from(i === 0 ? word(60) : someText(next), i === 0 ? 'latin1' : 'utf8');
          const count = tokenizer.encode(text, Int32Array.of(-1 - Math.floor(next() * 4), text.length), true);
          const tokens = new Int32Array(count);
          const offsets = new Uint32Array(count + 1);
          tokenizer.take(tokens, offsets);
          expect(tokens.every((token) => token >= 0 && token < size)).toBe(true);
          expect(offsets.every((offset, k) => offset <= text.length && (k === 0 || offset >= offsets[k - 1]))).toBe(
            true,
          );
        }
        built++;
      } catch (error) {
        expect(error).toEqual(invalid);
      }
    }
    expect(built).toBeGreaterThan(700);
  });
});

/** A size that fits, then random units and replacements. */
function randomMap(next: () => number): Uint8Array {
  const blob = Buffer.from(Array.from({ length: 4 + 4 * 300 + 20 }, () => Math.floor(next() * 256)));
  blob.writeUInt32LE(4 * 300);
  for (let i = 4; i < 4 + 4 * 300; i += 4) {
    if (next() < 0.8)
      blob.writeUInt32LE((Math.floor(next() * 300) << 10) | (next() < 0.5 ? 0x100 : 0) | Math.floor(next() * 128), i);
  }
  return blob;
}

test('strings that merges name and the vocabulary lacks, as in stringTable()', () => {
  const source = {
    ...bpeSource({ tokens: toy.tokens.slice(0, 256), merges: toy.merges }),
    merges: stringTable(['x y', 'xy z', 'a b c', ' b', 'a ']),
  };
  const reference = referenceEncoder(source);
  for (const text of ['xyz', 'xy', 'xyzz abc', 'a b']) {
    expect([...createTokenizer(source).encode(text)]).toEqual(reference(text));
  }
});
