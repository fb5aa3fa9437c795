// The cache of runs does what a list of them would do; its file comes back as it was, or is refused.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadCache, saveCache } from '../../../../lib/decode/speculation/drafters/cross-vocabulary/cache-file.js';
import { NGramCache } from '../../../../lib/decode/speculation/drafters/cross-vocabulary/n-gram-cache.js';
import { Generator } from '../../../fixtures/random/generator.js';
import { bpe, story, translationOf } from './vocabularies.js';

interface Entry {
  target: number;
  tokens: number[];
  hits: number;
  used: number;
}

/** All entries in a list. */
class Plain {
  entries: Entry[] = [];
  private clock = 0;
  constructor(private readonly options: { maxN: number; maxEntries: number; evict: 'lru' | 'lfu' }) {}

  insert(target: number, tokens: number[]): void {
    const { maxN, maxEntries, evict } = this.options;
    const used = ++this.clock;
    const same = (entry: Entry): boolean => entry.target === target || entry.tokens.join() === tokens.join();
    if (tokens.length < 2 || tokens.length > maxN || maxEntries === 0 || this.entries.some(same)) return;
    this.entries.push({ target, tokens, hits: 1, used });
    if (this.entries.length <= maxEntries) return;
    const least = Math.min(...this.entries.map(({ hits }) => hits));
    const old = (list: Entry[]): Entry => list.reduce((a, b) => (b.used < a.used ? b : a));
    const rest = this.entries.filter((entry) => entry.target !== target);
    const rare = rest.filter(({ hits }) => hits === least);
    const victim = evict === 'lfu' && rare.length > 0 ? rare : rest.length > 0 ? rest : this.entries;
    const gone = old(victim);
    this.entries = this.entries.filter((entry) => entry !== gone);
  }

  touch(target: number): void {
    const entry = this.entries.find((one) => one.target === target);
    if (!entry) return;
    entry.hits++;
    entry.used = ++this.clock;
  }

  longest(text: number[], from: number): { target: number; length: number } | undefined {
    const fits = this.entries.filter(({ tokens }) => tokens.every((token, i) => text[from + i] === token));
    const best = fits.sort((a, b) => b.tokens.length - a.tokens.length)[0];
    return best && { target: best.target, length: best.tokens.length };
  }
}

test.each([
  ['lru', 20],
  ['lru', 1],
  ['lru', 0],
  ['lfu', 20],
  ['lfu', 1],
] as const)('%s with %i entries: as a list', (evict, maxEntries) => {
  const random = new Generator(1, `${evict} ${maxEntries}`);
  const options = { maxN: 4, maxEntries, evict };
  const cache = new NGramCache(options);
  const plain = new Plain(options);
  for (let step = 0; step < 1200; step++) {
    const target = random.integer(0, 60);
    const run = Array.from({ length: random.integer(1, 5) }, () => random.integer(0, 3));
    if (random.integer(0, 2) > 0) {
      cache.insert(target, Int32Array.from(run));
      plain.insert(target, run);
    } else {
      cache.touch(target);
      plain.touch(target);
    }
    expect(cache.size).toBe(plain.entries.length);
    const text = Array.from({ length: 8 }, () => random.integer(0, 3));
    for (const from of [0, 3, 7]) expect(cache.longest(text, from)).toEqual(plain.longest(text, from));
    const entry = plain.entries.find((one) => one.target === target);
    expect(cache.route(target)).toEqual(entry && Int32Array.from(entry.tokens));
    const first = random.integer(0, 3);
    const twos = plain.entries.filter(({ tokens }) => tokens.length === 2 && tokens[0] === first);
    const pairs = [...(cache.pairsFrom(first) ?? [])].sort(([a], [b]) => a - b);
    expect(pairs).toEqual(twos.map(({ tokens, target: id }) => [tokens[1], id]).sort(([a], [b]) => a - b));
  }
  const all = [...cache.entries()].map((one) => ({ ...one, tokens: [...one.tokens] }));
  expect(all.map(({ target, hits }) => [target, hits]).sort()).toEqual(
    plain.entries.map(({ target, hits }) => [target, hits]).sort(),
  );
  cache.clear();
  expect(cache.size).toBe(0);
  expect(cache.longest([0, 0, 1, 1], 0)).toBeUndefined();
  expect([...cache.firsts()]).toEqual([]);
});

describe('as a file', () => {
  let folder: string;
  let path: string;
  const [target, drafter] = [bpe(150), bpe(20)];
  const learned = (): ReturnType<typeof translationOf> => {
    const translation = translationOf(target, drafter);
    for (const token of target.encode(story)) translation.tokensOf(token);
    return translation;
  };
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'vivace-runs-'));
    path = join(folder, 'runs.bin');
    const { cache, alignment } = learned();
    saveCache(path, cache, alignment);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('comes back as it was', () => {
    const { cache } = learned();
    const again = translationOf(target, drafter);
    expect(loadCache(path, again.cache, again.alignment)).toBe(true);
    expect([...again.cache.entries()]).toEqual([...cache.entries()]);
    expect(cache.size).toBeGreaterThan(20);
    expect(loadCache(join(folder, 'none.bin'), again.cache, again.alignment)).toBe(false);
  });

  test('other tokenizers are refused', () => {
    for (const [a, b] of [
      [target, bpe(21)],
      [bpe(60), drafter],
    ]) {
      const { cache, alignment } = translationOf(a, b);
      expect(() => loadCache(path, cache, alignment)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
      expect(cache.size).toBe(0);
    }
  });

  test('damage is found, wherever it is, and nothing of the file is used', () => {
    const bytes = readFileSync(path);
    const { cache, alignment } = translationOf(target, drafter);
    const read = (content: Uint8Array): unknown => {
      const broken = join(folder, 'broken.bin');
      writeFileSync(broken, content);
      try {
        return loadCache(broken, cache, alignment);
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    const random = new Generator(1, 'damage');
    for (let i = 0; i < 150; i++) {
      const copy = Buffer.from(bytes);
      copy[random.integer(0, copy.length - 1)] ^= 1 << random.integer(0, 7);
      expect(['FORMAT_UNKNOWN', 'FORMAT_INVALID', 'FORMAT_TRUNCATED']).toContain(read(copy));
    }
    for (let length = 0; length < bytes.length; length += 1 + (length >> 3)) {
      expect(['FORMAT_UNKNOWN', 'FORMAT_INVALID', 'FORMAT_TRUNCATED']).toContain(read(bytes.subarray(0, length)));
    }
    expect(read(Buffer.concat([bytes, Buffer.of(0, 0, 0, 0)]))).toBe('FORMAT_INVALID');
    expect(cache.size).toBe(0);
  });
});
