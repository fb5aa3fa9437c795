// Cuts a text at the special tokens that it spells: longer tokens first over the whole text, as llama.cpp does it.

export interface SpecialToken {
  readonly id: number;
  readonly text: string;
  /** Found in every text (user-defined tokens), not only where special tokens are to be parsed. */
  readonly always: boolean;
  /** Swallow white space before or after the token. */
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  /** Only where no letter, digit or underscore touches it. */
  readonly singleWord?: boolean;
}

const ASCII_SPACE = /[ \t-\r]/;
const UNICODE_SPACE = /\p{White_Space}/u;
const WORD = /[\p{L}\p{M}\p{N}\p{Pc}]/u;

export class SpecialSplitter {
  private readonly tokens: readonly SpecialToken[]; // longest first
  private readonly byText = new Map<string, SpecialToken>();
  private readonly lengths: readonly number[];
  private readonly firsts = new Set<number>();
  private readonly space: RegExp;

  constructor(tokens: readonly SpecialToken[], unicodeStrip: boolean) {
    this.space = unicodeStrip ? UNICODE_SPACE : ASCII_SPACE;
    const sized = tokens
      .filter(({ text }) => text !== '')
      .map((token) => ({ token, bytes: Buffer.byteLength(token.text) }));
    this.tokens = sized.sort((a, b) => b.bytes - a.bytes || a.token.id - b.token.id).map(({ token }) => token);
    for (const token of this.tokens) {
      this.byText.set(token.text, token);
      this.firsts.add(token.text.charCodeAt(0));
    }
    this.lengths = [...new Set(this.tokens.map(({ text }) => text.length))];
  }

  /** Plain text and token ids in order; no text is empty. */
  split(text: string, parseSpecial: boolean): readonly (string | number)[] {
    if (text === '') return [];
    const present = this.present(text, parseSpecial);
    let parts: (string | number)[] = [text];
    for (const token of this.tokens) {
      if (!present.has(token)) continue;
      const cut: (string | number)[] = [];
      for (const part of parts) {
        if (typeof part === 'number') cut.push(part);
        else cutAt(part, token, this.space, cut);
      }
      parts = cut;
    }
    return parts;
  }

  /** Which tokens occur at all: one pass, whatever the number of tokens (gemma has 6 000). */
  private present(text: string, parseSpecial: boolean): Set<SpecialToken> {
    const present = new Set<SpecialToken>();
    if (this.tokens.length === 0) return present;
    for (let i = 0; i < text.length; i++) {
      if (!this.firsts.has(text.charCodeAt(i))) continue;
      for (const length of this.lengths) {
        const token = i + length <= text.length ? this.byText.get(text.slice(i, i + length)) : undefined;
        if (token && (parseSpecial || token.always)) present.add(token);
      }
    }
    return present;
  }
}

function cutAt(text: string, token: SpecialToken, space: RegExp, out: (string | number)[]): void {
  let at = 0;
  for (let found = text.indexOf(token.text); found >= 0; found = text.indexOf(token.text, Math.max(at, found + 1))) {
    const end = found + token.text.length;
    if (token.singleWord && (WORD.test(text.charAt(found - 1)) || WORD.test(text.charAt(end)))) continue;
    let stop = found;
    if (token.lstrip) while (stop > at && space.test(text[stop - 1])) stop--;
    if (stop > at) out.push(text.slice(at, stop));
    out.push(token.id);
    at = end;
    if (token.rstrip) while (at < text.length && space.test(text[at])) at++;
  }
  if (at < text.length) out.push(text.slice(at));
}
