// The bytes of a GGUF header, read from the file as far as the parser gets; of the weights a megabyte at most.
import { isUtf8 } from 'node:buffer';
import { VivaceError } from '../../errors.js';
import { native, nativeCall } from '../../native.js';
import { readExactly } from '../file.js';

/** A header may not be larger, whatever its counts say. */
export const headerLimit = 100 * 2 ** 20;
const firstRead = 64 * 1024;
const nextReads = 2 ** 20;
/** Taken when the first read did not suffice. Memory that is not filled costs nothing, copies into larger memory do. */
const firstRoom = 2 ** 24;

/** A cursor over the start of a file. All lengths are checked before use. */
export class HeaderBytes {
  /** What has been read. */
  bytes: Buffer;
  position = 0;
  private memory: Buffer;
  private view: DataView;

  constructor(
    readonly path: string,
    private readonly fd: number,
    readonly fileSize: number,
  ) {
    this.memory = Buffer.allocUnsafeSlow(Math.min(firstRead, fileSize));
    this.bytes = this.memory;
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
    const last = Math.min(this.fileSize, headerLimit);
    const done = this.bytes.length;
    const until = Math.min(last, Math.max(end, done + nextReads));
    if (until > this.memory.length) {
      const room = Math.max(until, firstRoom, 2 * this.memory.length);
      this.memory = Buffer.allocUnsafeSlow(Math.min(last, room));
      this.memory.set(this.bytes);
    }
    readExactly(this.path, this.fd, this.memory.subarray(done, until), done);
    this.bytes = this.memory.subarray(0, until);
    this.view = viewOf(this.bytes);
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

  /** Moves past `count` strings: those that have been read in native code, because vocabularies have 100 000s. */
  skipStrings(count: number, limit: number, what: string): void {
    const moved = new Float64Array(2);
    for (let left = count; left > 0; left--) {
      nativeCall(() => native().skipStrings(this.bytes, this.position, left, limit, moved));
      left -= moved[0];
      this.position = moved[1];
      if (left > 0) this.skipString(limit, what); // reads on or throws
    }
  }

  /** A name, which must be valid UTF-8. */
  name(limit: number, what: string): string {
    const start = this.skipString(limit, what);
    const bytes = this.bytes.subarray(start, this.position);
    if (!isUtf8(bytes)) throw new VivaceError('FORMAT_INVALID', `${this.path}: ${what} is not valid UTF-8`);
    return bytes.toString('utf8');
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
