// What is not a model is named in the error, together with what would be one.
import * as fs from 'node:fs';
import { openModelFile } from '../../lib/formats/open.js';
import { writeGguf } from '../../lib/formats/gguf-writer.js';
import { writeSafetensors } from '../../lib/formats/safetensors-writer.js';
import { scratch, thrown } from './scratch.js';

const { at, write, json } = scratch();

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

test.each<[string, string, Buffer, RegExp]>([
  [
    'pointer.gguf',
    'FORMAT_UNKNOWN',
    latin1('version https://git-lfs.github.com/spec/v1\noid sha256:0\n'),
    /Git LFS pointer/,
  ],
  ['pytorch_model.bin', 'FORMAT_UNKNOWN', latin1('PK\x03\x04archive/data.pkl'), /PyTorch/],
  ['model.pt', 'FORMAT_UNKNOWN', Buffer.of(0x80, 2, 0x8a, 0x0a), /pickle/],
  ['model.ggml', 'FORMAT_UNKNOWN', latin1('tjgg\x03\0\0\0'), /before GGUF/],
  ['model.h5', 'FORMAT_UNKNOWN', latin1('\x89HDF\r\n\x1a\n'), /HDF5/],
  ['model.tflite', 'FORMAT_UNKNOWN', latin1('\x1c\0\0\0TFL3'), /TensorFlow Lite/],
  ['model.onnx', 'FORMAT_UNKNOWN', Buffer.of(8, 7, 0x12, 4), /ONNX/],
  ['model.gguf.gz', 'FORMAT_UNKNOWN', Buffer.of(0x1f, 0x8b, 8, 0), /compressed/],
  ['page.gguf', 'FORMAT_UNKNOWN', latin1('\n<!DOCTYPE html><html>'), /web page/],
  ['tokenizer.json', 'FORMAT_UNKNOWN', latin1('{ "version": "1.0" }'), /JSON/],
  ['random.gguf', 'FORMAT_UNKNOWN', Buffer.of(1, 2, 3), /01 02 03/],
  ['empty.gguf', 'FORMAT_TRUNCATED', Buffer.alloc(0), /empty/],
  ['three.gguf', 'FORMAT_UNKNOWN', latin1('GGU'), /47 47 55/],
  ['four.gguf', 'FORMAT_TRUNCATED', latin1('GGUF'), /version/],
])('%s: %s', (name, code, contents, message) => {
  const error = thrown(() => openModelFile(write(name, contents)));
  expect(error.code).toBe(code);
  expect(error.message).toMatch(message);
  expect(error.message).toContain(at(name));
  expect(error.remedy).toBeTruthy();
});

test('no path, a missing path and a device are errors with codes', () => {
  expect(thrown(() => openModelFile('')).code).toBe('INVALID_ARGUMENT');
  expect(thrown(() => openModelFile(at('nowhere.gguf'))).code).toBe('FILE_NOT_FOUND');
  if (fs.existsSync('/dev/zero')) expect(thrown(() => openModelFile('/dev/zero')).code).toBe('FILE_UNREADABLE');
});

test('a directory without config.json is told apart from one that holds a GGUF file', () => {
  write('plain/readme.txt', 'x');
  expect(thrown(() => openModelFile(at('plain'))).remedy).toMatch(/config\.json/);
  write('gguf/model.gguf', 'GGUF');
  const error = thrown(() => openModelFile(at('gguf')));
  expect([error.code, error.remedy]).toEqual(['FORMAT_UNKNOWN', expect.stringContaining(at('gguf/model.gguf'))]);
});

test('a safetensors file stands for its directory, if that has a config.json', () => {
  fs.mkdirSync(at('shard'));
  writeSafetensors(at('shard/model.safetensors'), { tensors: [] });
  expect(thrown(() => openModelFile(at('shard/model.safetensors'))).message).toMatch(/no config\.json next to it/);
  json('shard/config.json', { model_type: 'bert' });
  expect(thrown(() => openModelFile(at('shard/model.safetensors'))).code).toBe('UNSUPPORTED_ARCHITECTURE');
});

test('errors about the contents of a model name its file', () => {
  const path = writeGguf(at('vocabulary.gguf'), { metadata: { 'general.architecture': 'bert' } })[0];
  const error = thrown(() => openModelFile(path));
  expect(error.code).toBe('UNSUPPORTED_ARCHITECTURE');
  expect(error.message).toContain(path);
  expect(error.message).toContain('llama, qwen2, qwen3, gemma2, gemma3, phi3');
});
