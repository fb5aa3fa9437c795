// What a store of experts has done, in figures that say how well a policy works.
import type { NativeExpertStatistics } from '../native.js';

export interface ExpertLayerStatistics {
  /** Of the model. */
  readonly block: number;
  /** Experts that runs needed, each once per run: in memory because they stayed, predicted, or neither. */
  readonly needed: number;
  readonly hits: number;
  readonly predicted: number;
  readonly missed: number;
  /** hits / needed */
  readonly hitRate: number;
  /** Of the choices of rows, the share that was predicted; undefined where nothing was. */
  readonly accuracy: number | undefined;
}

export interface ExpertStatistics {
  readonly runs: number;
  readonly hitRate: number;
  readonly accuracy: number | undefined;
  /** Copies that came to an end, bytes that were read, and copies that nobody needed. */
  readonly copies: number;
  readonly bytesCopied: number;
  readonly dropped: number;
  /** Waited for copies. */
  readonly stallMs: number;
  /** Reads went past the system's cache. */
  readonly directReads: boolean;
  readonly layers: readonly ExpertLayerStatistics[];
}

const COLUMNS = 6;

/** What was done since `before`, which is an earlier answer of the same store. */
export function expertStatistics(
  now: NativeExpertStatistics,
  blocks: readonly number[],
  before?: NativeExpertStatistics,
): ExpertStatistics {
  const since = (name: 'runs' | 'copies' | 'bytes' | 'dropped' | 'stallSeconds'): number =>
    now[name] - (before?.[name] ?? 0);
  const counts = now.layers.map((count, index) => count - (before?.layers[index] ?? 0));
  const share = (part: number, of: number): number => (of === 0 ? 0 : part / of);
  const accuracyOf = (foreseen: number, choices: number): number | undefined =>
    choices === 0 ? undefined : foreseen / choices;
  const layers = blocks.map((block, layer): ExpertLayerStatistics => {
    const [needed, hits, predicted, missed, choices, foreseen] = counts.subarray(COLUMNS * layer);
    const rates = { hitRate: share(hits, needed), accuracy: accuracyOf(foreseen, choices) };
    return { block, needed, hits, predicted, missed, ...rates };
  });
  const sum = (column: number): number =>
    blocks.reduce((total, _, layer) => total + counts[COLUMNS * layer + column], 0);
  return {
    runs: since('runs'),
    hitRate: share(sum(1), sum(0)),
    accuracy: accuracyOf(sum(5), sum(4)),
    copies: since('copies'),
    bytesCopied: since('bytes'),
    dropped: since('dropped'),
    stallMs: 1000 * since('stallSeconds'),
    directReads: now.direct,
    layers,
  };
}
