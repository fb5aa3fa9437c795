// tokenizer.model, where it is all there is, gives the tokenizer that a GGUF file would give.
import * as fs from 'node:fs';
import { readSentencePiece } from '../../../lib/formats/hugging-face/sentencepiece.js';
import { openModelFile } from '../../../lib/formats/open.js';
import type { GgufTokenizerSource } from '../../../lib/formats/tokenizer-source.js';
import { sharedData } from '../../fixtures/shared-data.js';
import { scratch, thrown } from '../scratch.js';
import { writeDirectory } from './directory.js';

const place = scratch();

const varint = (value: bigint): Buffer => {
  const bytes: number[] = [];
  for (let rest = BigInt.asUintN(64, value); ; rest >>= 7n) {
    if (rest < 0x80n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 0x7fn) | 0x80);
  }
};
const integer = (field: number, value: number): Buffer =>
  Buffer.concat([varint(BigInt(field * 8)), varint(BigInt(value))]);
const bytes = (field: number, value: Uint8Array): Buffer =>
  Buffer.concat([varint(BigInt(field * 8 + 2)), varint(BigInt(value.length)), value]);
const float = (field: number, value: number): Buffer => {
  const raw = Buffer.alloc(4);
  raw.writeFloatLE(value);
  return Buffer.concat([varint(BigInt(field * 8 + 5)), raw]);
};
const piece = (text: string, score: number, type?: number): Buffer =>
  bytes(
    1,
    Buffer.concat([
      bytes(1, Buffer.from(text)),
      float(2, score),
      type === undefined ? Buffer.alloc(0) : integer(3, type),
    ]),
  );

const pieces = [
  piece('<unk>', 0, 2),
  piece('<s>', 0, 3),
  piece('</s>', 0, 3),
  piece('<0x0A>', 0, 6),
  piece('▁a', -1.5),
  piece('b', -2),
];
const trainer = (...fields: Buffer[]): Buffer => bytes(2, Buffer.concat(fields));
const normalizer = (...fields: Buffer[]): Buffer => bytes(3, Buffer.concat(fields));

const read = (
  parts: readonly Buffer[],
  added?: Record<string, unknown>,
  config: Record<string, unknown> = {},
): GgufTokenizerSource => readSentencePiece('tokenizer.model', Buffer.concat(parts), added, config);

const tokensOf = ({ tokens }: GgufTokenizerSource): string[] =>
  Array.from({ length: tokens.length }, (_, id) => tokens.get(id));

test('pieces, scores, types and settings of a BPE model', () => {
  const source = read([...pieces, trainer(integer(3, 2), integer(43, -1)), normalizer(integer(3, 0), integer(4, 0))]);
  expect(source).toMatchObject({ kind: 'gguf', model: 'llama', addSpacePrefix: false, removeExtraWhitespaces: false });
  expect(tokensOf(source)).toEqual(['<unk>', '<s>', '</s>', '<0x0A>', '▁a', 'b']);
  expect(source.scores?.()).toEqual(Float32Array.of(0, 0, 0, 0, -1.5, -2));
  expect(source.types?.()).toEqual(Int32Array.of(2, 3, 3, 6, 1, 1));
  expect(source.special).toEqual({ unknown: 0, bos: 1, eos: 2, padding: undefined });
});

test('defaults, and the map of characters of a unigram model', () => {
  const source = read([...pieces, normalizer(bytes(2, Buffer.from([1, 2, 3])))]);
  expect(source).toMatchObject({ model: 't5', addSpacePrefix: true, removeExtraWhitespaces: true });
  expect(source.precompiledCharsmap?.()).toEqual(Uint8Array.of(1, 2, 3));
});

test('added tokens extend and redefine, holes become unused', () => {
  const added = { '<x>': 8, '<s>': 1 };
  const config = {
    added_tokens_decoder: {
      5: { content: 'B', special: true },
      1: { content: '<s>', special: true },
      8: { content: '<x>', special: true },
    },
  };
  const source = read([...pieces, trainer(integer(3, 2))], added, config);
  expect(tokensOf(source)).toEqual(['<unk>', '<s>', '</s>', '<0x0A>', '▁a', 'B', '[PAD6]', '[PAD7]', '<x>']);
  expect(source.types?.()).toEqual(Int32Array.of(2, 3, 3, 6, 1, 3, 5, 5, 3));
});

test.each<[string, string, () => unknown]>([
  ['no pieces', 'FORMAT_INVALID', () => read([])],
  ['a word model', 'UNSUPPORTED_TOKENIZER', () => read([...pieces, trainer(integer(3, 3))])],
  ['half a piece', 'FORMAT_TRUNCATED', () => read([pieces[0].subarray(0, -1)])],
  ['a length beyond the file', 'FORMAT_TRUNCATED', () => read([Buffer.from([0x0a]), varint(2n ** 64n - 1n)])],
  ['a number without end', 'FORMAT_INVALID', () => read([Buffer.alloc(12, 0xff)])],
  ['a group', 'FORMAT_INVALID', () => read([Buffer.from([0x0b])])],
  ['an added token far away', 'FORMAT_INVALID', () => read([...pieces], { x: 2 ** 30 })],
  ['an added token without an id', 'FORMAT_INVALID', () => read([...pieces], { x: 9.5 })],
])('%s: %s', (_, code, action) => {
  expect(thrown(action).code).toBe(code);
});

test('a directory with tokenizer.model alone', () => {
  const sizes = { hidden_size: 64, intermediate_size: 96, num_hidden_layers: 1, num_attention_heads: 4 };
  const directory = writeDirectory(place, 'spm', {
    config: { model_type: 'llama', ...sizes, eos_token_id: [2, 5] },
    files: {
      'tokenizer.json': undefined,
      'tokenizer.model': Buffer.concat([...pieces, trainer(integer(3, 2))]),
      'tokenizer_config.json': { bos_token: 'b', add_bos_token: true },
    },
  });
  expect(openModelFile(directory).tokenizer).toMatchObject({
    kind: 'gguf',
    special: { bos: 5, eos: 2, unknown: 0, addBos: true, endOfGeneration: [2, 5] },
  });
});

test('a real model has the vocabulary of its GGUF file', () => {
  const modelPath = sharedData('vocab/stories-tok512.model');
  const ggufPath = sharedData('models/stories260K.gguf');
  if (modelPath === undefined || ggufPath === undefined)
    return console.log('skipped: no stories260K in the shared data');
  const source = readSentencePiece(modelPath, fs.readFileSync(modelPath), undefined, {});
  const gguf = openModelFile(ggufPath).tokenizer;
  if (gguf.kind !== 'gguf') throw new Error('expected the keys of a GGUF file');
  expect(source.model).toBe(gguf.model);
  expect(tokensOf(source)).toEqual(tokensOf(gguf));
  expect(source.scores?.()).toEqual(gguf.scores?.());
  expect(source.types?.()).toEqual(gguf.types?.());
  expect(source.special).toMatchObject({ bos: gguf.special.bos, eos: gguf.special.eos, unknown: gguf.special.unknown });
});
