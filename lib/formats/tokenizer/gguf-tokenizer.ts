// The tokenizer of a GGUF file, with llama.cpp's rules: what is special, where spaces and BOS go, how bytes come back.
//
// The engines work on the file's bytes instead of a converted tokenizer.json: a vocabulary of 150 000 tokens would first
// become 430 000 strings (0.5 s), tokens that are no valid UTF-8 would be lost, control tokens could not be switched
// off per call, and the library's normaliser for unigram only approximates the file's.
import { VivaceError } from '../../errors.js';
import type { GgufTokenizerSource } from '../tokenizer-source.js';
import { readAlphabet } from './byte-alphabet.js';
import { BytePairEncoder } from './byte-pair-encoder.js';
import { findTextTokens } from './end-of-generation.js';
import { preSplit, type PreSplit } from './pre-split.js';
import { SentencePieceEncoder } from './sentencepiece-encoder.js';
import { SpecialSplitter, type SpecialToken } from './special-splitter.js';
import { decodeTokens } from './text-stream.js';
import type { DecodeOptions, EncodeOptions, SpecialIds, Tokenizer } from './tokenizer.js';
import { TokenType, Vocabulary } from './vocabulary.js';

interface Encoder {
  encode(text: string, out: number[]): void;
}

export class GgufTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly special: SpecialIds;
  readonly endOfGeneration: ReadonlySet<number>;
  readonly addsSpacePrefix: boolean;
  private readonly vocabulary: Vocabulary;
  private readonly addBos: boolean;
  private readonly addEos: boolean;
  private readonly pre: PreSplit | undefined;
  private readonly pieces = new Map<number, Uint8Array>();
  private lazyEncoder?: Encoder;
  private lazySplitter?: SpecialSplitter;

  constructor(private readonly source: GgufTokenizerSource) {
    const kind = source.model;
    if (kind !== 'llama' && kind !== 'gpt2' && kind !== 't5') {
      throw new VivaceError('UNSUPPORTED_TOKENIZER', `The tokenizer kind "${kind}" is not supported`, {
        remedy: 'Use a model with a SentencePiece ("llama"), byte-level BPE ("gpt2") or unigram ("t5") tokenizer.',
      });
    }
    if (kind === 'gpt2') this.pre = preSplit(source.pre ?? missingPre());
    this.vocabulary = new Vocabulary(source.tokens, source.types);
    this.vocabSize = this.vocabulary.size;
    const known = (id: number | undefined): number | undefined =>
      id !== undefined && id >= 0 && id < this.vocabSize ? id : undefined;
    const defaults = kind === 'llama' ? { bos: 1, eos: 2, unknown: 0 } : kind === 't5' ? { eos: 1, unknown: 2 } : {};
    const given = { ...source.special };
    const named = {
      bos: known(given.bos) ?? known(defaults.bos),
      eos: known(given.eos) ?? known(defaults.eos),
      unknown: known(given.unknown) ?? known(defaults.unknown),
    };
    const texts = findTextTokens(this.vocabulary, { ...given, ...named }, source.types !== undefined);
    this.special = { ...named, eot: known(texts.eot), eom: known(texts.eom), padding: known(given.padding) };
    this.endOfGeneration = texts.endOfGeneration;
    this.addBos = given.addBos ?? (kind === 'llama' || (this.pre?.addBos ?? false));
    this.addEos = given.addEos ?? kind === 't5';
    this.addsSpacePrefix = kind !== 'gpt2' && (source.addSpacePrefix ?? true);
  }

  encode(text: string, options: EncodeOptions = {}): Int32Array {
    const { addSpecial = true, parseSpecial = false } = options;
    const out: number[] = [];
    const { bos, eos } = this.special;
    const parts = this.splitter.split(wellFormed(text), parseSpecial);
    // A rendered template may begin with BOS already; a second one harms the model.
    if (addSpecial && this.addBos && bos !== undefined && parts[0] !== bos) out.push(bos);
    let afterSpecial = true;
    for (const part of parts) {
      if (typeof part === 'number') {
        out.push(part);
        afterSpecial = true;
        continue;
      }
      this.encodePart(part, afterSpecial, out);
      afterSpecial = false;
    }
    if (addSpecial && this.addEos && eos !== undefined && parts[parts.length - 1] !== eos) out.push(eos);
    return Int32Array.from(out);
  }

  decode(tokens: ArrayLike<number>, options: DecodeOptions = {}): string {
    return decodeTokens(this, tokens, options.skipSpecial ?? true);
  }

  piece(token: number): Uint8Array {
    const known = this.pieces.get(token);
    if (known) return known;
    const piece = this.readPiece(this.check(token));
    this.pieces.set(token, piece);
    return piece;
  }

  tokenText(token: number): string {
    return this.vocabulary.text(this.check(token));
  }

  tokenId(text: string): number | undefined {
    return this.vocabulary.id(text);
  }

  isSpecial(token: number): boolean {
    const type = this.vocabulary.types[token];
    return type === TokenType.control || type === TokenType.unknown;
  }

  private check(token: number): number {
    if (Number.isInteger(token) && token >= 0 && token < this.vocabSize) return token;
    throw new VivaceError('INVALID_ARGUMENT', `Expected a token id below ${this.vocabSize}, received ${token}`);
  }

  private encodePart(text: string, afterSpecial: boolean, out: number[]): void {
    const prefix = this.addsSpacePrefix && afterSpecial;
    if (this.source.model === 'llama') this.encoder.encode((prefix ? ' ' + text : text).replaceAll(' ', '\u2581'), out);
    else this.encoder.encode(text, out);
  }

  private get encoder(): Encoder {
    return (this.lazyEncoder ??= this.buildEncoder());
  }

  private buildEncoder(): Encoder {
    const { source, vocabulary } = this;
    if (source.model === 'llama') return new SentencePieceEncoder(vocabulary, source.scores?.(), this.special.unknown);
    if (!this.pre) throw new VivaceError('INTERNAL', 'A byte-level tokenizer has no pre-split rule');
    if (!source.merges) {
      throw new VivaceError('FORMAT_INVALID', 'The file has a "gpt2" tokenizer without tokenizer.ggml.merges');
    }
    return new BytePairEncoder(vocabulary, source.merges, this.pre.split, this.pre.ignoreMerges);
  }

  private get splitter(): SpecialSplitter {
    return (this.lazySplitter ??= new SpecialSplitter(this.specialTokens()));
  }

  private specialTokens(): SpecialToken[] {
    const { types } = this.vocabulary;
    const strips = this.stripsAfterSpecial();
    const tokens: SpecialToken[] = [];
    for (let id = 0; id < this.vocabSize; id++) {
      const type = types[id];
      if (type !== TokenType.control && type !== TokenType.userDefined && type !== TokenType.unknown) continue;
      const text = this.vocabulary.text(id);
      const rstrip = strips && text !== '<unk>' && text !== '<s>' && text !== '<|endoftext|>';
      tokens.push({ id, text, always: type === TokenType.userDefined, lstrip: false, rstrip });
    }
    return tokens;
  }

  /** phi-3 strips white space after its special tokens; the file does not say so, only its placeholders tell. */
  private stripsAfterSpecial(): boolean {
    return this.source.model === 'llama' && this.vocabulary.findFew(['<|placeholder1|>', '<|end|>']).size === 2;
  }

  private readPiece(token: number): Uint8Array {
    const { vocabulary } = this;
    const text = vocabulary.slice(token);
    const type = vocabulary.types[token];
    if (type === TokenType.byte) return Uint8Array.of(Number.parseInt(vocabulary.text(token).slice(3, 5), 16));
    if (type !== TokenType.normal && type !== TokenType.unused) return text.slice();
    if (this.source.model !== 'gpt2') return Buffer.from(vocabulary.text(token).replaceAll('\u2581', ' '), 'utf8');
    const bytes = new Uint8Array(text.length);
    const end = readAlphabet(text, 0, text.length, bytes, 0);
    return end < 0 ? text.slice() : bytes.slice(0, end);
  }
}

let warned = false;

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

/** Lone surrogates become U+FFFD, as in UTF-8. */
export function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, '\ufffd');
}
