// `vivace evaluate perplexity`: how well a model foretells a text, part by part, under any cache policy and beyond its context.
import { Command } from 'commander';
import { readText } from '../../formats/file.js';
import { evaluatePerplexity, type PerplexityReport } from '../../model/evaluation/perplexity.js';
import {
  addCacheOptions,
  addJsonOption,
  addModelOptions,
  integer,
  sessionOptions,
  type CacheFlags,
  type ModelOptions,
} from '../arguments.js';
import { interruptible, open, title } from '../opened.js';
import { bytes, table } from '../quantities.js';
import { printJson, progress, say } from '../terminal.js';

interface Options extends ModelOptions, CacheFlags {
  readonly text: string;
  readonly length?: number;
  readonly parts?: number;
  readonly rotations?: number;
  readonly json?: boolean;
}

export function perplexityCommand(): Command {
  const command = new Command('perplexity')
    .description('how well a text is foretold, part by part of a long reading')
    .argument('[model]', 'GGUF file or Hugging Face directory (default: the embedded model)')
    .requiredOption('--text <file>', 'what is read')
    .option('--length <tokens>', 'so much of it (default: all that fits the context)', integer(1))
    .option('--parts <count>', 'that are told apart (default: 10)', integer(1))
    .option('--rotations <count>', 'readings that begin with another part each (default: 1)', integer(1));
  addJsonOption(addModelOptions(addCacheOptions(command)));
  return command.action(async (path: string | undefined, options: Options) => {
    const { length, parts, rotations } = options;
    const text = readText(options.text);
    const opened = await open(path, options, options.json === true);
    const bar = progress('reading', options.json);
    const interrupt = interruptible();
    try {
      const report = await evaluatePerplexity({
        model: opened.model,
        ...{ text, length, parts, rotations, session: sessionOptions(options) },
        onProgress: (fraction) => bar.update(fraction),
        signal: interrupt.signal,
      });
      bar.end();
      if (options.json === true) printJson(report);
      else {
        say(title(opened), 'dim');
        process.stdout.write(`${perplexityTable(report)}\n`);
        if (report.aborted) say('stopped', 'yellow');
      }
    } finally {
      bar.end();
      interrupt.done();
      opened.model.dispose();
    }
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
