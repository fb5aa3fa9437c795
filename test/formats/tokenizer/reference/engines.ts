// The plain TypeScript engines over a GGUF vocabulary: what the native ones must equal.
import type { GgufTokenizerSource } from '../../../../lib/formats/tokenizer-source.js';
import { CharacterMap } from '../../../../lib/formats/tokenizer/character-map.js';
import { Vocabulary } from '../../../../lib/formats/tokenizer/vocabulary.js';
import { BytePairEncoder } from './byte-pair.js';
import { preSplit } from './pre-split.js';
import { SentencePieceEncoder } from './sentencepiece.js';
import { UnigramEncoder, unigramNormalizer } from './unigram.js';

/** Tokens of a text that begins the input and spells no special tokens. */
export type ReferenceEncode = (text: string) => number[];

export function referenceEncoder(source: GgufTokenizerSource): ReferenceEncode {
  const vocabulary = new Vocabulary(source.tokens, source.types);
  const collect = (encode: (text: string, out: number[]) => void) => (text: string) => {
    const out: number[] = [];
    encode(text.replace(/\p{Surrogate}/gu, '\ufffd'), out);
    return out;
  };
  const { unknown } = source.special;
  if (source.model === 'gpt2') {
    const { split, ignoreMerges } = preSplit(source.pre ?? 'default');
    const merges = source.merges;
    if (!merges) throw new Error('the vocabulary has no merges');
    const engine = new BytePairEncoder(vocabulary, {
      merges,
      separator: 0x20,
      spelling: 'alphabet',
      split,
      ignoreMerges,
    });
    return collect((text, out) => engine.encode(text, out));
  }
  if (source.model === 'llama') {
    const engine = new SentencePieceEncoder(vocabulary, source.scores?.(), unknown);
    const prefix = (source.addSpacePrefix ?? true) ? ' ' : '';
    return collect((text, out) => {
      if (text !== '') engine.encode((prefix + text).replaceAll(' ', '\u2581'), out);
    });
  }
  const engine = new UnigramEncoder(vocabulary, source.scores?.() ?? [], unknown);
  const normalize = unigramNormalizer({
    map: source.precompiledCharsmap && new CharacterMap(source.precompiledCharsmap()),
    addSpacePrefix: source.addSpacePrefix ?? false,
    removeExtraSpaces: source.removeExtraWhitespaces ?? false,
  });
  return collect((text, out) => engine.encode(normalize(text), out));
}
