// A Hugging Face directory as a model: config.json, safetensors files, tokenizer and chat templates.
import * as nodePath from 'node:path';
import { VivaceError } from '../../errors.js';
import { printable, type ModelSource } from '../model-source.js';
import { quantizationOf, readArchitecture, readConfig, textConfig } from './config.js';
import { Fields, readJson } from './json.js';
import { splitCheckpoint } from './quantised/modules.js';
import { readScheme } from './quantised/scheme.js';
import { openSafetensorsSet } from './shards.js';
import { canonicalTensors, firstRows, packedTensors } from './tensors.js';
import { readChatTemplates, readTokenizer } from './tokenizer.js';

/** Throws FILE_*, FORMAT_*, UNSUPPORTED_* or MISSING_TENSOR. */
export function openHuggingFaceModel(directory: string): ModelSource {
  const configPath = nodePath.resolve(directory, 'config.json');
  const json = readJson(configPath);
  if (json === undefined) throw new VivaceError('FILE_NOT_FOUND', `${directory} has no config.json`);
  const config = new Fields(json, configPath);
  // Before the weights: an unsupported model should say so even when they are not downloaded.
  const architecture = readArchitecture(config);
  const { files, tensors: stored } = openSafetensorsSet(directory);
  const { modules, rest } = splitCheckpoint(stored.values(), quantisation(directory, config));
  const tensors = packedTensors(modules, architecture, canonicalTensors(rest, architecture));
  const tokenizer = readTokenizer(directory, [textConfig(config), config]);

  // Gemma 3 pads its embedding beyond the vocabulary; converters to GGUF cut those rows off, too.
  for (const name of architecture === 'gemma3' ? ['token_embd.weight', 'output.weight'] : []) {
    const tensor = tensors.get(name);
    if (tensor !== undefined) tensors.set(name, firstRows(tensor, tokenizer.size));
  }
  const embedding = tensors.get('token_embd.weight');
  if (embedding === undefined) {
    throw new VivaceError('MISSING_TENSOR', `${directory}: the tensor \`model.embed_tokens.weight\` is missing`);
  }
  const name = nodePath.basename(nodePath.resolve(directory));
  const modelConfig = readConfig(config, name, embedding.shape[0] ?? 0, tensors.has('output.weight'));
  if (modelConfig.tiedEmbedding) tensors.delete('output.weight');
  return {
    format: 'hugging-face',
    files,
    config: modelConfig,
    tensors,
    tokenizer: tokenizer.source,
    chatTemplates: readChatTemplates(directory),
    metadata: new Map(Object.entries(json).map(([key, value]) => [key, printable(value)])),
  };
}

/** How the checkpoint is quantised; older tools wrote it into a file of its own. */
function quantisation(directory: string, config: Fields): ReturnType<typeof readScheme> {
  const path = nodePath.resolve(directory, 'quantize_config.json');
  const inConfig = quantizationOf(textConfig(config), config);
  if (inConfig !== undefined) return readScheme(inConfig);
  const json = readJson(path);
  return json && readScheme(new Fields(json, path));
}
