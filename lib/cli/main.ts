// The command line: what commands there are, and how mistakes are reported (one line, exit code 1).
import { Command, CommanderError } from 'commander';
import { benchCommand } from './bench/command.js';
import { calibrateCommand } from './calibrate.js';
import { chatCommand } from './chat.js';
import { datastoreCommand } from './speculation/datastore.js';
import { evaluateCommand } from './evaluation/evaluate.js';
import { fitScalingCommand } from './speculation/fit-scaling.js';
import { scaleProbeCommand } from './speculation/scale-probe.js';
import { selfCheckCommand } from './speculation/selfcheck.js';
import { inspectCommand } from './inspect.js';
import { quantizeCommand } from './quantize.js';
import { runCommand } from './run.js';
import { tokenizeCommand } from './tokenize.js';
import { fail, oneLine, style } from './terminal.js';

const { version } = require('../../package.json') as { version: string };

/** Runs the command that `argv` (as in process.argv) names; sets the process's exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  // `vivace run … | head` closes the pipe early; that is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  const program = new Command('vivace')
    .description('Fast decoding of neural models')
    .version(version)
    .showHelpAfterError(false)
    .enablePositionalOptions(); // what follows a command is that command's, also where the one above it has the name, too
  for (const command of [
    runCommand(),
    chatCommand(),
    inspectCommand(),
    tokenizeCommand(),
    benchCommand(),
    quantizeCommand(),
    datastoreCommand(),
    fitScalingCommand(),
    scaleProbeCommand(),
    selfCheckCommand(),
    evaluateCommand(),
    calibrateCommand(),
  ])
    program.addCommand(command);
  const nested = program.commands.flatMap(({ commands }) => commands);
  for (const command of [program, ...program.commands, ...nested]) {
    command.exitOverride().configureOutput({
      outputError: (text, write) =>
        write(`${style(process.stderr, 'red', 'error:')} ${oneLine(text.replace(/^error: /, '').split('\n'))}\n`),
    });
  }
  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 1;
    else fail(error, argv.includes('--json'));
  }
}
