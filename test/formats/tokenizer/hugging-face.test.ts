// tokenizer.json: the same ids as the same vocabulary in GGUF, and as an independent library where that is exact.
import type { HuggingFaceTokenizerSource, SpecialTokens } from '../../../lib/formats/tokenizer-source.js';
import { isByteLevel, readNormalizer, readPreTokenizer } from '../../../lib/formats/tokenizer/hugging-face-text.js';
import { rulePatterns } from '../../../lib/formats/tokenizer/hugging-face-rules.js';
import { createTokenizer, type Tokenizer } from '../../../lib/formats/tokenizer/tokenizer.js';
import { bpeSource, random, randomText, slowBpe, trainBpe } from './toys.js';

interface Library {
  readonly Tokenizer: new (
    json: object,
    config: object,
  ) => { encode(text: string, options?: object): { ids: number[] } };
}
const library = require('@huggingface/tokenizers') as Library;

const toy = trainBpe("the lower the newer the lowest I'll don't 1234 12 한국어 한국 é 😀😀 aaaa", 60);
const vocab = Object.fromEntries(toy.tokens.map((token, id) => [token, id]));
const size = toy.tokens.length;
const LLAMA3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const byteLevel = (more: object = {}): Record<string, unknown> => ({
  model: { type: 'BPE', vocab, merges: toy.merges.map((pair) => pair.join(' ')), ignore_merges: false },
  added_tokens: [
    { id: size, content: '<|begin|>', special: true },
    { id: size + 3, content: '<tool>', special: false },
    { id: size + 4, content: '<|eot_id|>', special: true },
  ],
  normalizer: null,
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
  post_processor: null,
  decoder: { type: 'ByteLevel' },
  ...more,
});

function open(json: unknown, special: SpecialTokens = {}): Tokenizer {
  const source: HuggingFaceTokenizerSource = { kind: 'hugging-face', json, config: {}, special };
  return createTokenizer(source);
}

const plain = (tokenizer: Tokenizer, text: string): number[] => [...tokenizer.encode(text, { addSpecial: false })];

