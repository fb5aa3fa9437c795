// Byte-level BPE: equal to a slow reference and to an independent library, lossless, and linear on hostile texts.
import { createTokenizer } from '../../../lib/formats/tokenizer/tokenizer.js';
import { preSplit } from './reference/pre-split.js';
import { bpeSource, cpuSeconds, random, randomText, slowBpe, spell, trainBpe } from './toys.js';

const CORPUS =
  'the lower the newer the lowest low low newest wider wide widest straße Ärger 한국어 한국 漢字 123 1234 12 ... !!!   \n\n   the ' +
  'é é 😀 😀 👩‍👩‍👧‍👦 hello HELLO hello aaaa aaaaaaaa eeee';
const toy = trainBpe(CORPUS.repeat(2), 400);

interface Library {
  readonly Tokenizer: new (json: object, config: object) => { encode(text: string): { ids: number[] } };
}
const { Tokenizer } = require('@huggingface/tokenizers') as Library;

test('training gave merges on merges', () => {
  expect(toy.merges.length).toBeGreaterThan(80);
  expect(toy.tokens).toContain(spell(' lower'));
});

describe.each(['gpt-2', 'llama-bpe', 'qwen2', 'deepseek-v3', 'default', 'tekken'])('%s', (pre) => {
  const tokenizer = createTokenizer(bpeSource(toy, { pre }));
  const { split, ignoreMerges } = preSplit(pre);
  const slow = slowBpe(toy, ignoreMerges);
  const next = random(7);
  const texts = Array.from({ length: 1500 }, () => randomText(next));

  test('equals the quadratic reference, and gives the text back', () => {
    for (const text of texts) {
      const ids = [...tokenizer.encode(text, { addSpecial: false })];
      expect(ids).toEqual(split(text).flatMap(slow));
      expect(tokenizer.decode(ids)).toBe(text);
    }
  });
});

test('equals @huggingface/tokenizers, whose V8 classes differ in U+0085 and U+FEFF only', () => {
  const json = {
    model: { type: 'BPE', vocab: Object.fromEntries(toy.tokens.map((token, id) => [token, id])), merges: toy.merges },
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
  };
  const oracle = new Tokenizer(json, {});
  const tokenizer = createTokenizer(bpeSource(toy));
  const next = random(11);
  for (let i = 0; i < 1500; i++) {
    const text = randomText(next).replace(/[\u0085\ufeff]/g, '');
    expect([...tokenizer.encode(text)]).toEqual(oracle.encode(text).ids);
  }
});

test('a merge whose parts or result are no tokens falls back to single bytes', () => {
  const merges: [string, string][] = [
    ['a', 'b'],
    ['ab', 'c'],
    ['x', 'y'],
  ];
  const tokens = [...toy.tokens.slice(0, 256), 'abc'];
  const tokenizer = createTokenizer(bpeSource({ tokens, merges }));
  const id = (text: string): number => tokens.indexOf(text);
  expect([...tokenizer.encode('abc')]).toEqual([256]);
  expect([...tokenizer.encode('abxy')]).toEqual([id('a'), id('b'), id('x'), id('y')]);
});

test('ignore_merges takes a whole piece that merges cannot reach', () => {
  const tokens = [...toy.tokens.slice(0, 256), 'zebra'];
  const encode = (pre: string): number[] => [
    ...createTokenizer(bpeSource({ tokens, merges: [] }, { pre })).encode('zebra', { addSpecial: false }),
  ];
  expect(encode('llama-bpe')).toEqual([256]);
  expect(encode('qwen2')).toHaveLength(5);
});

test('lone surrogates are encoded as U+FFFD', () => {
  const tokenizer = createTokenizer(bpeSource(toy));
  expect([...tokenizer.encode('a\ud800b\udc00')]).toEqual([...tokenizer.encode('a\ufffdb\ufffd')]);
  expect(tokenizer.decode(tokenizer.encode('\ud83d'))).toBe('\ufffd');
});

test('bytes that are no characters are kept by piece()', () => {
  const tokenizer = createTokenizer(bpeSource(toy));
  const [first] = tokenizer.encode('\u{10ffff}');
  expect([...tokenizer.piece(first)]).toEqual([0xf4]);
  expect(tokenizer.decode([first])).toBe('\ufffd');
  expect(tokenizer.tokenText(first)).toBe('ô');
});

test.each([
  ['a', 'a'],
  ['spaces', ' '],
  ['digits', '1'],
  ['lines', '\n'],
  ['marks', '\u0301'],
  ['exclamation marks', '!'],
])('200 kB of %s take less than three seconds', (_, unit) => {
  const text = unit.repeat(200_000 / Buffer.byteLength(unit));
  for (const pre of ['gpt-2', 'llama-bpe', 'tekken']) {
    const tokenizer = createTokenizer(bpeSource(toy, { pre }));
    let ids: Int32Array = new Int32Array(0);
    // 0.05 to 0.2 s
    expect(cpuSeconds(() => (ids = tokenizer.encode(text, { addSpecial: false })))).toBeLessThan(3);
    expect(tokenizer.decode(ids)).toBe(text);
  }
});
