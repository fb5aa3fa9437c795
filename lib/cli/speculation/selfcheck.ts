// `vivace selfcheck`: does a drafter draft in the middle of an answer as well as when it has just read its text?
import { Command } from 'commander';
import type { Drafter } from '../../decode/speculation/drafter.js';
import { VivaceError } from '../../errors.js';
import { selfCheck } from '../../model/evaluation/acceptance.js';
import { addJsonOption, addModelOptions, integer, type ModelOptions } from '../arguments.js';
import { interruptible, open } from '../opened.js';
import { percent } from '../quantities.js';
import { printJson, progress, say } from '../terminal.js';
import {
  addSpeculationOptions,
  checkSpeculation,
  draftersOf,
  openSpeculation,
  type SpeculationFlags,
} from './options.js';
import { promptsOf } from './scale-probe.js';

interface Options extends ModelOptions, SpeculationFlags {
  readonly prompts: string;
  readonly maxTokens?: number;
  readonly json?: boolean;
}

export function selfCheckCommand(): Command {
  const command = new Command('selfcheck')
    .description('does a drafter draft in the middle of an answer as well as when it has just read its text?')
    .argument('[model]', 'the target: GGUF file or Hugging Face directory (default: the embedded model)')
    .requiredOption('--prompts <file>', 'a prompt per line, or JSON lines with `prompt`')
    .option('--max-tokens <count>', 'tokens of an answer at most (default: 64)', integer(4));
  return addJsonOption(addModelOptions(addSpeculationOptions(command))).action(
    async (path: string | undefined, options: Options) => {
      const names = draftersOf(options);
      if (names.length === 0) {
        throw new VivaceError('INVALID_ARGUMENT', 'vivace selfcheck needs --drafter', {
          remedy: 'For instance ngram.',
        });
      }
      checkSpeculation(options, names);
      const prompts = promptsOf(options.prompts);
      const opened = await open(path, options, options.json === true);
      const bar = progress('answering', options.json);
      const interrupt = interruptible();
      const { speculation, dispose } = await openSpeculation(options, opened.model);
      try {
        const { maxTokens, maxDraft } = options;
        const result = await selfCheck({
          model: opened.model,
          drafter: speculation?.drafter as Drafter,
          prompts,
          ...(maxTokens === undefined ? {} : { maxTokens }),
          ...(maxDraft === undefined ? {} : { maxDraft }),
          onProgress: (part) => bar.update(part),
          signal: interrupt.signal,
        });
        bar.end();
        if (options.json === true) printJson(result);
        else {
          const { places, served, fresh, differ } = result;
          process.stdout.write(
            `first tokens kept in the middle of answers ${percent(served)}, of new drafts ${percent(fresh)}; ` +
              `they differ at ${differ} of ${places} places\n`,
          );
          if (!result.agree) say('the drafter does not get what it needs to know, or learns while it drafts', 'yellow');
        }
        if (!result.agree) process.exitCode = 1;
      } finally {
        bar.end();
        interrupt.done();
        dispose();
        opened.model.dispose();
      }
    },
  );
}
