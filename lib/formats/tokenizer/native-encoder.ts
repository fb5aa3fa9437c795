// Parts of a text to tokens by the native engines: one call for all of them.
import { VivaceError } from '../../errors.js';
import { native, nativeCall, type NativeTokenizer, type NativeTokenizerOptions } from '../../native.js';
import type { StringTable } from '../gguf.js';
import type { Vocabulary } from './vocabulary.js';

/** A stretch of the input: a special token that it spells, or text. An inserted token spells nothing. */
export interface TextPart {
  readonly text: string;
  readonly token?: number;
}

export interface Encoded {
  readonly tokens: Int32Array;
  /** [tokens + 1] if asked for: token i is the bytes [offsets[i], offsets[i + 1]) of the text in UTF-8. */
  readonly offsets?: Uint32Array;
}

/** What a tokenizer.json does to text before the native engine gets it. */
export interface TextSteps {
  normalize(text: string): string;
  /** Pieces of normalised text; left out: the native engine cuts. `first`: the text begins the input. */
  cut?(text: string, first: boolean): readonly string[];
  /** Are pieces encoded as they are, or may the engine cut them further. */
  readonly wholePieces: boolean;
}

// What a part is, for native code: a token, or text with these subtracted from -1.
const TEXT = -1;
const AFTER_SPECIAL = 1;
const WHOLE = 2;

const KEPT = 1 << 20; // bytes of scratch memory
const encoder = new TextEncoder();

export class NativeEncoder {
  private readonly engine: NativeTokenizer;
  private bytes = new Uint8Array(1 << 10);
  private length = 0;
  private marks: number[] = [];

  constructor(
    options: NativeTokenizerOptions,
    private readonly steps?: TextSteps,
  ) {
    this.engine = nativeCall(() => new (native().Tokenizer)(options));
  }

  /** Throws UNSUPPORTED_FEATURE for offsets where the file's steps change the text. */
  encode(parts: readonly TextPart[], withOffsets: boolean): Encoded {
    this.length = 0;
    this.marks = [];
    this.reserve(parts);
    let afterSpecial = true;
    let first = true;
    for (const { text, token } of parts) {
      if (token !== undefined) {
        this.append(text);
        this.mark(token);
      } else if (this.steps) {
        this.appendSteps(this.steps, text, first, withOffsets);
      } else {
        this.append(text);
        this.mark(TEXT - (afterSpecial ? AFTER_SPECIAL : 0));
      }
      afterSpecial = token !== undefined;
      if (text !== '') first = false;
    }
    return this.run(withOffsets);
  }

  private run(withOffsets: boolean): Encoded {
    return nativeCall(() => {
      const count = this.engine.encode(this.bytes, Int32Array.from(this.marks), withOffsets);
      const tokens = new Int32Array(count);
      const offsets = withOffsets ? new Uint32Array(count + 1) : undefined;
      this.engine.take(tokens, offsets);
      if (this.bytes.length > KEPT) this.bytes = new Uint8Array(KEPT);
      return { tokens, offsets };
    });
  }

  private appendSteps(steps: TextSteps, text: string, first: boolean, exact: boolean): void {
    const plain = wellFormed(text);
    const normal = steps.normalize(plain);
    const pieces = normal === '' ? [] : (steps.cut?.(normal, first) ?? [normal]);
    if (exact && pieces.join('') !== plain) {
      throw new VivaceError(
        'UNSUPPORTED_FEATURE',
        'The tokenizer changes this text before it cuts it: no offsets exist',
        {
          remedy: 'Use encode(), or a model whose tokenizer.json has no normalizer.',
        },
      );
    }
    for (const piece of pieces) {
      this.append(piece);
      this.mark(TEXT - (steps.cut !== undefined && steps.wholePieces ? WHOLE : 0));
    }
  }

  private mark(what: number): void {
    this.marks.push(what, this.length);
  }

  /** Lone surrogates become U+FFFD. */
  private append(text: string): void {
    if (this.bytes.length - this.length < 3 * text.length) this.grow(this.length + 3 * text.length);
    const target = this.length === 0 ? this.bytes : this.bytes.subarray(this.length);
    this.length += encoder.encodeInto(text, target).written;
  }

  private reserve(parts: readonly TextPart[]): void {
    let most = 16; // native code reads 16 bytes at a time
    for (const { text } of parts) most += 3 * text.length;
    if (most > this.bytes.length) this.bytes = new Uint8Array(most);
  }

  private grow(least: number): void {
    const larger = new Uint8Array(2 * least);
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
  }
}

/** What every engine is given of the vocabulary: as it lies in the file, if it does. */
export function nativeVocabulary({ bytes, offsets, list, types }: Vocabulary): NativeVocabulary {
  return list ? { bytes: list, types } : { bytes, offsets, types };
}

export function nativeMerges(merges: StringTable): NativeMerges {
  return merges.list
    ? { mergeBytes: merges.list, mergeCount: merges.length }
    : { mergeBytes: merges.bytes, mergeOffsets: merges.offsets };
}

type NativeVocabulary = Pick<NativeTokenizerOptions, 'bytes' | 'offsets' | 'types'>;
type NativeMerges = Pick<NativeTokenizerOptions, 'mergeBytes' | 'mergeOffsets' | 'mergeCount'>;

/** Lone surrogates become U+FFFD, as in UTF-8. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, '\ufffd');
}
