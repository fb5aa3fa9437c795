// `vivace tokenize model`: text on standard input becomes tokens.
import { isUtf8 } from 'node:buffer';
import { text as readAll } from 'node:stream/consumers';
import { Command } from 'commander';
import { openModelFile } from '../formats/open.js';
import { createTokenizer } from '../formats/tokenizer/tokenizer.js';
import type { Tokenizer } from '../formats/tokenizer/tokenizer.js';
import { addJsonOption } from './arguments.js';
import { table } from './quantities.js';
import { printJson, say } from './terminal.js';

interface Options {
  readonly special: boolean;
  readonly json?: boolean;
}

export function tokenizeCommand(): Command {
  const command = new Command('tokenize')
    .description('turn the text on standard input into tokens')
    .argument('<model>', 'GGUF file or Hugging Face directory')
    .option('--no-special', 'do not add the tokens that begin or end a text');
  return addJsonOption(command).action(async (model: string, { special, json }: Options) => {
    const tokenizer = createTokenizer(openModelFile(model).tokenizer);
    if (process.stdin.isTTY === true) say('Reading text from the terminal; end it with Ctrl-D.', 'dim');
    const tokens = [...tokenizer.encode(await readAll(process.stdin), { addSpecial: special })];
    const pieces = tokens.map((token) => piece(tokenizer, token));
    if (json === true) printJson({ tokens, pieces });
    else if (tokens.length > 0) {
      process.stdout.write(`${table(tokens.map((token, index) => [String(token), JSON.stringify(pieces[index])]))}\n`);
    }
  });
}

/** A token's text; bytes that are no whole characters in the way vocabularies write them. */
function piece(tokenizer: Tokenizer, token: number): string {
  if (tokenizer.isSpecial(token)) return tokenizer.tokenText(token);
  const bytes = tokenizer.piece(token);
  if (isUtf8(bytes)) return Buffer.from(bytes).toString('utf8');
  return [...bytes].map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`).join('');
}
