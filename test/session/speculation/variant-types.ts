// Compiled, never run: a table of values for options (variants.ts) is an error while it lacks something of the public API.
import type { NGramOptions, SpeculationOptions } from '../../../lib/index.js';
import type { Makers, OptionsOf, Shapes, Table } from './variants.js';

const words = { latest: 'latest', earliest: 'earliest' } as const;
export const whole: Table<NGramOptions> = { minN: [2], maxN: [3], prefer: words, branches: [1] };

// @ts-expect-error an option that nobody tries
export const without: Table<NGramOptions> = { minN: [2], maxN: [3], prefer: words };
// @ts-expect-error a word that nobody tries
export const word: Table<NGramOptions> = { ...whole, prefer: { latest: 'latest' } };
// @ts-expect-error no value at all
export const none: Table<NGramOptions> = { ...whole, branches: [] };
// @ts-expect-error only one of true and false
export const half: Table<Pick<OptionsOf<'lookahead'>, 'seed'>> = { seed: [false] };
// @ts-expect-error an option within an option
export const inner: Table<Pick<OptionsOf<'draftModel'>, 'tree'>> = { tree: [{ topK: 2 }] };
// @ts-expect-error a drafter without a table
export const makers: Readonly<Record<Makers, true>> = { nGram: true, suffix: true };
// @ts-expect-error verifiers without a table
export const verifiers: Pick<Table<SpeculationOptions>, 'verifier'> = { verifier: { lossless: 'lossless' } };
// @ts-expect-error a size of drafts that nobody varies
export const shapes: Shapes<number> = { maxDraft: 1, maxNodes: 2 };
