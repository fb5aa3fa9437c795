// Placeholder of the reader, replaced below.
export interface StringTable {
  readonly length: number;
  /** All strings' UTF-8 (possibly invalid) bytes, concatenated. */
  readonly bytes: Uint8Array;
  /** [length + 1] starts in `bytes`. */
  readonly offsets: Uint32Array;
  /** The i-th string decoded as UTF-8. */
  get(index: number): string;
}
