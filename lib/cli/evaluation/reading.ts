// What `vivace evaluate needle` and `vivace evaluate perplexity` share: long texts are read under a cache policy, which takes a
// while, can be stopped, and ends in a report.
import type { Command } from 'commander';
import type { Model } from '../../model/model.js';
import { addCacheOptions, addJsonOption, addModelOptions, type CacheFlags, type ModelOptions } from '../arguments.js';
import { interruptible, open, title, type Opened } from '../opened.js';
import { printJson, progress, say } from '../terminal.js';

export interface ReadingFlags extends ModelOptions, CacheFlags {
  readonly json?: boolean;
}

export const addReadingOptions = (command: Command): Command =>
  addJsonOption(addModelOptions(addCacheOptions(command)));

/** Between 0 and 1 as it goes on, and what Ctrl-C sets. */
interface How {
  readonly onProgress: (fraction: number) => void;
  readonly signal: AbortSignal;
}

interface Reading<Report> {
  /** Beside the bar. */
  readonly doing: string;
  readonly measure: (model: Model, how: How) => Promise<Report>;
  /** The report for people. */
  readonly table: (report: Report) => string;
  /** Before it is printed. */
  readonly then?: (opened: Opened, report: Report) => void;
}

/** Prints the report, of what was read until then if it was stopped. */
export async function read<Report extends { readonly aborted: boolean }>(
  path: string | undefined,
  options: ReadingFlags,
  { doing, measure, table, then }: Reading<Report>,
): Promise<void> {
  const opened = await open(path, options, options.json === true);
  const bar = progress(doing, options.json);
  const interrupt = interruptible();
  try {
    const onProgress = (fraction: number): void => bar.update(fraction);
    const report = await measure(opened.model, { onProgress, signal: interrupt.signal });
    bar.end();
    then?.(opened, report);
    if (options.json === true) printJson(report);
    else {
      say(title(opened), 'dim');
      process.stdout.write(`${table(report)}\n`);
      if (report.aborted) say('stopped', 'yellow');
    }
  } finally {
    bar.end();
    interrupt.done();
    opened.model.dispose();
  }
}
