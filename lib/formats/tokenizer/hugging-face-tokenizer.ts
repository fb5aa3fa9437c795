// What a tokenizer.json (and the files beside it) says about its tokenizer: BPE, byte-level or on characters, and Unigram.
import { VivaceError } from '../../errors.js';
import { stringTable, type StringTable } from '../gguf.js';
import { isObject, type JsonObject } from '../hugging-face/json.js';
import type { HuggingFaceTokenizerSource, SpecialTokens } from '../tokenizer-source.js';
import { findTextTokens } from './end-of-generation.js';
import { nativeRule } from './hugging-face-rules.js';
import { NativeEncoder, nativeVocabulary, type TextSteps } from './native-encoder.js';
import { isByteLevel, readNormalizer, readPreTokenizer } from './hugging-face-text.js';
import type { SpecialToken } from './special-splitter.js';
import type { Recipe } from './vocabulary-tokenizer.js';
import { TokenType, Vocabulary } from './vocabulary.js';

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly singleWord: boolean;
}

const PAIR_SEPARATOR = '\0'; // between the halves of merges given as pairs; no token has it

/**
 * Throws UNSUPPORTED_TOKENIZER for WordPiece and for steps that are not known. `clean_up_tokenization_spaces` is not
 * applied: it removes spaces that the model wrote, and a stream could not match it.
 */
export function huggingFaceRecipe(source: HuggingFaceTokenizerSource): Recipe {
  const json = record(source.json, 'tokenizer.json');
  const model = record(json.model, 'model');
  const kind = modelKind(model);
  const added = addedTokens(json.added_tokens);
  const normalize = readNormalizer(json.normalizer);
  const cut = readPreTokenizer(json.pre_tokenizer);
  const byteLevel = isByteLevel(json.pre_tokenizer) || isByteLevel(json.decoder);
  const rule = kind === 'BPE' && byteLevel ? nativeRule(json.pre_tokenizer) : undefined;
  const plain = json.normalizer === null || json.normalizer === undefined;
  const steps = plain && rule !== undefined ? undefined : { normalize, cut: rule === undefined ? cut : undefined };
  const { before, after } = frame(json.post_processor, source.special);
  const ends = addedEnds(added, source.special);
  return {
    engine: steps === undefined ? 'native' : 'mixed',
    special: { ...ids(source.special), eot: ends.eot, eom: ends.eom },
    endOfGeneration: ends.endOfGeneration,
    addsSpacePrefix: dropsSpace(json.decoder),
    spelling: byteLevel ? 'alphabet' : 'marks',
    before,
    after,
    unicodeStrip: true,
    vocabulary: () => readVocabulary(model, kind, added, ends.control),
    specialTokens: (vocabulary) => specialTokens(added, vocabulary),
    encoder: (vocabulary) =>
      kind === 'BPE'
        ? bytePairs(model, vocabulary, byteLevel, rule, steps && { ...steps, wholePieces: byteLevel })
        : unigram(model, vocabulary, { normalize, cut, wholePieces: true }),
  };
}

function modelKind(model: JsonObject): 'BPE' | 'Unigram' {
  const kind = model.type ?? (Array.isArray(model.vocab) ? 'Unigram' : 'merges' in model ? 'BPE' : 'WordPiece');
  if (kind !== 'BPE' && kind !== 'Unigram') {
    throw new VivaceError('UNSUPPORTED_TOKENIZER', `The tokenizer model "${String(kind)}" is not supported`, {
      remedy: 'Use a model whose tokenizer.json holds a BPE or Unigram model.',
    });
  }
  for (const key of ['continuing_subword_prefix', 'end_of_word_suffix']) {
    if (model[key]) throw new VivaceError('UNSUPPORTED_TOKENIZER', `A BPE model with ${key} is not supported`);
  }
  return kind;
}

function readVocabulary(
  model: JsonObject,
  kind: 'BPE' | 'Unigram',
  added: readonly AddedToken[],
  control: ReadonlySet<number>,
): Vocabulary {
  const texts: string[] = [];
  const { vocab } = model;
  if (kind === 'Unigram' && Array.isArray(vocab)) {
    for (const entry of vocab) texts.push(Array.isArray(entry) ? String(entry[0]) : String(entry));
  } else if (isObject(vocab)) {
    for (const text of Object.keys(vocab)) texts[tokenNumber(vocab[text])] = text;
  } else throw new VivaceError('FORMAT_INVALID', 'The vocabulary in tokenizer.json is missing');
  for (const { id, content } of added) texts[id] = content;
  const types = new Int32Array(texts.length).fill(TokenType.normal);
  for (let id = 0; id < texts.length; id++) {
    if (texts[id] === undefined) {
      texts[id] = ''; // a hole between added ids
      types[id] = TokenType.unused;
    } else if (model.byte_fallback === true && /^<0x[0-9A-F]{2}>$/.test(texts[id])) types[id] = TokenType.byte;
  }
  const unknown = unknownId(model, (text) => texts.indexOf(text));
  if (unknown !== undefined) types[unknown] = TokenType.unknown;
  for (const { id, special } of added) {
    types[id] = special || control.has(id) ? TokenType.control : TokenType.userDefined;
  }
  return new Vocabulary(stringTable(texts), () => types);
}

function unknownId(model: JsonObject, find: (text: string) => number | undefined): number | undefined {
  const id = typeof model.unk_id === 'number' ? model.unk_id : undefined;
  const found = id ?? (typeof model.unk_token === 'string' ? find(model.unk_token) : undefined);
  return found === undefined || found < 0 ? undefined : found;
}

