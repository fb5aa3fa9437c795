// Lookahead drafts: guesses that the target improves in its own rounds, and the n-grams that come out of them.
import { checkNames, integer } from '../../option-checks.js';
import { TokenList } from '../../token-list.js';
import type { Draft, DraftProbe, GenerationDrafter } from '../drafter.js';

export interface LookaheadOptions {
  /** Tokens of an n-gram, its key included, 2 to 16. Default 5. */
  readonly n?: number;
  /** Places behind the text that are guessed at, 1 to 64. Default 7. */
  readonly window?: number;
  /** N-grams that are kept per key, the last ones used; as many are drafted at most. 1 to 64. Default 7. */
  readonly candidates?: number;
  /** Does the text itself give n-grams, too? Default true. */
  readonly seed?: boolean;
}

/** The last n-grams per key, the one used last first. */
class Pool {
  private readonly byKey = new Map<number, Map<string, readonly number[]>>();

  constructor(private readonly most: number) {}

  add(key: number, tokens: readonly number[]): void {
    const known = this.byKey.get(key) ?? new Map<string, readonly number[]>();
    this.byKey.set(key, known);
    const name = tokens.join();
    known.delete(name);
    known.set(name, tokens); // a Map keeps the order of insertion: the last one is the newest
    if (known.size > this.most) known.delete(known.keys().next().value as string);
  }

  of(key: number): readonly (readonly number[])[] {
    return [...(this.byKey.get(key)?.values() ?? [])].reverse();
  }
}

/**
 * A window of `window` columns and `n` − 1 levels lies behind the text. Its rows are a tree: level 0 is a chain behind the root,
 * and a column goes on from its place in it through the levels. Each round gives what the target finds most probable after
 * the last level: with it a column is an n-gram for the pool, keyed by its token of level 0. Then levels move up, and columns
 * by what was kept. In the first n − 2 rounds levels are only filled. A draft is the pool's n-grams of the text's last token.
 *
 * Scores: (h + 1) / (t + 2) to the power of the depth, where first candidates were right about h of t tokens; each further
 * candidate has half of it. O(window · n) per round on the host; the rows of the window are what it costs.
 *
 * Method: lookahead decoding (Fu et al. 2024, arXiv 2402.02057). Columns that come in at the end begin with the pool's
 * guesses; a text's own n-grams and scores are ours.
 */
export class LookaheadDrafter implements GenerationDrafter {
  private readonly n: number;
  private readonly window: number;
  private readonly candidates: number;
  private readonly seed: boolean;
  private readonly pool: Pool;
  private readonly text = new TokenList();
  private levels: number[][] = []; // [level][column]
  private found: Int32Array | undefined; // after the last level, per column
  private first: readonly number[] = []; // the first candidate of the last draft
  private hits = 0;
  private tries = 0;

  /** Throws INVALID_ARGUMENT for options outside of their ranges. */
  constructor(options: LookaheadOptions = {}) {
    checkNames(options, ['n', 'window', 'candidates', 'seed'], 'the options of lookahead');
    this.n = integer('n', options.n, 5, 2, 16);
    this.window = integer('window', options.window, 7, 1, 64);
    this.candidates = integer('candidates', options.candidates, 7, 1, 64);
    this.seed = options.seed ?? true;
    this.pool = new Pool(this.candidates);
  }

  probed(tokens: Int32Array): void {
    this.found = tokens;
  }

  accept(tokens: Int32Array): void {
    const begin = this.text.length;
    this.text.append(tokens);
    if (begin > 0) {
      this.learn(tokens);
      this.advance(tokens.length);
    }
    if (!this.seed) return;
    for (let end = Math.max(begin, this.n - 1); end < this.text.length; end++) {
      const gram = this.text.slice(end - this.n + 1, end + 1);
      this.pool.add(gram[0], [...gram.subarray(1)]);
    }
  }

  draft(maxTokens: number, maxNodes: number): Draft {
    const { text } = this;
    if (text.length === 0 || maxTokens < 1) return { tokens: none, parents: none, scores: new Float32Array() };
    const tokens: number[] = [];
    const parents: number[] = [];
    const scores: number[] = [];
    const sure = (this.hits + 1) / (this.tries + 2);
    const grams = this.pool.of(text.at(text.length - 1));
    const chain = maxNodes <= maxTokens;
    this.first = grams[0]?.slice(0, maxTokens) ?? [];
    grams.slice(0, chain ? 1 : grams.length).forEach((gram, place) => {
      let at = -1;
      for (const [depth, token] of gram.slice(0, maxTokens).entries()) {
        let next = tokens.findIndex((other, node) => other === token && parents[node] === at);
        if (next < 0) {
          if (tokens.length === maxNodes) return;
          next = tokens.push(token) - 1;
          parents.push(at);
          scores.push(sure ** (depth + 1) * 0.5 ** place);
        }
        at = next;
      }
    });
    return {
      tokens: Int32Array.from(tokens),
      parents: Int32Array.from(parents),
      scores: Float32Array.from(scores),
      probe: this.probe(),
    };
  }

  dispose(): void {
    this.levels = [];
  }

  private probe(): DraftProbe {
    const { window, text } = this;
    // Guesses to begin with: the text's last tokens, again.
    if (this.levels.length === 0) {
      this.levels = [
        Array.from({ length: window }, (_, column) => text.at(Math.max(0, text.length - window + column))),
      ];
    }
    const tokens: number[] = [];
    const parents: number[] = [];
    for (const [level, columns] of this.levels.entries()) {
      for (const [column, token] of columns.entries()) {
        const row = level * window + column;
        tokens.push(token);
        parents.push(level === 0 ? column - 1 : row - window);
      }
    }
    const last = tokens.length - window;
    return {
      tokens: Int32Array.from(tokens),
      parents: Int32Array.from(parents),
      outputs: Int32Array.from({ length: window }, (_, column) => last + column),
    };
  }

  /** The window after a round in which the text became longer by so many tokens. */
  private advance(by: number): void {
    const { found, levels, n } = this;
    this.found = undefined;
    let moved = by; // of the columns
    if (found && levels.length > 0 && found.every((token) => token >= 0)) {
      levels.push([...found]);
      if (levels.length === n) {
        for (let column = 0; column < this.window; column++) {
          const gram = levels.map((columns) => columns[column]);
          this.pool.add(gram[0], gram.slice(1));
        }
        levels.shift(); // which moves every column by one place
        moved--;
      }
    }
    if (moved <= 0 || levels.length === 0) return;
    for (let step = 0; step < moved; step++) {
      // A column that comes in goes on from the last one, by what the pool knows.
      let token = levels[0][this.window - 1];
      for (const columns of levels) {
        columns.shift();
        token = this.pool.of(token)[0]?.[0] ?? token;
        columns.push(token);
      }
    }
  }

  private learn(kept: Int32Array): void {
    for (const [i, token] of this.first.entries()) {
      this.tries++;
      if (i >= kept.length || token !== kept[i]) break;
      this.hits++;
    }
    this.first = [];
  }
}

const none = new Int32Array();
