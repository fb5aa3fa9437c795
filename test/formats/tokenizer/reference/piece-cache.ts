// Tokens of short pieces that were met before: most words of a text.

const LONGEST = 32; // characters
const MOST = 1 << 16;

export class PieceCache {
  private readonly known = new Map<string, Int32Array>();

  /** Appends the piece's tokens, from the cache or from `encode`, which appends them itself. */
  append(piece: string, out: number[], encode: (piece: string, out: number[]) => void): void {
    const tokens = this.known.get(piece);
    if (tokens) {
      for (let i = 0; i < tokens.length; i++) out.push(tokens[i]);
      return;
    }
    const from = out.length;
    encode(piece, out);
    if (piece.length > LONGEST) return;
    if (this.known.size >= MOST) this.known.clear();
    // A copy: the piece is a view of its text, which the cache would keep alive.
    this.known.set(Buffer.from(piece, 'utf8').toString('utf8'), Int32Array.from(out.slice(from)));
  }
}
