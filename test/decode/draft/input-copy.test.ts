// Input-guided drafts against their definition, and the course of copies that the method promises.
import { InputCopyDrafter, type InputCopyOptions } from '../../../lib/decode/speculation/drafters/input-copy.js';
import { merged } from './candidates.js';
import { matchLength, oddsOf, type Judged } from './match-odds.js';
import { integerBelow, nodesOf, numbers, texts, walk } from './texts.js';
import type { Node, State } from './texts.js';

interface Options {
  readonly minGram: number;
  readonly maxGram: number;
  readonly branches: number;
  readonly firstDraft?: number;
  readonly input?: Int32Array;
}

/** Ends (one past the last token) of the occurrences in `input` of the last g tokens of `output`. */
function ends(input: readonly number[], output: readonly number[], g: number): number[] {
  const wanted = output.slice(output.length - g).join(' ');
  return input.map((_, i) => i + 1).filter((end) => end >= g && input.slice(end - g, end).join(' ') === wanted);
}

/** Where to go on after this output: the only place, or where the copy has got to, or undefined. */
function certain(
  input: readonly number[],
  output: readonly number[],
  near: number, // where it was before the last token
  { minGram, maxGram }: Options,
): number | undefined {
  if (output.length === 0) return 0;
  const goesOn = near < input.length && matchLength(output, output.length - 1, input, near) >= minGram;
  const stays = goesOn ? near + 1 : undefined;
  for (let g = minGram; g <= maxGram; g++) {
    if (output.length < g) return stays;
    const found = ends(input, output, g);
    if (found.length === 0) return stays;
    if (found.length === 1) return found[0];
  }
  return stays;
}

function expected(options: Options) {
  return ({ prompt, output }: State, maxTokens: number, maxNodes: number): Node[] => {
    const input = options.input === undefined ? prompt : [...options.input];
    const judged: Judged[] = [];
    let near = 0;
    let place: number | undefined = 0;
    for (let length = 0; length < output.length; length++) {
      if (place !== undefined && place < input.length) {
        const matched = matchLength(output, length - 1, input, place - 1);
        judged.push({ length: matched, right: input[place] === output[length] });
      }
      place = certain(input, output.slice(0, length + 1), near, options);
      near = place ?? Math.min(near + 1, input.length);
    }
    let places = place === undefined ? [] : [place];
    if (place === undefined && options.branches > 1 && output.length >= options.maxGram) {
      places = ends(input, output, options.maxGram)
        .filter((end) => end < input.length)
        .sort((a, b) => Math.abs(a - near) - Math.abs(b - near) || a - b)
        .slice(0, options.branches);
    }
    places = places.filter((one) => one < input.length);
    const odds = oddsOf(judged);
    const candidates = places.map((start) => {
      const weights: number[] = [];
      const matched = matchLength(output, output.length - 1, input, start - 1);
      const most = Math.max(options.firstDraft ?? 16, 2 * matched);
      const tokens = input.slice(start, start + Math.min(maxTokens, maxNodes, most));
      let weight = odds(matched) / places.length;
      for (let depth = 0; depth < tokens.length; weight *= odds(matched + depth)) {
        weights.push(weight);
        depth++;
      }
      return { tokens, weights };
    });
    return merged(candidates, maxTokens, maxNodes);
  };
}

const variants: Options[] = [
  { minGram: 1, maxGram: 3, branches: 1 },
  { minGram: 1, maxGram: 2, branches: 4 },
  { minGram: 2, maxGram: 4, branches: 2 },
  { minGram: 1, maxGram: 3, branches: 1, firstDraft: 2 },
  { minGram: 1, maxGram: 3, branches: 3, input: Int32Array.from([0, 1, 0, 0, 1, 5, 7, 7, 7, 0, 1, 2, 3]) },
];

describe.each(variants)('$minGram to $maxGram, $branches branches, first $firstDraft, input $input', (options) => {
  test.each(Object.keys(texts))('%s', (name) => {
    let drafted = 0;
    for (let seed = 0; seed < 5; seed++) {
      const random = numbers(seed);
      const text = texts[name](40, random);
      const expectedDraft = expected(options);
      drafted += walk(text, random, { make: () => new InputCopyDrafter(options), expected: expectedDraft });
      // An output that copies its prompt with mistakes, as one piece after the other.
      const drafter = new InputCopyDrafter(options);
      drafter.accept(Int32Array.from(text));
      const output = text.filter(() => random() > 0.1).flatMap((token) => (random() > 0.1 ? [token] : [token, 3]));
      for (let done = 0; done < output.length;) {
        const state = { prompt: text, output: output.slice(0, done) };
        const nodes = nodesOf(drafter.draft(8, 12));
        expect(nodes).toEqual(expectedDraft(state, 8, 12).map((node) => ({ ...node, score: Math.fround(node.score) })));
        const step = 1 + integerBelow(random, 4);
        drafter.accept(Int32Array.from(output.slice(done, done + step)));
        done += step;
      }
    }
    expect(drafted).toBeGreaterThan(0);
  });
});

/** Rows of each pass and what it kept, as a greedy model that writes `output` then 0 would have it. */
function course(input: readonly number[], output: readonly number[], options: InputCopyOptions = {}): string {
  const drafter = new InputCopyDrafter(options);
  drafter.accept(Int32Array.from(input));
  const truth = [...output, 0];
  const passes: string[] = [];
  for (let done = 0; done < truth.length;) {
    const { tokens } = drafter.draft(100, 100);
    let kept = 0;
    while (kept < tokens.length && tokens[kept] === truth[done + kept]) kept += 1;
    const accepted = truth.slice(done, done + kept + 1);
    drafter.accept(Int32Array.from(accepted));
    done += accepted.length;
    passes.push(tokens.length === 0 ? 'step' : `copy ${tokens.length + 1}→${accepted.length}`);
  }
  return passes.join(', ');
}

const ten = [11, 12, 13, 14, 15, 16, 17, 18, 19, 20];
test.each([
  ['the input as it is', ten, ten, 'copy 11→11'],
  ['a new token at 4', ten, [...ten.slice(0, 4), 99, ...ten.slice(5)], 'copy 11→5, step, copy 5→5'],
  ['token 4 left out', ten, [...ten.slice(0, 4), ...ten.slice(5)], 'copy 11→5, copy 5→5'],
  ['a new token before 4', ten, [...ten.slice(0, 4), 99, ...ten.slice(4)], 'copy 11→5, step, copy 6→6'],
  ['token 1 again before 6', ten, [...ten.slice(0, 6), 12, ...ten.slice(6)], 'copy 11→7, copy 9→1, copy 4→4'],
  ['equal tokens go on where they would be', Array(8).fill(5), [5, 5, 5, 99, 5, 5, 5, 5], 'copy 9→4, step, copy 4→4'],
])('%s', (_, input, output, passes) => {
  expect(course(input, output)).toBe(passes);
});

const hundred = Array.from({ length: 100 }, (_, i) => 100 + i);
test.each<[string, readonly number[], InputCopyOptions, string]>([
  ['a copy is trusted with more the longer it holds', hundred, {}, 'copy 17→17, copy 35→35, copy 49→49'],
  ['all at once where that is asked for', hundred, { firstDraft: 4096 }, 'copy 101→101'],
  [
    'after a mistake it begins again',
    [...hundred.slice(0, 30), 7, ...hundred.slice(31)],
    {},
    'copy 17→17, copy 35→14, step, copy 17→17, copy 37→37, copy 15→15',
  ],
])('long inputs: %s', (_, output, options, passes) => {
  expect(course(hundred, output, options)).toBe(passes);
});
