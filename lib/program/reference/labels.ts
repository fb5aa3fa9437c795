// Labels, the scores that they promise, and which cells are chosen by them, as formulas. Labels and scores are defined in
// float32 and whole numbers (cpp/caches/labels/labels.h, cpp/ops/attention/sparse), so that choices are the same everywhere.
import { chosenTokens, type KvLabels } from '../kv-policy.js';

const { fround } = Math;

/** The nearest 16-bit float: steps are 2^−24 below 2^−14, and else a 1024th of the largest power of two in the value. */
function half(value: number): number {
  const size = Math.abs(value);
  if (!(size > 0)) return value;
  const step = 2 ** (Math.max(-14, Math.floor(Math.log2(size))) - 10);
  const rounded = roundEven(value / step) * step;
  return Math.abs(rounded) > 65504 ? Math.sign(value) * Infinity : rounded;
}

export interface Label {
  readonly codes: number[];
  readonly step: number;
  readonly least: number;
}

/** The label of a key as the cache keeps it: channel ≈ least + step · code. */
export function labelOf(key: ArrayLike<number>, channels: ArrayLike<number>, bits: number): Label {
  const x = Array.from(channels, (channel) => fround(key[channel]));
  if (bits === 16) return { codes: x.map(half), step: 1, least: 0 };
  const most = bits === 8 ? 127 : 2 ** bits - 1;
  const low = bits === 8 ? 0 : Math.min(...x);
  const range = bits === 8 ? Math.max(...x.map(Math.abs)) : fround(Math.max(...x) - low);
  const step = fround(range / most) || 1;
  const codes = x.map((value) => {
    const ratio = fround(fround(value - low) / step);
    return Math.max(bits === 8 ? -127 : 0, Math.min(most, Math.trunc(fround(ratio + (ratio < 0 ? -0.5 : 0.5)))));
  });
  return { codes, step: half(step), least: half(low) };
}

/** What one query promises itself of each label; `scale` makes it comparable with that of others. */
export function labelScores(
  query: ArrayLike<number>,
  channels: ArrayLike<number>,
  bits: number,
  labels: readonly Label[],
): { scores: Float32Array; scale: number } {
  const q = Array.from(channels, (channel) => fround(query[channel]));
  if (bits === 16) {
    const score = ({ codes }: Label): number => codes.reduce((sum, code, c) => fround(sum + fround(q[c] * code)), 0);
    return { scores: Float32Array.from(labels, score), scale: 1 };
  }
  const largest = Math.max(...q.map(Math.abs));
  const usable = largest > 2 ** -100 && largest < 2 ** 100;
  const inverse = usable ? fround(16319 / largest) : 0;
  const whole = q.map((value) => roundEven(fround(value * inverse)));
  const total = fround(whole.reduce((a, b) => a + b, 0));
  const scores = Float32Array.from(labels, ({ codes, step, least }) => {
    const product = fround(fround(codes.reduce((sum, code, c) => sum + code * whole[c], 0)) * step);
    return bits === 8 ? product : fround(product + fround(least * total));
  });
  return { scores, scale: usable ? fround(largest / 16319) : 1 };
}

function roundEven(value: number): number {
  const down = Math.floor(value);
  if (value - down !== 0.5) return Math.round(value);
  return down % 2 === 0 ? down : down + 1;
}

/** Positions of the `wanted` largest scores, of equal ones the first, ascending. */
export function topPositions(scores: ArrayLike<number>, wanted: number): number[] {
  const all = Array.from({ length: scores.length }, (_, index) => index);
  all.sort((a, b) => (scores[a] === scores[b] ? a - b : scores[a] > scores[b] ? -1 : 1));
  return all.slice(0, wanted).sort((a, b) => a - b);
}

/**
 * Which of the cells that a row sees each query head of one KV head attends to, ascending. `seen`: [cells] keys of that head
 * and numbers of the cells, their own last; `queries`: of the heads.
 */
export function chooseCells(
  labels: KvLabels,
  layer: number,
  kvHead: number,
  kvHeads: number,
  queries: readonly ArrayLike<number>[],
  seen: readonly { readonly key: ArrayLike<number>; readonly cell: number }[],
): number[][] {
  const { bits, channels, sets, table, sinks, recent, grouped } = labels;
  const own = sets / kvHeads;
  const known = new Map<number, Label[]>();
  const found = queries.map((query, head) => {
    const set = kvHead * own + Math.floor((head * own) / queries.length);
    const place = (layer * sets + set) * channels;
    const columns = table.subarray(place, place + channels);
    const made = known.get(set) ?? seen.map(({ key }) => labelOf(key, columns, bits));
    known.set(set, made);
    return labelScores(query, columns, bits, made);
  });
  let lists = found.map(({ scores }) => scores);
  if (grouped) {
    const below = found.map(({ scores, scale }) => {
      const top = scores.reduce((a, b) => Math.max(a, b));
      return scores.map((score) => fround(fround(score - top) * scale));
    });
    const joined = below.reduce((a, b) => a.map((score, index) => Math.max(score, b[index])));
    lists = lists.map(() => joined.slice());
  }
  return lists.map((scores) => {
    for (let i = 0; i < seen.length; ++i) {
      if (i >= seen.length - 1 - recent || i < sinks - seen[0].cell) scores[i] = Infinity;
    }
    return topPositions(scores, chosenTokens(labels, seen.length));
  });
}
