// The parts of drafters that learn: lessons, what is kept of them, the weights' file, changes between drafts, and the judge of
// what was learned.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Acceptance } from '../../../lib/decode/speculation/adapt/acceptance.js';
import { lessonsOf, mappedTokens } from '../../../lib/decode/speculation/adapt/lessons.js';
import { LowRank } from '../../../lib/decode/speculation/adapt/low-rank.js';
import { Replay } from '../../../lib/decode/speculation/adapt/replay.js';
import { DraftGate } from '../../../lib/decode/speculation/adapt/versions.js';
import { Generator } from '../../fixtures/random/generator.js';

// The target's 0 and 1 are the drafter's 2 and 0; its 2 has the same bytes as its 1; its 3 is a run.
const map = { direct: Int32Array.of(1, -1, 0), inverse: Int32Array.of(2, 0, 0, -1) };

test('a law over the target becomes one over what is mapped, the rest of both apart', () => {
  const top = [
    [3, Math.log(0.5)],
    [0, Math.log(0.2)],
    [1, Math.log(0.1)],
    [2, Math.log(0.05)],
  ] as const;
  const [first, second, ...more] = lessonsOf(3, top, [1, 0], 8, map, { runWeight: 'dynamic' });
  expect(more).toEqual([]);
  // 0.35 is mapped, 0.15 unknown: that is what the law is over.
  expect(first).toMatchObject({ row: 7, ids: [2, 0], label: 1 });
  expect(first.laws[0]).toBeCloseTo(0.4, 12);
  expect(first.laws[1]).toBeCloseTo(0.3, 12);
  expect(first.weight).toBeCloseTo(0.5, 12);
  expect(second).toMatchObject({ row: 8, ids: [], label: 0 });
  // A token that has a counterpart is no run, whatever the drafter's text has for it.
  const [own, ...others] = lessonsOf(0, top, [1, 1], 8, map, { runWeight: 'fixed' });
  expect([own.label, own.weight, others.length]).toEqual([-1, 1, 0]);
  // Nothing is learned of a law that has nothing for the drafter.
  expect(lessonsOf(3, [[3, 0]], [1], 8, map, { runWeight: 'fixed' })).toEqual([]);
  expect([...mappedTokens(map, 5)]).toEqual([1, 0, 1, 0, 0]);
});

test('batches are half new, and forget the oldest rows', () => {
  const replay = new Replay(8);
  const row = (label: number) => ({
    label,
    ids: [],
    laws: [],
    weight: 1,
    hidden: new Float32Array(),
    logits: new Float32Array(),
  });
  for (let i = 0; i < 6; i++) replay.push(row(i));
  expect(
    replay
      .batch(4)
      .map(({ label }) => label)
      .slice(0, 2),
  ).toEqual([0, 1]);
  expect(replay.fresh).toBe(4);
  for (let i = 6; i < 12; i++) replay.push(row(i));
  expect(replay.length).toBe(8);
  expect(replay.fresh).toBe(8);
  const labels = replay.batch(64).map(({ label }) => label);
  expect(Math.min(...labels)).toBe(4);
  expect(new Set(labels).size).toBe(8);
});

test('weights come back from their file to the byte, and go on from there', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vivace-adapt-'));
  const file = join(folder, 'a.safetensors');
  try {
    const owner = { drafter: 'one', target: 'two' };
    const shape = { rank: 3, width: 5, vocab: 7 };
    const made = new LowRank(shape);
    expect(made.b.every((value) => value === 0)).toBe(true);
    expect(new Set(made.a).size).toBe(15);
    const random = new Generator(1, 'weights');
    for (const values of [made.a, made.b, made.momentsA, made.momentsB]) {
      values.forEach((_, i) => (values[i] = random.normal()));
    }
    made.steps = 41;
    made.save(file, owner);
    const again = new LowRank(shape);
    again.restore(file, owner);
    expect(again).toEqual(made);
    again.save(`${file}.2`, owner);
    expect(readFileSync(`${file}.2`)).toEqual(readFileSync(file));
    for (const wrong of [
      { ...owner, drafter: 'three' },
      { ...owner, target: 'three' },
    ]) {
      expect(() => again.restore(file, wrong)).toThrow('another');
    }
    made.b[3] = NaN;
    made.save(file, owner);
    expect(() => again.restore(file, owner)).toThrow('no numbers');
    expect(again.b[3]).not.toBeNaN();
    again.reset({ a: made.a, b: made.b });
    expect(again.momentsA.every((value) => value === 0)).toBe(true);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a change waits for drafts that have begun, and later drafts for the change', async () => {
  const gate = new DraftGate();
  const heard: string[] = [];
  expect(gate.enter()).toBeUndefined();
  expect(gate.enter()).toBeUndefined();
  gate.request(() => heard.push('never'));
  gate.request(() => heard.push('change'));
  const later = gate.enter()?.then(() => heard.push('draft'));
  gate.leave();
  await Promise.resolve();
  expect(heard).toEqual([]);
  gate.leave();
  await later;
  expect(heard).toEqual(['change', 'draft']);
  expect(gate.alone).toBe(true);
  gate.leave();
  gate.request(() => heard.push('at once'));
  expect(heard).toHaveLength(3);
});

test('worse weights make room for the best ones, and noise does not', () => {
  const weights = (value: number) => ({ a: Float32Array.of(value), b: Float32Array.of(value) });
  const random = new Generator(3, 'drafts');
  const draft = (share: number): number => Number(random.integer(0, 999) < 1000 * share);
  const rollbacks = (shares: readonly number[]): (number | undefined)[] => {
    const acceptance = new Acceptance();
    return shares.map((share, round) => {
      for (let i = 0; i < 1000; i++) acceptance.add(draft(share), true);
      return acceptance.judge(weights(round))?.a[0];
    });
  };
  expect(rollbacks([0.5, 0.8, 0.2, 0.8])).toEqual([undefined, undefined, 1, undefined]);
  // Texts for which all weights are worse: once, and then it is the new measure.
  expect(rollbacks([0.8, 0.2, 0.2, 0.2, 0.2])).toEqual([undefined, 0, undefined, undefined, undefined]);
  expect(rollbacks(Array.from({ length: 40 }, () => 0.5)).every((one) => one === undefined)).toBe(true);

  const useless = (learned: number, plain: number): boolean => {
    const acceptance = new Acceptance();
    for (let i = 0; i < 5000; i++) acceptance.add(draft(i % 50 === 0 ? plain : learned), i % 50 !== 0);
    return acceptance.useless;
  };
  expect(useless(0.2, 0.8)).toBe(true);
  expect(useless(0.6, 0.5)).toBe(false);
  expect(new Acceptance().means).toEqual({ learned: NaN, plain: NaN });
});
