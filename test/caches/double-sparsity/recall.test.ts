// How much of what matters labels find: all of it where few channels carry the scores, as much as chance allows where all are
// alike, and on average never less with more channels, bits or tokens.
import { labelOf, labelScores, topPositions } from '../../../lib/program/reference/labels.js';
import { random } from '../../ops/op-case.js';

const width = 128;
const outliers = [3, 17, 40, 41, 77, 90, 101, 127];
const others = Array.from({ length: width }, (_, channel) => channel).filter((channel) => !outliers.includes(channel));

/** Vectors of variance 1, but 50 in the outliers, if they are wanted. */
function vectors(label: string, count: number, planted: boolean): Float32Array[] {
  const all = random(label, count * width);
  return Array.from({ length: count }, (_, i) =>
    all
      .slice(i * width, (i + 1) * width)
      .map((value, channel) => (planted && outliers.includes(channel) ? value * Math.sqrt(50) : value)),
  );
}

interface Recall {
  /** Of the attention that the true top tokens get. */
  readonly mass: number;
  /** Of the true top tokens. */
  readonly tokens: number;
}

const cells = 768;
const queryCount = 16;

function recall(planted: boolean, channels: readonly number[], bits: number, tokens: number): Recall {
  const keys = vectors('keys', cells, planted);
  const made = keys.map((key) => labelOf(key, channels, bits));
  let [mass, found] = [0, 0];
  for (const query of vectors('queries', queryCount, planted)) {
    const scores = keys.map((key) => key.reduce((sum, value, c) => sum + value * query[c], 0) / Math.sqrt(width));
    const largest = Math.max(...scores);
    const best = Array.from(scores.keys())
      .sort((a, b) => scores[b] - scores[a])
      .slice(0, tokens);
    const chosen = new Set(topPositions(labelScores(query, channels, bits, made).scores, tokens));
    const weight = (list: Iterable<number>): number =>
      [...list].reduce((sum, i) => sum + Math.exp(scores[i] - largest), 0);
    mass += weight(chosen) / weight(best);
    found += best.filter((cell) => chosen.has(cell)).length / tokens;
  }
  return { mass: mass / queryCount, tokens: found / queryCount };
}

/** Of the largest p of one of two normal numbers with correlation ρ, the part that is among the largest p of the other. */
function expectedRecall(correlation: number, part: number): number {
  const density = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  const step = 0.001;
  let [threshold, above] = [8, 0];
  while (above < part) above += density((threshold -= step)) * step;
  const tail = (x: number): number => {
    let sum = 0;
    for (let at = Math.max(x, -8) + 0.005; at < 8; at += 0.01) sum += density(at) * 0.01;
    return x > 8 ? 0 : sum;
  };
  let both = 0;
  for (let x = threshold + 0.005; x < 8; x += 0.01) {
    both += density(x) * tail((threshold - correlation * x) / Math.sqrt(1 - correlation ** 2)) * 0.01;
  }
  return both / part;
}

test('eight channels that carry the scores are enough', () => {
  for (const bits of [4, 8, 16]) expect(recall(true, outliers, bits, 64).mass).toBeGreaterThan(0.99);
  expect(recall(true, others.slice(0, 8), 16, 64).mass).toBeLessThan(0.5);
});

test.each([8, 32, 64])('%i channels of 128 that are alike find what a random projection finds', (count) => {
  const { tokens } = recall(false, others.slice(0, count), 16, 64);
  const wanted = expectedRecall(Math.sqrt(count / width), 64 / cells);
  expect(Math.abs(tokens - wanted)).toBeLessThan(0.05);
});

test('all channels in 16 bits find the true top tokens', () => {
  const all = Array.from({ length: width }, (_, channel) => channel);
  expect(recall(false, all, 16, 64).tokens).toBeGreaterThan(0.97); // but for halves
  expect(recall(false, all, 16, 64).mass).toBeGreaterThan(0.999);
});

test('more channels, bits or tokens never find less on average', () => {
  const ascends = (values: number[]): void =>
    values.forEach((value, i) => i > 0 && expect(value).toBeGreaterThan(values[i - 1]));
  ascends([8, 16, 32, 64, 120].map((count) => recall(false, others.slice(0, count), 16, 64).mass));
  ascends([2, 4, 16].map((bits) => recall(false, others.slice(0, 64), bits, 64).mass));
  ascends([16, 64, 256, 512].map((tokens) => recall(false, others.slice(0, 32), 16, tokens).mass));
});
