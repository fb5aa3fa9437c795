// The rows of a second reading: behind a draft a short request to check it, and the draft once more. What the model says
// after a token of the copy is read by the verifier beside what it said after the token itself.
// Row layout of Wang et al. 2025, "Think Before You Accept" (arXiv 2505.18629); trees and the anchor are ours.
import type { SecondReading } from '../../rounds.js';
import type { Draft } from '../drafter.js';

export interface ReadingOptions {
  readonly alpha: number;
  /** The request. */
  readonly prompt: Int32Array;
  /** Tokens at the end of the text that are said again between the request and the copy. */
  readonly anchorTokens: number;
  readonly correctionFrom: 'fused' | 'base';
  /** Also reads again what follows the whole draft. */
  readonly fuseBonus: boolean;
  /** Paths of a tree that are read again: those to the leaves with the highest scores. */
  readonly reflectPaths: number;
}

/** `text`: the end of the text, at least the anchor's tokens of it, the draft's root being its last one. */
export function secondReading(
  { tokens, parents, scores }: Pick<Draft, 'tokens' | 'parents' | 'scores'>,
  options: ReadingOptions,
  text: readonly number[],
): SecondReading | undefined {
  const { alpha, prompt, anchorTokens, correctionFrom, fuseBonus, reflectPaths } = options;
  const lead = [...prompt, ...(anchorTokens > 0 ? text.slice(-anchorTokens) : [])];
  const leaves = [...tokens.keys()]
    .filter((node) => !parents.includes(node))
    .sort((a, b) => scores[b] - scores[a] || a - b)
    .slice(0, reflectPaths);
  if (leaves.length === 0 || lead.length === 0) return undefined;
  const rows: { token: number; parent: number }[] = [];
  const spoken: { output: number; row: number }[] = [];
  for (const leaf of leaves) {
    const path: number[] = [];
    for (let node = leaf; node >= 0; node = parents[node]) path.unshift(node);
    let at = leaf;
    const say = (token: number): number => {
      rows.push({ token, parent: at });
      at = tokens.length + rows.length - 1;
      return rows.length - 1;
    };
    let last = -1;
    for (const token of lead) last = say(token);
    spoken.push({ output: last, row: 0 });
    for (const node of fuseBonus ? path : path.slice(0, -1)) spoken.push({ output: say(tokens[node]), row: node + 1 });
  }
  return {
    alpha,
    corrects: correctionFrom === 'fused',
    tokens: Int32Array.from(rows, ({ token }) => token),
    parents: Int32Array.from(rows, ({ parent }) => parent),
    outputs: Int32Array.from(spoken, ({ output }) => output),
    rows: Int32Array.from(spoken, ({ row }) => row),
  };
}

/** Rows that a second reading of a chain adds. */
export const rowsOfReading = ({ prompt, anchorTokens, fuseBonus }: ReadingOptions, draft: number): number =>
  prompt.length + anchorTokens + draft - (fuseBonus ? 0 : 1);
