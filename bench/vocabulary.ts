// Writes a vocabulary of the size and kind of Llama 3's for bench/tokenize.ts: GPT-2's tokens, then the words of a text and
// joined tokens up to 128 000, 256 control tokens, and as merges every cut of a token into two others, 280 000 of them.
import { readFileSync } from 'node:fs';
import { openGguf } from '../lib/formats/gguf.js';
import { writeGguf } from '../lib/formats/gguf-writer.js';
import { ggufTokenizer } from '../lib/formats/gguf/tokenizer.js';
import { createTokenizer } from '../lib/formats/tokenizer/tokenizer.js';

const TOKENS = 128_000;
const CONTROL = 256;
const MERGES = 280_147; // as many as Llama 3 has
const LONGEST = 16; // bytes of a joined token

export function writeVocabulary(gpt2: string, texts: readonly string[], path: string): void {
  const base = ggufTokenizer(openGguf(gpt2).metadata);
  const tokens = Array.from({ length: base.tokens.length - 1 }, (_, id) => base.tokens.get(id)); // without <|endoftext|>
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const add = (token: string): void => {
    if (tokens.length >= TOKENS || ids.has(token)) return;
    ids.set(token, tokens.length);
    tokens.push(token);
  };
  addWords(texts, createTokenizer(base), add);
  for (let seed = 1; tokens.length < TOKENS;) {
    const pick = (): string => tokens[(seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) % 40_000];
    const joined = pick() + pick();
    if (Buffer.byteLength(joined) <= LONGEST && !/.Ġ/u.test(joined)) add(joined);
  }
  const control = Array.from({ length: CONTROL }, (_, i) => `<|reserved_${i}|>`);
  writeGguf(path, {
    metadata: {
      'general.architecture': 'llama',
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'llama-bpe',
      'tokenizer.ggml.tokens': [...tokens, ...control],
      'tokenizer.ggml.token_type': Int32Array.from({ length: TOKENS + CONTROL }, (_, id) => (id < TOKENS ? 1 : 3)),
      'tokenizer.ggml.merges': merges(tokens, ids),
      'tokenizer.ggml.bos_token_id': TOKENS,
      'tokenizer.ggml.eos_token_id': TOKENS + 1,
    },
  });
}

/** The most frequent words first, each with the prefixes that lead to it from tokens that exist already. */
function addWords(
  texts: readonly string[],
  tokenizer: ReturnType<typeof createTokenizer>,
  add: (token: string) => void,
): void {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const [word] of text.matchAll(/ ?\p{L}+/gu)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  for (const [word] of [...counts].filter(([, count]) => count > 2).sort((a, b) => b[1] - a[1])) {
    let prefix = '';
    for (const id of tokenizer.encode(word, { addSpecial: false })) add((prefix += tokenizer.tokenText(id)));
  }
}

/** All cuts of all tokens, in the order of the tokens: what a converter makes of tiktoken's ranks. */
function merges(tokens: readonly string[], ids: ReadonlyMap<string, number>): string[] {
  const list: string[] = [];
  for (const [id, token] of tokens.entries()) {
    for (let cut = 1; cut < token.length && list.length < MERGES; cut++) {
      const [left, right] = [token.slice(0, cut), token.slice(cut)];
      if ((ids.get(left) ?? id) < id && (ids.get(right) ?? id) < id) list.push(`${left} ${right}`);
    }
  }
  return list;
}

export function readTexts(paths: readonly string[]): string[] {
  return paths.map((path) => readFileSync(path, 'utf8'));
}
