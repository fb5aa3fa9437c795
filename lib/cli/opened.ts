// Loads the model that a command names, with a progress bar, and lets Ctrl-C end what is running before the program.
import { basename } from 'node:path';
import { embeddedModelPath, loadModel } from '../model/load.js';
import type { Device, Repack } from '../model/load.js';
import type { Model } from '../model/model.js';
import { openModelFile } from '../formats/open.js';
import type { ModelSource } from '../formats/model-source.js';
import { planExperts } from '../experts/plan.js';
import { expertOptions, type ModelOptions } from './arguments.js';
import { planLine } from './bench/experts.js';
import { count } from './quantities.js';
import { progress, say } from './terminal.js';

export interface Opened {
  readonly path: string;
  readonly source: ModelSource;
  readonly model: Model;
  readonly loadMs: number;
}

/** Without a path the embedded model. */
export async function open(path: string | undefined, options: ModelOptions, quiet: boolean): Promise<Opened> {
  const begin = performance.now();
  const file = path ?? embeddedModelPath();
  const experts = expertOptions(options);
  const plan = experts && planExperts(openModelFile(file), experts);
  if (plan && !quiet) say(planLine(plan), 'dim');
  const bar = progress(`loading ${basename(file)}`, quiet);
  try {
    const model = await loadModel(file, {
      ...(options.device === undefined ? {} : { device: options.device as Device }),
      ...(options.threads === undefined ? {} : { threads: options.threads }),
      ...(options.context === undefined ? {} : { contextLength: options.context }),
      ...(options.repack === undefined ? {} : { repack: options.repack as Repack }),
      ...(options.prefixCache === undefined ? {} : { prefixCache: options.prefixCache }),
      ...(experts === undefined ? {} : { experts }),
      onProgress: (fraction) => bar.update(fraction),
    });
    return { path: file, source: openModelFile(file), model, loadMs: performance.now() - begin };
  } finally {
    bar.end();
  }
}

/** `stories · llama · 3.4 M parameters · Q8_0 · cpu` */
export function title({ model: { info }, path }: Opened): string {
  const types = Object.entries(info.quantisation).sort(([, a], [, b]) => b.bytes - a.bytes);
  const parts = [info.name ?? basename(path), info.architecture, `${count(info.parameters)} parameters`];
  return [...parts, ...types.slice(0, 1).map(([name]) => name), info.device].join(' · ');
}

/** A signal that the first Ctrl-C sets; a second one ends the program. */
export function interruptible(): { signal: AbortSignal; done: () => void } {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  };
  process.on('SIGINT', stop);
  return { signal: controller.signal, done: () => process.off('SIGINT', stop) };
}
