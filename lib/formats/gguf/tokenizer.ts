// The tokenizer keys of a GGUF file; the large arrays stay undecoded until the tokenizer is built.
import { VivaceError } from '../../errors.js';
import type { GgufTokenizerSource, SpecialTokens } from '../tokenizer-source.js';
import { optionalArray, optionalBoolean, optionalInteger, optionalString, type Metadata } from './metadata.js';
import type { GgufArray } from './values.js';

const supported = ['llama', 'gpt2', 't5'];

/** Throws UNSUPPORTED_TOKENIZER when there is none, or one of a kind that vivace does not know. */
export function ggufTokenizer(metadata: Metadata): GgufTokenizerSource {
  const model = optionalString(metadata, 'tokenizer.ggml.model');
  const tokens = optionalArray(metadata, 'tokenizer.ggml.tokens');
  if (model === undefined || tokens === undefined) {
    throw new VivaceError(
      'UNSUPPORTED_TOKENIZER',
      'The file has no tokenizer: `tokenizer.ggml.model` or `.tokens` is missing',
      {
        remedy: 'Convert the model again together with its tokenizer.',
      },
    );
  }
  if (!supported.includes(model)) {
    throw new VivaceError(
      'UNSUPPORTED_TOKENIZER',
      `The tokenizer is of kind "${model}"; supported are ${supported.join(', ')}`,
    );
  }
  const scores = perToken(metadata, 'tokenizer.ggml.scores', tokens.length);
  const types = perToken(metadata, 'tokenizer.ggml.token_type', tokens.length);
  const charsmap = optionalArray(metadata, 'tokenizer.ggml.precompiled_charsmap');
  return {
    kind: 'gguf',
    model,
    pre: optionalString(metadata, 'tokenizer.ggml.pre'),
    tokens: tokens.strings(),
    scores: scores && (() => floats(scores)),
    types: types && (() => integers(types)),
    merges: optionalArray(metadata, 'tokenizer.ggml.merges')?.strings(),
    precompiledCharsmap: charsmap && (() => octets(charsmap)),
    addSpacePrefix: optionalBoolean(metadata, 'tokenizer.ggml.add_space_prefix'),
    removeExtraWhitespaces: optionalBoolean(metadata, 'tokenizer.ggml.remove_extra_whitespaces'),
    special: specialTokens(metadata, tokens.length),
  };
}

function perToken(metadata: Metadata, key: string, tokens: number): GgufArray | undefined {
  const array = optionalArray(metadata, key);
  if (
    array !== undefined &&
    (array.length !== tokens || array.elementType === 'string' || array.elementType === 'array')
  ) {
    throw new VivaceError(
      'FORMAT_INVALID',
      `\`${key}\` is ${array.elementType}[${array.length}], expected a number for each of ${tokens} tokens`,
    );
  }
  return array;
}

function floats(array: GgufArray): Float32Array {
  const values = array.numbers();
  return values instanceof Float32Array ? values : Float32Array.from(values, Number);
}

/** In the type that converters write without a look at each element: 150 000 of these would take 10 ms. */
function integers(array: GgufArray): Int32Array {
  const values = array.numbers();
  return values instanceof Int32Array ? values : Int32Array.from(values, Number);
}

function octets(array: GgufArray): Uint8Array {
  const values = array.numbers();
  return values instanceof Uint8Array ? values : Uint8Array.from(values, Number);
}

function specialTokens(metadata: Metadata, tokens: number): SpecialTokens {
  // Converters write 2^32 - 1 for "none".
  const id = (name: string): number | undefined => {
    const value = optionalInteger(metadata, `tokenizer.ggml.${name}_token_id`);
    return value !== undefined && value < tokens ? value : undefined;
  };
  return {
    bos: id('bos'),
    eos: id('eos'),
    eot: id('eot'),
    eom: id('eom'),
    unknown: id('unknown'),
    padding: id('padding'),
    addBos: optionalBoolean(metadata, 'tokenizer.ggml.add_bos_token'),
    addEos: optionalBoolean(metadata, 'tokenizer.ggml.add_eos_token'),
  };
}

/** `default` and named templates. */
export function ggufChatTemplates(metadata: Metadata): Record<string, string> {
  const templates: Record<string, string> = Object.create(null);
  for (const key of metadata.keys()) {
    const match = /^tokenizer\.chat_template(?:\.(.+))?$/.exec(key);
    const text = match && optionalString(metadata, key);
    if (match && text) templates[match[1] ?? 'default'] = text;
  }
  return { ...templates };
}
