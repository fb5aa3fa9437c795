// Opens a model whatever its format. The first bytes decide, not the name; what is not a model is named in the error.
import * as fs from 'node:fs';
import * as nodePath from 'node:path';
import { expected, VivaceError } from '../errors.js';
import { fileError, readExactly, withFile } from './file.js';
import { openGgufModel } from './gguf-model.js';
import type * as huggingFace from './hugging-face/model.js';
import type { ModelSource } from './model-source.js';

const supported = 'Supported are GGUF files and Hugging Face directories with config.json and safetensors files.';

/**
 * Opens a GGUF file (any part of a split set), a Hugging Face directory, or a safetensors file inside one. Reads headers
 * and configuration, no weights. Throws FILE_*, FORMAT_*, UNSUPPORTED_* or MISSING_TENSOR.
 */
export function openModelFile(path: string): ModelSource {
  if (typeof path !== 'string' || path === '') throw expected('a path', 'path', path);
  let directory: boolean;
  try {
    directory = fs.statSync(path).isDirectory();
  } catch (cause) {
    throw fileError(path, cause);
  }
  if (directory) return openDirectory(path);
  const head = withFile(path, (fd, size) => {
    const bytes = Buffer.alloc(Math.min(size, 64));
    readExactly(path, fd, bytes, 0);
    return bytes;
  });
  if (head.length === 0)
    throw new VivaceError('FORMAT_TRUNCATED', `${path} is empty`, { remedy: 'Download it again.' });
  if (startsWith(head, 'GGUF')) return named(path, openGgufModel);
  if (isSafetensors(head)) return openBeside(path, 'a safetensors file, which holds weights only');
  const known = foreign.find(({ matches }) => matches(head, path));
  if (known !== undefined) {
    throw new VivaceError('FORMAT_UNKNOWN', `${path} is ${known.what}`, {
      remedy: `${known.remedy} ${supported}`.trim(),
    });
  }
  throw new VivaceError('FORMAT_UNKNOWN', `${path} is not a model that vivace knows: it begins with ${hex(head)}`, {
    remedy: supported,
  });
}

function openDirectory(path: string): ModelSource {
  if (fs.existsSync(nodePath.join(path, 'config.json'))) return named(path, openHuggingFaceModel);
  const gguf = fs.readdirSync(path).filter((name) => name.endsWith('.gguf'));
  throw new VivaceError('FORMAT_UNKNOWN', `The directory ${path} has no config.json`, {
    remedy: gguf.length > 0 ? `Name one of its GGUF files: ${nodePath.join(path, gguf[0])}` : supported,
  });
}

/** A file of a Hugging Face directory stands for the directory. */
function openBeside(path: string, what: string): ModelSource {
  const directory = nodePath.dirname(path);
  if (fs.existsSync(nodePath.join(directory, 'config.json'))) return named(directory, openHuggingFaceModel);
  throw new VivaceError('FORMAT_UNKNOWN', `${path} is ${what}, and there is no config.json next to it`, {
    remedy: 'Download the whole directory and name it.',
  });
}

/** Loaded by the first directory. */
function openHuggingFaceModel(path: string): ModelSource {
  return (require('./hugging-face/model.js') as typeof huggingFace).openHuggingFaceModel(path);
}

/** Errors about the contents of a model say which model it was. */
function named(path: string, open: (path: string) => ModelSource): ModelSource {
  try {
    return open(path);
  } catch (error) {
    if (!(error instanceof VivaceError) || error.message.includes(path)) throw error;
    throw new VivaceError(error.code, `${path}: ${error.message}`, {
      cause: error.cause ?? error,
      remedy: error.remedy,
    });
  }
}

const startsWith = (head: Buffer, text: string): boolean =>
  head.subarray(0, text.length).equals(Buffer.from(text, 'latin1'));

/** A length below 2^32, then the opening brace of the JSON header. */
const isSafetensors = (head: Buffer): boolean => head.length > 8 && head.readUInt32LE(4) === 0 && head[8] === 0x7b;

const hex = (head: Buffer): string =>
  [...head.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');

interface Foreign {
  readonly what: string;
  readonly remedy: string;
  matches(head: Buffer, path: string): boolean;
}

const convert = 'Use the safetensors or GGUF version of the model.';

/** Files that people take for models, in the order in which they are tried. */
const foreign: readonly Foreign[] = [
  {
    what: 'a Git LFS pointer, not the file itself',
    remedy: 'Run `git lfs pull`, or download the file from its web page.',
    matches: (head) => startsWith(head, 'version https://git-lfs'),
  },
  {
    what: 'a PyTorch checkpoint or another ZIP archive',
    remedy: convert,
    matches: (head) => startsWith(head, 'PK\x03\x04'),
  },
  {
    what: 'a Python pickle (an old PyTorch checkpoint)',
    remedy: convert,
    matches: (head) => head[0] === 0x80 && head[1] >= 2 && head[1] <= 5,
  },
  {
    what: 'a GGML file from before GGUF',
    remedy: 'Convert the original model again with a current tool.',
    matches: (head) => ['lmgg', 'fmgg', 'tjgg'].some((magic) => startsWith(head, magic)),
  },
  { what: 'an HDF5 file (a Keras model)', remedy: convert, matches: (head) => startsWith(head, '\x89HDF') },
  {
    what: 'a TensorFlow Lite model',
    remedy: convert,
    matches: (head) => head.subarray(4, 8).toString('latin1') === 'TFL3',
  },
  { what: 'an ONNX model', remedy: convert, matches: (head, path) => head[0] === 0x08 && path.endsWith('.onnx') },
  {
    what: 'a compressed file',
    remedy: 'Unpack it first.',
    matches: (head) => startsWith(head, '\x1f\x8b') || startsWith(head, '\x28\xb5\x2f\xfd'),
  },
  {
    what: 'a web page, not a model',
    remedy: 'Download the file itself (its "raw" or "resolve" address).',
    matches: (head) => /^\s*<(!doctype|html)/i.test(head.toString('latin1')),
  },
  {
    what: 'a JSON file, not a model',
    remedy: 'Name the directory that holds config.json.',
    matches: (head) => /^\s*[{[]/.test(head.toString('latin1')),
  },
];
