// The odds that a copy goes on to be right, by their definition: see cpp/decode/draft/n_gram/n_gram_index.h.

export interface Judged {
  /** Tokens that matched, and whether the next one did. */
  readonly length: number;
  readonly right: boolean;
}

/** Tokens up to text[end] that are those up to source[place], 32 at most. */
export function matchLength(text: readonly number[], end: number, source: readonly number[], place: number): number {
  let same = 0;
  while (same < Math.min(32, end + 1, place + 1) && text[end - same] === source[place - same]) same++;
  return same;
}

const ranges = [
  { least: 16, believed: 0.95 },
  { least: 9, believed: 0.9 },
  { least: 6, believed: 0.8 },
  { least: 4, believed: 0.7 },
  { least: 3, believed: 0.6 },
  { least: 2, believed: 0.5 },
  { least: 1, believed: 0.4 },
  { least: 0, believed: 0.5 },
];

export function oddsOf(judged: readonly Judged[]): (length: number) => number {
  const rangeOf = (length: number): (typeof ranges)[0] => ranges.find(({ least }) => length >= least) as never;
  return (length) => {
    const own = judged.filter((one) => rangeOf(one.length) === rangeOf(length));
    return (own.filter(({ right }) => right).length + 2 * rangeOf(length).believed) / (own.length + 2);
  };
}
