// Cuts a text at the special tokens that it spells: longer tokens first over the whole text, as llama.cpp does it.

import type { TextPart } from './native-encoder.js';

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

/** A part of the text by its places. */
interface Part {
  readonly start: number;
  readonly end: number;
  readonly token?: number;
}

export class SpecialSplitter {
  private readonly tokens: readonly SpecialToken[]; // longest first
  private readonly byText = new Map<string, SpecialToken>();
  private readonly lengths: readonly number[];
  private readonly firsts = new Uint8Array(1 << 16); // 1: a token begins with this code unit
  private readonly order = new Map<SpecialToken, number>();
  private readonly space: RegExp;
  private readonly longest: number;
  private readonly someAlways: boolean;

  constructor(tokens: readonly SpecialToken[], unicodeStrip: boolean) {
    this.space = unicodeStrip ? UNICODE_SPACE : ASCII_SPACE;
    const sized = tokens
      .filter(({ text }) => text !== '')
      .map((token) => ({ token, bytes: Buffer.byteLength(token.text) }));
    this.tokens = sized.sort((a, b) => b.bytes - a.bytes || a.token.id - b.token.id).map(({ token }) => token);
    for (const [i, token] of this.tokens.entries()) {
      this.byText.set(token.text, token);
      this.order.set(token, i);
      this.firsts[token.text.charCodeAt(0)] = 1;
    }
    this.someAlways = this.tokens.some(({ always }) => always);
    this.lengths = [...new Set(this.tokens.map(({ text }) => text.length))];
    this.longest = Math.max(0, ...this.lengths);
  }

  /** The parts of the text in order; none is empty. In `plain` ranges only tokens that are always found count. */
  split(text: string, parseSpecial: boolean, plain: readonly Span[] = []): readonly TextPart[] {
    if (text === '') return [];
    if (!parseSpecial && !this.someAlways) return [{ text }];
    const places = this.places(text, parseSpecial, plain);
    let parts: Part[] = [{ start: 0, end: text.length }];
    const found = [...places].sort(([a], [b]) => (this.order.get(a) ?? 0) - (this.order.get(b) ?? 0));
    for (const [token, at] of found) {
      const cut: Part[] = [];
      let next = 0;
      for (const part of parts) {
        if (part.token !== undefined) cut.push(part);
        else next = this.cutAt(text, part, token, at, next, cut);
      }
      parts = cut;
    }
    return parts.map(({ start, end, token }) => ({ text: text.slice(start, end), token }));
  }

  /** Where the text spells tokens that are not always found, whole or begun at its end; overlapping spans are joined. */
  controlSpans(text: string): Span[] {
    const spans: [number, number][] = [];
    for (let i = 0; i < text.length; i++) {
      if (this.firsts[text.charCodeAt(i)] === 0) continue;
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
      if (this.firsts[text.charCodeAt(i)] === 0) continue;
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
    { start, end: stop }: Part,
    token: SpecialToken,
    places: readonly number[],
    next: number,
    out: Part[],
  ): number {
    let at = start;
    for (; next < places.length; next++) {
      const found = places[next];
      let end = found + token.text.length;
      if (found >= stop) break;
      if (found < at || end > stop) continue;
      if (token.singleWord && (WORD.test(text.charAt(found - 1)) || WORD.test(text.charAt(end)))) continue;
      let left = found;
      if (token.lstrip) while (left > at && this.space.test(text[left - 1])) left--;
      if (token.rstrip) while (end < stop && this.space.test(text[end])) end++;
      if (left > at) out.push({ start: at, end: left });
      out.push({ start: left, end, token: token.id });
      at = end;
    }
    if (at < stop) out.push({ start: at, end: stop });
    return next;
  }
}
