// Saved sessions: tokens and cache of one sequence, tied to the model that made them, checked by length and checksum.
//
//   bytes 0-7    "VIVACESS"
//   8-11         format version, u32
//   12-15        length h of the header, u32
//   16           header, JSON: FileHeader
//   16 + h       tokens, i32 each
//   then         cells of the cache, `cellBytes` each, in the order of positions: no trace of pages
//                under a cache policy, which the header then says (version 2): the pages that are kept, as they lie in memory
//   last 4       CRC-32 of everything before
// All numbers are little-endian.
import { randomBytes } from 'node:crypto';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { VivaceError } from '../errors.js';
import { fileError } from '../formats/file.js';
import type { KvDType } from '../program/executor.js';
import type { SavedCells } from '../program/kv-policy.js';

const MAGIC = Buffer.from('VIVACESS', 'latin1');
const VERSIONS = { full: 1, policy: 2 } as const;
const PREFIX_BYTES = 16;
const HEADER_LIMIT = 16 << 20; // the channels of a policy may be many
const CHUNK_BYTES = 4 << 20;

interface FileHeader {
  readonly fingerprint: string;
  readonly keyType: KvDType;
  readonly valueType: KvDType;
  readonly contextLength: number;
  readonly tokens: number;
  readonly cells: number;
  readonly cellBytes: number;
  readonly kept?: KeptHeader;
}

/** What a session under a policy keeps: the policy, `SavedCells.state`, and the bytes of all pages. */
export interface KeptHeader {
  readonly policy: unknown;
  readonly pageSize: number;
  readonly state: readonly number[];
  readonly bytes: number;
}

export interface SessionContents {
  readonly fingerprint: string;
  readonly keyType: KvDType;
  readonly valueType: KvDType;
  readonly contextLength: number;
  readonly tokens: Int32Array;
  readonly cells: { readonly count: number; readonly bytes: number };
  /** Fills `out` with cells [begin, begin + count). */
  read(begin: number, count: number, out: Uint8Array): void;
  /** Under a policy, instead of cells. */
  readonly kept?: Pick<KeptHeader, 'policy' | 'pageSize'> & { readonly cells: SavedCells };
}

/** Writes under a temporary name first. Throws FILE_NOT_FOUND or FILE_UNREADABLE. */
export async function writeSession(path: string, contents: SessionContents): Promise<void> {
  const { tokens, cells, kept } = contents;
  const { fingerprint, keyType, valueType, contextLength } = contents;
  const header: FileHeader = {
    fingerprint,
    keyType,
    valueType,
    contextLength,
    tokens: tokens.length,
    cells: cells.count,
    cellBytes: cells.bytes,
    ...(kept
      ? {
          kept: {
            policy: kept.policy,
            pageSize: kept.pageSize,
            state: kept.cells.state,
            bytes: kept.cells.sizes.reduce((sum, size) => sum + size, 0),
          },
        }
      : {}),
  };
  const json = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  MAGIC.copy(prefix);
  prefix.writeUInt32LE(kept ? VERSIONS.policy : VERSIONS.full, 8);
  prefix.writeUInt32LE(json.length, 12);
  const temporary = `${path}.${randomBytes(4).toString('hex')}.part`;
  let file: FileHandle | undefined;
  try {
    file = await open(temporary, 'w');
    let checksum = 0;
    for (const bytes of partsOf(contents, prefix, json)) {
      checksum = crc32(bytes, checksum);
      await writeAll(file, bytes);
    }
    const end = Buffer.alloc(4);
    end.writeUInt32LE(checksum);
    await writeAll(file, end);
    await file.sync();
    await file.close();
    file = undefined;
    await rename(temporary, path);
  } catch (cause) {
    await file?.close();
    await rm(temporary, { force: true });
    if (cause instanceof VivaceError) throw cause;
    const { code } = cause as { code?: string };
    const missing = code === 'ENOENT' || code === 'ENOTDIR';
    throw new VivaceError(missing ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE', `Cannot write ${path}: ${code ?? cause}`, {
      cause,
      ...(missing ? { remedy: 'Create the directory first.' } : {}),
    });
  }
}

