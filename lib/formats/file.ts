// Reading and writing files with vivace's own errors: every failure of the file system becomes a typed one.
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

/** A file's text, in UTF-8. Throws FILE_NOT_FOUND, FILE_UNREADABLE. */
export function readText(path: string): string {
  return withFile(path, (fd) => fs.readFileSync(fd, 'utf8'));
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

/** Bytes at once, or in chunks that are made while the file is written. */
export type Chunks = Uint8Array | (() => Iterable<Uint8Array>);

/** Writes the parts in order, under a temporary name at first: the file appears whole or not at all. */
export function writeFile(path: string, parts: Iterable<Uint8Array>): void {
  const steps = writingFile(path, parts);
  while (!steps.next().done);
}

/** As writeFile, one part per step; gives the bytes written so far. `return()` gives up and leaves no file. */
export function* writingFile(path: string, parts: Iterable<Uint8Array>): Generator<number, void> {
  let complete = false;
  let written = 0;
  const temporary = `${path}.part`;
  let fd: number | undefined;
  try {
    fd = fs.openSync(temporary, 'w');
    for (const part of parts) {
      for (let done = 0; done < part.length;) done += fs.writeSync(fd, part, done);
      written += part.length;
      yield written;
    }
    fs.closeSync(fd);
    fd = undefined;
    fs.renameSync(temporary, path);
    complete = true;
  } catch (cause) {
    if (cause instanceof VivaceError) throw cause;
    const code = (cause as { code?: string }).code;
    if (code === undefined) throw cause; // thrown by the caller's generator
    const missing = code === 'ENOENT' || code === 'ENOTDIR';
    throw new VivaceError(missing ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE', `Cannot write ${path}: ${code}`, {
      cause,
      remedy: missing ? 'Create the directory first.' : undefined,
    });
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
    if (!complete) fs.rmSync(temporary, { force: true });
  }
}

/** The chunks of one tensor, checked to be exactly as many bytes as its type and shape need. */
export function* checkedChunks(name: string, data: Chunks, bytes: number): Generator<Uint8Array> {
  let written = 0;
  for (const chunk of data instanceof Function ? data() : [data]) {
    written += chunk.length;
    if (written <= bytes) yield chunk;
  }
  if (written !== bytes) {
    throw new VivaceError('SHAPE_MISMATCH', `Tensor \`${name}\` needs ${bytes} bytes, its data have ${written}`);
  }
}
