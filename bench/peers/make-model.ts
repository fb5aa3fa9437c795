// Writes the random llama that peers are compared on: `node --import tsx make-model.ts Q4_0 out.gguf [full|quarter]`.
// full: width 2048, 16 layers, 32 heads, 8 KV heads, hidden 5632, vocabulary 32000 (853 M parameters); quarter: a
// quarter of the width, which stays in the caches. Only speed is measured, so one random megabyte per type is repeated.
import { pathToFileURL } from 'node:url';
import { writeGguf, type GgufInput, type GgufTensorInput } from '../../lib/formats/gguf-writer.js';
import { dtypes, rowBytes } from '../../lib/program/dtype.js';
import type { DType } from '../../lib/program/dtype.js';
import { randomMatrix } from '../../test/fixtures/random/blocks.js';
import { Generator } from '../../test/fixtures/random/generator.js';

const sizes = {
  full: { width: 2048, layers: 16, heads: 32, kvHeads: 8, hidden: 5632 },
  quarter: { width: 512, layers: 16, heads: 8, kvHeads: 2, hidden: 1536 },
} as const;
const vocab = 32000;

export function makeModel(dtype: DType, path: string, size: keyof typeof sizes = 'full'): void {
  const { width, layers, heads, kvHeads, hidden } = sizes[size];
  const kvWidth = (width / heads) * kvHeads;
  const pieces = new Map<string, Uint8Array>();

  const matrix = (rows: number, columns: number) => (): Iterable<Uint8Array> => piecesOf(rows, columns);

  function* piecesOf(rows: number, columns: number): Iterable<Uint8Array> {
    const key = `${columns}`;
    const perPiece = Math.max(1, Math.floor((1 << 20) / rowBytes(dtype, columns)));
    let piece = pieces.get(key);
    if (!piece) {
      piece = randomMatrix(new Generator(7, key), dtype, perPiece, columns, 0.02);
      pieces.set(key, piece);
    }
    for (let row = 0; row < rows; row += perPiece) {
      yield piece.subarray(0, Math.min(perPiece, rows - row) * rowBytes(dtype, columns));
    }
  }
  const tensors: GgufTensorInput[] = [];
  const add = (name: string, rows: number, columns: number): void => {
    tensors.push({ name, dtype, shape: [rows, columns], data: matrix(rows, columns) });
  };
  const norm = (name: string): void => {
    const ones = new Float32Array(width).fill(1);
    tensors.push({ name, dtype: 'F32', shape: [width], data: new Uint8Array(ones.buffer) });
  };
  add('token_embd.weight', vocab, width);
  norm('output_norm.weight');
  add('output.weight', vocab, width);
  for (let layer = 0; layer < layers; ++layer) {
    const name = (part: string): string => `blk.${layer}.${part}.weight`;
    norm(name('attn_norm'));
    add(name('attn_q'), width, width);
    add(name('attn_k'), kvWidth, width);
    add(name('attn_v'), kvWidth, width);
    add(name('attn_output'), width, width);
    norm(name('ffn_norm'));
    add(name('ffn_gate'), hidden, width);
    add(name('ffn_up'), hidden, width);
    add(name('ffn_down'), width, hidden);
  }
  writeGguf(path, { metadata: metadata(), tensors });

  function metadata(): Record<string, GgufInput> {
    const control = ['<unk>', '<s>', '</s>'];
    const tokens = Array.from({ length: vocab }, (_, i) =>
      i < 3 ? control[i] : i < 259 ? byteToken(i - 3) : `▁w${i}`,
    );
    return {
      'general.architecture': 'llama',
      'general.name': `random llama ${size} ${dtype}`,
      'llama.context_length': 32768,
      'llama.embedding_length': width,
      'llama.block_count': layers,
      'llama.feed_forward_length': hidden,
      'llama.attention.head_count': heads,
      'llama.attention.head_count_kv': kvHeads,
      'llama.attention.layer_norm_rms_epsilon': 1e-5,
      'llama.rope.dimension_count': width / heads,
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.scores': Float32Array.from(tokens, (_, i) => -i),
      'tokenizer.ggml.token_type': Int32Array.from(tokens, (_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1)),
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
    };
  }
}

const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [dtype, path, size] = process.argv.slice(2);
  if (!dtype || !(dtype in dtypes) || !path) {
    console.error('Usage: node --import tsx bench/peers/make-model.ts TYPE out.gguf [full|quarter]');
    process.exit(1);
  }
  makeModel(dtype as DType, path, (size as keyof typeof sizes) ?? 'full');
}