/** Everything but the checksum, made piece by piece. */
function* partsOf({ tokens, cells, kept, read }: SessionContents, prefix: Buffer, json: Buffer): Generator<Uint8Array> {
  yield* [prefix, json, int32Bytes(tokens)];
  for (const [index, size] of (kept?.cells.sizes ?? []).entries()) {
    const page = new Uint8Array(size);
    kept?.cells.read(index, page);
    yield page;
  }
  for (const { begin, count } of cellChunks(cells.count, cells.bytes)) {
    const bytes = new Uint8Array(count * cells.bytes);
    read(begin, count, bytes);
    yield bytes;
  }
}

/** What `readSession` asks of a model. */
export interface SessionReceiver {
  readonly fingerprint: string;
  /** Called once, when the header has been checked; must throw if such a session cannot be made. Of pages: where they go. */
  begin(header: {
    keyType: KvDType;
    valueType: KvDType;
    contextLength: number;
    tokens: Int32Array;
    cellBytes: number;
    kept?: KeptHeader;
  }): SavedCells | undefined;
  /** Appends cells. */
  write(count: number, cells: Uint8Array): void;
}

/**
 * Throws FILE_*; FORMAT_UNKNOWN for other files; FORMAT_INVALID for damaged ones and other versions; FORMAT_TRUNCATED;
 * INVALID_ARGUMENT for another model's session. What was begun is then the caller's to undo.
 */
export async function readSession(path: string, receiver: SessionReceiver): Promise<void> {
  let file: FileHandle;
  let size: number;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    throw fileError(path, cause);
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new VivaceError('FILE_UNREADABLE', `Not a regular file: ${path}`);
    size = stat.size;
    await new Reader(path, file, size).readInto(receiver);
  } catch (cause) {
    throw cause instanceof VivaceError || !(cause as { syscall?: string }).syscall ? cause : fileError(path, cause);
  } finally {
    await file.close();
  }
}

class Reader {
  private at = 0;
  private checksum = 0;

  constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private readonly size: number,
  ) {}

  async readInto(receiver: SessionReceiver): Promise<void> {
    const prefix = await this.take(PREFIX_BYTES);
    const view = Buffer.from(prefix.buffer);
    if (!view.subarray(0, 8).equals(MAGIC)) {
      throw new VivaceError('FORMAT_UNKNOWN', `${this.path} is not a saved session`);
    }
    const version = view.readUInt32LE(8);
    if (version !== VERSIONS.full && version !== VERSIONS.policy) {
      throw this.invalid(`has version ${version}, this vivace reads versions 1 and 2`);
    }
    const headerBytes = view.readUInt32LE(12);
    if (headerBytes > HEADER_LIMIT) throw this.invalid('has an impossible header');
    const header = this.parse(await this.take(headerBytes), version === VERSIONS.policy);
    const { tokens: count, cells, cellBytes, keyType, valueType, contextLength, kept } = header;
    const expectedSize = this.at + 4 * count + cells * cellBytes + (kept?.bytes ?? 0) + 4;
    if (this.size < expectedSize) throw this.truncated(expectedSize);
    if (this.size > expectedSize) throw this.invalid(`has ${this.size} bytes, its header implies ${expectedSize}`);
    if (header.fingerprint !== receiver.fingerprint) {
      throw new VivaceError('INVALID_ARGUMENT', `The session in ${this.path} was saved with another model`, {
        remedy: 'Load the model file that it was saved with.',
      });
    }
    const tokens = int32Values(await this.take(4 * count));
    const pages = receiver.begin({ keyType, valueType, contextLength, tokens, cellBytes, ...(kept ? { kept } : {}) });
    const bytes = (pages?.sizes ?? []).reduce((sum, size) => sum + size, 0);
    if (bytes !== (kept?.bytes ?? 0)) throw this.invalid(`has pages of ${kept?.bytes} bytes, not ${bytes}`);
    for (const [index, size] of (pages?.sizes ?? []).entries()) pages?.write(index, await this.take(size));
    for (const { count: some } of cellChunks(cells, cellBytes)) receiver.write(some, await this.take(some * cellBytes));
    const { checksum } = this;
    const end = await this.take(4);
    if (Buffer.from(end.buffer).readUInt32LE() !== checksum) throw this.invalid('is damaged: its checksum is wrong');
  }

  private parse(bytes: Uint8Array, policy: boolean): FileHeader {
    let header: Partial<Record<keyof FileHeader, unknown>> | null;
    try {
      header = JSON.parse(Buffer.from(bytes).toString()) as typeof header;
    } catch {
      throw this.invalid('is damaged: its header cannot be read');
    }
    const isCount = (value: unknown): boolean =>
      Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 40;
    const isKept = (value: unknown): boolean => {
      const { policy: own, pageSize, state, bytes: size } = (value ?? {}) as Partial<KeptHeader>;
      return isCount(pageSize) && isCount(size) && Array.isArray(state) && state.every(isCount) && Boolean(own);
    };
    const isType = (value: unknown): boolean => ['F32', 'F16', 'Q8_0', 'Q4_0'].includes(value as string);
    const sound =
      typeof header === 'object' &&
      header !== null &&
      typeof header.fingerprint === 'string' &&
      isType(header.keyType) &&
      isType(header.valueType) &&
      [header.contextLength, header.tokens, header.cells, header.cellBytes].every(isCount) &&
      (header.cells as number) <= (header.tokens as number) &&
      policy === isKept(header.kept) &&
      (header.tokens as number) <= (header.contextLength as number);
    if (!sound) throw this.invalid('is damaged: its header makes no sense');
    return header as FileHeader;
  }

  /** The next `count` bytes. */
  private async take(count: number): Promise<Uint8Array<ArrayBuffer>> {
    if (count > this.size - this.at) throw this.truncated(this.at + count);
    const bytes = new Uint8Array(count);
    for (let done = 0; done < count;) {
      const { bytesRead } = await this.file.read(bytes, done, count - done, this.at + done);
      if (bytesRead === 0) throw this.truncated(this.at + count);
      done += bytesRead;
    }
    this.at += count;
    this.checksum = crc32(bytes, this.checksum);
    return bytes;
  }

  private truncated(expectedSize: number): VivaceError {
    const message = `${this.path} has ${this.size} bytes, at least ${expectedSize} are needed`;
    return new VivaceError('FORMAT_TRUNCATED', message, { remedy: 'Save the session again.' });
  }

  private invalid(why: string): VivaceError {
    return new VivaceError('FORMAT_INVALID', `The session file ${this.path} ${why}`, {
      remedy: 'Save the session again.',
    });
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done);
    done += bytesWritten;
  }
}

/** Cells in chunks of about CHUNK_BYTES, so that the event loop stays free. */
function* cellChunks(cells: number, cellBytes: number): Generator<{ begin: number; count: number }> {
  const most = Math.max(1, Math.floor(CHUNK_BYTES / Math.max(1, cellBytes)));
  for (let begin = 0; begin < cells; begin += most) yield { begin, count: Math.min(most, cells - begin) };
}

function int32Bytes(values: Int32Array): Uint8Array {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => bytes.writeInt32LE(value, 4 * index));
  return bytes;
}

function int32Values(bytes: Uint8Array<ArrayBuffer>): Int32Array {
  const view = new DataView(bytes.buffer);
  return Int32Array.from({ length: bytes.length / 4 }, (_, index) => view.getInt32(4 * index, true));
}
