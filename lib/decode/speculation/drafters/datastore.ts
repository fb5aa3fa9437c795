// Drafts from a datastore: what followed the text's last tokens in a corpus of other texts, which lies in a file.
import { native, nativeCall, fromNative } from '../../../native.js';
import type { NativeDatastore } from '../../../native.js';
import { expected, VivaceError } from '../../../errors.js';
import { checkNames, integer, signal as checkSignal } from '../../option-checks.js';
import { makeNative, NativeTokenDrafter } from './native-drafter.js';

export interface DatastoreInfo {
  /** Every token lies below. */
  readonly vocab: number;
  readonly tokens: number;
  readonly texts: number;
  /** Of the file. */
  readonly bytes: number;
  /** Of the tokenizer that made the tokens; see `tokenizerFingerprint`. */
  readonly fingerprint: bigint;
}

export interface DatastoreOpenOptions {
  /** Read all of the file and compare its checksum. Default true. */
  readonly verify?: boolean;
  /** The fingerprint that it must have. */
  readonly fingerprint?: bigint;
  /** Called with a fraction from 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
  /** Gives up with ABORTED. */
  readonly signal?: AbortSignal;
}

/** A datastore that is mapped into memory: any number of drafters read the one copy that the system keeps. */
export class Datastore {
  readonly info: DatastoreInfo;

  private constructor(
    /** For DatastoreDrafter. */
    readonly native: NativeDatastore,
  ) {
    this.info = native.info();
  }

  /**
   * Opens a file of `vivace datastore build`. Throws FILE_NOT_FOUND, FILE_UNREADABLE; FORMAT_UNKNOWN, FORMAT_TRUNCATED or
   * FORMAT_INVALID for a file that is none, is cut short or damaged; INVALID_ARGUMENT when it was made with another
   * tokenizer; ABORTED. Without `verify` damage is not found, but nothing worse comes of it than wrong drafts.
   */
  static async open(path: string, options: DatastoreOpenOptions = {}): Promise<Datastore> {
    checkNames(options, ['verify', 'fingerprint', 'onProgress', 'signal'], 'the options of Datastore.open');
    if (typeof path !== 'string') throw expected('a path', 'path', path);
    const signal = checkSignal('signal', options.signal);
    const opened = new Datastore(nativeCall(() => new (native().Datastore)(path)));
    try {
      if (options.fingerprint !== undefined && options.fingerprint !== opened.info.fingerprint) {
        throw new VivaceError('INVALID_ARGUMENT', `${path} was made with another tokenizer than this model's`, {
          remedy: 'Build a datastore with this model.',
        });
      }
      if (options.verify !== false) {
        await watched((state) => opened.native.verify(state), options.onProgress, signal, 'Reading a datastore');
      }
    } catch (error) {
      opened.dispose();
      throw error;
    }
    return opened;
  }

  /** Drafters that were made with it keep the file mapped until they are disposed. */
  dispose(): void {
    this.native.dispose();
  }
}

export interface DatastoreDrafterOptions {
  readonly datastore: Datastore;
  /** Fewer last tokens than this are not looked up, 1 to 256. Default 2. */
  readonly minSpan?: number;
  /** More than this are not, `minSpan` to 256. Default 16, or `minSpan` where that is more. */
  readonly maxSpan?: number;
  /** Occurrences that are read at most, 1 to 8192. Default 128. */
  readonly samples?: number;
}

/**
 * Looks up the longest end of the text that the datastore holds, and drafts the most frequent continuations; a score is the
 * share of occurrences that go on like this. Of more than `samples` occurrences so many are read, at equal distances in the
 * order of what follows, so that shares are right to 1 / samples. Memory: 4 bytes per token.
 *
 * Throws INVALID_ARGUMENT for options outside of their ranges, DISPOSED for a disposed datastore. Method: REST (He et al.
 * 2023, section 3); equal distances instead of the first occurrences are ours.
 */
export class DatastoreDrafter extends NativeTokenDrafter {
  constructor(options: DatastoreDrafterOptions) {
    checkNames(options, ['datastore', 'minSpan', 'maxSpan', 'samples'], 'the options of DatastoreDrafter');
    const { datastore } = options;
    if (!(datastore instanceof Datastore)) throw expected('a Datastore', 'datastore', datastore);
    const minSpan = integer('minSpan', options.minSpan, 2, 1, 256);
    super(
      makeNative({
        kind: 'datastore',
        datastore: datastore.native,
        minSpan,
        maxSpan: integer('maxSpan', options.maxSpan, Math.max(16, minSpan), minSpan, 256),
        samples: integer('samples', options.samples, 128, 1, 8192),
      }),
    );
  }
}

/** Runs long native work: tells its progress ten times a second, and the work when the signal is aborted. */
export async function watched(
  work: (state: Int32Array) => Promise<void>,
  onProgress: ((fraction: number) => void) | undefined,
  signal: AbortSignal | undefined,
  what: string,
): Promise<void> {
  const aborted = (): VivaceError => new VivaceError('ABORTED', `${what} was aborted`, { cause: signal?.reason });
  if (signal?.aborted === true) throw aborted();
  const state = new Int32Array(2);
  const stop = (): void => void Atomics.store(state, 1, 1);
  signal?.addEventListener('abort', stop);
  const timer = onProgress && setInterval(() => onProgress(Atomics.load(state, 0) / 1000), 100);
  try {
    await nativeCall(() => work(state));
    onProgress?.(1);
  } catch (error) {
    const known = fromNative(error);
    throw known instanceof VivaceError && known.code === 'ABORTED' ? aborted() : known;
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', stop);
  }
}
