// Streams of text: however tokens are handed over, the pieces together are decode() of all, and no character is split.
import { TextStream } from '../../../lib/formats/tokenizer/text-stream.js';
import { createTokenizer, type Tokenizer } from '../../../lib/formats/tokenizer/tokenizer.js';
import { bpeSource, cpuSeconds, pieces, piecesSource, random, randomText, trainBpe } from './toys.js';

const toy = trainBpe('the lower the newer 한국어 한국 😀😀', 40);
const bytes = createTokenizer(bpeSource(toy, { more: [['<|end|>', 3]] }));
const marks = createTokenizer(
  piecesSource(
    'llama',
    pieces([
      ['\u2581', -1],
      ['\u2581the', -2],
      ['the', -3],
      ['\u2581\u2581', -4],
    ]),
  ),
);

function chunks(ids: readonly number[], next: () => number): number[][] {
  const out: number[][] = [];
  for (let at = 0; at < ids.length;) {
    const count = Math.floor(next() * 4);
    out.push(ids.slice(at, at + count));
    at += count;
  }
  return out;
}

describe.each<[string, Tokenizer]>([
  ['bytes', bytes],
  ['marks', marks],
])('%s', (_, tokenizer) => {
  const next = random(31);

  test('any chunking of the tokens of a text', () => {
    for (let i = 0; i < 1000; i++) {
      const text = randomText(next).replaceAll('\u2581', '_');
      const stream = new TextStream(tokenizer);
      const parts = chunks([...tokenizer.encode(text)], next).map((chunk) => stream.push(chunk));
      expect([...parts, stream.end()].join('')).toBe(text);
      for (const part of parts) expect(part).not.toMatch(/\p{Surrogate}/u);
    }
  });

  test('any chunking of any tokens, valid UTF-8 or not', () => {
    for (let i = 0; i < 1000; i++) {
      const ids = Array.from({ length: Math.floor(next() * 20) }, () => Math.floor(next() * tokenizer.vocabSize));
      for (const skipSpecial of [true, false]) {
        const stream = new TextStream(tokenizer, { skipSpecial });
        const parts = chunks(ids, next).map((chunk) => stream.push(chunk));
        expect([...parts, stream.end()].join('')).toBe(tokenizer.decode(ids, { skipSpecial }));
      }
    }
  });
});

test('an unfinished character waits for its bytes, and is U+FFFD at the end', () => {
  const [a, b, c, d] = createTokenizer(bpeSource({ tokens: toy.tokens.slice(0, 256), merges: [] })).encode('😀');
  const stream = new TextStream(bytes);
  expect([stream.push(a), stream.push(b), stream.push(c), stream.push(d)]).toEqual(['', '', '', '😀']);
  expect([stream.push([a, b]), stream.end(), stream.end()]).toEqual(['', '\ufffd', '']);
});

test('the leading space is dropped from a text, but not from one that goes on', () => {
  const ids = [...marks.encode('the the', { addSpecial: false })];
  expect(new TextStream(marks).push(ids)).toBe('the the');
  expect(new TextStream(marks, { continues: true }).push(ids)).toBe(' the the');
  expect(new TextStream(marks).push([1, ...ids])).toBe('the the'); // BOS is no text
});

test('a token takes about a microsecond', () => {
  const ids = bytes.encode('the lower the newer '.repeat(10_000));
  const stream = new TextStream(bytes);
  for (const id of ids) stream.push(id);
  const seconds = cpuSeconds(() => {
    for (const id of ids) stream.push(id);
  });
  expect(seconds / ids.length).toBeLessThan(5e-6); // 0.1 µs
});
