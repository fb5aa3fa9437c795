// Real vocabularies: every case of the vectors beside them encodes to exactly the listed ids, and decodes back.
import * as fs from 'node:fs';
import { openGguf } from '../../../lib/formats/gguf.js';
import { ggufTokenizer } from '../../../lib/formats/gguf/tokenizer.js';
import { createTokenizer, type Tokenizer } from '../../../lib/formats/tokenizer/tokenizer.js';
import { sharedData } from '../../fixtures/shared-data.js';

const SEPARATOR = '\n__ggml_vocab_test__\n';

function open(path: string): Tokenizer {
  return createTokenizer(ggufTokenizer(openGguf(path).metadata));
}

describe.each(['deepseek-coder', 'gpt-2', 'llama-spm', 'phi-3'])('%s', (name) => {
  const path = sharedData(`vocab/${name}.gguf`);
  if (path === undefined) {
    console.log(`skipped: no vocab/${name}.gguf in the shared data`);
    test.skip('needs the shared data', () => undefined);
    return;
  }
  const cases = fs.readFileSync(`${path}.inp`, 'utf8').split(SEPARATOR);
  const ids = fs
    .readFileSync(`${path}.out`, 'utf8')
    .split('\n')
    .slice(0, cases.length)
    .map((line) => line.trim().split(/\s+/).filter(Boolean).map(Number));
  const tokenizer = open(path);

  test('the vectors are complete', () => {
    expect(cases.length).toBeGreaterThan(40);
    expect(ids).toHaveLength(cases.length);
  });

  test('text → the listed ids', () => {
    for (const [i, text] of cases.entries()) {
      expect([text, [...tokenizer.encode(text, { addSpecial: false })]]).toEqual([text, ids[i]]);
    }
  });

  test('ids → the text', () => {
    for (const [i, text] of cases.entries()) {
      expect(tokenizer.decode(ids[i])).toBe(text);
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
  });
});

test('a WordPiece vocabulary is refused by name', () => {
  const path = sharedData('vocab/bert-bge.gguf');
  if (path === undefined) return;
  expect(() => open(path)).toThrow(
    expect.objectContaining({ code: 'UNSUPPORTED_TOKENIZER', message: expect.stringContaining('bert') }),
  );
});
