// Writes small Hugging Face directories: a config, zero weights of the named shapes, a tokenizer.
import * as fs from 'node:fs';
import { writeSafetensors, type SafetensorsTensorInput } from '../../../lib/formats/safetensors-writer.js';
import type { SafetensorsType } from '../../../lib/formats/safetensors.js';
import type { Scratch } from '../scratch.js';

export type Shapes = Readonly<Record<string, readonly number[]>>;

export interface DirectoryContents {
  readonly config: Readonly<Record<string, unknown>> | string;
  readonly tensors?: Shapes;
  readonly type?: SafetensorsType;
  /** More files: objects become JSON. Undefined leaves a file out. */
  readonly files?: Readonly<Record<string, unknown>>;
}

/** tokenizer.json of a vocabulary without merges. */
export const tokenizerJson = (tokens: readonly string[]): unknown => ({
  version: '1.0',
  added_tokens: [{ id: tokens.length, content: '<end>', special: true }],
  model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges: [] },
});

export const vocabulary = ['<unk>', '<s>', '</s>', 'a', 'b'];
export const embeddingOnly: Shapes = { 'model.embed_tokens.weight': [6, 64], 'lm_head.weight': [6, 64] };

/** Returns the directory's path. */
export function writeDirectory({ at, write, json }: Scratch, name: string, contents: DirectoryContents): string {
  fs.rmSync(at(name), { recursive: true, force: true });
  const { config, tensors = embeddingOnly, type = 'F32' } = contents;
  if (typeof config === 'string') write(`${name}/config.json`, config);
  else json(`${name}/config.json`, config);
  const inputs = Object.entries(tensors).map(([tensor, shape]): SafetensorsTensorInput => {
    const values = shape.reduce((a, b) => a * b, 1);
    return { name: tensor, type, shape, data: new Uint8Array(values * (type === 'F32' ? 4 : 2)) };
  });
  writeSafetensors(at(`${name}/model.safetensors`), { tensors: inputs });
  const files = { 'tokenizer.json': tokenizerJson(vocabulary), ...contents.files };
  for (const [file, value] of Object.entries(files)) {
    if (typeof value === 'string' || value instanceof Uint8Array) write(`${name}/${file}`, value);
    else if (value !== undefined) json(`${name}/${file}`, value);
  }
  return at(name);
}
