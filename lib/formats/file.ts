// Opening and reading files with vivace's own errors: every failure of the file system becomes a typed one.
import * as fs from 'node:fs';
import { VivaceError } from '../errors.js';

/** The error beneath as FILE_NOT_FOUND or FILE_UNREADABLE, with the path in front. */
export function fileError(path: string, cause: unknown, remedy?: string): VivaceError {
  const code = (cause as { code?: string }).code;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new VivaceError('FILE_NOT_FOUND', `No such file: ${path}`, { cause, remedy: remedy ?? 'Check the path.' });
  }
  return new VivaceError('FILE_UNREADABLE', `Cannot read ${path}: ${code ?? String(cause)}`, { cause, remedy });
}

/** Runs `use` on a regular file that is closed afterwards. Pipes and devices are refused: reading one may never end. */
export function withFile<T>(path: string, use: (fd: number, size: number) => T, remedy?: string): T {
  let fd: number;
  let size: number;
  try {
    const stat = fs.statSync(path);
    if (!stat.isFile()) {
      throw new VivaceError('FILE_UNREADABLE', `Not a regular file: ${path}`);
    }
    size = stat.size;
    fd = fs.openSync(path, 'r');
  } catch (cause) {
    throw cause instanceof VivaceError ? cause : fileError(path, cause, remedy);
  }
  try {
    return use(fd, size);
  } finally {
    fs.closeSync(fd);
  }
}

/** Reads `length` bytes at `position` into `target`; a file that ends before them is FORMAT_TRUNCATED. */
export function readExactly(path: string, fd: number, target: Uint8Array, position: number): void {
  let done = 0;
  while (done < target.length) {
    let read: number;
    try {
      read = fs.readSync(fd, target, done, target.length - done, position + done);
    } catch (cause) {
      throw fileError(path, cause);
    }
    if (read === 0) {
      throw new VivaceError('FORMAT_TRUNCATED', `${path} ended at byte ${position + done} while it was being read`);
    }
    done += read;
  }
}

/** A whole small file as bytes, or undefined when there is none; `limit` bytes at most. */
export function readSmallFile(path: string, limit: number): Buffer | undefined {
  if (!fs.existsSync(path)) return undefined;
  return withFile(path, (fd, size) => {
    if (size > limit) {
      throw new VivaceError('FORMAT_LIMIT', `${path} has ${size} bytes, more than the limit of ${limit}`);
    }
    const bytes = Buffer.allocUnsafe(size);
    readExactly(path, fd, bytes, 0);
    return bytes;
  });
}
