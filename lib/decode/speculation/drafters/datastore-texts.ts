// The texts of files, one piece after the other, for datastores: of plain text files and of JSON lines.
import { createReadStream, statSync } from 'node:fs';
import { VivaceError } from '../../../errors.js';
import { fileError } from '../../../formats/file.js';

export interface FileText {
  readonly text: string;
  /** Bytes of all files that were read so far. */
  readonly read: number;
}

/** Characters: pieces of text files are about this long, and a line of JSON at most `longest`. */
const piece = 2 ** 20;
const longest = 2 ** 26;

/**
 * Texts of files, whatever their size. In files that end in .jsonl or .ndjson each line is a JSON string, or an object whose
 * `field` is one; empty lines are none. Of any other file the texts are pieces of a million characters, cut at ends of
 * lines. Throws FILE_*, FORMAT_INVALID with file and line, FORMAT_LIMIT for lines of more than 64 million characters.
 */
export async function* textsOfFiles(paths: readonly string[], field: string): AsyncGenerator<FileText> {
  let before = 0;
  for (const path of paths) {
    const json = /\.(jsonl|ndjson)$/i.test(path);
    let line = 0;
    for await (const { text, read } of json ? pieces(path, 0, longest) : pieces(path, piece, piece)) {
      if (!json) {
        yield { text, read: before + read };
        continue;
      }
      line += 1;
      if (text.trim() !== '') yield { text: textOfLine(text, field, `${path}:${line}`), read: before + read };
    }
    before += sizeOf(path);
  }
}

/** Bytes of all files; throws FILE_* for what is none. */
export const sizeOfFiles = (paths: readonly string[]): number => paths.reduce((sum, path) => sum + sizeOf(path), 0);

function sizeOf(path: string): number {
  let stat;
  try {
    stat = statSync(path);
  } catch (cause) {
    throw fileError(path, cause);
  }
  if (!stat.isFile()) throw new VivaceError('FILE_UNREADABLE', `Not a regular file: ${path}`);
  return stat.size;
}

/**
 * A file in pieces that end with lines and are at least `least` characters long; 0: every line alone. Where no line ends, a
 * piece of text is cut at `most`, which for lines alone is an error.
 */
async function* pieces(path: string, least: number, most: number): AsyncGenerator<FileText> {
  const stream = createReadStream(path, { encoding: 'utf8', highWaterMark: 2 ** 20 });
  let rest = '';
  try {
    for await (const chunk of stream as AsyncIterable<string>) {
      rest += chunk;
      let begin = 0;
      for (;;) {
        let end = rest.indexOf('\n', begin + Math.max(0, least - 1)) + 1;
        if (end === 0 && rest.length - begin > 2 * most) {
          if (least === 0) {
            throw new VivaceError('FORMAT_LIMIT', `${path} has a line of more than ${most} characters`);
          }
          end = begin + most;
        }
        if (end === 0) break;
        yield { text: rest.slice(begin, end), read: stream.bytesRead };
        begin = end;
      }
      rest = rest.slice(begin);
    }
  } catch (cause) {
    throw cause instanceof VivaceError ? cause : fileError(path, cause);
  } finally {
    stream.destroy();
  }
  if (rest !== '') yield { text: rest, read: stream.bytesRead };
}

function textOfLine(line: string, field: string, place: string): string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new VivaceError('FORMAT_INVALID', `${place} is no JSON`, { cause });
  }
  const text = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[field] : value;
  if (typeof text === 'string') return text;
  throw new VivaceError('FORMAT_INVALID', `${place} is no string and has no string \`${field}\``, {
    remedy: 'Name the field of the text with --field.',
  });
}