describe('byte-level BPE', () => {
  const next = random(37);
  const texts = Array.from({ length: 1000 }, () => randomText(next));
  const more: [string, number][] = [
    ['<|begin|>', 3],
    ['-', 5],
    ['--', 5],
    ['<tool>', 4],
    ['<|eot_id|>', 3],
  ];

  test("GPT-2's regular expression: equals GGUF's gpt-2", () => {
    const [json, gguf] = [open(byteLevel()), createTokenizer(bpeSource(toy, { more }))];
    for (const text of texts) {
      expect(plain(json, text)).toEqual(plain(gguf, text));
      expect(json.decode(json.encode(text))).toBe(text);
    }
  });

  test("a Split pattern in Oniguruma's dialect: equals GGUF's llama-bpe", () => {
    const pretokenizers = [
      { type: 'Split', pattern: { Regex: LLAMA3 }, behavior: 'Isolated', invert: false },
      { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
    ];
    const model = { type: 'BPE', vocab, merges: toy.merges, ignore_merges: true };
    const json = open(byteLevel({ model, pre_tokenizer: { type: 'Sequence', pretokenizers } }));
    const gguf = createTokenizer(bpeSource(toy, { pre: 'llama-bpe', more }));
    for (const text of texts) expect(plain(json, text)).toEqual(plain(gguf, text));
  });

  test('add_prefix_space', () => {
    const tokenizer = open(byteLevel({ pre_tokenizer: { type: 'ByteLevel', add_prefix_space: true } }));
    expect(plain(tokenizer, 'the')).toEqual(plain(tokenizer, ' the'));
  });

  test('ids with holes, special tokens and the end of a turn', () => {
    const tokenizer = open(byteLevel(), { eos: size });
    expect(tokenizer.vocabSize).toBe(size + 5);
    expect(tokenizer.tokenId('<tool>')).toBe(size + 3);
    expect(tokenizer.tokenText(size + 1)).toBe('');
    expect([...tokenizer.endOfGeneration]).toEqual([size, size + 4]);
    expect(plain(tokenizer, 'a<|eot_id|><tool>')).not.toContain(size + 4);
    expect(plain(tokenizer, 'a<|eot_id|><tool>')).toContain(size + 3);
    const ids = tokenizer.encode('a<|eot_id|><tool>', { addSpecial: false, parseSpecial: true });
    expect([...ids].slice(-2)).toEqual([size + 4, size + 3]);
    expect(tokenizer.decode(ids)).toBe('a<tool>');
  });

  test('BOS and EOS: of the template, unless tokenizer_config.json says otherwise', () => {
    const post_processor = {
      type: 'Sequence',
      processors: [
        { type: 'ByteLevel' },
        {
          type: 'TemplateProcessing',
          single: [{ SpecialToken: { id: '<|begin|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
          special_tokens: { '<|begin|>': { id: '<|begin|>', ids: [size], tokens: ['<|begin|>'] } },
        },
      ],
    };
    const first = (special: SpecialTokens, json = byteLevel({ post_processor })): number[] => [
      ...open(json, special).encode(''),
    ];
    expect(first({})).toEqual([size]);
    expect(first({ bos: size, addBos: true })).toEqual([size]);
    expect(first({ bos: size, addBos: false })).toEqual([]);
    expect(first({ bos: size, addBos: true }, byteLevel())).toEqual([size]);
    expect(first({ eos: size + 4, addEos: true }, byteLevel())).toEqual([size + 4]);
  });
});

describe('BPE on characters, with byte fallback (Llama 2, Gemma)', () => {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const base = ['<unk>', '<s>', '</s>', ...bytes, ...'\u2581thelowrsna12한국'];
  const merges: [string, string][] = [
    ['t', 'h'],
    ['th', 'e'],
    ['\u2581', 'the'],
    ['l', 'o'],
    ['lo', 'w'],
    ['\u2581', 'low'],
    ['e', 'r'],
    ['\u2581', '\u2581'],
    ['한', '국'],
  ];
  const tokens = [...base, ...merges.map((pair) => pair.join(''))];
  const json = {
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
    },
    added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '\u2581' },
        { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
  };
  const tokenizer = open(json, { bos: 1, addBos: true });

  test('equals the library and gives the text back', () => {
    const oracle = new library.Tokenizer(json, {});
    const next = random(41);
    for (let i = 0; i < 500; i++) {
      const text = randomText(next).replace(/\u2581|<\/?s>/g, '_');
      expect(plain(tokenizer, text)).toEqual(oracle.encode(text, { add_special_tokens: false }).ids);
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
  });

  test('control tokens as text are text', () => {
    expect(plain(tokenizer, 'the</s>')).not.toContain(2);
    expect([...tokenizer.encode('the</s>', { parseSpecial: true })].at(-1)).toBe(2);
    expect(tokenizer.decode(tokenizer.encode('the</s>'))).toBe('the</s>');
  });

  test('without byte tokens, runs of unknown characters are one unknown token or several', () => {
    const encode = (fuse_unk: boolean): number[] =>
      plain(open({ ...json, model: { ...json.model, byte_fallback: false, fuse_unk } }), 'the漢漢');
    const the = tokens.indexOf('\u2581the');
    expect(encode(true)).toEqual([the, 0]);
    expect(encode(false)).toEqual([the, 0, 0]);
  });
});

test('Unigram with Metaspace', () => {
  const list: [string, number][] = [
    ['<unk>', 0],
    ['</s>', 0],
    ['\u2581', -3],
    ['\u2581a', -1],
    ['a', -2],
    ['ab', -1.5],
    ['b', -4],
  ];
  const json = {
    model: { type: 'Unigram', unk_id: 0, vocab: list },
    added_tokens: [{ id: 1, content: '</s>', special: true }],
    normalizer: { type: 'NFKC' },
    pre_tokenizer: { type: 'Metaspace', replacement: '\u2581', prepend_scheme: 'always', split: true },
    post_processor: null,
    decoder: { type: 'Metaspace', replacement: '\u2581', prepend_scheme: 'always' },
  };
  const tokenizer = open(json, { eos: 1, addEos: true });
  expect([...tokenizer.encode('ab a')]).toEqual([2, 5, 3, 1]);
  expect(tokenizer.decode(tokenizer.encode('ab a'))).toBe('ab a');
  expect(plain(tokenizer, 'ａ漢漢')).toEqual([3, 0]);
  expect(plain(tokenizer, '</s>')).not.toContain(1);
});

describe('steps', () => {
  const cut = (node: object, text: string): readonly string[] => readPreTokenizer(node)(text, true);
  const behave = (behavior: string, invert = false): readonly string[] =>
    cut({ type: 'Split', pattern: { String: '-' }, behavior, invert }, 'a-b--c-');
  test('how delimiters of a split are kept', () => {
    expect(behave('Removed')).toEqual(['a', 'b', 'c']);
    expect(behave('Isolated')).toEqual(['a', '-', 'b', '-', '-', 'c', '-']);
    expect(behave('MergedWithPrevious')).toEqual(['a-', 'b-', '-', 'c-']);
    expect(behave('MergedWithNext')).toEqual(['a', '-b', '-', '-c', '-']);
    expect(behave('Contiguous')).toEqual(['a', '-', 'b', '--', 'c', '-']);
    expect(behave('Removed', true)).toEqual(['-', '-', '-', '-']);
  });
  test('digits, punctuation, white space, sequences', () => {
    expect(cut({ type: 'Digits', individual_digits: true }, 'a12')).toEqual(['a', '1', '2']);
    expect(cut({ type: 'Digits', individual_digits: false }, 'a12')).toEqual(['a', '12']);
    expect(cut({ type: 'Punctuation' }, 'a,b!?')).toEqual(['a', ',', 'b', '!', '?']);
    expect(cut({ type: 'Whitespace' }, 'héy you!?  x')).toEqual(['héy', 'you', '!?', 'x']);
    expect(cut({ type: 'WhitespaceSplit' }, 'a \u0085b\ufeffc')).toEqual(['a', 'b\ufeffc']);
    expect(cut({ type: 'CharDelimiterSplit', delimiter: '|' }, 'a|b')).toEqual(['a', 'b']);
    expect(
      cut(
        { type: 'Sequence', pretokenizers: [{ type: 'WhitespaceSplit' }, { type: 'Digits', individual_digits: true }] },
        'a1 b',
      ),
    ).toEqual(['a', '1', 'b']);
  });
  test('Metaspace', () => {
    const meta = (more: object, text: string, first = true): string =>
      readPreTokenizer({ type: 'Metaspace', ...more })(text, first).join('|');
    expect(meta({}, 'a  b')).toBe('\u2581a|\u2581|\u2581b');
    expect(meta({ prepend_scheme: 'first' }, 'a', false)).toBe('a');
    expect(meta({ prepend_scheme: 'never', split: false }, 'a b')).toBe('a\u2581b');
    expect(meta({ add_prefix_space: false }, 'a')).toBe('a');
  });
  test('normalizers', () => {
    const normal = (node: object, text: string): string => readNormalizer(node)(text);
    expect(normal({ type: 'NFC' }, 'e\u0301')).toBe('é');
    expect(normal({ type: 'Lowercase' }, 'ÀB')).toBe('àb');
    expect(normal({ type: 'Sequence', normalizers: [{ type: 'NFD' }, { type: 'StripAccents' }] }, 'é')).toBe('e');
    expect(normal({ type: 'Strip', strip_right: false }, ' a ')).toBe('a ');
    expect(normal({ type: 'Replace', pattern: { Regex: ' {2,}' }, content: '$&' }, 'a   b')).toBe('a$&b');
    expect(readNormalizer(null)('x')).toBe('x');
    expect(isByteLevel({ type: 'Sequence', pretokenizers: [{ type: 'ByteLevel' }] })).toBe(true);
  });
});

test('what is not known is refused by name', () => {
  const refused = (json: object, message: string): void =>
    expect(() => open(json)).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED_TOKENIZER', message: expect.stringContaining(message) }),
    );
  refused(byteLevel({ model: { type: 'WordPiece', vocab } }), 'WordPiece');
  refused(byteLevel({ model: { type: 'BPE', vocab, merges: [], end_of_word_suffix: '</w>' } }), 'end_of_word_suffix');
  refused(byteLevel({ normalizer: { type: 'BertNormalizer' } }), 'BertNormalizer');
  refused(byteLevel({ pre_tokenizer: { type: 'UnicodeScripts' } }), 'UnicodeScripts');
  refused(
    byteLevel({ pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'ByteLevel' }, { type: 'Digits' }] } }),
    'ByteLevel',
  );
  refused(byteLevel({ pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' } }), '(');
  expect(() => open({})).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }));
  expect(() => open(byteLevel({ added_tokens: [{ content: 'x', id: -1 }] }))).toThrow(
    expect.objectContaining({ code: 'FORMAT_INVALID' }),
  );
});

test('the quadratic reference agrees too', () => {
  const slow = slowBpe(toy);
  expect(plain(open(byteLevel()), ' lower')).toEqual(slow(' lower'));
});

test.each(Object.entries(rulePatterns))(
  'patterns known as %s: native, and cut as the expressions do',
  (pre, patterns) => {
    const splits = patterns.map((Regex) => ({
      type: 'Split',
      pattern: { Regex },
      behavior: 'Isolated',
      invert: false,
    }));
    const step = { type: 'Sequence', pretokenizers: [...splits, { type: 'ByteLevel', use_regex: false }] };
    const tokenizer = open(byteLevel({ pre_tokenizer: step }));
    expect(tokenizer.engine).toBe('native');
    const [cut, slow, next] = [readPreTokenizer(step), slowBpe(toy), random(43)];
    for (let i = 0; i < 500; i++) {
      const text = randomText(next).replace(/[\u0085\ufeff]/g, ''); // where V8's \s is not Unicode's
      expect([pre, text, plain(tokenizer, text)]).toEqual([pre, text, cut(text, true).flatMap(slow)]);
    }
  },
);
