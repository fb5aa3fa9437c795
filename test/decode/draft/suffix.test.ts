// Suffix drafts against a counter that looks through all texts for every sequence, with evictions from the cache.
import { SuffixCache, SuffixDrafter } from '../../../lib/decode/speculation/drafters/suffix.js';
import type { SuffixOptions } from '../../../lib/decode/speculation/drafters/suffix.js';
import { integerBelow, nodesOf, numbers, texts, walk } from './texts.js';
import type { Node, State } from './texts.js';

type Options = Required<Omit<SuffixOptions, 'cache'>>;

/** Counts of all sequences of at most `depth` tokens in some texts. */
class Counter {
  private readonly counts = new Map<string, number>();
  private readonly followers = new Map<string, Set<number>>();

  constructor(all: readonly (readonly number[])[], depth: number) {
    for (const text of all) {
      for (let begin = 0; begin < text.length; begin++) {
        let key = '';
        for (let end = begin; end < Math.min(text.length, begin + depth); end++) {
          this.followers.set(key, (this.followers.get(key) ?? new Set()).add(text[end]));
          key += `${text[end]} `;
          this.counts.set(key, (this.counts.get(key) ?? 0) + 1);
        }
      }
    }
  }
  count(tokens: readonly number[]): number {
    return this.counts.get(tokens.map((token) => `${token} `).join('')) ?? 0;
  }
  /** What follows, the most frequent first, of equals the smallest. */
  next(tokens: readonly number[]): { token: number; count: number }[] {
    const all = [...(this.followers.get(tokens.map((token) => `${token} `).join('')) ?? [])];
    return all
      .map((token) => ({ token, count: this.count([...tokens, token]) }))
      .sort((a, b) => b.count - a.count || a.token - b.token);
  }
}

function chain(counter: Counter, match: readonly number[], budget: number, minProb: number): Node[] {
  const nodes: Node[] = [];
  let prob = 1;
  let path = match;
  while (nodes.length < budget) {
    const [best] = counter.next(path);
    if (best === undefined) break;
    prob = (prob * best.count) / counter.count(path);
    if (prob < minProb) break;
    path = [...path, best.token];
    nodes.push({ token: best.token, parent: nodes.length - 1, score: prob });
  }
  return nodes;
}

function tree(counter: Counter, match: readonly number[], budget: number, depth: number, minProb: number): Node[] {
  const open: (Node & { path: readonly number[]; depth: number; taken: boolean })[] = [];
  const expand = (path: readonly number[], parent: number, level: number, prob: number): void => {
    if (level === depth) return;
    for (const { token, count } of counter.next(path)) {
      const score = (prob * count) / counter.count(path);
      if (score >= minProb) {
        open.push({ token, parent, score, path: [...path, token], depth: level + 1, taken: false });
      }
    }
  };
  const nodes: Node[] = [];
  expand(match, -1, 0, 1);
  while (nodes.length < budget) {
    const left = open.filter(({ taken }) => !taken);
    if (left.length === 0) break;
    const best = left.reduce((a, b) => (b.score > a.score ? b : a));
    best.taken = true;
    nodes.push({ token: best.token, parent: best.parent, score: best.score });
    expand(best.path, nodes.length - 1, best.depth, best.score);
  }
  return nodes;
}

function expected(options: Options, cached: () => readonly (readonly number[])[], cacheDepth = 0) {
  return ({ prompt, output }: State, maxTokens: number, maxNodes: number): Node[] => {
    const text = [...prompt, ...output];
    let best: Node[] = [];
    let bestScore = 0;
    const search = (counter: Counter, depth: number, least: number, strictly: boolean): void => {
      let own = -1;
      let ownNodes: Node[] = [];
      for (let length = 1; length <= Math.min(depth, text.length); length++) {
        const match = text.slice(-length);
        if (counter.count(match) < least) break;
        const most = maxNodes > maxTokens ? maxNodes : Math.min(maxTokens, maxNodes);
        const budget = Math.min(most, Math.floor(length * options.factor + options.offset + 1e-6));
        const nodes =
          maxNodes > maxTokens
            ? tree(counter, match, budget, maxTokens, options.minProb)
            : chain(counter, match, budget, options.minProb);
        const score = nodes.reduce((sum, node) => sum + node.score, 0);
        if (score >= own) [own, ownNodes] = [score, nodes];
      }
      if (strictly ? own > bestScore : own >= bestScore) [bestScore, best] = [own, ownNodes];
    };
    search(new Counter([text], options.maxDepth), options.maxDepth, 2, false);
    if (cacheDepth > 0) search(new Counter(cached(), cacheDepth), cacheDepth, 1, true);
    return best;
  };
}

