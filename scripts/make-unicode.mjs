// Writes cpp/text/split/unicode_runs.h, the classes of all code points that the pre-splitters ask for, from this Node's own
// \p{…}: `node scripts/make-unicode.mjs`. Run it with the Node whose Unicode version the tables shall have.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const target = join(root, 'cpp', 'text', 'split', 'unicode_runs.h');

// The cased letters that deepseek-llm's tokenizer.json lists: no property of Unicode, an old and partial copy of one.
const cased =
  '41-5a 61-7a b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376 377 37b-37d 37f 386 388-38a 38c 38e-3a1 ' +
  '3a3-3f5 3f7-481 48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd 1c90-1cba 1cbd-1cbf 1d00-1d2b 1d6b-1d77 1d79-1d9a ' +
  '1e00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d 1f50-1f57 1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 ' +
  '1fc6-1fcc 1fd0-1fd3 1fd6-1fdb 1fe0-1fec 1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113 2115 2119-211d 2124 2126 2128 ' +
  '212a-212d 212f-2134 2139 213c-213f 2145-2149 214e 2183 2184 2c00-2c7b 2c7e-2ce4 2ceb-2cee 2cf2 2cf3 a640-a66d ' +
  'a680-a69b a722-a76f a771-a787 a78b-a78e ab70-abbf fb00-fb06 fb13-fb17 ff21-ff3a ff41-ff5a 10400-1044f 104b0-104d3 ' +
  '104d8-104fb 10c80-10cb2 10cc0-10cf2 118a0-118df 1e900-1e943';

/** In the order of the bits. */
const classes = [
  ['any', /[^]/u, 'every character'],
  ['letter', /\p{L}/u, '\\p{L}'],
  ['number', /\p{N}/u, '\\p{N}'],
  ['mark', /\p{M}/u, '\\p{M}'],
  ['punctuation', /\p{P}/u, '\\p{P}'],
  ['symbol', /\p{S}/u, '\\p{S}'],
  ['space', /\p{White_Space}/u, '\\p{White_Space}'],
  ['upper', /[\p{Lu}\p{Lt}]/u, '\\p{Lu} \\p{Lt}'],
  ['lower', /\p{Ll}/u, '\\p{Ll}'],
  ['uncased', /[\p{Lm}\p{Lo}]/u, '\\p{Lm} \\p{Lo}'],
  ['decimal', /\p{Nd}/u, '\\p{Nd}'],
  ['word', /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u, '\\w as Unicode means it'],
  ['han', /\p{sc=Han}/u, '\\p{sc=Han}'],
  ['cased', new RegExp(`[${cased.replace(/[0-9a-f]+/g, '\\u{$&}').replaceAll(' ', '')}]`, 'u'), "deepseek-llm's list"],
  ['line_break', /[\r\n]/u, '\\r \\n'],
  ['digit', /[0-9]/u, '0-9'],
];

const kinds = [];
const runs = [];
for (let code = 0; code < 0x110000; code++) {
  // A lone surrogate never reaches the tables; as a string it would be tested like any other character.
  const text = String.fromCodePoint(code);
  const bits = classes.reduce((sum, [, pattern], bit) => sum + (pattern.test(text) ? 2 ** bit : 0), 0);
  let kind = kinds.indexOf(bits);
  if (kind < 0) kind = kinds.push(bits) - 1;
  const last = runs[runs.length - 1];
  if (last && last[1] === kind) last[0]++;
  else runs.push([1, kind]);
}
if (kinds.length > 64) throw new Error(`${kinds.length} kinds of characters do not fit six bits`);

const hexadecimal = (value) => `0x${value.toString(16)}`;
const text = `// Classes of all code points, of Unicode ${process.versions.unicode}; written by scripts/make-unicode.mjs.
#pragma once
#include <cstdint>

namespace vivace {

// clang-format off
constexpr const char* unicode_version = "${process.versions.unicode}";

// Bits of a character's classes.
enum CharacterClass : uint16_t {
${classes.map(([name, , meaning], bit) => `  ${name}_class = ${hexadecimal(2 ** bit)},  // ${meaning}`).join('\n')}
};

// The combinations of classes that occur.
constexpr uint16_t unicode_kinds[] = {${kinds.map(hexadecimal).join(', ')}};

// From U+0000 on: how many characters · 64 + the number of their kind.
constexpr uint32_t unicode_runs[] = {
${lines(runs.map(([count, kind]) => hexadecimal(count * 64 + kind)))}
};
// clang-format on

}  // namespace vivace
`;
writeFileSync(target, text);
console.log(`${runs.length} runs of ${kinds.length} kinds, Unicode ${process.versions.unicode}`);
const { status } = spawnSync(createRequire(import.meta.url)('clang-format').getNativeBinary(), ['-i', target]);
process.exitCode = status ?? 1;

function lines(items) {
  const out = [''];
  for (const item of items) {
    if (out[out.length - 1].length + item.length > 116) out.push('');
    out[out.length - 1] += `${item},`;
  }
  return out.map((line) => `  ${line}`).join('\n');
}
