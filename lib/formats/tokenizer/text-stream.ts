// Tokens to text as they come: characters are never split, a prefixed space is dropped.
import type { Tokenizer } from './tokenizer.js';

export interface TextStreamOptions {
  /** Leave out control tokens. Default true. */
  readonly skipSpecial?: boolean;
  /** The tokens go on from an earlier text: keep the leading space, which is then a real one. Default false. */
  readonly continues?: boolean;
}

const SPACE = 0x20;

/** Incremental decode(): the concatenation of all push() and end() results equals decode() of all tokens. */
export class TextStream {
  private readonly skipSpecial: boolean;
  private dropsSpace: boolean;
  private rest = NOTHING; // the bytes of an unfinished character
  private readonly whole: Map<number, string | null>;

  constructor(
    private readonly tokenizer: Tokenizer,
    options: TextStreamOptions = {},
  ) {
    this.skipSpecial = options.skipSpecial ?? true;
    this.whole = wholePieces(tokenizer);
    this.dropsSpace = tokenizer.addsSpacePrefix && options.continues !== true;
  }

  /** The text that these tokens complete; an unfinished character is held back. */
  push(tokens: number | ArrayLike<number>): string {
    if (typeof tokens === 'number') return this.add(tokens);
    let text = '';
    for (let i = 0; i < tokens.length; i++) text += this.add(tokens[i]);
    return text;
  }

  /** U+FFFD for an unfinished character; the stream then goes on behind it. */
  end(): string {
    const text = this.rest.length > 0 ? lenient.decode(this.rest) : '';
    this.rest = NOTHING;
    return text;
  }

  private add(token: number): string {
    const special = this.tokenizer.isSpecial(token);
    if (special && this.skipSpecial) return '';
    if (this.rest.length > 0 || (this.dropsSpace && !special)) return this.addBytes(token, special);
    let text = this.whole.get(token);
    if (text === undefined) {
      text = completeText(this.tokenizer.piece(token));
      this.whole.set(token, text);
    }
    return text ?? this.addBytes(token, special);
  }

  private addBytes(token: number, special: boolean): string {
    let bytes = this.tokenizer.piece(token);
    if (this.dropsSpace && !special) {
      this.dropsSpace = false;
      if (bytes[0] === SPACE) bytes = bytes.subarray(1);
    }
    const joined = this.rest.length > 0 ? Buffer.concat([this.rest, bytes]) : bytes;
    const complete = joined.length - unfinished(joined);
    this.rest = complete < joined.length ? joined.slice(complete) : NOTHING;
    return complete > 0 ? lenient.decode(joined.subarray(0, complete)) : '';
  }
}

const known = new WeakMap<Tokenizer, Map<number, string | null>>();

/** Texts of pieces met so far, shared by all streams of a tokenizer; null: not whole characters. */
function wholePieces(tokenizer: Tokenizer): Map<number, string | null> {
  const found = known.get(tokenizer) ?? new Map<number, string | null>();
  known.set(tokenizer, found);
  return found;
}

const NOTHING = new Uint8Array(0);
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder('utf-8', { ignoreBOM: true });

/** How many bytes at the end are the beginning of a character. A cut before a lead byte never changes what is decoded. */
function unfinished(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back];
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

/** The text of bytes that are whole characters, else null. */
function completeText(bytes: Uint8Array): string | null {
  try {
    return strict.decode(bytes);
  } catch {
    return null;
  }
}
