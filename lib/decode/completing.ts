// Tokens that may complete a text, whatever was said before them: for who may not wait for the text itself.
import type { Tokenizer } from '../formats/tokenizer/tokenizer.js';

const known = new WeakMap<Tokenizer, Map<string, readonly number[]>>();
/** Texts come from callers: no more are kept. */
const MOST = 32;

/** Tokens that hold the text, or begin with an end of it: nothing else makes it whole. O(vocabulary · text), once per text. */
export function completing(tokenizer: Tokenizer, text: string): readonly number[] {
  const own = known.get(tokenizer) ?? new Map<string, readonly number[]>();
  known.set(tokenizer, own);
  const kept = own.get(text);
  if (kept) return kept;
  const wanted = Buffer.from(text);
  const completes = (bytes: Buffer): boolean => {
    for (let from = Math.max(1, wanted.length - bytes.length); from < wanted.length; from++)
      if (bytes.compare(wanted, from, wanted.length, 0, wanted.length - from) === 0) return true;
    return bytes.includes(wanted);
  };
  const found: number[] = [];
  for (let token = 0; token < tokenizer.vocabSize; token++) {
    // Control tokens stand for no bytes, but may be looked for as they are spelt.
    const bytes = tokenizer.isSpecial(token) ? Buffer.from(tokenizer.tokenText(token)) : tokenizer.piece(token);
    if (wanted.length > 0 && completes(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)))
      found.push(token);
  }
  if (own.size >= MOST) own.clear();
  own.set(text, found);
  return found;
}
