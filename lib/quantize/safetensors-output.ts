// A Hugging Face directory with its linear maps quantised as compressed-tensors stores them: W4A16 (pack-quantized, groups of
// 128, symmetric) and W8A8 (int-quantized, a scale per row, dynamic scales per token).
import { copyFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { VivaceError } from '../errors.js';
import { readJson } from '../formats/hugging-face/json.js';
import { openSafetensorsSet } from '../formats/hugging-face/shards.js';
import { canonicalName } from '../formats/hugging-face/tensors.js';
import type { ModelSource, TensorPart, TensorSource } from '../formats/model-source.js';
import { safetensorsFile, type SafetensorsTensorInput } from '../formats/safetensors-writer.js';
import { dtypes, rowBytes } from '../program/dtype.js';
import { numberToHalf } from '../program/reference/quantise.js';
import type { Output } from './gguf-output.js';
import type { RowReader } from './rows.js';
import type { SafetensorsTarget } from './types.js';

const linear = /^blk\.\d+\.(?:attn_(?:q|k|v|qkv|output)|ffn_(?:gate|up|down))\.weight$/;

/** Throws UNSUPPORTED_FEATURE for models that are no plain Hugging Face directory. */
export function safetensorsOutput(
  directory: string,
  source: ModelSource,
  reader: RowReader,
  target: SafetensorsTarget,
): Output & { ignored: readonly string[] } {
  const packed = [...source.tensors.values()].some((tensor) => tensor.packed);
  if (source.format !== 'hugging-face' || packed) {
    throw new VivaceError(
      'UNSUPPORTED_FEATURE',
      `${target.name} is made from a Hugging Face directory of F32, F16 or BF16 weights, and this is ${packed ? 'quantised already' : 'a GGUF file'}`,
      { remedy: 'Name the original directory, or a type of GGUF files.' },
    );
  }
  if (source.config.experts) {
    throw new VivaceError('UNSUPPORTED_FEATURE', `${target.name} is not written of models with experts`, {
      remedy: 'Name a type of GGUF files.',
    });
  }
  const { block } = dtypes[target.dtype];
  const ignored: string[] = [];
  let narrow = 0;
  const tensors = [...openSafetensorsSet(directory).tensors.values()].flatMap((stored): SafetensorsTensorInput[] => {
    const canonical = canonicalName(stored.name, source.config.architecture);
    const tensor = canonical === undefined ? undefined : source.tensors.get(canonical);
    const module = stored.name.replace(/\.weight$/, '');
    if (canonical !== undefined && tensor !== undefined && linear.test(canonical)) {
      if (stored.shape[1] % block === 0) return quantisedTensors(module, tensor, reader, target);
      narrow += 1;
      ignored.push(module);
    } else if (canonical === 'output.weight') ignored.push(module);
    const { name, type, shape } = stored;
    return [{ name, type, shape, data: () => copied(reader, stored) }];
  });
  const notes = narrow === 0 ? [] : [`${narrow} tensors are left as they are: their rows are no multiple of ${block}`];
  return { ...safetensorsFile({ tensors, metadata: { format: 'pt' } }), notes, ignored };
}

/** Bytes as they are, in pieces. */
function* copied(reader: RowReader, { file, offset, bytes }: TensorPart): Generator<Uint8Array> {
  const piece = 2 ** 22;
  for (let start = 0; start < bytes; start += piece) {
    yield reader.raw(file, offset + start, Math.min(piece, bytes - start));
  }
}

function quantisedTensors(
  module: string,
  tensor: TensorSource,
  reader: RowReader,
  { name, dtype }: SafetensorsTarget,
): SafetensorsTensorInput[] {
  const [rows, columns] = tensor.shape;
  /** Every row of the quantised tensor, made again for each of its parts. */
  const eachRow = function* (take: (row: Uint8Array) => Uint8Array): Generator<Uint8Array> {
    const size = rowBytes(dtype, columns);
    for (const chunk of reader.floats(tensor)) {
      const bytes = reader.quantised(dtype, chunk);
      const taken = Array.from({ length: chunk.count }, (_, row) => take(bytes.subarray(row * size, (row + 1) * size)));
      yield Buffer.concat(taken);
    }
  };
  if (name === 'W8A8') {
    return [
      { name: `${module}.weight`, type: 'I8', shape: [rows, columns], data: () => eachRow((row) => row.subarray(8)) },
      {
        name: `${module}.weight_scale`,
        type: 'F32',
        shape: [rows, 1],
        data: () => eachRow((row) => row.subarray(0, 4)),
      },
    ];
  }
  const { block, bytes: size } = dtypes[dtype];
  const groups = columns / block;
  const codes = (row: Uint8Array): Uint8Array =>
    Buffer.concat(Array.from({ length: groups }, (_, g) => row.subarray(g * size + 4, (g + 1) * size)));
  const scales = (row: Uint8Array): Uint8Array => {
    const view = new DataView(row.buffer, row.byteOffset, row.length);
    const word = new DataView(new ArrayBuffer(4));
    const halves = Uint16Array.from({ length: groups }, (_, g) => {
      word.setUint32(0, view.getUint32(g * size, true) & 0xffffff00);
      return numberToHalf(word.getFloat32(0));
    });
    return new Uint8Array(halves.buffer);
  };
  return [
    { name: `${module}.weight_packed`, type: 'I32', shape: [rows, columns / 8], data: () => eachRow(codes) },
    { name: `${module}.weight_scale`, type: 'F16', shape: [rows, groups], data: () => eachRow(scales) },
    {
      name: `${module}.weight_shape`,
      type: 'I64',
      shape: [2],
      data: new Uint8Array(BigInt64Array.of(BigInt(rows), BigInt(columns)).buffer),
    },
  ];
}

/** config.json with what was done, and every other small file as it is. */
export function copySmallFiles(from: string, to: string, target: SafetensorsTarget, ignored: readonly string[]): void {
  for (const name of readdirSync(from)) {
    const path = join(from, name);
    if (!/\.(json|jinja|model|txt)$/.test(name) || /safetensors/.test(name) || !statSync(path).isFile()) continue;
    if (name !== 'config.json') copyFileSync(path, join(to, name));
  }
  const config = { ...readJson(join(from, 'config.json')), quantization_config: quantizationConfig(target, ignored) };
  writeFileSync(join(to, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
}

function quantizationConfig({ name }: SafetensorsTarget, ignore: readonly string[]): unknown {
  const common = { type: 'int', symmetric: true, actorder: null, block_structure: null };
  const [format, weights, activations] =
    name === 'W4A16'
      ? ['pack-quantized', { num_bits: 4, strategy: 'group', group_size: 128, dynamic: false, ...common }, null]
      : [
          'int-quantized',
          { num_bits: 8, strategy: 'channel', group_size: null, dynamic: false, ...common },
          { num_bits: 8, strategy: 'token', group_size: null, dynamic: true, ...common },
        ];
  return {
    quant_method: 'compressed-tensors',
    quantization_status: 'compressed',
    format,
    config_groups: {
      group_0: { targets: ['Linear'], weights, input_activations: activations, output_activations: null },
    },
    ignore,
    kv_cache_scheme: null,
  };
}
