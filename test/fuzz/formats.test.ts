// Hostile files: whatever the bytes, the readers answer with a model or with a typed error, at once and without large memory.
import * as fs from 'node:fs';
import { VivaceError } from '../../lib/errors.js';
import { openGguf } from '../../lib/formats/gguf.js';
import { ggufModel } from '../../lib/formats/gguf-model.js';
import { writeGguf, type GgufInput } from '../../lib/formats/gguf-writer.js';
import { readSentencePiece } from '../../lib/formats/hugging-face/sentencepiece.js';
import type { ModelSource } from '../../lib/formats/model-source.js';
import { openModelFile } from '../../lib/formats/open.js';
import { openSafetensors } from '../../lib/formats/safetensors.js';
import { overwrite, scratch } from '../formats/scratch.js';
import { writeDirectory } from '../formats/hugging-face/directory.js';
import { sharedData } from '../fixtures/shared-data.js';

const place = scratch();

const allowed = /^(FORMAT_|UNSUPPORTED_|MISSING_|FILE_NOT_FOUND$)/;
/** Far above what any of these small files needs on a busy machine, far below a hang. */
const longest = 5000; // ms

/** Runs the reader and uses what it returns; any outcome but a result or an allowed error fails. */
function survive(what: string, action: () => unknown): 'opened' | 'refused' {
  const start = performance.now();
  try {
    action();
    return 'opened';
  } catch (error) {
    if (error instanceof VivaceError && allowed.test(error.code)) return 'refused';
    throw new Error(`${what}: ${String(error)}`, { cause: error });
  } finally {
    const time = performance.now() - start;
    if (time > longest) throw new Error(`${what} took ${time.toFixed(0)} ms`);
  }
}

/** Looks at everything that is decoded lazily. */
function exhaust({ tokenizer }: ModelSource): void {
  if (tokenizer.kind !== 'gguf') return;
  for (let id = 0; id < tokenizer.tokens.length; id++) tokenizer.tokens.get(id);
  tokenizer.merges?.get(0);
  tokenizer.scores?.();
  tokenizer.types?.();
}

function exhaustGguf(path: string): void {
  const gguf = openGguf(path);
  for (const entry of gguf.metadata.values()) if (entry.type === 'array') entry.value.values();
  exhaust(ggufModel(gguf));
}

function smallGguf(name: string): Buffer {
  const metadata: Record<string, GgufInput> = {
    'general.architecture': 'gemma2',
    'general.alignment': 32,
    'gemma2.context_length': 16,
    'gemma2.embedding_length': 8,
    'gemma2.block_count': 2,
    'gemma2.feed_forward_length': [8, 8],
    'gemma2.attention.head_count': 2,
    'gemma2.attention.layer_norm_rms_epsilon': 0.125,
    'gemma2.attention.sliding_window_pattern': [true, false],
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': ['<s>', 'b', '▁c'],
    'tokenizer.ggml.scores': Float32Array.of(0, 1, 2),
    'tokenizer.ggml.token_type': Int32Array.of(3, 1, 1),
    'tokenizer.ggml.merges': ['a b'],
    'tokenizer.ggml.bos_token_id': { type: 'u64', value: 0 },
    nested: { type: 'array', of: 'array', values: [{ type: 'array', of: 'i16', values: [1, 2] }] },
    wide: { type: 'f64', value: 0.1 },
  };
  const [path] = writeGguf(place.at(name), {
    metadata,
    tensors: [
      { name: 'token_embd.weight', dtype: 'F32', shape: [3, 8], data: new Uint8Array(96) },
      { name: 'blk.0.attn_q.weight', dtype: 'Q8_0', shape: [2, 32], data: new Uint8Array(68) },
    ],
  });
  return fs.readFileSync(path);
}

/** A generator of 32-bit numbers, the same in every run (xorshift). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** What a byte is replaced by: every single bit flipped, and the extremes. */
const replacements = (byte: number): number[] => [
  ...Array.from({ length: 8 }, (_, bit) => byte ^ (1 << bit)),
  0,
  0xff,
  0x7f,
];

