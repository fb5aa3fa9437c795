// The pre-split rules: published vectors, nothing lost, nothing slow, nothing defaulted silently.
import { createTokenizer } from '../../../lib/formats/tokenizer/tokenizer.js';
import { knownPreSplits, preSplit } from '../../../lib/formats/tokenizer/pre-split.js';
import { bpeSource, cpuSeconds, random, randomText, trainBpe } from './toys.js';

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
])('%s %j', (pre, text, pieces) => expect(preSplit(pre).split(text)).toEqual(pieces));

test('the empty text has no pieces', () => expect(preSplit('gpt-2').split('')).toEqual([]));

test.each([...knownPreSplits])('%s loses nothing, and is linear on runs', (pre) => {
  const { split } = preSplit(pre);
  const next = random(3);
  for (let i = 0; i < 100; i++) {
    const text = randomText(next);
    const pieces = split(text);
    expect(pieces.join('')).toBe(text);
    expect(pieces).not.toContain('');
  }
  const seconds = cpuSeconds(() => {
    for (const unit of ['a', 'A', ' ', '1', '\n', '!', '漢', '\u0301', " '", 'a ']) {
      const text = unit.repeat(20_000);
      expect(split(text).join('')).toBe(text);
      expect(split(`${text}x`).length).toBeGreaterThan(0);
    }
  });
  expect(seconds).toBeLessThan(3); // 0.1 s; a quadratic rule takes minutes
});

test('synonyms share a rule', () => {
  for (const [name, rule] of [
    ['llama3', 'llama-bpe'],
    ['llama-v3', 'llama-bpe'],
    ['deepseek-r1-qwen', 'qwen2'],
    ['phi-2', 'gpt-2'],
    ['smollm', 'starcoder'],
  ]) {
    expect(preSplit(name).split(LINE)).toEqual(preSplit(rule).split(LINE));
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
