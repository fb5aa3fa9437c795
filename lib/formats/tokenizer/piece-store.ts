// The bytes that tokens stand for, in one arena: read from the vocabulary when a token is first met, then only copied.
import { native, nativeCall } from '../../native.js';

const KEPT = 1 << 20; // bytes of scratch memory

export class PieceStore {
  private readonly places: Int32Array; // begin, or -1 for a token that was not met yet, and end
  private bytes = new Uint8Array(1 << 12);
  private used = 0;
  private joined = new Uint8Array(1 << 12);

  constructor(
    size: number,
    private readonly read: (token: number) => Uint8Array,
  ) {
    this.places = new Int32Array(2 * size).fill(-1);
  }

  /** A view. */
  get(token: number): Uint8Array {
    if (this.places[2 * token] < 0) this.add(token);
    return this.bytes.subarray(this.places[2 * token], this.places[2 * token + 1]);
  }

  /** The bytes of tokens of the vocabulary, until the next call; with types without control and unknown tokens. */
  join(tokens: Int32Array, types?: Int32Array): Uint8Array {
    if (this.joined.length > KEPT) this.joined = new Uint8Array(KEPT);
    const progress = new Int32Array(2);
    for (;;) {
      nativeCall(() => native().joinPieces(tokens, this.places, this.bytes, types, this.joined, progress));
      const [next, end] = progress;
      if (next === tokens.length) return this.joined.subarray(0, end);
      if (this.places[2 * tokens[next]] < 0) this.add(tokens[next]);
      else this.grow(end);
    }
  }

  private grow(end: number): void {
    const larger = new Uint8Array(2 * this.joined.length);
    larger.set(this.joined.subarray(0, end));
    this.joined = larger;
  }

  private add(token: number): void {
    const piece = this.read(token);
    if (this.used + piece.length > this.bytes.length) {
      const larger = new Uint8Array(2 * (this.used + piece.length));
      larger.set(this.bytes.subarray(0, this.used));
      this.bytes = larger;
    }
    this.bytes.set(piece, this.used);
    this.places[2 * token] = this.used;
    this.used += piece.length;
    this.places[2 * token + 1] = this.used;
  }
}
