// The tokenizer and chat templates of a Hugging Face directory.
import * as fs from 'node:fs';
import * as nodePath from 'node:path';
import { VivaceError } from '../../errors.js';
import { readSmallFile } from '../file.js';
import type { SpecialTokens, TokenizerSource } from '../tokenizer-source.js';
import { Fields, isObject, readJson, type JsonObject } from './json.js';
import { readSentencePiece } from './sentencepiece.js';

const templateLimit = 2 ** 20;

export interface DirectoryTokenizer {
  readonly source: TokenizerSource;
  /** One more than the largest id. */
  readonly size: number;
}

/**
 * From tokenizer.json, or tokenizer.model where that is all there is. `modelConfigs` are config.json and what it nests:
 * places where ids of special tokens may stand. Throws UNSUPPORTED_TOKENIZER when there is neither.
 */
export function readTokenizer(directory: string, modelConfigs: readonly Fields[]): DirectoryTokenizer {
  const at = (name: string): string => nodePath.join(directory, name);
  const specialMap = readJson(at('special_tokens_map.json'));
  const config: JsonObject = { ...specialMap, ...readJson(at('tokenizer_config.json')) };
  const generation = new Fields(readJson(at('generation_config.json')) ?? {}, at('generation_config.json'));
  const configs = [generation, ...modelConfigs];
  const path = at('tokenizer.json');
  const json = readJson(path);
  if (json !== undefined) {
    const { id, size } = vocabularyOf(json, path);
    return { source: { kind: 'hugging-face', json, config, special: specialTokens(config, configs, id) }, size };
  }
  const model = readSmallFile(at('tokenizer.model'), 64 * 2 ** 20);
  if (model === undefined) {
    throw new VivaceError('UNSUPPORTED_TOKENIZER', `${directory} has neither tokenizer.json nor tokenizer.model`, {
      remedy: 'Save the tokenizer with the `tokenizers` or `transformers` library, which writes tokenizer.json.',
    });
  }
  const pieces = readSentencePiece(at('tokenizer.model'), model, readJson(at('added_tokens.json')), config);
  const ids = new Map(Array.from({ length: pieces.tokens.length }, (_, id) => [pieces.tokens.get(id), id]));
  const special = specialTokens(config, configs, (text) => ids.get(text));
  return { source: { ...pieces, special: { ...pieces.special, ...special } }, size: pieces.tokens.length };
}

/** Looks up ids in tokenizer.json: added tokens first, then the model's vocabulary. */
function vocabularyOf(json: JsonObject, path: string): { id: (text: string) => number | undefined; size: number } {
  const invalid = (what: string): VivaceError => new VivaceError('FORMAT_INVALID', `${path}: ${what}`);
  if (!isObject(json.model)) throw invalid('the field `model` is missing');
  const ids = new Map<string, number>();
  const { vocab } = json.model;
  const add = (text: unknown, id: unknown): void => {
    if (typeof text !== 'string' || !Number.isSafeInteger(id) || (id as number) < 0) {
      throw invalid(`the token ${JSON.stringify(text)} has the id ${JSON.stringify(id)}`);
    }
    ids.set(text, id as number);
  };
  if (Array.isArray(vocab)) vocab.forEach((entry: unknown, id) => add(Array.isArray(entry) ? entry[0] : entry, id));
  else if (isObject(vocab)) for (const text in vocab) add(text, vocab[text]);
  else throw invalid('the field `model.vocab` is missing');
  const added: unknown = json.added_tokens ?? [];
  if (!Array.isArray(added)) throw invalid('`added_tokens` is not a list');
  for (const token of added) {
    if (!isObject(token)) throw invalid('an added token is not an object');
    add(token.content, token.id);
  }
  let size = 0;
  for (const id of ids.values()) size = Math.max(size, id + 1);
  return { id: (text) => ids.get(text), size };
}

/** The text of a special token, which is a string or an object with `content`. */
const contentOf = (token: unknown): string | undefined => {
  const text = isObject(token) ? token.content : token;
  return typeof text === 'string' ? text : undefined;
};

/** An id, or the list of ids that newer files have; the first frames texts, all end them. */
function idsOf(fields: Fields, key: string): number[] {
  const value = fields.value(key);
  return (Array.isArray(value) ? value : [value]).filter((id): id is number => Number.isSafeInteger(id) && id >= 0);
}

function specialTokens(
  config: JsonObject,
  configs: readonly Fields[],
  idOf: (text: string) => number | undefined,
): SpecialTokens {
  const fromConfigs = (key: string): number[] => configs.flatMap((fields) => idsOf(fields, key));
  const id = (name: string): number | undefined => {
    const text = contentOf(config[`${name}_token`]);
    return (text === undefined ? undefined : idOf(text)) ?? fromConfigs(`${name}_token_id`)[0];
  };
  const flag = (key: string): boolean | undefined => (typeof config[key] === 'boolean' ? config[key] : undefined);
  const special = {
    bos: id('bos'),
    eos: id('eos'),
    unknown: id('unk'),
    padding: id('pad'),
    addBos: flag('add_bos_token'),
    addEos: flag('add_eos_token'),
    endOfGeneration: [...new Set(fromConfigs('eos_token_id'))],
  };
  return Object.fromEntries(Object.entries(special).filter(([, value]) => value !== undefined));
}

/** `default` and named templates: files win over fields of tokenizer_config.json. */
export function readChatTemplates(directory: string): Record<string, string> {
  const templates = new Map<string, string>();
  const config = readJson(nodePath.join(directory, 'tokenizer_config.json'))?.chat_template;
  const processor = readJson(nodePath.join(directory, 'chat_template.json'))?.chat_template;
  for (const field of [processor, config]) {
    if (typeof field === 'string') templates.set('default', field);
    else if (Array.isArray(field)) field.forEach((entry: unknown) => addNamed(templates, entry));
    else if (isObject(field))
      Object.entries(field).forEach(([name, template]) => addNamed(templates, { name, template }));
  }
  const read = (name: string, path: string): void => {
    const text = readSmallFile(path, templateLimit);
    if (text !== undefined) templates.set(name, text.toString('utf8'));
  };
  read('default', nodePath.join(directory, 'chat_template.jinja'));
  const more = nodePath.join(directory, 'additional_chat_templates');
  if (fs.existsSync(more)) {
    for (const file of fs.readdirSync(more).filter((name) => name.endsWith('.jinja'))) {
      read(file.slice(0, -'.jinja'.length), nodePath.join(more, file));
    }
  }
  return Object.fromEntries(templates);
}

function addNamed(templates: Map<string, string>, entry: unknown): void {
  if (isObject(entry) && typeof entry.name === 'string' && typeof entry.template === 'string') {
    templates.set(entry.name, entry.template);
  }
}
