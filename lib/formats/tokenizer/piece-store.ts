// The bytes that tokens stand for, in one arena: read from the vocabulary when a token is first met, then only copied.

export class PieceStore {
  private readonly starts: Int32Array; // -1: not met yet
  private readonly ends: Int32Array;
  private bytes = new Uint8Array(1 << 12);
  private used = 0;

  constructor(
    size: number,
    private readonly read: (token: number) => Uint8Array,
  ) {
    this.starts = new Int32Array(size).fill(-1);
    this.ends = new Int32Array(size);
  }

  /** A view. */
  get(token: number): Uint8Array {
    if (this.starts[token] < 0) this.add(token);
    return this.bytes.subarray(this.starts[token], this.ends[token]);
  }

  length(token: number): number {
    if (this.starts[token] < 0) this.add(token);
    return this.ends[token] - this.starts[token];
  }

  /** Copies a token's bytes to `at`; returns where they end. The token was met by length(). */
  copy(token: number, target: Uint8Array, at: number): number {
    const { bytes } = this;
    // Most tokens are a few bytes long, where a loop beats a call of set().
    for (let i = this.starts[token], end = this.ends[token]; i < end; i++) target[at++] = bytes[i];
    return at;
  }

  private add(token: number): void {
    const piece = this.read(token);
    if (this.used + piece.length > this.bytes.length) {
      const larger = new Uint8Array(2 * (this.used + piece.length));
      larger.set(this.bytes.subarray(0, this.used));
      this.bytes = larger;
    }
    this.bytes.set(piece, this.used);
    this.starts[token] = this.used;
    this.used += piece.length;
    this.ends[token] = this.used;
  }
}
