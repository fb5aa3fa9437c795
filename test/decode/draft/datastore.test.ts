// Datastores and their drafts against a plain sort of all suffixes; and the file itself, byte for byte.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Datastore, DatastoreDrafter } from '../../../lib/decode/speculation/drafters/datastore.js';
import { buildDatastore } from '../../../lib/decode/speculation/drafters/datastore-build.js';
import { merged } from './candidates.js';
import { integerBelow, numbers, texts, walk } from './texts.js';
import type { Node, State } from './texts.js';

let folder: string;
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'vivace-datastore-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const vocab = 1000;
const separator = 2 ** 32 - 1;
const options = { vocab, fingerprint: 77n };
const small = (all: number[][]): Int32Array[] => all.map((text) => Int32Array.from(text, (token) => token % vocab));

/** Tokens with separators, and the suffix array, as the file has them. */
function contents(path: string): { tokens: Uint32Array; suffixes: Uint32Array } {
  const bytes = readFileSync(path);
  const n = Number(bytes.readBigUInt64LE(16));
  expect(bytes.length).toBe(64 + 8 * n);
  const all = new Uint32Array(bytes.buffer.slice(bytes.byteOffset + 64, bytes.byteOffset + bytes.length));
  return { tokens: all.subarray(0, n), suffixes: all.subarray(n) };
}

/** Begins of suffixes, sorted by definition. */
function plainSort(tokens: ArrayLike<number>): number[] {
  const compare = (a: number, b: number): number => {
    for (let i = 0; ; i++) {
      if (a + i >= tokens.length || b + i >= tokens.length) return b - a; // the shorter one first
      if (tokens[a + i] !== tokens[b + i]) return tokens[a + i] - tokens[b + i];
    }
  };
  return Array.from(tokens, (_, i) => i).sort(compare);
}

describe.each(Object.keys(texts))('%s', (name) => {
  test('the suffix array is sorted', async () => {
    const path = join(folder, 'sorted.store');
    for (let seed = 0; seed < 20; seed++) {
      const random = numbers(seed);
      const all = Array.from({ length: 1 + integerBelow(random, 4) }, () =>
        texts[name](integerBelow(random, 70), random),
      );
      all.push(texts[name](3, random));
      const result = await buildDatastore(path, small(all), options);
      const { tokens, suffixes } = contents(path);
      const given = small(all).filter((text) => text.length > 0);
      expect([...tokens]).toEqual(given.flatMap((text) => [...text, separator]));
      expect([...suffixes]).toEqual(plainSort(tokens));
      expect(result).toEqual({
        texts: given.length,
        tokens: given.reduce((sum, text) => sum + text.length, 0),
        bytes: 64 + 8 * tokens.length,
      });
    }
  });

  test('so is a large one', async () => {
    const path = join(folder, 'large.store');
    const random = numbers(9);
    await buildDatastore(path, small([texts[name](100000, random), texts[name](33333, random)]), options);
    const { tokens, suffixes } = contents(path);
    // Each suffix is there once, and of two that begin with the same token the rests have the same order.
    const rank = new Int32Array(tokens.length + 1).fill(-1);
    suffixes.forEach((begin, place) => (rank[begin] = place));
    expect(rank.subarray(0, tokens.length).indexOf(-1)).toBe(-1);
    let wrong = 0;
    for (let place = 1; place < suffixes.length; place++) {
      const [a, b] = [suffixes[place - 1], suffixes[place]];
      const ordered = tokens[a] < tokens[b] || (tokens[a] === tokens[b] && rank[a + 1] < rank[b + 1]);
      if (!ordered) wrong += 1;
    }
    expect(wrong).toBe(0);
  });

  test.each([
    { minSpan: 2, maxSpan: 16, samples: 256 },
    { minSpan: 1, maxSpan: 3, samples: 5 },
  ])('drafts are those of the definition: spans of $minSpan to $maxSpan, $samples samples', async (spans) => {
    const path = join(folder, 'drafts.store');
    for (let seed = 0; seed < 3; seed++) {
      const random = numbers(seed);
      const all = small(Array.from({ length: 4 }, () => texts[name](10 + integerBelow(random, 50), random)));
      await buildDatastore(path, all, options);
      const tokens = all.flatMap((text) => [...text, separator]);
      const sorted = plainSort(tokens);
      const datastore = await Datastore.open(path);
      const expected = ({ prompt, output }: State, maxTokens: number, maxNodes: number): Node[] => {
        const text = [...prompt, ...output];
        for (let span = Math.min(spans.maxSpan, text.length); span >= spans.minSpan; span--) {
          const wanted = text.slice(-span).join(' ');
          const found = sorted.filter((begin) => tokens.slice(begin, begin + span).join(' ') === wanted);
          if (found.length === 0) continue;
          const count = Math.min(found.length, spans.samples);
          const candidates = Array.from({ length: count }, (_, sample) => {
            const begin = found[Math.floor(((2 * sample + 1) * found.length) / (2 * count))] + span;
            const end = Math.min(tokens.indexOf(separator, begin), begin + Math.min(maxTokens, maxNodes));
            return { tokens: tokens.slice(begin, end), weights: Array(end - begin).fill(1) as number[] };
          });
          return merged(candidates, maxTokens, maxNodes).map((node) => ({ ...node, score: node.score / count }));
        }
        return [];
      };
      const make = (): DatastoreDrafter => new DatastoreDrafter({ datastore, ...spans });
      const text = [...small([texts[name](50, random)])[0]];
      // Of many letters nothing comes again by chance.
      const drafted = walk(text, random, { make, expected });
      if (name !== 'twenty letters' && name !== 'twice the same') expect(drafted).toBeGreaterThan(0);
      datastore.dispose();
    }
  });
});

