// The bytes of a GGUF header, read from the file as far as the parser gets: chunks double, weights are never read.
import { VivaceError } from '../../errors.js';
import { readExactly } from '../file.js';

/** A header may not be larger, whatever its counts say. */
export const headerLimit = 100 * 2 ** 20;
const firstRead = 64 * 1024;

/** A cursor over the start of a file. At most twice the header is read; all lengths are checked before use. */
export class HeaderBytes {
  bytes: Buffer;
  position = 0;
  private view: DataView;

  constructor(
    readonly path: string,
    private readonly fd: number,
    readonly fileSize: number,
  ) {
    this.bytes = Buffer.allocUnsafeSlow(Math.min(firstRead, fileSize));
    readExactly(path, fd, this.bytes, 0);
    this.view = viewOf(this.bytes);
  }

  /** Bytes of the file after the cursor. */
  get remaining(): number {
    return this.fileSize - this.position;
  }

  fail(message: string, code: 'FORMAT_INVALID' | 'FORMAT_LIMIT' = 'FORMAT_INVALID'): VivaceError {
    return new VivaceError(code, `${this.path}: ${message}`, {
      remedy: 'The file is damaged or was written by a faulty tool; download or convert it again.',
    });
  }

  /** Makes sure that `count` bytes after the cursor are in memory; `count` may be any number read from the file. */
  need(count: number, what: string): void {
    const end = this.position + count;
    if (end <= this.bytes.length) return;
    if (end > this.fileSize) {
      throw new VivaceError(
        'FORMAT_TRUNCATED',
        `${this.path}: ${what} needs ${count} bytes at byte ${this.position}, but the file has ${this.fileSize}`,
        { remedy: 'The file is cut off or damaged; download it again.' },
      );
    }
    if (end > headerLimit) throw this.fail(`the header is larger than ${headerLimit} bytes`, 'FORMAT_LIMIT');
    const grown = Buffer.allocUnsafeSlow(Math.min(this.fileSize, headerLimit, Math.max(end, this.bytes.length * 2)));
    grown.set(this.bytes);
    readExactly(this.path, this.fd, grown.subarray(this.bytes.length), this.bytes.length);
    this.bytes = grown;
    this.view = viewOf(grown);
  }

  u32(what: string): number {
    this.need(4, what);
    const value = this.view.getUint32(this.position, true);
    this.position += 4;
    return value;
  }

  /** A u64 as a number: exact below 2^53, and above still larger than every file. */
  u64(what: string): number {
    this.need(8, what);
    const value = this.view.getUint32(this.position, true) + this.view.getUint32(this.position + 4, true) * 2 ** 32;
    this.position += 8;
    return value;
  }

  /** Moves past `count` bytes, which must exist. */
  skip(count: number, what: string): void {
    this.need(count, what);
    this.position += count;
  }

  /** Moves past a string of at most `limit` bytes and returns its start; it ends at the new position. */
  skipString(limit: number, what: string): number {
    const length = this.u64(what);
    if (length > limit && length <= this.remaining) {
      throw this.fail(`${what} has ${length} bytes, more than the limit of ${limit}`, 'FORMAT_LIMIT');
    }
    const start = this.position;
    this.skip(length, what);
    return start;
  }

  /** Moves past `count` strings: one plain loop, because vocabularies have hundreds of thousands. */
  skipStrings(count: number, limit: number, what: string): void {
    for (let i = 0; i < count; i++) {
      const start = this.position + 8;
      if (start <= this.bytes.length && this.view.getUint32(start - 4, true) === 0) {
        const end = start + this.view.getUint32(start - 8, true);
        if (end <= this.bytes.length && end - start <= limit) {
          this.position = end;
          continue;
        }
      }
      this.skipString(limit, what);
    }
  }

  /** A name, which must be valid UTF-8. */
  name(limit: number, what: string): string {
    const start = this.skipString(limit, what);
    try {
      return strict.decode(this.bytes.subarray(start, this.position));
    } catch (cause) {
      throw new VivaceError('FORMAT_INVALID', `${this.path}: ${what} is not valid UTF-8`, { cause });
    }
  }
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
