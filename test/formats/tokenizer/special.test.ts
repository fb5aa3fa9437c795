// Special tokens: only those who may write them do, BOS and EOS come once, and the ends of a turn are known.
import { createTokenizer } from '../../../lib/formats/tokenizer/tokenizer.js';
import { SpecialSplitter } from '../../../lib/formats/tokenizer/special-splitter.js';
import type { SpecialTokens } from '../../../lib/formats/tokenizer-source.js';
import { bpeSource, pieces, piecesSource, random, randomText, trainBpe } from './toys.js';

const toy = trainBpe('the lower the newer the lowest', 30);
const size = toy.tokens.length;
const MORE: [string, number][] = [
  ['<|start|>', 3],
  ['<|im_end|>', 3],
  ['<tool>', 4],
  ['<|im_end', 4],
  ['\n\n\n', 4],
];
const open = (special: SpecialTokens = {}) => createTokenizer(bpeSource(toy, { more: MORE, special }));
const tokenizer = open({ bos: size, addBos: true, eos: size + 1 });

test('control tokens in a text stay text unless they are to be parsed', () => {
  const text = 'the <|start|> low<|im_end|>';
  const plain = [...tokenizer.encode(text)];
  expect(plain.slice(1).some((id) => tokenizer.isSpecial(id))).toBe(false);
  expect(tokenizer.decode(plain)).toBe(text);
  const parsed = [...tokenizer.encode(text, { parseSpecial: true })];
  expect(parsed.filter((id) => id >= size)).toEqual([size, size, size + 1]);
  expect(tokenizer.decode(parsed)).toBe('the  low');
  expect(tokenizer.decode(parsed, { skipSpecial: false })).toBe(`<|start|>${text}`);
});

test('no text of any kind gives a control token', () => {
  const next = random(29);
  for (let i = 0; i < 500; i++) {
    const text = randomText(next) + MORE[Math.floor(next() * 2)][0] + randomText(next);
    const ids = [...tokenizer.encode(text, { addSpecial: false })];
    expect(ids.some((id) => tokenizer.isSpecial(id))).toBe(false);
    expect(tokenizer.decode(ids)).toBe(text);
  }
});

test('user-defined tokens are always found, the longest first over the whole text', () => {
  const ids = (text: string, parseSpecial: boolean): number[] =>
    [...tokenizer.encode(text, { addSpecial: false, parseSpecial })].filter((id) => id >= size);
  expect(ids('a<tool>b\n\n\nc', false)).toEqual([size + 2, size + 4]);
  expect(ids('<|im_end|>', false)).toEqual([size + 3]); // the control token does not count, a shorter token does
  expect(ids('<|im_end|>', true)).toEqual([size + 1]);
});

test('ranges given as plain stay text', () => {
  const text = '<|im_end|>a<|im_end|>b<|im_end|>';
  const all = { addSpecial: false, parseSpecial: true };
  const ends = (plain: [number, number][]): number =>
    [...tokenizer.encode(text, { ...all, plain })].filter((id) => id === size + 1).length;
  expect(ends([])).toBe(3);
  expect(ends([[11, 21]])).toBe(2);
  expect(ends([[12, 13]])).toBe(2); // touching is enough
  expect(
    ends([
      [0, 3],
      [11, 12],
      [31, 32],
    ]),
  ).toBe(0);
  expect(tokenizer.decode(tokenizer.encode(text, { ...all, plain: [[0, 32]] }))).toBe(text);
});

test('where a text spells control tokens, whole or begun', () => {
  expect(tokenizer.controlSpans('a<|start|>b<|im_end|>')).toEqual([
    [1, 10],
    [11, 21],
  ]);
  expect(tokenizer.controlSpans('a < b <| c <|sta')).toEqual([[11, 16]]);
  expect(tokenizer.controlSpans('x <')).toEqual([[2, 3]]);
  expect(tokenizer.controlSpans('<tool> and text')).toEqual([]);
});

test('BOS comes once, EOS where the file says so', () => {
  expect([...tokenizer.encode('')]).toEqual([size]);
  expect([...tokenizer.encode('<|start|>the', { parseSpecial: true })].filter((id) => id === size)).toHaveLength(1);
  expect([...tokenizer.encode('the', { addSpecial: false })]).not.toContain(size);
  const ending = open({ eos: size + 1, addEos: true });
  expect([...ending.encode('the')].at(-1)).toBe(size + 1);
  expect([...ending.encode('the<|im_end|>', { parseSpecial: true })].filter((id) => id === size + 1)).toHaveLength(1);
});

