// Writes the random llama that peers are compared on: `node --import tsx make-model.ts Q4_0 out.gguf [full|quarter|experts|deep-experts]`.
// full: width 2048, 16 layers, 32 heads, 8 KV heads, hidden 5632, vocabulary 32000 (853 M parameters); quarter: a
// quarter of the width, which stays in the caches. experts: four layers of the shape of Qwen1.5-MoE-A2.7B, 60 experts of
// 1408 and a shared one of 5632 (2.4 G parameters, 0.4 G of them active); deep-experts: all 24 of its layers at half the
// width (3.7 G, 0.7 G active), for what depends on layers. Only speed is measured, so one random megabyte per type is repeated.
import { pathToFileURL } from 'node:url';
import { writeGguf, type GgufInput, type GgufTensorInput } from '../../lib/formats/gguf-writer.js';
import { dtypes, rowBytes } from '../../lib/program/dtype.js';
import type { DType } from '../../lib/program/dtype.js';
import { randomMatrix } from '../../test/fixtures/random/blocks.js';
import { Generator } from '../../test/fixtures/random/generator.js';

const sizes = {
  full: { width: 2048, layers: 16, heads: 32, kvHeads: 8, hidden: 5632 },
  quarter: { width: 512, layers: 16, heads: 8, kvHeads: 2, hidden: 1536 },
  experts: { width: 2048, layers: 4, heads: 16, kvHeads: 16, hidden: 5632 },
  'deep-experts': { width: 1024, layers: 24, heads: 8, kvHeads: 8, hidden: 2816 },
} as const;
const vocab = 32000;

export function makeModel(dtype: DType, path: string, size: keyof typeof sizes = 'full'): void {
  const { width, layers, heads, kvHeads, hidden } = sizes[size];
  const experts = size.endsWith('experts') ? { count: 60, used: 4, hidden: hidden / 4 } : undefined;
  const architecture = experts ? 'qwen2moe' : 'llama';
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
  const vector = (name: string, length: number, value: number): void => {
    const data = new Uint8Array(new Float32Array(length).fill(value).buffer);
    tensors.push({ name, dtype: 'F32', shape: [length], data });
  };
  const norm = (name: string): void => vector(name, width, 1);
  const stack = (name: string, count: number, rows: number, columns: number): void => {
    tensors.push({ name, dtype, shape: [count, rows, columns], data: matrix(count * rows, columns) });
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
    if (experts) {
      for (const part of ['attn_q', 'attn_k', 'attn_v']) vector(`blk.${layer}.${part}.bias`, width, 0);
      const router = new Generator(layer, 'router');
      const values = Float32Array.from({ length: experts.count * width }, () => 0.05 * router.normal());
      const shape = [experts.count, width];
      tensors.push({ name: name('ffn_gate_inp'), dtype: 'F32', shape, data: new Uint8Array(values.buffer) });
      stack(name('ffn_gate_exps'), experts.count, experts.hidden, width);
      stack(name('ffn_up_exps'), experts.count, experts.hidden, width);
      stack(name('ffn_down_exps'), experts.count, width, experts.hidden);
      vector(name('ffn_gate_inp_shexp'), width, 0.01);
      add(name('ffn_gate_shexp'), hidden, width);
      add(name('ffn_up_shexp'), hidden, width);
      add(name('ffn_down_shexp'), width, hidden);
      continue;
    }
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
    const keys: Record<string, GgufInput> = {
      context_length: 32768,
      embedding_length: width,
      block_count: layers,
      feed_forward_length: hidden,
      'attention.head_count': heads,
      'attention.head_count_kv': kvHeads,
      'attention.layer_norm_rms_epsilon': 1e-5,
      'rope.dimension_count': width / heads,
    };
    if (experts) {
      keys.expert_count = experts.count;
      keys.expert_used_count = experts.used;
      keys.expert_feed_forward_length = experts.hidden;
      keys.expert_shared_feed_forward_length = hidden;
    }
    return {
      'general.architecture': architecture,
      'general.name': `random ${architecture} ${size} ${dtype}`,
      ...Object.fromEntries(Object.entries(keys).map(([key, value]) => [`${architecture}.${key}`, value])),
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
    console.error(
      'Usage: node --import tsx bench/peers/make-model.ts TYPE out.gguf [full|quarter|experts|deep-experts]',
    );
    process.exit(1);
  }
  makeModel(dtype as DType, path, (size as keyof typeof sizes) ?? 'full');
}
