// decode() against the pieces of its tokens put together one by one: short and long, with and without special tokens.
import { createTokenizer } from '../../../lib/formats/tokenizer/tokenizer.js';
import { codeOf } from '../scratch.js';
import { pieces, piecesSource, random } from './toys.js';

const texts = ['\u2581the', '\u2581', 'a', '\u00e9', '\u2581long'.repeat(30), 'x'.repeat(17), 'y'.repeat(16)];
const toy = pieces(texts.map((text, i): [string, number] => [text, -i]));
const tokenizer = createTokenizer(piecesSource('llama', toy));
const next = random(5);
const draw = (count: number): Int32Array =>
  Int32Array.from({ length: count }, () => {
    const from = next() < 0.2 ? 0 : tokenizer.vocabSize - texts.length; // mostly no byte tokens
    return from + Math.floor(next() * (tokenizer.vocabSize - from));
  });

function plain(tokens: Int32Array, skipSpecial: boolean): string {
  const parts: Uint8Array[] = [];
  let dropsSpace = tokenizer.addsSpacePrefix;
  for (const token of tokens) {
    const special = tokenizer.isSpecial(token);
    if (special && skipSpecial) continue;
    const piece = tokenizer.piece(token);
    parts.push(dropsSpace && !special && piece[0] === 0x20 ? piece.slice(1) : piece.slice());
    dropsSpace &&= special;
  }
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.concat(parts));
}

test.each([true, false])('decode() joins the pieces of any number of tokens; skipSpecial %s', (skipSpecial) => {
  expect(tokenizer.addsSpacePrefix).toBe(true);
  for (let round = 0; round < 200; round++) {
    const tokens = draw(round % 20);
    expect(tokenizer.decode(tokens, { skipSpecial })).toBe(plain(tokens, skipSpecial));
  }
  const many = draw(100_000); // megabytes: more than the memory that is kept
  expect(tokenizer.decode(many, { skipSpecial }) === plain(many, skipSpecial)).toBe(true);
  expect(tokenizer.decode([...many.subarray(0, 50)], { skipSpecial })).toBe(plain(many.subarray(0, 50), skipSpecial));
});

test('decode() refuses what is no token', () => {
  for (const token of [-1, tokenizer.vocabSize, 1.5, NaN, 2 ** 32, 2 ** 31]) {
    expect(codeOf(() => tokenizer.decode([0, token]))).toBe('INVALID_ARGUMENT');
  }
  expect(codeOf(() => tokenizer.decode(Int32Array.of(-1)))).toBe('INVALID_ARGUMENT');
});
