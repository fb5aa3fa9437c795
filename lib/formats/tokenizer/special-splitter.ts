// Cuts a text at the special tokens that it spells: longer tokens first over the whole text, as llama.cpp does it.

export interface SpecialToken {
  readonly id: number;
  readonly text: string;
  /** Found in every text (user-defined tokens), not only where special tokens are to be parsed. */
  readonly always: boolean;
  /** Swallow white space before or after the token. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

export class SpecialSplitter {
  private readonly tokens: readonly SpecialToken[]; // longest first
  private readonly byText = new Map<string, SpecialToken>();
  private readonly lengths: readonly number[];
  private readonly firsts = new Set<number>();

  constructor(tokens: readonly SpecialToken[]) {
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
        else cutAt(part, token, cut);
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

function cutAt(text: string, token: SpecialToken, out: (string | number)[]): void {
  let at = 0;
  for (;;) {
    const found = text.indexOf(token.text, at);
    if (found < 0) break;
    const before = text.slice(at, found);
    const left = token.lstrip ? before.replace(/[ \t-\r]+$/, '') : before;
    if (left !== '') out.push(left);
    out.push(token.id);
    at = found + token.text.length;
    if (token.rstrip) while (at < text.length && isSpace(text.charCodeAt(at))) at++;
  }
  if (at < text.length) out.push(text.slice(at));
}

function isSpace(code: number): boolean {
  return code === 0x20 || (code >= 0x09 && code <= 0x0d);
}
