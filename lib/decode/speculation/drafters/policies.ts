// Drafters without a model, for `speculation.drafter`.
import type { Drafter, TokenDrafter } from '../drafter.js';
import { InputCopyDrafter, type InputCopyOptions } from './input-copy.js';
import { NGramDrafter, type NGramOptions } from './n-gram.js';
import { SuffixDrafter, type SuffixOptions } from './suffix.js';

/** Drafts what followed the text's last tokens earlier in it: for answers that repeat their prompt. */
export const nGram = (options: NGramOptions = {}): Drafter => policy('ngram', () => new NGramDrafter(options));

/** Drafts by counts of everything in the text, and in finished answers if there is a `cache`. */
export const suffix = (options: SuffixOptions = {}): Drafter => policy('suffix', () => new SuffixDrafter(options));

/** Drafts a copy of an input, the prompt by default: for corrections and edits. */
export const inputCopy = (options: InputCopyOptions = {}): Drafter =>
  policy('input-copy', () => new InputCopyDrafter(options));

/** Any drafter of tokens; `make` is called once per generation. */
export const policy = (name: string, make: () => TokenDrafter): Drafter => ({ name, start: make });
