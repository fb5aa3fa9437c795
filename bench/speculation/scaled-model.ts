// The embedded model with many more weights and the same function: a target that memory bounds, and that says something.
// Its layers get a wider middle of random weights that their last matrix does not read (its new columns are 0), and more
// layers of the same kind come behind whose output projections are 0. All of it is read for every token, as in a model of
// that size, and the text is the embedded model's, but for the rounding of longer sums.
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openGguf } from '../../lib/formats/gguf.js';
import { writeGguf, type GgufInput, type GgufTensorInput } from '../../lib/formats/gguf-writer.js';
import { embeddedModelPath } from '../../lib/index.js';
import { quantizeModel } from '../../lib/quantize/quantize.js';
import { rowBytes } from '../../lib/program/dtype.js';
import { randomMatrix } from '../../test/fixtures/random/blocks.js';
import { Generator } from '../../test/fixtures/random/generator.js';

/** The path of the model with 16 layers, made when it is first asked for. */
export async function scaledFile(type: 'F16' | 'Q8_0'): Promise<string> {
  const folder = join(tmpdir(), 'vivace-bench');
  const path = join(folder, 'scaled-F16.gguf');
  mkdirSync(folder, { recursive: true });
  if (!existsSync(path)) scaledModel(path);
  if (type === 'F16') return path;
  const other = join(folder, `scaled-${type}.gguf`);
  if (!existsSync(other)) await quantizeModel(path, other, { type });
  return other;
}

/** 16 layers with a middle of 8192 are 106 million parameters, 0.21 GB in F16. */
export function scaledModel(path: string, layers = 16, hidden = 8192): void {
  const { metadata, tensors, files } = openGguf(embeddedModelPath());
  const file = readFileSync(files[0]);
  const old = [...tensors.values()].map(({ name, dtype, shape, offset, bytes }) => {
    return { name, dtype, shape, data: new Uint8Array(file.subarray(offset, offset + bytes)) };
  });
  const count = old.filter(({ name }) => name.endsWith('.attn_q.weight')).length;
  const made = new Map<number, Uint8Array>(); // the same numbers for all matrices of a size
  const random = (rows: number, columns: number): Uint8Array => {
    const size = rows * columns;
    const matrix = made.get(size) ?? randomMatrix(new Generator(size, 'scaled'), 'F16', rows, columns, 0.02);
    made.set(size, matrix);
    return matrix;
  };
  const out: GgufTensorInput[] = [];
  const add = (name: string, { dtype, shape, data }: (typeof old)[number], begin?: Uint8Array): void => {
    const layer = name.replace(/^blk\.\d+\./, '');
    const columns = shape.at(-1) ?? 1;
    const own = rowBytes(dtype, columns);
    if (layer === 'ffn_gate.weight' || layer === 'ffn_up.weight') {
      const more = random(hidden - (begin ? shape[0] : 0), columns);
      out.push({ name, dtype, shape: [hidden, columns], data: () => (begin ? [begin, more] : [more]) });
    } else if (layer === 'ffn_down.weight') {
      const wide = new Uint8Array(shape[0] * rowBytes(dtype, hidden));
      for (let row = 0; begin && row < shape[0]; row++) {
        wide.set(begin.subarray(row * own, (row + 1) * own), row * rowBytes(dtype, hidden));
      }
      out.push({ name, dtype, shape: [shape[0], hidden], data: wide });
    } else if (begin || dtype === 'F32') {
      out.push({ name, dtype, shape, data });
    } else {
      const zero = layer === 'attn_output.weight';
      out.push({ name, dtype, shape, data: zero ? new Uint8Array(data.length) : random(shape[0], columns) });
    }
  };
  for (const tensor of old) {
    if (tensor.name.startsWith('blk.') && tensor.dtype !== 'F16' && tensor.dtype !== 'F32') {
      throw new Error(`${tensor.name} is ${tensor.dtype}, not F16`);
    }
    add(tensor.name, tensor, tensor.data);
  }
  for (let layer = count; layer < layers; layer++) {
    for (const tensor of old.filter(({ name }) => name.startsWith('blk.0.'))) {
      add(tensor.name.replace('blk.0.', `blk.${layer}.`), tensor);
    }
  }
  const given = new Map<string, GgufInput>(metadata);
  given.set('general.name', `vivace-tiny, scaled to ${layers} layers of ${hidden}`);
  given.set('llama.block_count', layers);
  given.set('llama.feed_forward_length', hidden);
  writeGguf(path, { metadata: given, tensors: out });
}
