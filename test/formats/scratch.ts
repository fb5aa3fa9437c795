// A temporary directory for one test file, removed when its tests are done.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { VivaceError, type ErrorCode } from '../../lib/errors.js';

export interface Scratch {
  readonly directory: string;
  /** The path of a name in the directory. */
  at(name: string): string;
  /** Writes a file and returns its path. */
  write(name: string, contents: string | Uint8Array): string;
  /** Writes a value as JSON and returns the path. */
  json(name: string, value: unknown): string;
}

export function scratch(): Scratch {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'vivace-formats-'));
  afterAll(() => fs.rmSync(directory, { recursive: true, force: true }));
  const at = (name: string): string => path.join(directory, name);
  const write = (name: string, contents: string | Uint8Array): string => {
    fs.mkdirSync(path.dirname(at(name)), { recursive: true });
    fs.writeFileSync(at(name), contents);
    return at(name);
  };
  return { directory, at, write, json: (name, value) => write(name, JSON.stringify(value)) };
}

/** The VivaceError that `action` throws; anything else, or nothing, fails the test. */
export function thrown(action: () => unknown): VivaceError {
  try {
    action();
  } catch (error) {
    if (error instanceof VivaceError) return error;
    throw error;
  }
  throw new Error('Expected a VivaceError, but nothing was thrown');
}

export const codeOf = (action: () => unknown): ErrorCode => thrown(action).code;

/** Replaces the contents of a file. In place: ext4 flushes files that are cut to nothing first, which takes 5 ms. */
export function overwrite(file: string, bytes: Uint8Array): void {
  const fd = fs.openSync(file, fs.existsSync(file) ? 'r+' : 'w');
  fs.ftruncateSync(fd, bytes.length);
  fs.writeSync(fd, bytes, 0, bytes.length, 0);
  fs.closeSync(fd);
}
