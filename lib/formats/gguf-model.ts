// A GGUF file as a model: canonical config, tensors under their own names, tokenizer and chat templates.
import { openGguf, type Gguf } from './gguf.js';
import { ggufConfig } from './gguf/config.js';
import { ggufChatTemplates, ggufTokenizer } from './gguf/tokenizer.js';
import { printable, withoutFusedExperts, type ModelSource } from './model-source.js';

export { ggufConfig } from './gguf/config.js';
export { ggufChatTemplates, ggufTokenizer } from './gguf/tokenizer.js';

/** Opens a file or split set. Throws FILE_*, FORMAT_*, UNSUPPORTED_* or MISSING_TENSOR. */
export const openGgufModel = (path: string): ModelSource => ggufModel(openGguf(path));

export function ggufModel(gguf: Gguf): ModelSource {
  const { metadata, files } = gguf;
  const tensors = withoutFusedExperts(gguf.tensors);
  return {
    format: 'gguf',
    files,
    config: ggufConfig(metadata, tensors),
    tensors,
    tokenizer: ggufTokenizer(metadata),
    chatTemplates: ggufChatTemplates(metadata),
    metadata: new Map([...metadata].map(([key, { value }]) => [key, printable(value)])),
  };
}
