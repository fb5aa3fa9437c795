// Texts of tokens that are hard for lookups, and the walk that compares a drafter with its plain definition.
import type { DraftedTokens, TokenDrafter } from '../../../lib/decode/speculation/drafter.js';

/** Numbers from 0 to 1, the same for a seed (mulberry32). */
export function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const integerBelow = (random: () => number, limit: number): number => Math.floor(random() * limit);

/** The word that begins with a and in which a becomes ab and b becomes a: every part of it comes again soon. */
export function fibonacci(length: number): number[] {
  let [before, word] = [[1], [0]];
  while (word.length < length) [before, word] = [word, [...word, ...before]];
  return word.slice(0, length);
}

/** By name: a text of `length` tokens. */
export const texts: Readonly<Record<string, (length: number, random: () => number) => number[]>> = {
  'two letters': (length, random) => Array.from({ length }, () => integerBelow(random, 2)),
  'twenty letters': (length, random) => Array.from({ length }, () => integerBelow(random, 20)),
  'large numbers': (length, random) => Array.from({ length }, () => 2 ** 31 - 1 - integerBelow(random, 3)),
  'one letter': (length) => new Array<number>(length).fill(7),
  periodic: (length, random) => {
    const period = 1 + integerBelow(random, 7);
    return Array.from({ length }, (_, i) => (random() < 0.02 ? 99 : i % period));
  },
  fibonacci,
  'twice the same': (length, random) => {
    const half = Array.from({ length: Math.ceil(length / 2) }, () => integerBelow(random, 50));
    return [...half, ...half].slice(0, length);
  },
};

export interface Node {
  readonly token: number;
  readonly parent: number;
  readonly score: number;
}

export const nodesOf = ({ tokens, parents, scores }: DraftedTokens): Node[] =>
  [...tokens].map((token, i) => ({ token, parent: parents[i], score: scores[i] }));

/** As a drafter reports scores. */
export const rounded = (nodes: readonly Node[]): Node[] =>
  nodes.map((node) => ({ ...node, score: Math.fround(node.score) }));

/** The text so far: the prompt, and what was accepted after it. */
export interface State {
  readonly prompt: readonly number[];
  readonly output: readonly number[];
}

export interface Walk {
  readonly make: () => TokenDrafter;
  readonly expected: (state: State, maxTokens: number, maxNodes: number) => Node[];
  /** Called now and then. */
  readonly meanwhile?: () => void;
}

/**
 * Accepts a text piece by piece, takes parts of it back, forks, and compares drafts, chains and trees, with the definition,
 * which knows nothing but the text.
 */
export function walk(text: readonly number[], random: () => number, { make, expected, meanwhile }: Walk): number {
  let drafter = make();
  let prompt: number[] = [];
  let output: number[] = [];
  let known = false;
  let at = 0;
  let drafted = 0;
  const compare = (): void => {
    for (const [maxTokens, maxNodes] of [
      [5, 5],
      [1, 1],
      [20, 12],
      [4, 15],
      [2, 40],
    ]) {
      const nodes = nodesOf(drafter.draft(maxTokens, maxNodes));
      expect(nodes).toEqual(rounded(expected({ prompt, output }, maxTokens, maxNodes)));
      drafted += nodes.length;
    }
  };
  while (at < text.length) {
    const piece = text.slice(at, at + 1 + integerBelow(random, 6));
    at += piece.length;
    drafter.accept(Int32Array.from(piece));
    if (known) output.push(...piece);
    else prompt.push(...piece);
    known = true;
    compare();
    const event = random();
    if (event < 0.15) {
      const total = prompt.length + output.length;
      const length = Math.max(0, total - integerBelow(random, random() < 0.1 ? total + 1 : 9));
      drafter.truncate(length);
      known &&= length >= prompt.length;
      output = output.slice(0, Math.max(0, length - prompt.length));
      prompt = prompt.slice(0, length);
      if (known) compare();
    } else if (event < 0.25) {
      const forked = drafter.fork();
      // What happens to one does not reach the other.
      const lost = random() < 0.5 ? forked : drafter;
      drafter = lost === forked ? drafter : forked;
      lost.accept(Int32Array.from([1, 2, 3, 1, 2]));
      lost.truncate(1);
      lost.dispose();
      compare();
    } else if (event < 0.35) {
      meanwhile?.();
    }
  }
  drafter.dispose();
  return drafted;
}