const variants: Options[] = [
  { maxDepth: 8, factor: 1, offset: 0, minProb: 0.1 },
  { maxDepth: 64, factor: 1, offset: 0, minProb: 0.1 },
  { maxDepth: 5, factor: 2.5, offset: 1, minProb: 0 },
  { maxDepth: 12, factor: 0.5, offset: -0.5, minProb: 0.35 },
  { maxDepth: 2, factor: 0, offset: 3, minProb: 0.1 },
];

describe.each(variants)('depth $maxDepth, $factor·L + $offset, at least $minProb', (options) => {
  test.each(Object.keys(texts))('%s', (name) => {
    for (let seed = 0; seed < 4; seed++) {
      const random = numbers(seed);
      const text = texts[name](80, random);
      walk(text, random, { make: () => new SuffixDrafter(options), expected: expected(options, () => []) });
    }
  });
});

describe.each([
  { maxCachedRequests: 3, maxCachedTokens: 1000, maxDepth: 6 },
  { maxCachedRequests: 100, maxCachedTokens: 60, maxDepth: 64 },
])('with a cache of $maxCachedRequests requests and $maxCachedTokens tokens, depth $maxDepth', (sizes) => {
  test.each(Object.keys(texts))('%s', (name) => {
    for (let seed = 0; seed < 4; seed++) {
      const random = numbers(seed);
      const cache = new SuffixCache(sizes);
      const kept: number[][] = [];
      const add = (output: readonly number[]): void => {
        cache.add(Int32Array.from(output));
        const whole = output.slice(-sizes.maxCachedTokens);
        const total = (): number => kept.reduce((sum, { length }) => sum + length, 0);
        while (
          kept.length > 0 &&
          (kept.length === sizes.maxCachedRequests || total() + whole.length > sizes.maxCachedTokens)
        )
          kept.shift();
        if (whole.length > 0) kept.push(whole);
        expect(cache.sizes()).toMatchObject({ requests: kept.length, tokens: total() });
      };
      const options = { maxDepth: 16, factor: 1, offset: 0, minProb: 0.1 };
      walk(texts[name](60, random), random, {
        make: () => new SuffixDrafter({ ...options, cache }),
        expected: expected(options, () => kept, sizes.maxDepth),
        meanwhile: () => add(texts[name](integerBelow(random, random() < 0.2 ? 70 : 30), random)),
      });
      cache.dispose();
    }
  });
});

test('an emptied cache has no nodes left', () => {
  const random = numbers(5);
  const cache = new SuffixCache({ maxCachedRequests: 2 });
  for (let i = 0; i < 50; i++) cache.add(Int32Array.from(texts['two letters'](50, random)));
  cache.add(Int32Array.of(1));
  cache.add(Int32Array.of(2));
  // The root, and one for each text.
  expect(cache.sizes()).toMatchObject({ requests: 2, tokens: 2, nodes: 3 });
});

test('what is shared outlives its owner, and finished outputs reach other drafters', () => {
  const cache = new SuffixCache();
  const one = new SuffixDrafter({ cache });
  const other = one.fork();
  other.finish(Int32Array.of(1, 2, 3, 4));
  cache.dispose();
  one.accept(Int32Array.of(8, 1, 2));
  expect(nodesOf(one.draft(8, 8))).toEqual([
    { token: 3, parent: -1, score: 1 },
    { token: 4, parent: 0, score: 1 },
  ]);
  expect(() => one.finish(Int32Array.of(1))).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
});

test('memory is bounded: per token, and by what a cache may keep', () => {
  const random = numbers(3);
  const drafter = new SuffixDrafter();
  drafter.accept(Int32Array.from(texts['two letters'](20000, random)));
  expect(drafter.bytes).toBeLessThan(20000 * 250);
  const cache = new SuffixCache({ maxCachedTokens: 20000 });
  for (let i = 0; i < 100; i++) cache.add(Int32Array.from(texts['twenty letters'](1000, random)));
  expect(cache.sizes()).toMatchObject({ requests: 20, tokens: 20000 });
  expect(cache.sizes().bytes).toBeLessThan(20000 * 250);
});
