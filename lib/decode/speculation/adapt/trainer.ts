// Learns beside the drafts: reads what was said once more, in small pieces, and takes steps of training off the JavaScript
// thread, both for no more than a share of the time.
import { fromNative, native } from '../../../native.js';
import type { KvCache } from '../../../program/executor.js';
import type { Rounds } from '../../rounds.js';
import { distilLosses } from './distillation.js';
import type { Lesson } from './lessons.js';
import type { LowRank } from './low-rank.js';
import type { ResolvedAdaptation } from './options.js';
import { Replay, type ReplayRow } from './replay.js';

/** Rows of a step. */
const BATCH = 64;
/** Rows of a piece that is read: what a draft may have to wait for. */
const PIECE = 32;
/** Steps until the rate is whole. */
const WARM_UP = 20;
const ADAMW = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.01, clip: 1 } as const;
/** Answers' parts that wait to be read; the oldest ones are left out. */
const MOST_WAITING = 16;
/** Bytes of rows that are kept, whatever `replay` says. */
const MOST_BYTES = 2 ** 28;

/** Lessons of one text, in ascending order of their rows. */
export interface Study {
  readonly rounds: Rounds;
  readonly kv: KvCache;
  /** Holds the text before `tokens`; the trainer releases it. */
  readonly sequence: number;
  /** What is behind it, up to the last lesson's row. */
  readonly tokens: Int32Array;
  readonly lessons: readonly Lesson[];
  /** Index of the first of `tokens` in the text. */
  readonly begin: number;
}

export interface TrainingReport {
  /** Rows that were learned from, and steps of training. */
  readonly rows: number;
  readonly steps: number;
  /** Averages of the newest steps; NaN before there are any. */
  readonly lawLoss: number;
  readonly runLoss: number;
  /** Share of the time since the first lesson. */
  readonly share: number;
}

export class Trainer {
  private readonly replay: Replay;
  private readonly studies: Study[] = [];
  private readonly abort = new Int32Array(2);
  private readonly losses = new Float32Array(3);
  private running: Promise<void> | undefined;
  private hurried = 0; // callers that wait for the end
  private wake: (() => void) | undefined;
  private rows = 0;
  private average = { law: NaN, run: NaN };
  private busyMs = 0;
  private begin: number | undefined;
  private failed = false;

  /** `stepped`: after a step, when nobody touches the weights. */
  constructor(
    private readonly weights: LowRank,
    private readonly mapped: Uint8Array,
    private readonly options: ResolvedAdaptation,
    private readonly stepped: () => void,
  ) {
    const { width, vocab } = weights.shape;
    const fits = Math.floor(MOST_BYTES / (4 * (width + vocab)));
    this.replay = new Replay(Math.max(BATCH, Math.min(options.replay, fits)));
  }

  /** Takes over the study's sequence. */
  submit(study: Study): void {
    if (this.failed || this.abort[1] !== 0) return study.rounds.release(study.kv, study.sequence);
    this.begin ??= performance.now();
    this.studies.push(study);
    if (this.studies.length > MOST_WAITING) this.forget(this.studies.shift() as Study);
    this.running ??= this.run();
  }

  /** Resolves when everything that waits has been learned, as fast as it goes. */
  async settle(): Promise<void> {
    this.hurried++;
    this.wake?.();
    await this.running;
    this.hurried--;
  }

  /** Forgets all texts; the weights stay. */
  clear(): void {
    for (const study of this.studies.splice(0)) this.forget(study);
    this.replay.clear();
  }

  /** Ends with the piece in flight. */
  async dispose(): Promise<void> {
    Atomics.store(this.abort, 1, 1);
    this.clear();
    this.wake?.();
    await this.running;
  }

  report(): TrainingReport {
    const { rows, average, begin, busyMs, weights } = this;
    const passed = begin === undefined ? 0 : performance.now() - begin;
    return {
      rows,
      steps: weights.steps,
      lawLoss: average.law,
      runLoss: average.run,
      share: passed > 0 ? busyMs / passed : 0,
    };
  }

  private forget({ rounds, kv, sequence }: Study): void {
    rounds.release(kv, sequence);
  }

