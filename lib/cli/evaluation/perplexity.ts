// `vivace evaluate perplexity`: how well a model foretells a text, part by part, under any cache policy and beyond its context.
import { Command } from 'commander';
import { readText } from '../../formats/file.js';
import { evaluatePerplexity, type PerplexityReport } from '../../model/evaluation/perplexity.js';
import { integer, sessionOptions } from '../arguments.js';
import { bytes, table } from '../quantities.js';
import { addReadingOptions, read, type ReadingFlags } from './reading.js';

interface Options extends ReadingFlags {
  readonly text: string;
  readonly length?: number;
  readonly parts?: number;
  readonly rotations?: number;
}

export function perplexityCommand(): Command {
  const command = new Command('perplexity')
    .description('how well a text is foretold, part by part of a long reading')
    .argument('[model]', 'GGUF file or Hugging Face directory (default: the embedded model)')
    .requiredOption('--text <file>', 'what is read')
    .option('--length <tokens>', 'so much of it (default: all that fits the context)', integer(1))
    .option('--parts <count>', 'that are told apart (default: 10)', integer(1))
    .option('--rotations <count>', 'readings that begin with another part each (default: 1)', integer(1));
  addReadingOptions(command);
  return command.action(async (path: string | undefined, options: Options) => {
    const { length, parts, rotations } = options;
    const settings = { text: readText(options.text), length, parts, rotations, session: sessionOptions(options) };
    await read(path, options, {
      doing: 'reading',
      measure: (model, how) => evaluatePerplexity({ model, ...settings, ...how }),
      table: perplexityTable,
    });
  });
}

function perplexityTable({ parts, perplexity, tokens, rotations }: PerplexityReport): string {
  const rows = parts.map((part) => [
    `${part.begin}–${part.end}`,
    part.perplexity.toFixed(2),
    part.ms.toFixed(3),
    bytes(part.kv),
  ]);
  const heads = ['tokens', 'perplexity', 'ms per token', 'keys and values'];
  const times = rotations === 1 ? 'once' : `${rotations} times, each part at another place`;
  return `${tokens} tokens, read ${times}:\n${table([heads, ...rows])}\nall: ${perplexity.toFixed(2)}`;
}
