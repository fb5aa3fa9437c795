// The writer refuses what readers would refuse, and leaves no half-written file behind.
import * as fs from 'node:fs';
import { writeGguf, type GgufContents, type GgufTensorInput } from '../../lib/formats/gguf-writer.js';
import { codeOf, scratch } from './scratch.js';

const { at, directory } = scratch();

const tensor = (changes: Partial<GgufTensorInput>): GgufContents => ({
  metadata: {},
  tensors: [{ name: 't', dtype: 'F32', shape: [2], data: new Uint8Array(8), ...changes }],
});

test.each<[string, string, GgufContents]>([
  ['rows that are no whole number of blocks', 'INVALID_ARGUMENT', tensor({ dtype: 'Q4_K', shape: [2, 128] })],
  ['a negative dimension', 'INVALID_ARGUMENT', tensor({ shape: [-2] })],
  ['5 dimensions', 'INVALID_ARGUMENT', tensor({ shape: [1, 1, 1, 1, 2] })],
  ['a name of 64 bytes', 'INVALID_ARGUMENT', tensor({ name: 'n'.repeat(64) })],
  ['too few bytes', 'SHAPE_MISMATCH', tensor({ data: new Uint8Array(7) })],
  ['too many bytes', 'SHAPE_MISMATCH', tensor({ data: () => [new Uint8Array(8), new Uint8Array(1)] })],
  ['an empty key', 'INVALID_ARGUMENT', { metadata: { '': 1 } }],
  ['an alignment of 20', 'INVALID_ARGUMENT', { metadata: {}, alignment: 20 }],
  ['0 parts', 'INVALID_ARGUMENT', { metadata: {}, parts: 0 }],
  ['an i8 of 128', 'INVALID_ARGUMENT', { metadata: { a: { type: 'i8', value: 128 } } }],
  ['a u64 of -1', 'INVALID_ARGUMENT', { metadata: { a: { type: 'u64', value: -1 } } }],
  ['a u32 of 0.5', 'INVALID_ARGUMENT', { metadata: { a: { type: 'u32', value: 0.5 } } }],
  ['a bool that is a number', 'INVALID_ARGUMENT', { metadata: { a: { type: 'bool', value: 1 } } }],
  ['an array of several kinds', 'INVALID_ARGUMENT', { metadata: { a: [1, 'a'] } }],
  [
    'the same tensor twice',
    'INVALID_ARGUMENT',
    { metadata: {}, tensors: [1, 2].map(() => ({ name: 't', dtype: 'F32', shape: [1], data: new Uint8Array(4) })) },
  ],
])('%s: %s', (_, code, contents) => {
  expect(codeOf(() => writeGguf(at('refused.gguf'), contents))).toBe(code);
  expect(fs.readdirSync(directory)).toEqual([]);
});

test('an error of the generator passes through and leaves no file', () => {
  function* failing(): Generator<Uint8Array> {
    yield new Uint8Array(4);
    throw new RangeError('mine');
  }
  expect(() => writeGguf(at('failed.gguf'), tensor({ data: failing }))).toThrow(new RangeError('mine'));
  expect(fs.readdirSync(directory)).toEqual([]);
});

test('a directory that does not exist is an error with a code', () => {
  expect(codeOf(() => writeGguf(at('nowhere/a.gguf'), { metadata: {} }))).toBe('FILE_NOT_FOUND');
});
