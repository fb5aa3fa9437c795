// The pre-split rules: published vectors, equal to regular expressions, linear, nothing defaulted silently.
import { createTokenizer } from '../../../lib/formats/tokenizer/tokenizer.js';
import { preSplit, preSplitRules } from '../../../lib/formats/tokenizer/pre-split.js';
import { native } from '../../../lib/native.js';
import { preSplit as reference, referenceRules } from './reference/pre-split.js';
import { bpeSource, cpuSeconds, random, trainBpe } from './toys.js';

/** The pieces that native code cuts. */
function cut(name: string, text: string): string[] {
  const bytes = Buffer.from(text, 'utf8');
  const ends = new Uint32Array(bytes.length);
  const count = native().preSplit(preSplit(name).rule, bytes, ends);
  return Array.from({ length: count }, (_, i) => bytes.toString('utf8', i === 0 ? 0 : ends[i - 1], ends[i]));
}

test('both sides know the same rules', () => {
  expect(native().preSplitRules().names).toEqual(preSplitRules);
  expect(referenceRules).toEqual(preSplitRules);
});

const LINE = "Hello  world\n\n I'll pay 12345€!!\r\n  x";

test.each<[string, string, string[]]>([
  ['llama-bpe', LINE, ['Hello', ' ', ' world', '\n\n', ' I', "'ll", ' pay', ' ', '123', '45', '€!!\r\n', ' ', ' x']],
  ['gpt-2', LINE, ['Hello', ' ', ' world', '\n\n', ' I', "'ll", ' pay', ' 12345', '€!!', '\r\n ', ' x']],
  ['qwen2', 'x 123', ['x', ' ', '1', '2', '3']],
  ['qwen2', "I'LL don'T", ['I', "'LL", ' don', "'T"]],
  ['gpt-2', "I'LL", ['I', "'", 'LL']],
  ['starcoder', 'a 12 b', ['a', ' ', '1', '2', ' b']],
  ['falcon', 'a `1234`', ['a', ' ', '`', '123', '4', '`']],
  ['default', 'x+=12345', ['x', '+=', '123', '45']],
  ['tekken', 'HelloWORLDs 12', ['Hello', 'WORLDs', ' ', '1', '2']],
  ['tekken', 'a/b\n', ['a', '/b', '\n']],
  ['gpt-4o', "HelloWorld's 1234", ['Hello', "World's", ' ', '123', '4']],
  ['gpt-4o', '://\n/', ['://\n/']],
  ['deepseek-llm', 'a\r\nΩmega 12', ['a', '\r', '\n', 'Ω', 'mega', ' ', '12']],
  ['deepseek-coder', 'x12 漢', ['x', '1', '2', ' ', '漢']],
  ['deepseek-v3', '#include 12345漢字x', ['#include', ' ', '123', '45', '漢字', 'x']],
  ['bloom', 'a, b', ['a', ',', ' b']],
  ['superbpe', 'a1234567b', ['a', '1', '234', '567', 'b']],
  ['tiny_aya', '12345 67x', ['12', '345', ' ', '67', 'x']],
  ['afmoe', '12345', ['12', '345']],
  ['kimi-k2', '漢字abc Def', ['漢字', 'abc', ' Def']],
  ['chameleon', 'a    b<:1', ['a', '    ', 'b', '<', ':', '1']],
  ['exaone-moe', 'ab cd', ['ab cd']],
  ['jais-2', 'a     b', ['a', '    ', ' b']],
  ['llama-bpe', 'a\u0085b\ufeffc', ['a', '\u0085b', '\ufeffc']],
  ['gpt-2', 'a\u0085\u0085b', ['a', '\u0085', '\u0085', 'b']],
  ['gpt-2', 'a\ufeff!b', ['a', '\ufeff!', 'b']],
])('%s %j', (pre, text, pieces) => {
  expect(cut(pre, text)).toEqual(pieces);
  expect(reference(pre).split(text)).toEqual(pieces);
});

test('the empty text has no pieces', () => expect(cut('gpt-2', '')).toEqual([]));

// The tables of both sides must be of one Unicode to be compared on characters that newer versions have added.
const comparable =
  native().preSplitRules().unicode === process.versions.unicode ? /[^]/u : /[\p{ASCII}\p{sc=Latin}\p{sc=Greek}]/u;

