// `vivace calibrate model --text FILE -o channels.json`: ranks the channels of keys, for --cache double-sparsity.
import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { VivaceError } from '../errors.js';
import { readText } from '../formats/file.js';
import { calibrate } from '../model/evaluation/calibrate.js';
import { addModelOptions, integer, type ModelOptions } from './arguments.js';
import { interruptible, open } from './opened.js';
import { progress, say } from './terminal.js';

interface Options extends ModelOptions {
  readonly text: string;
  readonly output: string;
  readonly blocks: number;
  readonly blockLength?: number;
}

export function calibrateCommand(): Command {
  const command = new Command('calibrate')
    .description('rank the channels of keys by a text, for --cache double-sparsity')
    .argument('[model]', 'GGUF file or Hugging Face directory (default: the embedded model)')
    .requiredOption('--text <file>', 'what to read: plain text, of the kind that the model will see')
    .requiredOption('-o, --output <file>', 'JSON file to write')
    .option('--blocks <count>', 'pieces of the text that are read at most', integer(1), 256)
    .option('--block-length <tokens>', 'tokens of a piece (default: 512)', integer(1));
  return addModelOptions(command).action(async (path: string | undefined, options: Options) => {
    const text = readText(options.text);
    const opened = await open(path, options, false);
    const bar = progress('reading', false);
    const { signal, done } = interruptible();
    try {
      const { blocks, blockLength } = options;
      const onProgress = (fraction: number): void => bar.update(fraction);
      const own = blockLength === undefined ? {} : { blockLength };
      const channels = await calibrate(opened.model, text, { blocks, ...own, signal, onProgress });
      bar.end();
      write(options.output, JSON.stringify(channels));
      say(`${options.output}: channels of ${Object.keys(channels).length / 4} layers`);
    } finally {
      bar.end();
      done();
      opened.model.dispose();
    }
  });
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (cause) {
    const message = `Cannot write ${path}: ${(cause as Error).message}`;
    throw new VivaceError('INVALID_ARGUMENT', message, {
      cause,
      remedy: 'Name a file in a folder that can be written.',
    });
  }
}