describe('GGUF', () => {
  const bytes = smallGguf('seed.gguf');
  const path = place.at('mutant.gguf');
  const headerEnd = bytes.length - 96 - 96;
  const tally = { opened: 0, refused: 0 };
  const attempt = (what: string, mutant: Uint8Array): void => {
    overwrite(path, mutant);
    tally[survive(what, () => exhaustGguf(path))]++;
  };

  test('the seed itself opens', () => {
    expect(survive('seed', () => exhaustGguf(place.at('seed.gguf')))).toBe('opened');
  });

  test('cut at every byte, it is refused', () => {
    for (let length = 0; length < bytes.length; length++) {
      overwrite(path, bytes.subarray(0, length));
      const outcome = survive(`cut to ${length}`, () => exhaust(openModelFile(path)));
      // The padding after the last tensor belongs to nobody.
      if (length < bytes.length - 28) expect([length, outcome]).toEqual([length, 'refused']);
    }
  });

  test('every byte of the header replaced', () => {
    for (let position = 0; position < headerEnd; position++) {
      for (const value of replacements(bytes[position])) {
        const mutant = Buffer.from(bytes);
        mutant[position] = value;
        attempt(`byte ${position} = ${value}`, mutant);
      }
    }
    console.log(`${headerEnd} header bytes replaced: ${tally.opened} mutants opened, ${tally.refused} were refused`);
  });

  test('huge numbers at every place', () => {
    const numbers = [
      2n ** 64n - 1n,
      2n ** 63n,
      2n ** 53n,
      2n ** 53n + 1n,
      2n ** 40n,
      2n ** 32n,
      2n ** 31n,
      BigInt(bytes.length),
    ];
    const next = random(7);
    for (let position = 4; position + 8 <= headerEnd; position++) {
      const arbitrary = (BigInt(next()) << 32n) | BigInt(next());
      for (const number of [...numbers, arbitrary, arbitrary >> BigInt(next() % 64)]) {
        const mutant = Buffer.from(bytes);
        mutant.writeBigUInt64LE(number, position);
        attempt(`${number} at byte ${position}`, mutant);
      }
    }
  });

  test('several bytes replaced at once', () => {
    const next = random(11);
    for (let round = 0; round < 1500; round++) {
      const mutant = Buffer.from(bytes);
      for (let count = 1 + (next() % 6); count > 0; count--) mutant[next() % headerEnd] = next() % 256;
      attempt(`round ${round}`, mutant);
    }
  });

  test('random bytes after the magic number', () => {
    const next = random(13);
    for (let round = 0; round < 1000; round++) {
      const mutant = Buffer.from(Array.from({ length: 24 + (next() % 200) }, () => next() % 256));
      mutant.write('GGUF');
      mutant.writeUInt32LE(3, 4);
      attempt(`round ${round}`, mutant);
    }
  });
});

describe('memory', () => {
  /** Bytes of buffers and of the heap that `action` added and nobody has collected yet. */
  const grown = (action: () => void): { buffers: number; heap: number } => {
    const before = process.memoryUsage();
    action();
    const after = process.memoryUsage();
    return { buffers: after.arrayBuffers - before.arrayBuffers, heap: after.heapTotal - before.heapTotal };
  };
  const u64 = (value: bigint): Buffer => {
    const raw = Buffer.alloc(8);
    raw.writeBigUInt64LE(value);
    return raw;
  };
  const head = Buffer.from('GGUF\x03\0\0\0', 'latin1');

  test.each([2n ** 31n, 2n ** 40n, 2n ** 53n, 2n ** 64n - 1n])('a count or length of %d allocates nothing', (huge) => {
    const entry = (type: number, ...rest: Buffer[]): Buffer =>
      Buffer.concat([head, u64(0n), u64(1n), u64(1n), Buffer.from('k'), Buffer.from([type, 0, 0, 0]), ...rest]);
    const files = [
      Buffer.concat([head, u64(huge), u64(0n)]),
      Buffer.concat([head, u64(0n), u64(huge)]),
      Buffer.concat([head, u64(0n), u64(1n), u64(huge)]),
      entry(8, u64(huge)),
      ...[0, 4, 7, 8, 9, 12].map((element) => entry(9, Buffer.from([element, 0, 0, 0]), u64(huge))),
    ].map((bytes, index) => place.write(`huge-${index}.gguf`, Buffer.concat([bytes, Buffer.alloc(4096)])));
    files.push(place.write('huge.safetensors', Buffer.concat([u64(huge), Buffer.from('{}')])));
    for (const file of files) survive(file, () => openModelFile(file)); // once before, so that code is compiled
    const { buffers, heap } = grown(() =>
      files.forEach((file) => expect(survive(file, () => openModelFile(file))).toBe('refused')),
    );
    expect(buffers).toBeLessThan(2 ** 20);
    // The heap grows in steps of some MB, whatever runs.
    expect(heap).toBeLessThan(64 * 2 ** 20);
  });

  test('a header of 32 MB is held once, and read without more than its size again', () => {
    const text = 'x'.repeat(1000);
    const [path] = writeGguf(place.at('large.gguf'), {
      metadata: { list: Array.from({ length: 32_000 }, () => text) },
    });
    const { size } = fs.statSync(path);
    let array: unknown;
    const { buffers } = grown(() => (array = openGguf(path).metadata.get('list')?.value));
    expect(array).toHaveProperty('length', 32_000);
    // Growing by doubling leaves at most the same again for the collector.
    expect(buffers).toBeLessThan(2.5 * size);
  });
});

