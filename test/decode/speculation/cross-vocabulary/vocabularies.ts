// Pairs of small vocabularies over the same texts, and what a translation between them is made of.
import { Alignment } from '../../../../lib/decode/speculation/drafters/cross-vocabulary/alignment.js';
import type { NGramCacheOptions } from '../../../../lib/decode/speculation/drafters/cross-vocabulary/n-gram-cache.js';
import { Translation } from '../../../../lib/decode/speculation/drafters/cross-vocabulary/translation.js';
import { createTokenizer } from '../../../../lib/formats/tokenizer/tokenizer.js';
import type { Tokenizer } from '../../../../lib/formats/tokenizer/tokenizer.js';
import { bpeSource, pieces, piecesSource, trainBpe } from '../../../formats/tokenizer/toys.js';

export const story =
  'Once upon a time there was a little girl named Lily. She had a red ball and a big dog. Every day they went to the park ' +
  'to play. One day the ball was gone! "Where is my ball?" asked Lily. The dog ran and ran, and there it was: under a tree. ' +
  'They were very happy, and they stamped their feet and ate flakes with stamps on the box. 12345 cats saw 678 birds.\n\n' +
  'Straßen und Äpfel, 漢字かな, 한국어, naïve cafés 😀😀 👩‍👩‍👧. The little girl and the little dog went home. The end.';

/** BPE of so many merges, with three control tokens at the end: begin of text, end of text, end of turn. */
export function bpe(merges: number, text = story): Tokenizer {
  const toy = trainBpe(text, merges);
  const bos = toy.tokens.length;
  const more: [string, number][] = [
    ['<|begin|>', 3],
    ['<|end|>', 3],
    ['<|turn|>', 3],
  ];
  return createTokenizer(bpeSource(toy, { more, special: { bos, eos: bos + 1, eot: bos + 2, addBos: true } }));
}

/** SentencePiece with byte tokens, a space before texts, and some words. */
export const marks = (): Tokenizer =>
  createTokenizer(
    piecesSource(
      'llama',
      pieces([
        ...[...'▁abcdefghijklmnopqrstuvwxyzOLSETW.,!?"'].map((letter): [string, number] => [letter, -100]),
        ...['▁t', 'he', '▁the', 'll', 'it', 'an', '▁a', '▁an', 'nd', '▁and', '▁w', 'as', '▁was', 'er', 'on'].map(
          (word, i): [string, number] => [word, -i],
        ),
      ]),
    ),
  );

export const pairs: [string, () => Tokenizer, () => Tokenizer][] = [
  ['a small BPE for a larger one', () => bpe(200), () => bpe(40)],
  ['a large BPE for a smaller one', () => bpe(40), () => bpe(200)],
  ['bytes for a BPE', () => bpe(120), () => bpe(0)],
  ['SentencePiece for a BPE', () => bpe(200), marks],
  ['a BPE for SentencePiece', marks, () => bpe(90)],
];

export const cacheOptions: NGramCacheOptions = { maxN: 4, maxEntries: 1000, evict: 'lru' };

export const translationOf = (target: Tokenizer, drafter: Tokenizer, options = cacheOptions): Translation =>
  new Translation(new Alignment(target, drafter, target.vocabSize, drafter.vocabSize), options);

export const bytesOf = (tokenizer: Tokenizer, tokens: Iterable<number>): Buffer =>
  Buffer.concat([...tokens].map((token) => Buffer.from(tokenizer.piece(token))));
