// Unigram: the best of all segmentations, and its normaliser.
import { CharacterMap } from '../../../lib/formats/tokenizer/character-map.js';
import { createTokenizer } from '../../../lib/formats/tokenizer/tokenizer.js';
import { cpuSeconds, piecesSource, random, type ToyPieces } from './toys.js';

const MARK = '\u2581';
const next = random(23);
const LETTERS = [...`abc${MARK}é漢😀`];

/** Random pieces of one to four characters, among them all letters but one. */
function invent(): ToyPieces {
  const texts = new Set<string>(LETTERS.slice(0, -1));
  while (texts.size < 60) {
    texts.add(Array.from({ length: 1 + Math.floor(next() * 4) }, () => LETTERS[Math.floor(next() * 6)]).join(''));
  }
  const list = [...texts];
  return {
    tokens: ['<pad>', '</s>', '<unk>', ...list],
    scores: [0, 0, 0, ...list.map(() => Math.fround(-1 - 9 * next()))],
    types: [3, 3, 2, ...list.map(() => 1)],
  };
}

const toy = invent();
const source = piecesSource('t5', toy, { special: {}, addSpacePrefix: false, removeExtraWhitespaces: false });
const tokenizer = createTokenizer(source);
const unknownScore = Math.fround(Math.min(...toy.scores) - 10);

/** The greatest sum of scores over all segmentations, by trying each. */
function bruteForce(characters: readonly string[], from = 0): number {
  if (from === characters.length) return 0;
  let best = -Infinity;
  for (let end = from + 1; end <= characters.length; end++) {
    const id = toy.tokens.indexOf(characters.slice(from, end).join(''), 3);
    const score = id >= 0 ? toy.scores[id] : end === from + 1 ? unknownScore : -Infinity;
    if (score > -Infinity) best = Math.max(best, score + bruteForce(characters, end));
  }
  return best;
}

test('no segmentation of up to twelve characters has a greater score', () => {
  for (let i = 0; i < 400; i++) {
    const characters = Array.from(
      { length: 1 + Math.floor(next() * 12) },
      () => LETTERS[Math.floor(next() * LETTERS.length)],
    );
    const ids = [...tokenizer.encode(characters.join('').replaceAll(MARK, ' '), { addSpecial: false })];
    const runs = characters.join('').match(/😀+/gu) ?? [];
    const unknowns = runs.reduce((sum, run) => sum + [...run].length, 0);
    const score = ids.reduce((sum, id) => sum + (id === 2 ? 0 : toy.scores[id]), unknowns * unknownScore);
    expect(score).toBeCloseTo(bruteForce(characters), 6);
    expect(ids.map((id) => (id === 2 ? '😀' : toy.tokens[id])).join('')).toBe(
      characters.join('').replace(/😀+/gu, '😀'),
    );
  }
});

test('EOS is added, neighbouring unknown characters are one token', () => {
  expect([...createTokenizer({ ...source, special: { addEos: true } }).encode('😀😀')]).toEqual([2, 1]);
});

test('spaces: one mark before each word, or one more before the first', () => {
  const encode = (text: string, addSpacePrefix: boolean, removeExtraWhitespaces: boolean): string => {
    const { tokenText, encode: ids } = bind(createTokenizer({ ...source, addSpacePrefix, removeExtraWhitespaces }));
    return ids(text).map(tokenText).join('');
  };
  expect(encode('  a  b ', true, true)).toBe(`${MARK}a${MARK}b`);
  expect(encode('a b', false, true)).toBe(`${MARK}a${MARK}b`);
  expect(encode('  a  b ', false, false)).toBe(`${MARK}${MARK}a${MARK}${MARK}b${MARK}`);
  expect(encode(' a', true, false)).toBe(`${MARK}${MARK}a`);
  expect(encode('   ', true, true)).toBe('');
});

function bind(of: ReturnType<typeof createTokenizer>): {
  tokenText: (id: number) => string;
  encode: (text: string) => number[];
} {
  return { tokenText: (id) => of.tokenText(id), encode: (text) => [...of.encode(text, { addSpecial: false })] };
}

/** A map of single bytes to texts, laid out as SentencePiece does: units at base ^ byte, values below. */
function characterMap(entries: readonly [string, string][]): Uint8Array {
  const units = new Uint32Array(1024);
  const root = 256;
  units[0] = root << 10;
  let replacements = '';
  entries.forEach(([from, to], i) => {
    const node = root ^ from.charCodeAt(0);
    const below = 512 + i;
    units[node] = from.charCodeAt(0) | 0x100 | ((node ^ below) << 10);
    units[below] = (0x80000000 | Buffer.byteLength(replacements)) >>> 0;
    replacements += `${to}\0`;
  });
  const head = Buffer.alloc(4 + units.byteLength);
  head.writeUInt32LE(units.byteLength);
  Buffer.from(units.buffer).copy(head, 4);
  return Buffer.concat([head, Buffer.from(replacements, 'utf8')]);
}

test('the precompiled map replaces what it knows and keeps the rest', () => {
  const map = characterMap([
    ['A', 'a'],
    ['\t', ' '],
    ['B', 'éé'],
    ['C', ''],
  ]);
  const apply = (text: string): string => Buffer.from(new CharacterMap(map).apply(Buffer.from(text))).toString();
  expect(apply('A\tBxC漢A')).toBe('a ééx漢a');
  const withMap = bind(createTokenizer({ ...source, precompiledCharsmap: () => map }));
  expect(withMap.encode('A\tA')).toEqual(withMap.encode('a a'));
});

test('a damaged map is an error, not a crash', () => {
  const map = characterMap([['A', 'a']]);
  const invalid = expect.objectContaining({ code: 'FORMAT_INVALID' });
  for (const cut of [0, 3, 4, 100]) expect(() => new CharacterMap(map.subarray(0, cut))).toThrow(invalid);
  for (let at = 4; at < map.length; at += 4) {
    const broken = Uint8Array.from(map);
    broken.fill(0xff, at, at + 4);
    try {
      new CharacterMap(broken).apply(Buffer.from('AAA'));
    } catch (error) {
      expect(error).toEqual(invalid);
    }
  }
});

test.each(['a', ' ', '😀'])('200 kB of %j take less than three seconds', (unit) => {
  const text = unit.repeat(200_000 / Buffer.byteLength(unit));
  expect(cpuSeconds(() => tokenizer.encode(text))).toBeLessThan(3); // 0.05 s
});
