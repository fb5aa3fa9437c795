// A tokenizer as the keys of a GGUF file. What the keys cannot say exactly is refused: both forms must encode a battery of
// texts alike.
import { VivaceError } from '../errors.js';
import type { GgufInput } from '../formats/gguf-writer.js';
import { stringTable } from '../formats/gguf.js';
import { isObject, type JsonObject } from '../formats/hugging-face/json.js';
import type { ModelSource } from '../formats/model-source.js';
import type { GgufTokenizerSource, HuggingFaceTokenizerSource, SpecialTokens } from '../formats/tokenizer-source.js';
import { createTokenizer } from '../formats/tokenizer/tokenizer.js';

const types = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** Throws UNSUPPORTED_TOKENIZER. */
export function tokenizerMetadata({ tokenizer, config }: ModelSource): Map<string, GgufInput> {
  const source = tokenizer.kind === 'gguf' ? tokenizer : converted(tokenizer);
  const padded = source.tokens.length < config.vocab ? config.vocab - source.tokens.length : 0;
  const tokens = [
    ...Array.from({ length: source.tokens.length }, (_, id) => source.tokens.get(id)),
    ...Array.from({ length: padded }, (_, i) => `[PAD${source.tokens.length + i}]`),
  ];
  const pad = <T>(values: ArrayLike<number>, value: number, make: (all: number[]) => T): T =>
    make([...Array.from(values), ...Array<number>(padded).fill(value)]);
  const { special, merges } = source;
  const keys: Record<string, GgufInput | undefined> = {
    model: source.model,
    pre: source.pre,
    tokens: stringTable(tokens),
    token_type: source.types && pad(source.types(), types.unused, (all) => Int32Array.from(all)),
    scores: source.scores && pad(source.scores(), 0, (all) => Float32Array.from(all)),
    merges,
    bos_token_id: special.bos,
    eos_token_id: special.eos,
    eot_token_id: special.eot,
    eom_token_id: special.eom,
    unknown_token_id: special.unknown,
    padding_token_id: special.padding,
    add_bos_token: special.addBos,
    add_eos_token: special.addEos,
    add_space_prefix: source.addSpacePrefix,
  };
  return new Map(
    Object.entries(keys).flatMap(([key, value]): [string, GgufInput][] =>
      value === undefined ? [] : [[`tokenizer.ggml.${key}`, value]],
    ),
  );
}

const refused = (why: string): VivaceError =>
  new VivaceError('UNSUPPORTED_TOKENIZER', `The tokenizer cannot be written into a GGUF file: ${why}`, {
    remedy: 'Quantise to W4A16 or W8A8, which keep tokenizer.json.',
  });

/** Pre-split rules in the order of how common they are. */
const rules = ['llama-bpe', 'qwen2', 'gpt-2', 'gpt-4o', 'tekken', 'smollm', 'dbrx', 'deepseek-v3', 'deepseek-llm', 'deepseek-coder', 'starcoder', 'falcon', 'qwen35', 'default']; // prettier-ignore

function converted(source: HuggingFaceTokenizerSource): GgufTokenizerSource {
  const { json } = source;
  const model = isObject(json) && isObject(json.model) ? json.model : undefined;
  if (model === undefined || !isObject(model.vocab) || !Array.isArray(model.merges)) {
    throw refused('only BPE models can be converted');
  }
  const parts = vocabularyOf(json as JsonObject, model);
  const merges = model.merges.map((merge: unknown) => (Array.isArray(merge) ? merge.join(' ') : String(merge)));
  const special = withFrame(source);
  const original = createTokenizer(source);
  const wanted = probes.map((text) => original.encode(text).join());
  const candidates =
    model.byte_fallback === true
      ? [true, false].map((addSpacePrefix) => sentencePiece(parts, merges, special, addSpacePrefix))
      : rules.map((pre): GgufTokenizerSource => ({
          kind: 'gguf',
          model: 'gpt2',
          pre,
          tokens: stringTable(parts.tokens),
          types: () => parts.types,
          merges: stringTable(merges),
          special,
        }));
  const found = candidates.find((candidate) => {
    const tokenizer = createTokenizer(candidate);
    return probes.every((text, index) => tokenizer.encode(text).join() === wanted[index]);
  });
  if (found === undefined) throw refused('no known rule splits texts as it does');
  return found;
}

