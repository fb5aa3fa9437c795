// What a GGUF file says about its tokenizer, read with llama.cpp's rules.
//
// The engines (cpp/text) work on the file's bytes instead of a tokenizer.json converted from them, and on token ids instead
// of strings. @huggingface/tokenizers would lose tokens that are no valid UTF-8, cannot ignore control tokens in one call
// and read them in the next, and only approximates the normaliser of unigram files; the tests use it as an oracle.
import { VivaceError } from '../../errors.js';
import type { GgufTokenizerSource, SpecialTokens } from '../tokenizer-source.js';
import { findTextTokens } from './end-of-generation.js';
import { NativeEncoder, nativeMerges, nativeVocabulary } from './native-encoder.js';
import { preSplit, type PreSplit } from './pre-split.js';
import type { SpecialToken } from './special-splitter.js';
import type { Recipe } from './vocabulary-tokenizer.js';
import { TokenType, Vocabulary } from './vocabulary.js';

type Kind = 'llama' | 'gpt2' | 't5';

/** Ids that files of a kind may leave unsaid. */
const DEFAULTS: Record<Kind, SpecialTokens> = {
  llama: { bos: 1, eos: 2, unknown: 0, addBos: true },
  gpt2: {},
  t5: { eos: 1, unknown: 2, addEos: true },
};

/** Throws UNSUPPORTED_TOKENIZER for a kind or a pre-split rule that is not known. */
export function ggufRecipe(source: GgufTokenizerSource): Recipe {
  const kind = kindOf(source.model);
  const pre = kind === 'gpt2' ? preSplit(source.pre ?? missingPre()) : undefined;
  const vocabulary = new Vocabulary(source.tokens, source.types);
  const special = complete(
    source.special,
    { ...DEFAULTS[kind], ...(pre?.addBos ? { addBos: true } : {}) },
    vocabulary.size,
  );
  const texts = findTextTokens(vocabulary, special, source.types !== undefined);
  const { bos, eos, unknown, padding } = special;
  const addsSpacePrefix = kind !== 'gpt2' && (source.addSpacePrefix ?? kind === 'llama');
  return {
    engine: 'native',
    special: { bos, eos, unknown, padding, eot: texts.eot, eom: texts.eom },
    endOfGeneration: texts.endOfGeneration,
    addsSpacePrefix,
    spelling: kind === 'gpt2' ? 'alphabet' : 'marks',
    before: special.addBos && bos !== undefined ? [bos] : [],
    after: special.addEos && eos !== undefined ? [eos] : [],
    unicodeStrip: false,
    vocabulary: () => vocabulary,
    specialTokens,
    encoder: () => {
      if (pre) return bytePairs(source, vocabulary, pre);
      return kind === 'llama'
        ? sentencePiece(source, vocabulary, addsSpacePrefix, unknown)
        : unigram(source, vocabulary, unknown);
    },
  };
}

function kindOf(model: string): Kind {
  if (model === 'llama' || model === 'gpt2' || model === 't5') return model;
  throw new VivaceError('UNSUPPORTED_TOKENIZER', `The tokenizer kind "${model}" is not supported`, {
    remedy: 'Use a model with a SentencePiece ("llama"), byte-level BPE ("gpt2") or unigram ("t5") tokenizer.',
  });
}

/** The file's ids where they lie in the vocabulary, else the kind's. */
function complete(given: SpecialTokens, defaults: SpecialTokens, size: number): SpecialTokens {
  const inside = (id: number | undefined): number | undefined =>
    id !== undefined && id >= 0 && id < size ? id : undefined;
  return {
    bos: inside(given.bos) ?? inside(defaults.bos),
    eos: inside(given.eos) ?? inside(defaults.eos),
    unknown: inside(given.unknown) ?? inside(defaults.unknown),
    eot: inside(given.eot),
    eom: inside(given.eom),
    padding: inside(given.padding),
    addBos: given.addBos ?? defaults.addBos ?? false,
    addEos: given.addEos ?? defaults.addEos ?? false,
    endOfGeneration: given.endOfGeneration,
  };
}

function bytePairs(source: GgufTokenizerSource, vocabulary: Vocabulary, pre: PreSplit): NativeEncoder {
  const { merges } = source;
  if (!merges) throw new VivaceError('FORMAT_INVALID', 'The "gpt2" tokenizer of the file has no tokenizer.ggml.merges');
  return new NativeEncoder({
    kind: 'byte-pair',
    ...nativeVocabulary(vocabulary),
    ...nativeMerges(merges),
    separator: 0x20,
    alphabet: true,
    rule: pre.rule,
    ignoreMerges: pre.ignoreMerges,
  });
}

function sentencePiece(
  source: GgufTokenizerSource,
  vocabulary: Vocabulary,
  spacePrefix: boolean,
  unknown?: number,
): NativeEncoder {
  return new NativeEncoder({
    kind: 'sentencepiece',
    ...nativeVocabulary(vocabulary),
    scores: source.scores?.(),
    unknown,
    spacePrefix,
  });
}

function unigram(source: GgufTokenizerSource, vocabulary: Vocabulary, unknown?: number): NativeEncoder {
  const { scores, precompiledCharsmap } = source;
  if (!scores) throw new VivaceError('FORMAT_INVALID', 'The "t5" tokenizer of the file has no tokenizer.ggml.scores');
  return new NativeEncoder({
    kind: 'unigram',
    ...nativeVocabulary(vocabulary),
    scores: Float64Array.from(scores()),
    singlePrecision: true,
    unknown,
    characterMap: precompiledCharsmap?.(),
    spacePrefix: source.addSpacePrefix ?? false,
    removeExtraSpaces: source.removeExtraWhitespaces ?? false,
  });
}

function specialTokens(vocabulary: Vocabulary): SpecialToken[] {
  const { types } = vocabulary;
  // phi-3 strips white space after its special tokens. The file does not say so, only its placeholders give it away.
  const phi3 = vocabulary.findFew(['<|placeholder1|>', '<|end|>', '<0x0A>']).size === 3;
  const tokens: SpecialToken[] = [];
  for (const id of vocabulary.ofTypes([TokenType.unknown, TokenType.control, TokenType.userDefined])) {
    const type = types[id];
    const text = vocabulary.text(id);
    const rstrip = phi3 && text !== '<unk>' && text !== '<s>' && text !== '<|endoftext|>';
    tokens.push({ id, text, always: type === TokenType.userDefined, rstrip });
  }
  return tokens;
}

let warned = false;

/** llama.cpp's choice for files older than the key. */
function missingPre(): string {
  if (!warned) {
    warned = true;
    process.emitWarning(
      'The file does not name its pre-split rule (tokenizer.ggml.pre): text may be tokenised wrongly.',
      {
        code: 'VIVACE_TOKENIZER_PRE',
        detail: 'Convert the model again with a current converter.',
      },
    );
  }
  return 'default';
}