  private async run(): Promise<void> {
    try {
      while (this.abort[1] === 0) {
        if (this.replay.fresh >= BATCH / 2) await this.measured(() => this.step());
        else if (this.studies.length > 0) await this.read(this.studies.shift() as Study);
        else if (this.hurried > 0 && this.replay.fresh > 0) await this.measured(() => this.step());
        else break;
      }
    } catch (error) {
      if (this.abort[1] === 0) this.fail(error);
    } finally {
      this.running = undefined;
    }
  }

  /** What cannot be learned does not touch the answers. */
  private fail(error: unknown): void {
    this.failed = true;
    this.clear();
    const why = (error as Error | undefined)?.message ?? error;
    process.emitWarning(`A drafter stopped learning: ${String(why)}`);
  }

  /** Runs the text again, piece by piece, for what the output matrix multiplies and gives. */
  private async read(study: Study): Promise<void> {
    const { rounds, kv, sequence, tokens, lessons, begin } = study;
    const { width, vocab } = this.weights.shape;
    try {
      let at = 0; // in lessons
      for (let from = 0; from < tokens.length && this.abort[1] === 0; from += PIECE) {
        const piece = tokens.subarray(from, from + PIECE);
        const logits = new Float32Array(piece.length * vocab);
        const hidden: Float32Array[] = [];
        await this.measured(async () => {
          const hear = ([values]: readonly Float32Array[]): void => void hidden.push(values);
          const logged = { firstRow: 0, out: logits };
          await rounds.submit({ kv, sequence, tokens: piece, logits: logged, taps: { names: ['hidden'], hear } }).done;
        });
        const known = joined(hidden);
        if (known.length < piece.length * width) return; // it was cancelled
        for (; at < lessons.length && lessons[at].row < begin + from + piece.length; at++) {
          const { row, ...lesson } = lessons[at];
          const place = row - begin - from;
          this.rows++;
          this.replay.push({
            ...lesson,
            hidden: known.slice(place * width, (place + 1) * width),
            logits: logits.slice(place * vocab, (place + 1) * vocab),
          });
        }
      }
    } finally {
      this.forget(study);
    }
  }

  private async step(): Promise<void> {
    const { weights, options, losses } = this;
    const rows = this.replay.batch(BATCH);
    const { rank, width, vocab } = weights.shape;
    const { a, b, momentsA, momentsB } = weights;
    const step = weights.steps + 1;
    try {
      await native().distil(
        {
          ...packed(rows, width, vocab),
          rank,
          mapped: this.mapped,
          loss: distilLosses.indexOf(options.loss),
          lambda: options.lambda,
          step,
          ...ADAMW,
          rate: options.rate * Math.min(1, step / WARM_UP),
          a,
          b,
          momentsA,
          momentsB,
          losses,
        },
        this.abort,
      );
    } catch (error) {
      throw fromNative(error);
    }
    if (!losses.every(Number.isFinite)) return;
    weights.steps = step;
    const newest = Math.max(0.05, 1 / step);
    const mean = (old: number, now: number): number => (Number.isNaN(old) ? now : old + newest * (now - old));
    this.average = { law: mean(this.average.law, losses[0]), run: mean(this.average.run, losses[1]) };
    this.stepped();
  }

  /** A piece of work, and the rest behind it that makes it a share of the time. */
  private async measured(work: () => Promise<void>): Promise<void> {
    const begin = performance.now();
    await work();
    const ms = performance.now() - begin;
    this.busyMs += ms;
    const rest = ms * (1 / this.options.maxShare - 1);
    if (this.hurried > 0 || this.abort[1] !== 0 || rest <= 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, rest);
      timer.unref(); // nobody stays for learning
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.wake = undefined;
  }
}

function joined(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0];
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Rows as native code reads them. */
function packed(rows: readonly ReplayRow[], width: number, vocab: number) {
  const hidden = new Float32Array(rows.length * width);
  const logits = new Float32Array(rows.length * vocab);
  const starts = new Int32Array(rows.length + 1);
  rows.forEach((row, i) => {
    hidden.set(row.hidden, i * width);
    logits.set(row.logits, i * vocab);
    starts[i + 1] = starts[i] + row.ids.length;
  });
  return {
    rows: rows.length,
    width,
    vocab,
    hidden,
    logits,
    starts,
    ids: Int32Array.from(rows.flatMap(({ ids }) => ids)),
    laws: Float32Array.from(rows.flatMap(({ laws }) => laws)),
    labels: Int32Array.from(rows, ({ label }) => label),
    weights: Float32Array.from(rows, ({ weight }) => weight),
  };
}
