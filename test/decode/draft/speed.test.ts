// Hostile texts: a million equal tokens, and others that come again and again, stay linear. Limits are far above what is
// measured (`npm run bench -- drafters`), and far below what looking through the text would take.
import type { TokenDrafter } from '../../../lib/decode/speculation/drafter.js';
import { InputCopyDrafter } from '../../../lib/decode/speculation/drafters/input-copy.js';
import { NGramDrafter } from '../../../lib/decode/speculation/drafters/n-gram.js';
import { SuffixCache, SuffixDrafter } from '../../../lib/decode/speculation/drafters/suffix.js';
import { numbers, texts } from './texts.js';

const makers: [string, () => TokenDrafter][] = [
  ['n-gram', () => new NGramDrafter({ maxN: 8 })],
  ['n-gram, earliest', () => new NGramDrafter({ prefer: 'earliest' })],
  ['input-copy', () => new InputCopyDrafter({ branches: 8 })],
  ['suffix', () => new SuffixDrafter()],
];
const length = 1_000_000;
const hostile: [string, () => Int32Array][] = [
  ['one letter', () => new Int32Array(length).fill(7)],
  ['periodic', () => Int32Array.from({ length }, (_, i) => i % 61)],
  ['fibonacci', () => Int32Array.from(texts['fibonacci'](length, numbers(1)))],
  ['runs of growing length', () => growing(length)],
];

/** a b aa b aaa b …: every run was there before as a part of a longer one. */
function growing(size: number): Int32Array {
  const text = new Int32Array(size).fill(1);
  for (let at = 1, run = 1; at < size; run++, at += run + 1) text[at] = 2;
  return text;
}

describe.each(makers)('%s', (_, make) => {
  test.each(hostile)('%s', (__, text) => {
    const tokens = text();
    const drafter = make();
    const begin = performance.now();
    drafter.accept(tokens.subarray(0, length / 2));
    drafter.accept(tokens.subarray(length / 2));
    for (let round = 0; round < 20; round++) {
      drafter.draft(16, 16);
      drafter.draft(16, 64);
      drafter.truncate(length - 100);
      drafter.accept(tokens.subarray(length - 100));
    }
    drafter.truncate(0);
    expect(performance.now() - begin).toBeLessThan(20000);
    drafter.dispose();
  });
});

test.each(hostile)('a cache of %s, added and evicted', (__, text) => {
  const tokens = text().subarray(0, 250000);
  const cache = new SuffixCache({ maxCachedRequests: 1 });
  const begin = performance.now();
  cache.add(tokens);
  cache.add(tokens.subarray(1));
  cache.add(Int32Array.of(1));
  expect(performance.now() - begin).toBeLessThan(20000);
  expect(cache.sizes().tokens).toBe(1);
  cache.dispose();
});
