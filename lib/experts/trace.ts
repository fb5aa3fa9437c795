// What a model's routers chose, run by run and layer by layer, and what the layer before had predicted: recorded while it runs.
import { readFileSync, writeFileSync } from 'node:fs';
import { VivaceError } from '../errors.js';

/** A layer of a run. Rows lie one after the other, each with its experts, the best first. */
export interface RoutedLayer {
  /** [rows, used] */
  readonly chosen: Int32Array;
  /** [rows of the layer before, predicted]; absent in the first layer with experts, which nothing predicts. */
  readonly predicted?: Int32Array;
}

export interface RoutedRun {
  /** Rows of the run. The last layer has those only whose logits were wanted. */
  readonly rows: number;
  /** Some rows begin a text: their position is 0. */
  readonly begins: boolean;
  /** One per layer with experts. */
  readonly layers: readonly RoutedLayer[];
}

export interface RoutingRecord {
  /** Of a layer; of a row; of a row's prediction. */
  readonly experts: number;
  readonly used: number;
  readonly predicted: number;
  readonly runs: readonly RoutedRun[];
}

/** What native code records: −1, rows and 1 where a text begins; then per route 2 · layer (+ 1: predicted), rows, columns, ids. */
export function decodeRouting(words: Int32Array, layers: number): RoutedRun[] {
  const runs: RoutedRun[] = [];
  let found: { chosen: Int32Array; predicted?: Int32Array }[] = [];
  for (let at = 0; at < words.length;) {
    if (words[at] === -1) {
      found = Array.from({ length: layers }, () => ({ chosen: new Int32Array(0) }));
      runs.push({ rows: words[at + 1], begins: words[at + 2] === 1, layers: found });
      at += 3;
      continue;
    }
    const [kind, rows, columns] = words.subarray(at, at + 3);
    const ids = words.slice(at + 3, at + 3 + rows * columns);
    found[kind >> 1][kind % 2 === 1 ? 'predicted' : 'chosen'] = ids;
    at += 3 + ids.length;
  }
  return runs;
}

/** The same where a prompt came in runs of up to `most` rows. Runs of several rows that follow each other are of one prompt. */
export function joinPrompts(record: RoutingRecord, most: number): RoutingRecord {
  const runs: RoutedRun[] = [];
  for (const run of record.runs) {
    const before = runs.at(-1);
    if (!before || run.begins || before.rows === 1 || run.rows === 1 || before.rows + run.rows > most) {
      runs.push(run);
      continue;
    }
    const layers = run.layers.map(({ chosen, predicted }, layer): RoutedLayer => {
      const own = before.layers[layer];
      const all = [...(own.predicted ?? []), ...(predicted ?? [])];
      return {
        chosen: Int32Array.of(...own.chosen, ...chosen),
        ...((own.predicted ?? predicted) && { predicted: Int32Array.from(all) }),
      };
    });
    runs[runs.length - 1] = { rows: before.rows + run.rows, begins: before.begins, layers };
  }
  return { ...record, runs };
}

/** JSON, a line per run behind a line with what holds for all. */
export function writeRouting(file: string, { runs, ...head }: RoutingRecord): void {
  const lines = runs.map(({ rows, begins, layers }) =>
    JSON.stringify({
      rows,
      begins,
      chosen: layers.map(({ chosen }) => [...chosen]),
      predicted: layers.map(({ predicted }) => (predicted ? [...predicted] : null)),
    }),
  );
  writeFileSync(file, `${[JSON.stringify(head), ...lines].join('\n')}\n`);
}

/** Throws FILE_*, and FORMAT_INVALID for what `writeRouting` does not write. */
export function readRouting(file: string): RoutingRecord {
  const invalid = (line: number, cause?: unknown): VivaceError =>
    new VivaceError('FORMAT_INVALID', `${file}, line ${line}: no routing of experts`, { cause });
  const lines = read(file).trimEnd().split('\n');
  const parsed = lines.map((line, index): Record<string, unknown> => {
    try {
      return JSON.parse(line) as Record<string, unknown>;
    } catch (cause) {
      throw invalid(index + 1, cause);
    }
  });
  const [head, ...rest] = parsed;
  const { experts, used, predicted } = head;
  if (![experts, used, predicted].every((value) => Number.isSafeInteger(value))) throw invalid(1);
  const ids = (value: unknown): value is number[] =>
    Array.isArray(value) && value.every((id) => Number.isInteger(id) && id >= 0 && id < (experts as number));
  const runs = rest.map((run, index): RoutedRun => {
    const chosen = run['chosen'];
    const guesses = run['predicted'];
    const fits = Array.isArray(chosen) && Array.isArray(guesses) && chosen.length === guesses.length;
    if (!fits || !Number.isSafeInteger(run['rows']) || !chosen.every(ids)) throw invalid(index + 2);
    if (!guesses.every((guess) => guess === null || ids(guess))) throw invalid(index + 2);
    const layers = chosen.map((list, layer): RoutedLayer => ({
      chosen: Int32Array.from(list),
      ...(guesses[layer] === null ? {} : { predicted: Int32Array.from(guesses[layer] as number[]) }),
    }));
    return { rows: run['rows'] as number, begins: run['begins'] === true, layers };
  });
  return { experts: experts as number, used: used as number, predicted: predicted as number, runs };
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const missing = (cause as { code?: string }).code === 'ENOENT';
    throw new VivaceError(missing ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE', `Cannot read ${file}`, { cause });
  }
}
