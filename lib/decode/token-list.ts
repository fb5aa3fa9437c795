// The tokens of a sequence: a growing Int32Array.

export class TokenList {
  private store: Int32Array;
  private count = 0;

  constructor(tokens: ArrayLike<number> = []) {
    this.store = new Int32Array(Math.max(64, tokens.length));
    this.append(tokens);
  }

  get length(): number {
    return this.count;
  }

  at(index: number): number {
    return this.store[index];
  }

  push(token: number): void {
    this.reserve(1);
    this.store[this.count++] = token;
  }

  append(tokens: ArrayLike<number>): void {
    this.reserve(tokens.length);
    this.store.set(tokens, this.count);
    this.count += tokens.length;
  }

  /** Forgets the tokens from `length` on. */
  truncate(length: number): void {
    this.count = Math.min(this.count, length);
  }

  /** A copy. */
  slice(begin = 0, end = this.count): Int32Array {
    return this.store.slice(begin, Math.min(end, this.count));
  }

  /** How many tokens at the beginning are the same as in `others`. */
  commonPrefix(others: ArrayLike<number>): number {
    const most = Math.min(this.count, others.length);
    let same = 0;
    while (same < most && this.store[same] === others[same]) same++;
    return same;
  }

  private reserve(more: number): void {
    if (this.count + more <= this.store.length) return;
    const larger = new Int32Array(Math.max(2 * this.store.length, this.count + more));
    larger.set(this.store.subarray(0, this.count));
    this.store = larger;
  }
}
