// Where SentencePiece text may be cut without changing its tokens.
import { TokenType, type Vocabulary } from '../../../../lib/formats/tokenizer/vocabulary.js';

/**
 * Runs of U+2581 with the word behind them. Where no token has a mark behind another character, no merge crosses the front
 * of such a run: words are independent and can be cached, which makes English several times faster.
 */
export function splitAtMarks(text: string): readonly string[] {
  return text.match(/\u2581*[^\u2581]+|\u2581+/gu) ?? [];
}

/** Is there a token in which U+2581 (E2 96 81) follows something else than U+2581. */
export function joinsWords(vocabulary: Vocabulary): boolean {
  const { bytes, offsets, types } = vocabulary;
  for (let id = 0; id < vocabulary.size; id++) {
    if (types[id] !== TokenType.normal && types[id] !== TokenType.userDefined && types[id] !== TokenType.unused)
      continue;
    let inWord = false;
    for (let i = offsets[id]; i < offsets[id + 1]; i++) {
      if (bytes[i] === 0xe2 && bytes[i + 1] === 0x96 && bytes[i + 2] === 0x81) {
        if (inWord) return true;
        i += 2;
      } else inWord = true;
    }
  }
  return false;
}
