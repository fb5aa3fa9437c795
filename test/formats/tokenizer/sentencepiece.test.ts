// SentencePiece BPE: equal to a slow reference, lossless, linear; control tokens never come out of plain text.
import { openGguf } from '../../../lib/formats/gguf.js';
import { ggufTokenizer } from '../../../lib/formats/gguf/tokenizer.js';
import { readSentencePiece } from '../../../lib/formats/hugging-face/sentencepiece.js';
import { createTokenizer } from '../../../lib/formats/tokenizer/tokenizer.js';
import { sharedData } from '../../fixtures/shared-data.js';
import * as fs from 'node:fs';
import { cpuSeconds, pieces, piecesSource, random, randomText, slowSentencePiece, type ToyPieces } from './toys.js';

/** Characters, then words grown from them, with scores that tie now and then. `joined` adds a token across words. */
function invent(joined: boolean): ToyPieces {
  const next = random(5);
  const letters = [...'\u2581thelowrsnaHELOd123.!\n한국漢é😀<>/'];
  const words = new Set<string>();
  for (const word of [
    '\u2581the',
    '\u2581low',
    'lower',
    'est',
    '\u2581new',
    'HELLO',
    '123',
    '...',
    '한국',
    '\u2581\u2581',
    '\u2581\u2581\u2581\u2581',
    'aaaa',
    '</s',
    '</',
    '<s>x',
  ]) {
    for (let i = 2; i <= [...word].length; i++) words.add([...word].slice(0, i).join(''));
    for (let i = 0; i + 2 <= [...word].length; i++) words.add([...word].slice(i, i + 2).join(''));
  }
  if (joined) words.add('e\u2581').add('e\u2581l');
  const entries: [string, number][] = [...words].map((word) => [word, -Math.floor(next() * 20)]);
  return pieces([...entries, ...letters.map((letter): [string, number] => [letter, -50])]);
}

describe.each([
  ['cut at words', false],
  ['with a token across words', true],
])('%s', (_, joined) => {
  const toy = invent(joined);
  const tokenizer = createTokenizer(piecesSource('llama', toy));
  const slow = slowSentencePiece(toy);

  test('equals the quadratic reference, and gives the text back', () => {
    const next = random(13);
    for (let i = 0; i < 1500; i++) {
      const text = randomText(next).replaceAll('\u2581', '_'); // U+2581 comes back as a space
      const ids = [...tokenizer.encode(text, { addSpecial: false })];
      expect(ids).toEqual(text === '' ? [] : slow(` ${text}`));
      expect(tokenizer.decode(ids)).toBe(text);
    }
  });

  test.each(['a', ' ', '1', '\n', 'the '])('200 kB of %j take less than three seconds', (unit) => {
    const text = unit.repeat(200_000 / unit.length);
    let ids: Int32Array = new Int32Array(0);
    expect(cpuSeconds(() => (ids = tokenizer.encode(text)))).toBeLessThan(3); // 0.03 to 0.15 s
    expect(tokenizer.decode(ids)).toBe(text);
  });
});

test('the text of control, unknown and byte tokens stays text', () => {
  const toy = pieces([
    ['</', -1],
    ['</s', -2],
    ['<s', -1],
    ['<0', -1],
    ['<0x', -1],
    ['<0x0', -1],
    ['<0x0A', -1],
    ['\u2581', -9],
  ]);
  const tokenizer = createTokenizer(piecesSource('llama', toy));
  for (const text of ['</s>', '<s>', '<unk>', '<0x0A>']) {
    const ids = [...tokenizer.encode(text, { addSpecial: false })];
    expect(ids).not.toContain(toy.tokens.indexOf(text));
    expect(tokenizer.decode(ids)).toBe(text);
  }
});

test('a space goes in front of a text and after special tokens, unless the file says no', () => {
  const toy = pieces([
    ['\u2581', -1],
    ['a', -1],
    ['\u2581a', -1],
  ]);
  const id = (text: string): number => toy.tokens.indexOf(text);
  const encode = (addSpacePrefix?: boolean): number[] => [
    ...createTokenizer(piecesSource('llama', toy, { addSpacePrefix })).encode('a</s>a', { parseSpecial: true }),
  ];
  expect(encode()).toEqual([1, id('\u2581a'), 2, id('\u2581a')]);
  expect(encode(false)).toEqual([1, id('a'), 2, id('a')]);
});

test('without byte tokens, unknown characters are the unknown token', () => {
  const source = piecesSource(
    'llama',
    { tokens: ['<unk>', 'a', '\u2581'], scores: [0, -1, -2], types: [2, 1, 1] },
    { special: {} },
  );
  expect([...createTokenizer(source).encode('aé', { addSpecial: false })]).toEqual([2, 1, 0, 0]);
});

const model = sharedData('vocab/stories-tok512.model');
const gguf = sharedData('models/stories260K.gguf');
(model && gguf ? test : test.skip)('a tokenizer.model and the GGUF file made of it agree', () => {
  const fromModel = createTokenizer(readSentencePiece(String(model), fs.readFileSync(String(model)), undefined, {}));
  const fromGguf = createTokenizer(ggufTokenizer(openGguf(String(gguf)).metadata));
  const next = random(17);
  const texts = Array.from({ length: 500 }, () => randomText(next).replaceAll('\u2581', '_'));
  for (const text of ['Once upon a time, there was a little girl named Lily.', ...texts]) {
    const ids = fromModel.encode(text);
    expect([...fromGguf.encode(text)]).toEqual([...ids]);
    expect(fromModel.decode(ids)).toBe(text);
  }
  expect(fromModel.vocabSize).toBe(512);
  expect([...fromModel.endOfGeneration]).toEqual([2]);
});