test('a file says what it holds; another tokenizer is refused', async () => {
  const path = join(folder, 'info.store');
  await buildDatastore(path, [Int32Array.of(3, 4), new Int32Array(0), Int32Array.of(5)], {
    vocab: 6,
    fingerprint: 2n ** 63n,
  });
  const { info } = await Datastore.open(path);
  expect(info).toEqual({ vocab: 6, tokens: 3, texts: 2, bytes: 64 + 8 * 5, fingerprint: 2n ** 63n });
  await expect(Datastore.open(path, { fingerprint: 1n })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

test('texts that cannot be in a datastore are refused, and nothing is left behind', async () => {
  const path = join(folder, 'refused.store');
  const build = (all: Int32Array[], more = {}): Promise<unknown> =>
    buildDatastore(path, all, { vocab: 6, fingerprint: 1n, ...more });
  await expect(build([Int32Array.of(6)])).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringMatching(/Token 6 /),
  });
  await expect(build([Int32Array.of(-1)])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(build([])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(build([new Int32Array(0)])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(build([new Int32Array(8)], { maxTokens: 8 })).rejects.toMatchObject({ code: 'FORMAT_LIMIT' });
  await expect(build([Int32Array.of(1)], { vocab: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(buildDatastore(join(folder, 'no', 'x'), [Int32Array.of(1)], options)).rejects.toMatchObject({
    code: 'FILE_NOT_FOUND',
  });
  expect(readdirSync(folder).filter((name) => name.startsWith('refused'))).toEqual([]);
});

test('a build can be aborted at any time, and tells how far it is', async () => {
  const path = join(folder, 'aborted.store');
  const text = Int32Array.from(texts['two letters'](2_000_000, numbers(1)));
  for (const after of [0, 0.05, 0.4, 0.9, 0.95]) {
    const controller = new AbortController();
    const onProgress = (fraction: number): void => {
      if (fraction >= after) controller.abort(new Error('enough'));
    };
    const building = buildDatastore(path, [text], { vocab: 2, fingerprint: 0n, signal: controller.signal, onProgress });
    await expect(building).rejects.toMatchObject({
      code: 'ABORTED',
      cause: expect.objectContaining({ message: 'enough' }),
    });
  }
  expect(readdirSync(folder).filter((name) => name.startsWith('aborted'))).toEqual([]);
  const fractions: number[] = [];
  await buildDatastore(path, [text], { vocab: 2, fingerprint: 0n, onProgress: (fraction) => fractions.push(fraction) });
  expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
  expect(fractions.at(-1)).toBe(1);
});

describe('a broken file', () => {
  let whole: Buffer;
  const path = (): string => join(folder, 'broken.store');
  beforeAll(async () => {
    const random = numbers(4);
    await buildDatastore(
      path(),
      small([texts['twenty letters'](20, random), texts['two letters'](15, random)]),
      options,
    );
    whole = readFileSync(path());
  });

  test('is refused wherever it was cut', async () => {
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(path(), whole.subarray(0, length));
      const code = length === 0 ? 'FILE_UNREADABLE' : 'FORMAT_TRUNCATED';
      await expect(Datastore.open(path())).rejects.toMatchObject({ code });
    }
    writeFileSync(path(), Buffer.concat([whole, Buffer.of(0)]));
    await expect(Datastore.open(path())).rejects.toMatchObject({ code: 'FORMAT_INVALID' });
  });

  test('is refused whichever bit was flipped; without verification it can still be asked', async () => {
    let asked = 0;
    for (let bit = 0; bit < 8 * whole.length; bit++) {
      const flipped = Buffer.from(whole);
      flipped[bit >> 3] ^= 1 << (bit & 7);
      writeFileSync(path(), flipped);
      await expect(Datastore.open(path())).rejects.toMatchObject({
        code: expect.stringMatching(/^FORMAT_(UNKNOWN|INVALID|TRUNCATED)$/),
      });
      if (bit < 8 * 64) continue;
      const datastore = await Datastore.open(path(), { verify: false });
      const drafter = new DatastoreDrafter({ datastore, minSpan: 1 });
      for (const text of [[0, 1, 0], [1, 1], [5], [19, 3]]) {
        drafter.truncate(0);
        drafter.accept(Int32Array.from(text));
        const { tokens } = drafter.draft(10, 64);
        for (const token of tokens) if (token < 0 || token >= vocab) throw new Error(`token ${token}`);
        asked += tokens.length;
      }
      drafter.dispose();
      datastore.dispose();
    }
    expect(asked).toBeGreaterThan(0);
  });

  test('full of chance numbers is survived without verification', async () => {
    const random = numbers(8);
    for (let round = 0; round < 300; round++) {
      const noise = Buffer.from(whole);
      for (let at = 64; at < noise.length; at++) if (random() < 0.5) noise[at] = integerBelow(random, 256);
      writeFileSync(path(), noise);
      const datastore = await Datastore.open(path(), { verify: false });
      const drafter = new DatastoreDrafter({ datastore, minSpan: 1 });
      for (const token of [0, 1, 2, -1, 2 ** 30]) {
        drafter.accept(Int32Array.of(token));
        for (const node of drafter.draft(10, 64).tokens) expect(node >= 0 && node < vocab).toBe(true);
      }
      drafter.dispose();
      datastore.dispose();
    }
  });

  test('of another kind is called so', async () => {
    writeFileSync(path(), 'GGUF is not what this is');
    await expect(Datastore.open(path())).rejects.toMatchObject({ code: 'FORMAT_UNKNOWN' });
    await expect(Datastore.open(join(folder, 'none'))).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
    await expect(Datastore.open(folder)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });
});
