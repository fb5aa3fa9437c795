// Fixed trees: the best by exhaustive search, never worse than chains; profiles that know rates, and their files.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AcceptanceProfile, checkShape } from '../../../lib/decode/speculation/trees/acceptance-profile.js';
import { BestShapes, clipShape, type Acceptance } from '../../../lib/decode/speculation/trees/best-shape.js';
import { Generator } from '../../fixtures/random/generator.js';

/** Rates of `ranks` children per depth that sum to 1 at most, in any order. */
function rates(random: Generator, depths: number, ranks: number): Acceptance {
  return Array.from({ length: depths }, () => {
    const row = Array.from({ length: ranks }, () => random.integer(0, 20));
    const total = row.reduce((a, b) => a + b, 0) + random.integer(1, 20);
    return row.map((weight) => weight / total);
  });
}

/** Tokens per round of a tree, a node being worth the product of the rates on its path. */
function tokensOf(parents: ArrayLike<number>, acceptance: Acceptance): number {
  const worth: number[] = [];
  const depths: number[] = [];
  const children = new Map<number, number>();
  for (let node = 0; node < parents.length; node++) {
    const parent = parents[node];
    const rank = children.get(parent) ?? 0;
    children.set(parent, rank + 1);
    depths.push(parent < 0 ? 0 : depths[parent] + 1);
    const row = acceptance[Math.min(depths[node], acceptance.length - 1)];
    worth.push((parent < 0 ? 1 : worth[parent]) * (row[rank] ?? 0));
  }
  return 1 + worth.reduce((a, b) => a + b, 0);
}

/** The most tokens of all trees of so many nodes at most. */
function exhaustive(acceptance: Acceptance, depth: number, ranks: number, nodes: number): number {
  let best = 1;
  const grow = (parents: number[]): void => {
    best = Math.max(best, tokensOf(parents, acceptance));
    if (parents.length === nodes) return;
    for (let parent = parents.at(-1) ?? -1; parent < parents.length; parent++) {
      let above = 0;
      for (let at = parent; at >= 0; at = parents[at]) above++;
      if (above < depth && parents.filter((one) => one === parent).length < ranks) grow([...parents, parent]);
    }
  };
  grow([]);
  return best;
}

test('the best trees are those of exhaustive search, and no chain is better', () => {
  const random = new Generator(4, 'shapes');
  for (let round = 0; round < 40; round++) {
    const [depths, ranks, depth] = [random.integer(1, 3), random.integer(1, 3), random.integer(1, 4)];
    const acceptance = rates(random, depths, ranks);
    const shapes = new BestShapes(acceptance, depth, 7);
    for (let nodes = 0; nodes <= 7; nodes++) {
      expect(shapes.tokens(nodes)).toBeCloseTo(exhaustive(acceptance, depth, ranks, nodes), 12);
      const { parents, scores } = shapes.shape(nodes);
      expect(parents.length).toBeLessThanOrEqual(nodes);
      expect(tokensOf(parents, acceptance)).toBeCloseTo(shapes.tokens(nodes), 12);
      expect(1 + scores.reduce((a, b) => a + b, 0)).toBeCloseTo(shapes.tokens(nodes), 5);
      const chain = Array.from({ length: Math.min(depth, nodes) }, (_, node) => node - 1);
      expect(shapes.tokens(nodes)).toBeGreaterThanOrEqual(tokensOf(chain, acceptance) - 1e-12);
    }
  }
});

test('what is too deep or too much is cut off, whole nodes with what is below them', () => {
  const parents = Int32Array.of(-1, -1, 0, 0, 2, 4);
  expect([...clipShape({ parents }, 2, 9).parents]).toEqual([-1, -1, 0, 0]);
  expect([...clipShape({ parents }, 9, 3).parents]).toEqual([-1, -1, 0]);
  expect(clipShape({ parents }, 9, 9).parents).toBe(parents);
  expect([...checkShape([-1, 0, 1, -1])]).toEqual([-1, -1, 0, 2]);
  for (const wrong of [[], [0], [-1, 1], [-2], [0.5], 'x', undefined])
    expect(() => checkShape(wrong)).toThrow(/parent/);
});

test('a profile finds the rates that its drafts have, and the tree for them; times make it smaller', () => {
  const random = new Generator(5, 'profile');
  const truth = [[0.5, 0.3, 0.1]];
  const profile = new AcceptanceProfile('made up');
  const first = profile.shape(4, 16);
  expect([...first.parents]).toEqual([-1, -1, -1, -1, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8]);
  const draw = (): number => {
    const at = random.integer(0, 999) / 1000;
    return at < 0.5 ? 0 : at < 0.8 ? 1 : at < 0.9 ? 2 : -1;
  };
  for (let cycle = 0; cycle < 4000; cycle++) {
    const root = draw();
    profile.record([
      { depth: 0, children: 3, rank: root },
      ...(root < 0 ? [] : [{ depth: 1, children: 3, rank: draw() }]),
    ]);
  }
  profile.acceptance().forEach((row) => row.forEach((rate, rank) => expect(rate).toBeCloseTo(truth[0][rank], 1)));
  const best = profile.shape(4, 12).parents;
  expect(tokensOf(best, truth)).toBeGreaterThan(0.99 * new BestShapes(truth, 4, 12).tokens(12));
  const slow = new AcceptanceProfile('made up', JSON.parse(JSON.stringify(profile)));
  for (const rows of [1, 5, 13]) slow.time(2, 1, rows, rows); // a row costs what the first one does
  expect(slow.shape(4, 12).parents.length).toBeLessThan(3);
  const free = new AcceptanceProfile('made up', JSON.parse(JSON.stringify(profile)));
  for (const rows of [1, 5, 13]) free.time(2, 0.01, rows, 5);
  expect([...free.shape(4, 12).parents]).toEqual([...best]);
});

test('profiles are files; others are refused', () => {
  const directory = mkdtempSync(join(tmpdir(), 'vivace-profile-'));
  const path = join(directory, 'profile.json');
  const profile = new AcceptanceProfile('stories');
  for (let i = 0; i < 60; i++) profile.record([{ depth: 0, children: 2, rank: i % 3 === 0 ? 1 : 0 }]);
  profile.time(3, 6, 4, 8);
  profile.save(path);
  const opened = AcceptanceProfile.open(path);
  expect(opened.toJSON()).toEqual(profile.toJSON());
  expect(opened.toJSON()).toMatchObject({ domain: 'stories', cycles: 60, c: [null, null, null, 8], level: 2 });
  expect(opened.shape(2, 4).parents).toEqual(profile.shape(2, 4).parents);
  expect(() => AcceptanceProfile.open(join(directory, 'none'))).toThrow(
    expect.objectContaining({ code: 'FILE_NOT_FOUND' }),
  );
  for (const text of ['', '{}', '{"domain":"","cycles":-1,"c":[],"level":null,"a":[],"n":[]}', '[]', 'null']) {
    writeFileSync(path, text);
    expect(() => AcceptanceProfile.open(path)).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }));
  }
  rmSync(directory, { recursive: true });
});
