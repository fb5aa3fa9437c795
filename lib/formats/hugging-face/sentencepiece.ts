// tokenizer.model, the protocol buffer of SentencePiece, in the shape that GGUF files give to the same data.
import { VivaceError } from '../../errors.js';
import { stringTable } from '../gguf.js';
import type { GgufTokenizerSource } from '../tokenizer-source.js';
import { isObject, type JsonObject } from './json.js';
import { protobufFields } from './protobuf.js';

/** Types of pieces, the same numbers in both formats. */
const type = { normal: 1, control: 3, userDefined: 4, unused: 5 } as const;
const models: Readonly<Record<number, string>> = { 1: 't5', 2: 'llama' };
/** Holes that added tokens may leave between ids. */
const largestVocabulary = 2 ** 22;

interface Piece {
  text: Uint8Array | string;
  score: number;
  type: number;
}

/** `added` is added_tokens.json (text → id), `config` tokenizer_config.json with its `added_tokens_decoder`. */
export function readSentencePiece(
  path: string,
  model: Buffer,
  added: JsonObject | undefined,
  config: JsonObject,
): GgufTokenizerSource {
  const pieces: Piece[] = [];
  const trainer = new Map<number, number>();
  const normalizer = new Map<number, number>();
  let charsmap: Uint8Array | undefined;
  for (const { number, bytes } of protobufFields(path, model)) {
    if (bytes === undefined) continue;
    if (number === 1) pieces.push(readPiece(path, bytes));
    if (number === 2) for (const field of protobufFields(path, bytes)) trainer.set(field.number, field.integer ?? 0);
    if (number === 3) {
      for (const field of protobufFields(path, bytes)) {
        normalizer.set(field.number, field.integer ?? 0);
        if (field.number === 2 && field.bytes !== undefined && field.bytes.length > 0) charsmap = field.bytes;
      }
    }
  }
  if (pieces.length === 0)
    throw new VivaceError('FORMAT_INVALID', `${path} holds no pieces; it is not a SentencePiece model`);
  const kind = models[trainer.get(3) ?? 1];
  if (kind === undefined) {
    throw new VivaceError(
      'UNSUPPORTED_TOKENIZER',
      `${path} is a word or character model; supported are BPE and unigram`,
    );
  }
  addTokens(path, pieces, added, config);
  // Ids of 2^64 - 1 mean -1: none.
  const id = (field: number, fallback: number | undefined): number | undefined => {
    const value = trainer.get(field) ?? fallback;
    return value !== undefined && value < pieces.length ? value : undefined;
  };
  return {
    kind: 'gguf',
    model: kind,
    pre: 'default',
    tokens: stringTable(pieces.map(({ text }) => text)),
    scores: () => Float32Array.from(pieces, ({ score }) => score),
    types: () => Int32Array.from(pieces, (piece) => piece.type),
    precompiledCharsmap: charsmap && (() => Uint8Array.from(charsmap)),
    addSpacePrefix: (normalizer.get(3) ?? 1) !== 0,
    removeExtraWhitespaces: (normalizer.get(4) ?? 1) !== 0,
    special: { unknown: id(40, 0), bos: id(41, 1), eos: id(42, 2), padding: id(43, undefined) },
  };
}

function readPiece(path: string, message: Buffer): Piece {
  const piece: Piece = { text: '', score: 0, type: type.normal };
  for (const { number, bytes, float, integer } of protobufFields(path, message)) {
    if (number === 1 && bytes !== undefined) piece.text = bytes;
    if (number === 2 && float !== undefined) piece.score = float;
    if (number === 3 && integer !== undefined) piece.type = integer;
  }
  return piece;
}

/** Tokens that a fine-tune added or redefined; ids that nobody uses become unused pieces. */
function addTokens(path: string, pieces: Piece[], added: JsonObject | undefined, config: JsonObject): void {
  const set = (id: number, text: unknown, special: boolean): void => {
    if (typeof text !== 'string' || !Number.isInteger(id) || id < 0 || id >= largestVocabulary) {
      throw new VivaceError('FORMAT_INVALID', `${path}: the added token ${JSON.stringify(text)} has the id ${id}`);
    }
    while (pieces.length <= id) pieces.push({ text: `[PAD${pieces.length}]`, score: -1000, type: type.unused });
    pieces[id] = { text, score: -1000, type: special ? type.control : type.userDefined };
  };
  const own = pieces.length;
  for (const [text, id] of Object.entries(added ?? {})) if (Number(id) >= own) set(Number(id), text, false);
  const decoder = config.added_tokens_decoder;
  for (const [id, token] of Object.entries(isObject(decoder) ? decoder : {})) {
    // The model's own control, unknown and byte pieces keep their types.
    if (isObject(token) && (Number(id) >= own || pieces[Number(id)]?.type === type.normal)) {
      set(Number(id), token.content, token.special === true);
    }
  }
}
