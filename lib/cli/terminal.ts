// What the commands write: colours and progress bars for people at a terminal, plain lines and JSON for machines.
import { styleText } from 'node:util';
import { SingleBar } from 'cli-progress';
import { VivaceError } from '../errors.js';

type Style = 'bold' | 'dim' | 'red' | 'green' | 'cyan' | 'yellow';

const colourful = (stream: NodeJS.WriteStream): boolean =>
  stream.isTTY === true && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb';

/** Styled when the stream is a terminal and NO_COLOR is not set. */
export const style = (stream: NodeJS.WriteStream, name: Style, text: string): string =>
  colourful(stream) ? styleText(name, text) : text;

/** A line of commentary: it goes to standard error, so that standard output holds the result alone. */
export function say(text: string, name?: Style): void {
  process.stderr.write(`${name === undefined ? text : style(process.stderr, name, text)}\n`);
}

export function printJson(value: unknown): void {
  process.stdout.write(
    `${JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? String(item) : item))}\n`,
  );
}

export interface Progress {
  /** Between 0 and 1. */
  update(fraction: number): void;
  end(): void;
}

/** A bar on standard error, or nothing when that is no terminal or `quiet`. */
export function progress(title: string, quiet = false): Progress {
  if (quiet || process.stderr.isTTY !== true) return { update: () => undefined, end: () => undefined };
  const bar = new SingleBar({
    format: `${title} ${style(process.stderr, 'cyan', '{bar}')} {percentage} %`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 30,
    clearOnComplete: true,
    hideCursor: true,
    stream: process.stderr,
  });
  bar.start(1000, 0);
  return { update: (fraction) => bar.update(Math.round(1000 * Math.min(1, fraction))), end: () => bar.stop() };
}

/** One line for a mistake: what is wrong and what to do. What is no VivaceError is our own mistake and shows where. */
export function explain(error: unknown): string {
  if (error instanceof VivaceError) return oneLine([error.message, error.remedy]);
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Sentences in one line, each with its full stop. */
export const oneLine = (sentences: readonly (string | undefined)[]): string =>
  sentences
    .filter((sentence) => sentence !== undefined && sentence !== '')
    .map((sentence) => (sentence as string).replace(/\s*\n\s*/g, ' ').trim())
    .map((sentence) => (/[.!?)]$/.test(sentence) ? sentence : `${sentence}.`))
    .join(' ');

/** Ends the process's output: a message on standard error, in JSON mode also `{"error": …}` on standard output. */
export function fail(error: unknown, json: boolean): void {
  if (json) {
    const known = error instanceof VivaceError;
    const { message, remedy } = known ? error : { message: String(error), remedy: undefined };
    printJson({
      error: { code: known ? error.code : 'INTERNAL', message, ...(remedy === undefined ? {} : { remedy }) },
    });
  }
  say(`${style(process.stderr, 'red', 'error:')} ${explain(error)}`);
  process.exitCode = 1;
}
