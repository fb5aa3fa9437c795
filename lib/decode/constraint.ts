// What may be said next, by a state that each token of an answer carries on: grammars, lists of words, protocols.
import { expected } from '../errors.js';
import type { DraftedTokens } from './speculation/drafter.js';

/**
 * Tokens that do not fit are never said, drafted or not. States are values: `advance` gives a new one and leaves the old one as it
 * is, so that every row of a draft, whose path is a guess, has its own. An answer begins with `start`, also one that goes on
 * with an earlier one.
 */
export interface Constraint<State = unknown> {
  readonly start: State;
  /**
   * The tokens that may come next, token t being bit t % 32 of word t >> 5 (`tokenMask` makes one), or undefined: any. The words
   * are not changed later. Where the answer may end, the tokenizer's `endOfGeneration` has to be among them.
   */
  allowed(state: State): Uint32Array | undefined;
  /** Behind a token that was allowed; also of drafts, for tokens that are never said then. */
  advance(state: State, token: number): State;
}

/** A mask of these tokens, for `Constraint.allowed`. `vocab`: `model.tokenizer.vocabSize`. Throws INVALID_ARGUMENT. */
export function tokenMask(vocab: number, tokens: Iterable<number>): Uint32Array {
  if (!Number.isInteger(vocab) || vocab < 1) throw expected('a number of tokens', 'vocab', vocab);
  const words = new Uint32Array(Math.ceil(vocab / 32));
  for (const token of tokens) {
    if (!Number.isInteger(token) || token < 0 || token >= vocab) {
      throw expected(`token ids from 0 to ${vocab - 1}`, 'tokens', token);
    }
    words[token >> 5] |= 1 << (token & 31);
  }
  return words;
}

/** Throws INVALID_ARGUMENT. */
export function checkConstraint(given: unknown): Constraint | undefined {
  if (given === undefined) return undefined;
  const { allowed, advance } = (given ?? {}) as Partial<Constraint>;
  if (typeof allowed === 'function' && typeof advance === 'function') return given as Constraint;
  throw expected('an object with `start`, `allowed(state)` and `advance(state, token)`', 'constraint', given);
}

type Mask = Uint32Array | null;
const has = (mask: Mask, token: number): boolean => !mask || ((mask[token >> 5] >>> (token & 31)) & 1) === 1;

/** The constraint of one answer, at the place that the answer has come to. */
export class Fence {
  private state: unknown;

  constructor(
    private readonly constraint: Constraint,
    /** Tokens that may be drawn. */
    private readonly vocab: number,
    /** Nothing follows these. */
    private readonly ends: ReadonlySet<number>,
  ) {
    this.state = constraint.start;
  }

  /** A token was said. */
  take(token: number): void {
    this.state = this.constraint.advance(this.state, token);
  }

  /** What may be said next. */
  get mask(): Mask {
    return this.maskOf(this.state);
  }

  /** Without what the constraint forbids, and what would follow that. A drawn token stays: whether it is seen must not depend on it. */
  cut<Draft extends DraftedTokens & { readonly proposal?: unknown }>(draft: Draft): Draft {
    const { tokens, parents, scores, proposal } = draft;
    const { fits } = this.along(draft);
    let kept = [...fits.keys()].filter((node) => fits[node]);
    if (proposal !== undefined) {
      // Of a chain what follows the first forbidden token; the rows of a tree are numbered by what was drawn.
      const isChain = parents.every((parent, node) => parent === node - 1);
      const end = isChain ? fits.indexOf(false) + 1 || fits.length : fits.length;
      kept = [...fits.keys()].slice(0, end);
    }
    if (kept.length === tokens.length) return draft;
    const places = new Map(kept.map((node, place) => [node, place]));
    return {
      ...draft,
      tokens: Int32Array.from(kept, (node) => tokens[node]),
      parents: Int32Array.from(kept, (node) => places.get(parents[node]) ?? -1),
      scores: Float32Array.from(kept, (node) => scores[node]),
    };
  }

  /** Of the root, then of each node: what may follow. Behind forbidden tokens nobody asks. */
  masks(draft: DraftedTokens): readonly Mask[] {
    return this.along(draft).masks;
  }

  private along({ tokens, parents }: DraftedTokens): { fits: boolean[]; masks: Mask[] } {
    const masks: Mask[] = [this.mask];
    const states: unknown[] = [this.state];
    const fits = [true];
    tokens.forEach((token, node) => {
      const above = parents[node] + 1;
      const fit = fits[above] && !this.ends.has(tokens[above - 1]) && token < this.vocab && has(masks[above], token);
      const goesOn = fit && !this.ends.has(token);
      const state = goesOn ? this.constraint.advance(states[above], token) : undefined;
      fits.push(fit);
      states.push(state);
      masks.push(goesOn ? this.maskOf(state) : null);
    });
    return { fits: fits.slice(1), masks };
  }

  private maskOf(state: unknown): Mask {
    const words = this.constraint.allowed(state);
    if (words === undefined) return null;
    const least = Math.ceil(this.vocab / 32);
    if (words instanceof Uint32Array && words.length >= least) return words;
    throw expected(`a Uint32Array of at least ${least} words, or undefined`, 'constraint.allowed(state)', words);
  }
}
