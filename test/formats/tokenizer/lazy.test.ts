// Opening is cheap: what only encoding needs is read by the first encode(), and decoding never needs it.
import { stringTable } from '../../../lib/formats/gguf.js';
import type { GgufTokenizerSource } from '../../../lib/formats/tokenizer-source.js';
import { createTokenizer } from '../../../lib/formats/tokenizer/tokenizer.js';
import { alphabet, bpeSource, cpuSeconds, pieces, piecesSource, random, trainBpe } from './toys.js';

test('merges are read by the first encode()', () => {
  const source = bpeSource(trainBpe('the lower the newer', 10));
  let reads = 0;
  const lazy: GgufTokenizerSource = {
    ...source,
    get merges() {
      reads++;
      return source.merges;
    },
  };
  const tokenizer = createTokenizer(lazy);
  expect(tokenizer.decode([70, 71])).not.toBe('');
  expect([tokenizer.tokenText(70), tokenizer.isSpecial(70), tokenizer.endOfGeneration.size]).toEqual([
    alphabet[70],
    false,
    0,
  ]);
  expect(reads).toBe(0);
  tokenizer.encode('the');
  expect(reads).toBeGreaterThan(0);
});

test('scores are read by the first encode(), once', () => {
  const toy = pieces([['\u2581the', -1]]);
  const scores = jest.fn(() => Float32Array.from(toy.scores));
  const tokenizer = createTokenizer(piecesSource('llama', toy, { scores }));
  tokenizer.decode([1, 4, 5]);
  expect(scores).not.toHaveBeenCalled();
  tokenizer.encode('the');
  tokenizer.encode('the');
  expect(scores).toHaveBeenCalledTimes(1);
});

test('150 000 tokens: opened in a few milliseconds, first encoded in a fraction of a second', () => {
  const next = random(53);
  const seen = new Set(alphabet);
  const merges: string[] = [];
  const short = [...alphabet];
  while (seen.size < 150_000) {
    const [left, right] = [short, short].map((from) => from[Math.floor(next() * Math.min(from.length, 3000))]);
    if (left.length + right.length > 14 || seen.has(left + right)) continue;
    seen.add(left + right);
    short.push(left + right);
    merges.push(`${left} ${right}`);
  }
  const types = new Int32Array(seen.size).fill(1);
  const source: GgufTokenizerSource = {
    kind: 'gguf',
    model: 'gpt2',
    pre: 'qwen2',
    tokens: stringTable([...seen]),
    types: () => types,
    merges: stringTable(merges),
    special: { eos: 0 },
  };
  createTokenizer(source);
  let tokenizer = createTokenizer(source);
  expect(cpuSeconds(() => (tokenizer = createTokenizer(source)))).toBeLessThan(0.1); // 3 ms
  expect(cpuSeconds(() => tokenizer.encode('hello'))).toBeLessThan(2); // 0.13 s
  expect(tokenizer.decode(tokenizer.encode('hello world'))).toBe('hello world');
});
