// Cuts a text at the special tokens that it spells: longer tokens first over the whole text, as llama.cpp does it.

/** [start, end) in UTF-16 units. */
export type Span = readonly [start: number, end: number];

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
  private readonly longest: number;

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
    this.longest = Math.max(0, ...this.lengths);
  }

  /** Plain text and token ids in order; no text is empty. In `plain` ranges only tokens that are always found count. */
  split(text: string, parseSpecial: boolean, plain: readonly Span[] = []): readonly (string | number)[] {
    if (text === '') return [];
    const places = this.places(text, parseSpecial, plain);
    let parts: (Span | number)[] = [[0, text.length]];
    for (const token of this.tokens) {
      const found = places.get(token);
      if (!found) continue;
      const cut: (Span | number)[] = [];
      let next = 0;
      for (const part of parts) {
        if (typeof part === 'number') cut.push(part);
        else next = this.cutAt(text, part, token, found, next, cut);
      }
      parts = cut;
    }
    return parts.map((part) => (typeof part === 'number' ? part : text.slice(part[0], part[1])));
  }

  /** Where the text spells tokens that are not always found, whole or begun at its end; overlapping spans are joined. */
  controlSpans(text: string): Span[] {
    const spans: [number, number][] = [];
    for (let i = 0; i < text.length; i++) {
      if (!this.firsts.has(text.charCodeAt(i))) continue;
      let end = 0;
      for (const length of this.lengths) {
        const token = this.byText.get(text.slice(i, i + length));
        if (token && !token.always) end = Math.max(end, i + token.text.length);
      }
      if (i + this.longest > text.length && this.begins(text.slice(i))) end = text.length;
      if (end === 0) continue;
      const last = spans.at(-1);
      if (last && i < last[1]) last[1] = Math.max(last[1], end);
      else spans.push([i, end]);
    }
    return spans;
  }

  private begins(text: string): boolean {
    return this.tokens.some((token) => !token.always && token.text.length > text.length && token.text.startsWith(text));
  }

  /** Where tokens occur: one pass, whatever the number of tokens (gemma has 6 000). */
  private places(text: string, parseSpecial: boolean, plain: readonly Span[]): Map<SpecialToken, number[]> {
    const places = new Map<SpecialToken, number[]>();
    if (this.tokens.length === 0) return places;
    let range = 0; // the first plain range that ends behind i
    for (let i = 0; i < text.length; i++) {
      if (!this.firsts.has(text.charCodeAt(i))) continue;
      while (range < plain.length && plain[range][1] <= i) range++;
      const free = range < plain.length ? plain[range][0] : text.length; // tokens must end before
      for (const length of this.lengths) {
        const token = i + length <= text.length ? this.byText.get(text.slice(i, i + length)) : undefined;
        if (!token || !(token.always || (parseSpecial && i + length <= free))) continue;
        const found = places.get(token);
        if (found) found.push(i);
        else places.set(token, [i]);
      }
    }
    return places;
  }

  /** Cuts one part at the places from `next` on; returns the first place behind the part. */
  private cutAt(
    text: string,
    [start, stop]: Span,
    token: SpecialToken,
    places: readonly number[],
    next: number,
    out: (Span | number)[],
  ): number {
    let at = start;
    for (; next < places.length; next++) {
      const found = places[next];
      const end = found + token.text.length;
      if (found >= stop) break;
      if (found < at || end > stop) continue;
      if (token.singleWord && (WORD.test(text.charAt(found - 1)) || WORD.test(text.charAt(end)))) continue;
      let left = found;
      if (token.lstrip) while (left > at && this.space.test(text[left - 1])) left--;
      if (left > at) out.push([at, left]);
      out.push(token.id);
      at = end;
      if (token.rstrip) while (at < stop && this.space.test(text[at])) at++;
    }
    if (at < stop) out.push([at, stop]);
    return next;
  }
}