test.each([...preSplitRules])('%s: equals the regular expressions', (pre) => {
  const { split } = reference(pre);
  const next = random(3);
  for (let i = 0; i < 2000; i++) {
    const text = denseText(next);
    expect([text, cut(pre, text)]).toEqual([text, split(text)]);
  }
});

test.each([...preSplitRules])('%s: megabytes of one thing take a fraction of a second', (pre) => {
  const { rule } = preSplit(pre);
  const seconds = cpuSeconds(() => {
    for (const unit of ['a', 'A', ' ', '1', '\n', '!', '漢', '\u0301', " '", 'a ', '\u3000', '<sentinel:1', ' \n a']) {
      const text = Buffer.from(unit.repeat(1_000_000 / Buffer.byteLength(unit)));
      const ends = new Uint32Array(text.length + 1);
      expect(ends[native().preSplit(rule, text, ends) - 1]).toBe(text.length);
      expect(native().preSplit(rule, Buffer.concat([text, Buffer.from('x')]), ends)).toBeGreaterThan(0);
    }
  });
  expect(seconds).toBeLessThan(5); // 0.3 s; a quadratic rule takes hours
});

const UNITS = [
  ...' \t\n\r\u00a0\u0085\ufeff\u3000\u2028aAzZsStTmMdDlLvVrReE0123456789½٣Ⅻ.,!?-_/$+<=>^~|`"#()[]{}@\\&*%;:',
  ...'漢字一龥々〇⺀㐀かカﾊ한ㄱㅎᄀไไทกកမꦀÄßǅʰªµ\u0301\u0308\u0e31\u20dd€©😀👩\u200d🇳\u{1d400}\u{10400}\u{20000}\u{1e900}',
  ...[
    "'",
    "'",
    "'",
    "'ll",
    "'VE",
    '<sentinel:12>',
    'IMGIMGABZ',
    'the',
    'Hello',
    ' World',
    '  ',
    '    ',
    '\r\n',
    '12345',
  ],
  ...'\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c\uff01\u2018\u201f\u0000\ud7ff\ue000',
];

/** Characters of all classes in short runs, and now and then any character. */
function denseText(next: () => number): string {
  let text = '';
  for (let i = Math.floor(next() * 24); i > 0; i--) {
    const unit = UNITS[Math.floor(next() * UNITS.length)];
    text += next() < 0.2 ? unit.repeat(1 + Math.floor(next() * (next() < 0.05 ? 600 : 6))) : unit;
    if (next() < 0.1) text += anyCharacter(next);
  }
  return text;
}

function anyCharacter(next: () => number): string {
  const text = String.fromCodePoint(Math.floor(next() * 0x110000));
  return comparable.test(text) && !/\p{Surrogate}/u.test(text) ? text : 'x';
}

test('synonyms share a rule', () => {
  for (const [name, rule] of [
    ['llama3', 'llama-bpe'],
    ['llama-v3', 'llama-bpe'],
    ['deepseek-r1-qwen', 'qwen2'],
    ['phi-2', 'gpt-2'],
    ['smollm', 'starcoder'],
  ]) {
    expect(preSplit(name)).toEqual(preSplit(rule));
  }
});

test('an unknown rule is refused with the known ones', () => {
  const failure = { code: 'UNSUPPORTED_TOKENIZER', remedy: expect.stringContaining('llama-bpe') };
  const toy = trainBpe('ab', 1);
  for (const pre of ['no-such-rule', 'constructor', '__proto__', '']) {
    expect(() => createTokenizer(bpeSource(toy, { pre }))).toThrow(expect.objectContaining(failure));
  }
});

test('a missing rule means the default one, with one warning', () => {
  const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  const toy = trainBpe('x+=12345', 3);
  const source = { ...bpeSource(toy), pre: undefined };
  const ids = createTokenizer(source).encode('x+=12345');
  createTokenizer(source);
  expect([...ids]).toEqual([...createTokenizer(bpeSource(toy, { pre: 'default' })).encode('x+=12345')]);
  expect(warn).toHaveBeenCalledTimes(1);
  warn.mockRestore();
});
