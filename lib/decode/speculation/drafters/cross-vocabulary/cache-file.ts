// What was learned about two vocabularies, as a file: the runs of an n-gram cache, for the next process.
import { crc32 } from 'node:zlib';
import { VivaceError } from '../../../../errors.js';
import { readSmallFile, writeFile } from '../../../../formats/file.js';
import { tokenizerFingerprint } from '../datastore-build.js';
import type { Alignment } from './alignment.js';
import type { NGramCache } from './n-gram-cache.js';

// Little-endian. Header: magic, version, fingerprints of both tokenizers (target's, drafter's), their tokens, entries. Then per
// entry: target, count, the run, hits, time of the last use. At the end CRC-32 of all before it. All u32 but the fingerprints.
const MAGIC = 0x434e4756; // "VGNC"
const VERSION = 1;
const HEADER = 36;
const MOST_BYTES = 2 ** 28;

/** Writes the file as a whole or not at all. Throws FILE_*. */
export function saveCache(path: string, cache: NGramCache, alignment: Alignment): void {
  const entries = [...cache.entries()];
  const size = entries.reduce((sum, { tokens }) => sum + 16 + 4 * tokens.length, HEADER);
  const bytes = Buffer.alloc(size + 4);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(VERSION, 4);
  bytes.writeBigUInt64LE(tokenizerFingerprint(alignment.target), 8);
  bytes.writeBigUInt64LE(tokenizerFingerprint(alignment.drafter), 16);
  [alignment.inverse.length, alignment.direct.length, entries.length].forEach((value, i) =>
    bytes.writeUInt32LE(value, 24 + 4 * i),
  );
  let at = HEADER;
  for (const { target, tokens, hits, used } of entries) {
    for (const value of [target, tokens.length, ...tokens, hits, used]) at = bytes.writeUInt32LE(value >>> 0, at);
  }
  bytes.writeUInt32LE(crc32(bytes.subarray(0, size)), size);
  writeFile(path, [bytes]);
}

/**
 * Puts what a file holds into an empty cache; false where there is no file. Throws FORMAT_UNKNOWN, FORMAT_TRUNCATED and
 * FORMAT_INVALID for a file that is none, is cut short or damaged, INVALID_ARGUMENT for one of other tokenizers, FILE_*.
 */
export function loadCache(path: string, cache: NGramCache, alignment: Alignment): boolean {
  const bytes = readSmallFile(path, MOST_BYTES);
  if (bytes === undefined) return false;
  const invalid = (what: string): VivaceError =>
    new VivaceError('FORMAT_INVALID', `${path}: ${what}`, { remedy: 'Delete the file; it is learned again.' });
  if (bytes.length < 8 || bytes.readUInt32LE(0) !== MAGIC) {
    throw new VivaceError('FORMAT_UNKNOWN', `${path} is no cache of a cross-vocabulary drafter`);
  }
  if (bytes.readUInt32LE(4) !== VERSION) throw invalid(`version ${bytes.readUInt32LE(4)} is not known`);
  const short = new VivaceError('FORMAT_TRUNCATED', `${path} ends too early`, {
    remedy: 'Delete the file; it is learned again.',
  });
  if (bytes.length < HEADER + 4) throw short;
  const [targets, drafters, count] = [24, 28, 32].map((place) => bytes.readUInt32LE(place));
  const size = bytes.length - 4;
  const fields: { target: number; tokens: Int32Array; hits: number; used: number }[] = [];
  let at = HEADER;
  const next = (): number => {
    if (at + 4 > size) throw short;
    at += 4;
    return bytes.readUInt32LE(at - 4);
  };
  for (let i = 0; i < count; i++) {
    const target = next();
    const length = next();
    if (4 * length > size - at) throw short;
    const tokens = Int32Array.from({ length }, next);
    fields.push({ target, tokens, hits: next(), used: next() });
  }
  if (at !== size) throw invalid('there is more than its entries');
  if (bytes.readUInt32LE(size) !== crc32(bytes.subarray(0, size))) throw invalid('its checksum is wrong');
  const { target, drafter, inverse, direct } = alignment;
  if (
    bytes.readBigUInt64LE(8) !== tokenizerFingerprint(target) ||
    bytes.readBigUInt64LE(16) !== tokenizerFingerprint(drafter) ||
    targets !== inverse.length ||
    drafters !== direct.length
  ) {
    throw new VivaceError('INVALID_ARGUMENT', `${path} was learned with other tokenizers than these models'`, {
      remedy: 'Use a file per pair of models.',
    });
  }
  for (const entry of fields) {
    if (!means(entry.tokens, entry.target, alignment)) throw invalid('a run does not say what its token says');
  }
  for (const { target: id, tokens, hits, used } of fields) cache.insert(id, tokens, hits, used);
  return true;
}

/** Are the bytes of a run those of the target's token? */
function means(tokens: Int32Array, id: number, { target, drafter, inverse, direct }: Alignment): boolean {
  if (id >= inverse.length || target.isSpecial(id) || inverse[id] >= 0) return false;
  if (!tokens.every((token) => token >= 0 && token < direct.length && !drafter.isSpecial(token))) return false;
  const said = Buffer.concat([...tokens].map((token) => Buffer.from(drafter.piece(token))));
  return said.equals(target.piece(id));
}
