// `vivace datastore build|inspect`: texts become a file that drafts can be looked up in, and what such a file holds.
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { Datastore } from '../../decode/speculation/drafters/datastore.js';
import { buildDatastore, tokenizerFingerprint } from '../../decode/speculation/drafters/datastore-build.js';
import { sizeOfFiles, textsOfFiles } from '../../decode/speculation/drafters/datastore-texts.js';
import { expected } from '../../errors.js';
import { openModelFile } from '../../formats/open.js';
import { createTokenizer } from '../../formats/tokenizer/tokenizer.js';
import { addJsonOption, integer } from '../arguments.js';
import { interruptible } from '../opened.js';
import { bytes, count, table } from '../quantities.js';
import { printJson, progress, say } from '../terminal.js';

interface BuildOptions {
  readonly field: string;
  readonly maxTokens?: number;
  readonly json?: boolean;
}

export function datastoreCommand(): Command {
  return new Command('datastore')
    .description('texts to draft from: build a file of them, look into one')
    .addCommand(buildCommand())
    .addCommand(inspectCommand());
}

function buildCommand(): Command {
  const command = new Command('build')
    .description("write a datastore of texts in a model's tokens")
    .argument('<model>', 'GGUF file or Hugging Face directory, for its tokenizer')
    .argument('<output>', 'file to write')
    .argument('<texts...>', 'text files; .jsonl and .ndjson: a text per line')
    .option('--field <name>', 'where a line that is an object has its text', 'text')
    .addOption(
      new Option('--max-tokens <count>', 'more are an error (default: 2^28, for 3.2 GB of memory)').argParser(
        integer(1),
      ),
    );
  return addJsonOption(command).action(
    async (model: string, output: string, files: string[], options: BuildOptions) => {
      const { field, maxTokens, json } = options;
      if (files.some((file) => resolve(file) === resolve(output))) throw expected('another file', 'output', output);
      const begin = performance.now();
      const tokenizer = createTokenizer(openModelFile(model).tokenizer);
      const size = Math.max(1, sizeOfFiles(files));
      const bar = progress('building', json);
      const { signal, done } = interruptible();
      // Half of the bar for the texts, half for what is made of them.
      const tokens = async function* (): AsyncGenerator<Int32Array> {
        for await (const { text, read } of textsOfFiles(files, field)) {
          bar.update((0.5 * read) / size);
          yield tokenizer.encode(text, { addSpecial: false });
        }
      };
      try {
        const result = await buildDatastore(output, tokens(), {
          vocab: tokenizer.vocabSize,
          fingerprint: tokenizerFingerprint(tokenizer),
          ...(maxTokens === undefined ? {} : { maxTokens }),
          onProgress: (fraction) => bar.update(0.5 + 0.5 * fraction),
          signal,
        });
        bar.end();
        const seconds = (performance.now() - begin) / 1000;
        if (json === true) printJson({ path: output, ...result, seconds });
        const { texts: made, tokens: all } = result;
        say(
          `${output}: ${count(all)} tokens of ${count(made)} texts, ${bytes(result.bytes)}, in ${seconds.toFixed(1)} s`,
        );
      } finally {
        bar.end();
        done();
      }
    },
  );
}

function inspectCommand(): Command {
  const command = new Command('inspect')
    .description('check a datastore and show what it holds')
    .argument('<datastore>', 'file of `vivace datastore build`')
    .argument('[model]', 'must it be for this model');
  return addJsonOption(command).action(
    async (path: string, model: string | undefined, { json }: { json?: boolean }) => {
      const bar = progress('reading', json);
      const { signal, done } = interruptible();
      try {
        const fingerprint =
          model === undefined ? undefined : tokenizerFingerprint(createTokenizer(openModelFile(model).tokenizer));
        const datastore = await Datastore.open(path, {
          signal,
          onProgress: (fraction) => bar.update(fraction),
          ...(fingerprint === undefined ? {} : { fingerprint }),
        });
        bar.end();
        const { info } = datastore;
        datastore.dispose();
        const hex = info.fingerprint.toString(16).padStart(16, '0');
        if (json === true) {
          printJson({ path, ...info, fingerprint: hex });
          return;
        }
        const rows = [
          ['texts', String(info.texts)],
          ['tokens', String(info.tokens)],
          ['vocabulary', String(info.vocab)],
          ['size', bytes(info.bytes)],
          ['tokenizer', hex],
          ['checksum', 'right'],
        ];
        process.stdout.write(`${table(rows)}\n`);
      } finally {
        bar.end();
        done();
      }
    },
  );
}