function bytePairs(
  model: JsonObject,
  vocabulary: Vocabulary,
  alphabet: boolean,
  rule: string | undefined,
  steps: TextSteps | undefined,
): NativeEncoder {
  if (!Array.isArray(model.merges)) throw new VivaceError('FORMAT_INVALID', 'The merges in tokenizer.json are missing');
  const merges = mergeTable(model.merges);
  const options = {
    kind: 'byte-pair' as const,
    ...nativeVocabulary(vocabulary),
    mergeBytes: merges.bytes,
    mergeOffsets: merges.offsets,
    separator: Array.isArray(model.merges[0]) ? PAIR_SEPARATOR.charCodeAt(0) : 0x20,
    alphabet,
    rule,
    ignoreMerges: model.ignore_merges === true,
    byteFallback: model.byte_fallback === true,
    unknown: unknownId(model, (text) => vocabulary.id(text)),
    fuseUnknown: model.fuse_unk === true,
  };
  return new NativeEncoder(options, steps);
}

function mergeTable(merges: readonly unknown[]): StringTable {
  return stringTable(merges.map((merge) => (Array.isArray(merge) ? merge.join(PAIR_SEPARATOR) : String(merge))));
}

function unigram(model: JsonObject, vocabulary: Vocabulary, steps: TextSteps): NativeEncoder {
  const scores = new Float64Array(vocabulary.size);
  if (Array.isArray(model.vocab)) {
    for (const [id, entry] of model.vocab.entries()) scores[id] = Array.isArray(entry) ? Number(entry[1]) : 0;
  }
  const options = {
    kind: 'unigram' as const,
    ...nativeVocabulary(vocabulary),
    scores,
    unknown: unknownId(model, (text) => vocabulary.id(text)),
    byteFallback: model.byte_fallback === true,
  };
  return new NativeEncoder(options, steps);
}

function addedTokens(value: unknown): AddedToken[] {
  return list(value ?? []).map((entry) => {
    const token = record(entry, 'added token');
    if (typeof token.content !== 'string') throw new VivaceError('FORMAT_INVALID', 'An added token has no content');
    return {
      id: tokenNumber(token.id),
      content: token.content,
      special: token.special === true,
      lstrip: token.lstrip === true,
      rstrip: token.rstrip === true,
      singleWord: token.single_word === true,
    };
  });
}

function specialTokens(added: readonly AddedToken[], vocabulary: Vocabulary): SpecialToken[] {
  return added.map(({ id, content, lstrip, rstrip, singleWord }) => {
    return { id, text: content, always: vocabulary.types[id] === TokenType.userDefined, lstrip, rstrip, singleWord };
  });
}

/** The same rules as for GGUF, on the added tokens alone: all tokens that end a turn are among them. */
function addedEnds(added: readonly AddedToken[], special: SpecialTokens): ReturnType<typeof findTextTokens> {
  const texts: string[] = [];
  for (const { id, content } of added) texts[id] = content;
  const named = [special.eos, special.eot, special.eom, ...(special.endOfGeneration ?? [])];
  const size = Math.max(texts.length, ...named.map((id) => (id ?? -1) + 1));
  const table = stringTable(Array.from({ length: size }, (_, id) => texts[id] ?? ''));
  return findTextTokens(new Vocabulary(table), special, false);
}

/** BOS and EOS: what tokenizer_config.json says outright, else what the post-processor's template inserts. */
function frame(node: unknown, special: SpecialTokens): { before: number[]; after: number[] } {
  const template = templateOf(node);
  const choose = (flag: boolean | undefined, id: number | undefined, inserted: number[]): number[] => {
    if (flag === undefined || (flag && inserted.length > 0)) return inserted;
    return flag && id !== undefined ? [id] : [];
  };
  return {
    before: choose(special.addBos, special.bos, template.before),
    after: choose(special.addEos, special.eos, template.after),
  };
}

function templateOf(node: unknown): { before: number[]; after: number[] } {
  const before: number[] = [];
  const after: number[] = [];
  if (!isObject(node)) return { before, after };
  if (node.type === 'Sequence') {
    return (
      list(node.processors)
        .map(templateOf)
        .find((inner) => inner.before.length + inner.after.length > 0) ?? { before, after }
    );
  }
  if (node.type === 'RobertaProcessing' || node.type === 'BertProcessing') {
    return { before: [tokenNumber(list(node.cls)[1])], after: [tokenNumber(list(node.sep)[1])] };
  }
  if (node.type !== 'TemplateProcessing') return { before, after };
  const tokens = isObject(node.special_tokens) ? node.special_tokens : {};
  let target = before;
  for (const entry of list(node.single)) {
    if (!isObject(entry)) continue;
    if (isObject(entry.Sequence)) target = after;
    if (!isObject(entry.SpecialToken)) continue;
    const token = tokens[String(entry.SpecialToken.id)];
    if (isObject(token)) target.push(...list(token.ids).map(tokenNumber));
  }
  return { before, after };
}

/** Does the decoder drop one space in front. */
function dropsSpace(node: unknown): boolean {
  if (!isObject(node)) return false;
  if (node.type === 'Sequence') return list(node.decoders).some(dropsSpace);
  if (node.type === 'Strip') return node.content === ' ' && node.start === 1;
  return node.type === 'Metaspace' && node.prepend_scheme !== 'never' && node.add_prefix_space !== false;
}

function ids({ bos, eos, unknown, padding }: SpecialTokens): SpecialTokens {
  return { bos, eos, unknown, padding };
}

function record(value: unknown, what: string): JsonObject {
  if (isObject(value)) return value;
  throw new VivaceError('FORMAT_INVALID', `The ${what} in tokenizer.json is not an object`);
}

function list(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new VivaceError('FORMAT_INVALID', 'A list in tokenizer.json is missing');
}

function tokenNumber(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 24) return value;
  throw new VivaceError('FORMAT_INVALID', `tokenizer.json gives a token the id ${JSON.stringify(value)}`);
}