describe('safetensors', () => {
  const header = JSON.stringify({
    __metadata__: { format: 'pt' },
    'model.embed_tokens.weight': { dtype: 'F32', shape: [3, 8], data_offsets: [0, 96] },
    b: { dtype: 'BF16', shape: [2, 2], data_offsets: [96, 104] },
  });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const bytes = Buffer.concat([length, Buffer.from(header), Buffer.alloc(104)]);
  const path = place.at('mutant.safetensors');
  const attempt = (what: string, mutant: Uint8Array): 'opened' | 'refused' => {
    overwrite(path, mutant);
    return survive(what, () => openSafetensors(path));
  };

  test('cut at every byte, it is refused', () => {
    for (let cut = 0; cut < bytes.length; cut++)
      expect([cut, attempt(`cut to ${cut}`, bytes.subarray(0, cut))]).toEqual([cut, 'refused']);
    expect(attempt('whole', bytes)).toBe('opened');
  });

  test('every byte of the header replaced', () => {
    for (let position = 0; position < 8 + header.length; position++) {
      for (const value of replacements(bytes[position])) {
        const mutant = Buffer.from(bytes);
        mutant[position] = value;
        attempt(`byte ${position} = ${value}`, mutant);
      }
    }
  });

  test('deep nesting and long strings', () => {
    const deep = 200_000;
    for (const text of [
      `{"a":${'['.repeat(deep)}`,
      `{"a":${'['.repeat(deep)}${']'.repeat(deep)}}`,
      '{"a":'.repeat(deep),
      `{"${'\\"'.repeat(deep)}`,
    ]) {
      const prefix = Buffer.alloc(8);
      prefix.writeBigUInt64LE(BigInt(text.length));
      expect(attempt(text.slice(0, 10), Buffer.concat([prefix, Buffer.from(text)]))).toBe('refused');
    }
  });
});

describe('Hugging Face directories', () => {
  const config = {
    model_type: 'gemma3_text',
    hidden_size: 8,
    intermediate_size: 8,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    head_dim: 4,
    layer_types: ['sliding_attention', 'full_attention'],
    rope_scaling: { rope_type: 'linear', factor: 8.0 },
  };
  const directory = writeDirectory(place, 'fuzz', { config, tensors: { 'model.embed_tokens.weight': [3, 8] } });

  test.each(['config.json', 'tokenizer.json'])('every byte of %s replaced', (name) => {
    const file = `${directory}/${name}`;
    const bytes = fs.readFileSync(file);
    for (let position = 0; position < bytes.length; position++) {
      for (const value of [...replacements(bytes[position]).slice(0, 8), 0x22, 0x2d, 0x39, 0x5b, 0x7d]) {
        const mutant = Buffer.from(bytes);
        mutant[position] = value;
        overwrite(file, mutant);
        survive(`${name}: byte ${position} = ${value}`, () => exhaust(openModelFile(directory)));
      }
    }
    overwrite(file, bytes);
    expect(survive('seed', () => exhaust(openModelFile(directory)))).toBe('opened');
  });

  test('every value of config.json replaced by one of another kind', () => {
    const odd = [null, true, -1, 0, 1.5, 1e300, 2 ** 53, 'x', [], [0], {}, { a: [] }];
    for (const key of [
      ...Object.keys(config),
      'text_config',
      'rope_parameters',
      'quantization_config',
      'architectures',
      'eos_token_id',
    ]) {
      for (const value of odd) {
        overwrite(`${directory}/config.json`, Buffer.from(JSON.stringify({ ...config, [key]: value })));
        survive(`${key} = ${JSON.stringify(value)}`, () => exhaust(openModelFile(directory)));
      }
    }
  });
});

test('SentencePiece models, every byte replaced', () => {
  const path = sharedData('vocab/stories-tok512.model');
  if (path === undefined) return console.log('skipped: no vocab/stories-tok512.model in the shared data');
  const whole = fs.readFileSync(path);
  // The first pieces and the settings at the end; what lies between is more pieces.
  const bytes = Buffer.concat([whole.subarray(0, 64), whole.subarray(-400)]);
  for (let position = 0; position < bytes.length; position++) {
    for (const value of replacements(bytes[position])) {
      const mutant = Buffer.from(bytes);
      mutant[position] = value;
      survive(`byte ${position} = ${value}`, () => {
        const source = readSentencePiece(path, mutant, undefined, {});
        source.scores?.();
        source.types?.();
        source.tokens.get(0);
      });
    }
  }
});
