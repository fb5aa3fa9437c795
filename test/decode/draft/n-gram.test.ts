// n-gram drafts against their definition: every earlier occurrence is found by looking everywhere.
import { NGramDrafter } from '../../../lib/decode/speculation/drafters/n-gram.js';
import type { NGramOptions } from '../../../lib/decode/speculation/drafters/n-gram.js';
import { merged } from './candidates.js';
import type { Candidate } from './candidates.js';
import { matchLength, oddsOf, type Judged } from './match-odds.js';
import { nodesOf, numbers, texts, walk } from './texts.js';
import type { Node, State } from './texts.js';

/** Ends of earlier occurrences of the n tokens that end at `position`, as the drafter prefers them. */
function occurrences(text: readonly number[], n: number, position: number, latest: boolean): number[] {
  const found: number[] = [];
  if (position + 1 < n) return found;
  const wanted = text.slice(position - n + 1, position + 1).join(' ');
  for (let end = position - 1; end >= n - 1; end--) {
    if (text.slice(end - n + 1, end + 1).join(' ') === wanted) found.push(end);
  }
  return latest ? found : found.slice(-1);
}

function expected(options: Required<NGramOptions>) {
  const latest = options.prefer === 'latest';
  return ({ prompt, output }: State, maxTokens: number, maxNodes: number): Node[] => {
    const text = [...prompt, ...output];
    const used: number[] = [];
    const candidates: Candidate[] = [];
    let left = 1;
    const judged: Judged[] = [];
    for (let i = 0; i + 1 < text.length; i++) {
      const places = new Set<number>();
      for (let n = options.maxN; n >= options.minN; n--) {
        for (const match of occurrences(text, n, i, latest).slice(0, 1)) places.add(match);
      }
      for (const match of places) {
        judged.push({ length: matchLength(text, i, text, match), right: text[match + 1] === text[i + 1] });
      }
    }
    const odds = oddsOf(judged);
    for (let n = options.maxN; n >= options.minN; n--) {
      for (const match of occurrences(text, n, text.length - 1, latest)) {
        if (used.includes(match) || used.length === (maxNodes > maxTokens ? options.branches : 1)) continue;
        used.push(match);
        const matched = matchLength(text, text.length - 1, text, match);
        let weight = left * odds(matched);
        left -= weight;
        const tokens: number[] = [];
        const weights: number[] = [];
        for (let depth = 0; depth < Math.min(maxTokens, maxNodes); depth++, weight *= odds(matched + depth)) {
          tokens.push([...text, ...tokens][match + 1 + depth]);
          weights.push(weight);
        }
        candidates.push({ tokens, weights });
      }
    }
    return merged(candidates, maxTokens, maxNodes);
  };
}

const variants: Required<NGramOptions>[] = [
  { minN: 1, maxN: 3, prefer: 'latest', branches: 8 },
  { minN: 1, maxN: 3, prefer: 'earliest', branches: 8 },
  { minN: 2, maxN: 2, prefer: 'latest', branches: 2 },
  { minN: 3, maxN: 6, prefer: 'earliest', branches: 1 },
  { minN: 1, maxN: 32, prefer: 'latest', branches: 3 },
];

describe.each(variants)('$minN to $maxN, $prefer', (options) => {
  test.each(Object.keys(texts))('%s', (name) => {
    let drafted = 0;
    for (let seed = 0; seed < 4; seed++) {
      const random = numbers(seed);
      const text = texts[name](60, random);
      drafted += walk(text, random, { make: () => new NGramDrafter(options), expected: expected(options) });
    }
    // No three of sixty tokens come again by chance.
    if (name !== 'twenty letters' || options.minN < 3) expect(drafted).toBeGreaterThan(0);
  });
});

test('a repeated pattern is drafted beyond the end of the text', () => {
  const drafter = new NGramDrafter();
  drafter.accept(Int32Array.of(9, 1, 2, 3, 1, 2, 3));
  expect(nodesOf(drafter.draft(7, 7)).map(({ token }) => token)).toEqual([1, 2, 3, 1, 2, 3, 1]);
});

test('memory is that of the text: given back entries are used again', () => {
  const drafter = new NGramDrafter();
  const random = numbers(1);
  drafter.accept(Int32Array.from(texts['twenty letters'](1000, random)));
  drafter.truncate(500);
  const before = drafter.bytes;
  for (let round = 0; round < 200; round++) {
    drafter.accept(Int32Array.from(texts['twenty letters'](400, random)));
    drafter.truncate(500);
  }
  expect(drafter.bytes).toBeLessThanOrEqual(2 * before);
  expect(before).toBeLessThan(200 * 1000);
});