interface Parts {
  readonly tokens: string[];
  readonly types: Int32Array;
}

function vocabularyOf(json: JsonObject, model: JsonObject): Parts {
  const tokens: string[] = [];
  for (const [text, id] of Object.entries(model.vocab as JsonObject)) tokens[id as number] = text;
  const kinds: number[] = [];
  const added = Array.isArray(json.added_tokens) ? json.added_tokens.filter(isObject) : [];
  for (const { id, content, special } of added) {
    tokens[id as number] = String(content);
    kinds[id as number] = special === true ? types.control : types.userDefined;
  }
  const unknown = typeof model.unk_token === 'string' ? tokens.indexOf(model.unk_token) : -1;
  const all = Int32Array.from({ length: tokens.length }, (_, id) => {
    if (id === unknown) return types.unknown;
    if (kinds[id] !== undefined) return kinds[id];
    if (tokens[id] === undefined) return types.unused;
    return model.byte_fallback === true && /^<0x[0-9A-F]{2}>$/.test(tokens[id]) ? types.byte : types.normal;
  });
  return { tokens: Array.from(tokens, (text, id) => text ?? `[UNUSED${id}]`), types: all };
}

/** SentencePiece merges what scores best: the earlier a merge stands in the list, the better. */
function sentencePiece(
  { tokens, types: kinds }: Parts,
  merges: readonly string[],
  special: SpecialTokens,
  addSpacePrefix: boolean,
): GgufTokenizerSource {
  const ranks = new Map<string, number>();
  merges.forEach((merge, rank) => {
    const text = merge.replace(' ', '');
    if (!ranks.has(text)) ranks.set(text, rank);
  });
  const scores = Float32Array.from(tokens, (text) => -(ranks.get(text) ?? merges.length));
  return {
    kind: 'gguf',
    model: 'llama',
    tokens: stringTable(tokens),
    types: () => kinds,
    scores: () => scores,
    addSpacePrefix,
    special,
  };
}

/** Whether texts are framed, found by encoding nothing: the post-processor may say what no flag does. */
function withFrame(source: HuggingFaceTokenizerSource): SpecialTokens {
  const framed = Array.from(createTokenizer(source).encode('', { addSpecial: true }));
  const { special } = source;
  const bos = special.bos ?? framed[0];
  const addBos = framed.length > 0 && framed[0] === bos;
  const addEos = framed.length > (addBos ? 1 : 0) && framed.at(-1) === special.eos;
  if (framed.length !== (addBos ? 1 : 0) + (addEos ? 1 : 0))
    throw refused('it frames texts with more than BOS and EOS');
  return { ...special, ...(bos === undefined ? {} : { bos }), addBos, addEos };
}

/** Where rules differ: contractions, cases, digits, white space, scripts, symbols. */
const probes = [
  "Hello, World! I'm sure you'VE seen THE'RE isn't 12345678 or 3.14159 of them.",
  '  two spaces\n\n\nthree lines\r\n\ttabs \t mixed   ',
  'camelCaseWord HTTPServer snake_case_name x=y+1; // comment\n    indented();',
  'naïve café Größe ÅNGSTRÖM İstanbul Straße ﬁ',
  'Привет, мир! Как дела 2024? Γειά σου Κόσμε',
  '你好，世界！今天是2024年1月1日。こんにちは、カタカナ。안녕하세요',
  'السلام عليكم ١٢٣ हिन्दी में १२३ ภาษาไทย',
  '🙂👩‍👩‍👧‍👦🏳️‍🌈 … — “quotes” ‘single’ «guillemets» ¿¡',
  '!!!??? ((())) [[]] {{}} <<>> @#$%^&*_~`|\\/',
  ' leading', 'trailing ', '', ' ', 'a', '1', '\n',
]; // prettier-ignore
