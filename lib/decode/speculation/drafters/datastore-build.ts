// Makes the file of a datastore: tokens of many texts and their suffix array.
import { createHash } from 'node:crypto';
import { native, nativeCall } from '../../../native.js';
import { expected, VivaceError } from '../../../errors.js';
import { writingFile } from '../../../formats/file.js';
import type { Tokenizer } from '../../../formats/tokenizer/tokenizer.js';
import { checkNames, integer, signal as checkSignal } from '../../option-checks.js';
import { watched } from './datastore.js';

export interface DatastoreBuildOptions {
  /** Every token lies below, 1 to 2^24. */
  readonly vocab: number;
  /** Of the tokenizer that made the tokens; see `tokenizerFingerprint`. */
  readonly fingerprint: bigint;
  /** Texts that would make it larger are an error, 1 to 2^31 - 2. Default 2^28, for which 3.2 GB of memory are needed. */
  readonly maxTokens?: number;
  /** Called with a fraction from 0 to 1 of what comes after the last text. */
  readonly onProgress?: (fraction: number) => void;
  /** Gives up with ABORTED and leaves nothing behind. */
  readonly signal?: AbortSignal;
}

const chunk = 2 ** 22;

/**
 * Writes a datastore of texts, each one an Int32Array of tokens; drafts never go from one into the next. The file appears when
 * it is complete: 64 bytes, and 8 for each token and each text. O(tokens) time, 12 bytes of memory per token. Throws
 * INVALID_ARGUMENT (a token outside of the vocabulary, no tokens at all), FORMAT_LIMIT, FILE_*, OUT_OF_MEMORY, ABORTED.
 */
export async function buildDatastore(
  path: string,
  texts: Iterable<Int32Array> | AsyncIterable<Int32Array>,
  options: DatastoreBuildOptions,
): Promise<{ texts: number; tokens: number; bytes: number }> {
  const names = ['vocab', 'fingerprint', 'maxTokens', 'onProgress', 'signal'];
  checkNames(options, names, 'the options of buildDatastore');
  if (typeof path !== 'string' || path === '') throw expected('a path', 'path', path);
  const vocab = integer('vocab', options.vocab, 0, 1, 2 ** 24);
  const maxTokens = integer('maxTokens', options.maxTokens, 2 ** 28, 1, 2 ** 31 - 2);
  const signal = checkSignal('signal', options.signal);
  const stopIfAborted = (): void => {
    if (signal?.aborted === true) throw new VivaceError('ABORTED', 'Building was aborted', { cause: signal.reason });
  };
  const { onProgress } = options;
  const builder = nativeCall(() => new (native().DatastoreBuilder)(vocab, options.fingerprint));
  try {
    let count = 0;
    let tokens = 0;
    for await (const text of texts) {
      stopIfAborted();
      if (!(text instanceof Int32Array)) throw expected('Int32Arrays', 'texts', text);
      tokens += text.length;
      if (text.length > 0) count += 1;
      if (tokens + count > maxTokens) {
        throw new VivaceError('FORMAT_LIMIT', `The texts have more than ${maxTokens} tokens`, {
          remedy: 'Leave texts out, or allow more with `maxTokens`.',
        });
      }
      nativeCall(() => builder.add(text));
    }
    const sorted = onProgress && ((fraction: number) => onProgress(0.9 * fraction));
    await watched((state) => builder.build(state), sorted, signal, 'Building');
    const bytes = builder.size;
    const parts = function* (): Generator<Uint8Array> {
      for (let offset = 0; offset < bytes; offset += chunk) {
        const part = new Uint8Array(Math.min(chunk, bytes - offset));
        builder.read(offset, part);
        yield part;
      }
    };
    for (const written of writingFile(path, parts())) {
      onProgress?.(0.9 + (0.1 * written) / bytes);
      // The event loop turns, so that an abort can be heard.
      await new Promise((done) => setImmediate(done));
      stopIfAborted();
    }
    return { texts: count, tokens, bytes };
  } finally {
    builder.dispose();
  }
}

const known = new WeakMap<Tokenizer, bigint>();

/** 64 bits that tell tokenizers apart: of the bytes and names of all tokens. Looks at each once. */
export function tokenizerFingerprint(tokenizer: Tokenizer): bigint {
  const before = known.get(tokenizer);
  if (before !== undefined) return before;
  const hash = createHash('sha256');
  for (let token = 0; token < tokenizer.vocabSize; token++) {
    const bytes = tokenizer.isSpecial(token) ? Buffer.from(tokenizer.tokenText(token)) : tokenizer.piece(token);
    hash.update(`${bytes.length} `).update(bytes);
  }
  const fingerprint = hash.digest().readBigUInt64LE(0);
  known.set(tokenizer, fingerprint);
  return fingerprint;
}
