// A model as a GGUF file of one type or mixture.
import type { Chunks } from '../formats/file.js';
import { openGguf } from '../formats/gguf.js';
import type { GgufInput, GgufTensorInput } from '../formats/gguf-writer.js';
import { ggufFile } from '../formats/gguf-writer.js';
import type { ModelSource, TensorSource } from '../formats/model-source.js';
import { VivaceError } from '../errors.js';
import { configMetadata, ropeTensors } from './gguf-metadata.js';
import { tokenizerMetadata } from './gguf-tokenizer.js';
import { RowReader, type FloatRows } from './rows.js';
import { tensorChoice, type GgufTarget, type TensorChoice } from './types.js';

export interface Output {
  readonly parts: Iterable<Uint8Array>;
  readonly bytes: number;
  /** What a user should know: tensors that have another type than asked for. */
  readonly notes: readonly string[];
}

export function ggufOutput(source: ModelSource, reader: RowReader, target: GgufTarget): Output {
  const fromGguf = source.format === 'gguf';
  const model = {
    layers: source.config.layers,
    head: source.config.tiedEmbedding ? 'token_embd.weight' : 'output.weight',
  };
  const choices = new Map<string, TensorChoice>();
  const tensors: GgufTensorInput[] = [...source.tensors.values()].map((tensor) => {
    const choice = tensorChoice(target, tensor, model);
    choices.set(tensor.name, choice);
    return {
      name: tensor.name,
      dtype: choice.dtype,
      shape: tensor.shape,
      data: dataOf(source, reader, tensor, choice),
    };
  });
  const metadata = fromGguf ? copiedMetadata(source) : newMetadata(source);
  metadata.set('general.file_type', target.fileType);
  metadata.set('general.quantization_version', 2);
  const { parts, bytes } = ggufFile({
    metadata,
    tensors: fromGguf ? tensors : [...tensors, ...ropeTensors(source.config)],
  });
  return { parts, bytes, notes: notesOf(choices) };
}

function copiedMetadata(source: ModelSource): Map<string, GgufInput> {
  const { metadata } = openGguf(source.files[0]);
  return new Map([...metadata].filter(([key]) => !key.startsWith('split.')));
}

function newMetadata(source: ModelSource): Map<string, GgufInput> {
  const templates = Object.entries(source.chatTemplates).map(([name, template]): [string, GgufInput] => [
    name === 'default' ? 'tokenizer.chat_template' : `tokenizer.chat_template.${name}`,
    template,
  ]);
  return new Map([...configMetadata(source.config), ...tokenizerMetadata(source), ...templates]);
}

/** The bytes of a tensor, made while the file is written. */
function dataOf(source: ModelSource, reader: RowReader, tensor: TensorSource, { dtype }: TensorChoice): Chunks {
  const heads = headsToPermute(source, tensor.name);
  return function* () {
    if (tensor.dtype === dtype && heads === 0 && tensor.add === undefined && !tensor.packed) {
      for (const { bytes } of reader.stored(tensor)) yield bytes;
      return;
    }
    const vector = tensor.shape.length < 2;
    const width = heads === 0 ? 1 : (tensor.shape[0] as number) / heads;
    for (const rows of reader.floats(tensor, width)) {
      // Of a bias, every value is a row of one.
      const given = heads > 0 && vector ? { count: rows.values.length, values: rows.values } : rows;
      const ordered = heads === 0 ? given : adjacent(given, width);
      yield quantised(reader, dtype, vector ? { count: 1, values: ordered.values } : ordered, tensor.name);
    }
  };
}

function quantised(reader: RowReader, dtype: TensorChoice['dtype'], rows: FloatRows, name: string): Uint8Array {
  try {
    return reader.quantised(dtype, rows);
  } catch (error) {
    if (!(error instanceof VivaceError)) throw error;
    throw new VivaceError(error.code, `The tensor \`${name}\`: ${error.message}`, { cause: error });
  }
}

/** GGUF's llama and deepseek keep the halves of each head of q and k next to each other. 0: nothing to do. */
function headsToPermute({ format, config }: ModelSource, name: string): number {
  const adjacent = config.architecture === 'llama' || config.architecture === 'deepseek';
  if (format === 'gguf' || !adjacent || config.rope.layout === 'adjacent') return 0;
  const [, which] = /attn_([qk])\.(?:weight|bias)$/.exec(name) ?? [];
  return which === undefined ? 0 : which === 'q' ? config.heads : config.kvHeads;
}

/** Row 2j of a head from its row j, row 2j + 1 from j + width / 2. */
function adjacent({ count, values }: FloatRows, width: number): FloatRows {
  const columns = values.length / count;
  const result = new Float32Array(values.length);
  for (let row = 0; row < count; ++row) {
    const within = row % width;
    const from = row - within + (within >> 1) + (within & 1) * (width / 2);
    result.set(values.subarray(from * columns, (from + 1) * columns), row * columns);
  }
  return { count, values: result };
}

function notesOf(choices: ReadonlyMap<string, TensorChoice>): string[] {
  const counts = new Map<string, number>();
  for (const { dtype, insteadOf } of choices.values()) {
    if (insteadOf)
      counts.set(`${dtype} instead of ${insteadOf}`, (counts.get(`${dtype} instead of ${insteadOf}`) ?? 0) + 1);
  }
  return [...counts].map(
    ([what, count]) => `${count} ${count === 1 ? 'tensor is' : 'tensors are'} ${what}, which needs wider rows`,
  );
}