test('ids outside the vocabulary are no special tokens, and no tokens', () => {
  expect(open({ bos: 2 ** 32 - 1, addBos: true }).special.bos).toBeUndefined();
  const failure = expect.objectContaining({ code: 'INVALID_ARGUMENT' });
  for (const id of [-1, tokenizer.vocabSize, 0.5, NaN]) {
    expect(() => tokenizer.piece(id)).toThrow(failure);
    expect(() => tokenizer.decode([id])).toThrow(failure);
  }
});

describe('ends of a turn', () => {
  const ends = (more: [string, number][], special: SpecialTokens = {}): string[] => {
    const tokenizer = createTokenizer(bpeSource(toy, { more, special }));
    return [...tokenizer.endOfGeneration].map((id) => tokenizer.tokenText(id)).sort();
  };
  test('by id and by text', () => {
    expect(
      ends([
        ['<|endoftext|>', 3],
        ['<|im_end|>', 3],
        ['<|im_start|>', 3],
      ]),
    ).toEqual(['<|endoftext|>', '<|im_end|>']);
    expect(
      ends(
        [
          ['<|x|>', 3],
          ['<|y|>', 3],
        ],
        { eos: size, endOfGeneration: [size + 1] },
      ),
    ).toEqual(['<|x|>', '<|y|>']);
  });
  test('a normal token is not one, whatever its text', () => expect(ends([['</s>', 1]])).toEqual([]));
  test('a mistyped one becomes a control token', () => {
    const tokenizer = createTokenizer(bpeSource(toy, { more: [['<|im_end|>', 4]] }));
    expect(tokenizer.isSpecial(size)).toBe(true);
    expect([...tokenizer.encode('<|im_end|>')]).not.toContain(size);
  });
  test('in harmony <|end|> is none', () => {
    expect(
      ends([
        ['<|return|>', 3],
        ['<|call|>', 3],
        ['<|end|>', 3],
      ]),
    ).toEqual(['<|call|>', '<|return|>']);
  });
});

test('phi-3 strips white space after its special tokens, but not after <s>', () => {
  const toy = pieces([
    ['\u2581', -1],
    ['a', -1],
    ['\n', -1],
  ]);
  const add = (text: string): number => {
    toy.tokens.push(text);
    toy.scores.push(0);
    toy.types.push(3);
    return toy.tokens.length - 1;
  };
  const end = add('<|end|>');
  add('<|placeholder1|>');
  const tokenizer = createTokenizer(piecesSource('llama', toy, { addSpacePrefix: false }));
  const encode = (text: string): number[] => [...tokenizer.encode(text, { addSpecial: false, parseSpecial: true })];
  const [a, line] = [toy.tokens.indexOf('a'), toy.tokens.indexOf('\n')];
  expect(encode('<|end|>\n \ta')).toEqual([end, a]);
  expect(encode('<s>\na')).toEqual([1, line, a]);
});

test('strip and whole-word flags of tokenizer.json', () => {
  const splitter = new SpecialSplitter(
    [
      { id: 7, text: '<m>', always: true, lstrip: true, rstrip: true },
      { id: 8, text: 'cat', always: true, singleWord: true },
    ],
    true,
  );
  const split = (given: string): (string | number)[] =>
    splitter.split(given, false).map(({ text, token }) => token ?? text);
  expect(split('a \u00a0<m>\u3000\n b')).toEqual(['a', 7, 'b']);
  expect(split(' <m> ')).toEqual([7]);
  expect(split('cat concat cats cat.')).toEqual([8, ' concat cats ', 8, '.']);
});

test('many special tokens in a long text take linear time', () => {
  const many = Array.from({ length: 5000 }, (_, id) => ({ id, text: `<|${id}|>`, always: false }));
  const splitter = new SpecialSplitter(many, false);
  const text = '<|7|>x<|4999|><'.repeat(20_000);
  const start = process.cpuUsage();
  expect(splitter.split(text, true)).toHaveLength(80_000);
  expect(splitter.controlSpans(text)).toHaveLength(40_001);
  expect(process.cpuUsage(start).user / 1e6).toBeLessThan(5); // 0.3 s
});
