// What a model is, in figures: from its configuration and tensor table.
import type { ModelSource } from '../formats/model-source.js';
import type { Executor } from '../program/executor.js';

export interface ModelInfo {
  readonly name: string | undefined;
  readonly architecture: string;
  readonly device: Executor['name'];
  /** Number of weights. */
  readonly parameters: number;
  /** Bytes of all tensors in the file. */
  readonly bytes: number;
  /** Tensor type → number of tensors and their bytes. */
  readonly quantisation: Readonly<Record<string, { readonly tensors: number; readonly bytes: number }>>;
  /** Tokens that a session may hold, and what the model was made for. */
  readonly contextLength: number;
  readonly trainedContextLength: number;
  /** Columns of the logits; the tokenizer may know fewer tokens. */
  readonly vocabSize: number;
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** There is a template for `createChat`. */
  readonly hasChatTemplate: boolean;
}

/** What the file says of itself. */
export function describe(
  { config, tensors, chatTemplates }: ModelSource,
  device: Executor['name'],
  contextLength: number,
): ModelInfo {
  const quantisation: Record<string, { tensors: number; bytes: number }> = {};
  let parameters = 0;
  let bytes = 0;
  for (const tensor of tensors.values()) {
    const row = (quantisation[tensor.dtype] ??= { tensors: 0, bytes: 0 });
    row.tensors++;
    row.bytes += tensor.bytes;
    bytes += tensor.bytes;
    parameters += tensor.shape.reduce((product, size) => product * size, 1);
  }
  const { name, architecture, vocab, layers, width, heads, kvHeads, headDim } = config;
  return {
    name,
    architecture,
    device,
    parameters,
    bytes,
    quantisation,
    contextLength,
    trainedContextLength: config.contextLength,
    vocabSize: vocab,
    layers,
    width,
    heads,
    kvHeads,
    headDim,
    hasChatTemplate: Object.keys(chatTemplates).length > 0,
  };
}
