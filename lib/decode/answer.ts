// Tokens into pieces of text: whole characters only, nothing of a stop string, and for each piece the tokens that it shows.
import { TextStream } from '../formats/tokenizer/text-stream.js';
import type { Tokenizer } from '../formats/tokenizer/tokenizer.js';
import type { JobResult } from './rounds.js';
import { StopFilter } from './stop.js';

export interface TokenLogprob {
  readonly token: number;
  readonly logprob: number;
}

/** What is known of one generated token. */
export interface TokenLogprobs extends TokenLogprob {
  /** As many as asked for, most probable first. */
  readonly top: readonly TokenLogprob[];
  /** A drafted token that only a judge kept (docs/systems/judge.md). */
  readonly judged?: true;
}

/** Where a token comes from: the model's own word, a drafted token that was kept, or one that only a judge kept. */
export type TokenOrigin = 'model' | 'draft' | 'judge';

/** A part of an answer. Its text is empty at most in the last piece. */
export interface Piece {
  readonly text: string;
  readonly tokens: readonly number[];
  /** One entry per token; only when asked for. */
  readonly logprobs?: readonly TokenLogprobs[];
  /** One per token; only with speculation. */
  readonly origins?: readonly TokenOrigin[];
}

interface Pending {
  readonly drawn: JobResult;
  /** Length of the whole text before and after this token's part of it; what is part of a character ends where that does. */
  readonly begin: number;
  end: number;
}

export class Answer {
  private readonly stream: TextStream;
  private readonly filter: StopFilter;
  private waiting: Pending[] = [];
  private pushed = 0; // length of all text
  private shown = 0; // length of the text let out

  text = '';
  /** Tokens of the pieces so far. */
  readonly tokens: number[] = [];

  constructor(
    tokenizer: Tokenizer,
    stop: readonly string[],
    /** How many alternatives of each token pieces tell of; undefined: no log-probabilities. */
    private readonly topLogprobs: number | undefined,
    private readonly withOrigins: boolean,
    /** There is text before the answer, so that a leading space is a real one. */
    continues: boolean,
  ) {
    this.stream = new TextStream(tokenizer, { continues });
    this.filter = new StopFilter(stop);
  }

  /** The stop string that ended the answer. */
  get stopString(): string | undefined {
    return this.filter.matched;
  }

  /** Takes a token; gives the piece that can be shown now, if any. */
  push(drawn: JobResult): Piece | undefined {
    const text = this.stream.push(drawn.token);
    const begin = this.pushed;
    this.waiting.push({ drawn, begin, end: begin });
    if (text === '') return undefined;
    this.pushed += text.length;
    for (const token of this.waiting) if (token.end === begin && token.begin === begin) token.end = this.pushed;
    const visible = this.filter.push(text);
    if (this.stopString !== undefined) return this.finish(visible);
    return visible === '' ? undefined : this.show(visible, ({ end }) => end <= this.shown);
  }

  /** No more tokens: shows what was held back. Not needed after a stop string. */
  end(): Piece | undefined {
    if (this.stopString !== undefined) return undefined;
    const rest = this.filter.push(this.stream.end());
    if (this.stopString !== undefined) return this.finish(rest);
    const visible = rest + this.filter.end();
    return this.waiting.length === 0 && visible === '' ? undefined : this.show(visible, () => true);
  }

  /** Behind a stop string only tokens that begin before it count; the others were never said. */
  private finish(visible: string): Piece | undefined {
    const last = this.waiting.findLastIndex(({ begin }) => begin < this.shown + visible.length);
    this.waiting.length = last + 1;
    return last < 0 && visible === '' ? undefined : this.show(visible, () => true);
  }

  private show(visible: string, isShown: (token: Pending) => boolean): Piece {
    this.text += visible;
    this.shown += visible.length;
    let count = 0;
    while (count < this.waiting.length && isShown(this.waiting[count])) count++;
    const shown = this.waiting.splice(0, count).map(({ drawn }) => drawn);
    const tokens = shown.map(({ token }) => token);
    this.tokens.push(...tokens);
    const { topLogprobs } = this;
    return {
      text: visible,
      tokens,
      ...(topLogprobs === undefined ? {} : { logprobs: shown.map((drawn) => logprobsOf(drawn, topLogprobs)) }),
      ...(this.withOrigins ? { origins: shown.map(originOf) } : {}),
    };
  }
}

const originOf = ({ drafted, judged }: JobResult): TokenOrigin => (judged ? 'judge' : drafted ? 'draft' : 'model');

const logprobsOf = ({ token, logprob, top, judged }: JobResult, most: number): TokenLogprobs => ({
  token,
  logprob,
  ...(judged ? { judged } : {}),
  top: top.slice(0, most).map(([id, value]) => ({ token: id, logprob: value })),
});
