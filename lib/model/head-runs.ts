// Heads that draft for their model: a program of their own on the model's device, which shares weights with it.
import { totalmem } from 'node:os';
import type { Drafter } from '../decode/speculation/drafter.js';
import type { HeadSeat } from '../decode/speculation/drafters/feature-head.js';
import { Engine } from '../engine.js';
import { expected, VivaceError } from '../errors.js';
import type { WeightStore } from '../formats/weight-store.js';
import { kvBytesPerToken } from '../models/memory.js';
import { rowBytes } from '../program/dtype.js';
import type { Executor, KvCache } from '../program/executor.js';
import type { Program } from '../program/program.js';
import { Model } from './model.js';
import { BYTES_PER_THREAD } from './threads.js';

/** A head that has been opened; generations of its model may use it until it is disposed of. */
export interface HeadDrafter extends Drafter {
  /** Gives its memory back; not during a generation that uses it. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/** Throws INVALID_ARGUMENT. */
export function checkHead(model: Model, headPath: string): void {
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  if (typeof headPath !== 'string' || headPath === '') throw expected('a path', 'headPath', headPath);
}

export class HeadRuns {
  private readonly executor: Executor;
  private readonly kv: KvCache;
  private readonly rounds: Engine;
  private gone = false;

  /** `taps`: the model's values that are the head's features. Closes `own` when it throws. */
  constructor(
    private readonly model: Model,
    private readonly taps: readonly string[],
    private readonly own: WeightStore,
    of: (tensor: string) => WeightStore,
    cache: Parameters<typeof kvBytesPerToken>[0],
    private readonly logitsWidth: number,
    build: () => Program,
  ) {
    try {
      const known = model.base().taps;
      const missing = taps.find((name) => !(name in known));
      if (missing) throw new VivaceError('UNSUPPORTED_FEATURE', `This model does not say its values \`${missing}\``);
      const program = build();
      // One of 2.5 MB drafts five tokens in 1.0 ms with one thread and in 2.4 ms with two, between rounds that use both.
      const threads = Math.ceil(matrixBytes(program) / BYTES_PER_THREAD);
      this.executor = model.base().companion(program, of, threads);
      const pageBytes = 32 * kvBytesPerToken(cache, 'F16', 'F16');
      const maxPages = Math.max(16, Math.min(1 << 20, Math.floor(totalmem() / pageBytes)));
      this.kv = this.executor.createKvCache({ maxPages });
      this.rounds = new Engine(this.executor, logitsWidth);
    } catch (error) {
      own.close();
      throw error;
    }
  }

  /** What is made of the places for generations that it gives. */
  drafter(make: (seat: () => HeadSeat) => Drafter): HeadDrafter {
    const dispose = (): void => this.dispose();
    return { ...make(() => this.seat()), dispose, [Symbol.dispose]: dispose };
  }

  private seat(): HeadSeat {
    const { model, kv, executor, rounds, logitsWidth, taps } = this;
    if (this.gone || model.disposed) throw new VivaceError('DISPOSED', 'The head or its model was disposed');
    const { vocab, info } = model.base();
    const { contextLength } = info;
    return { rounds, executor, kv, sequence: kv.create(), contextLength, vocab, logitsWidth, taps };
  }

  private dispose(): void {
    if (this.gone) return;
    this.gone = true;
    this.rounds.close();
    void this.rounds.idle().then(() => {
      this.kv.dispose();
      this.executor.dispose();
      this.own.close();
    });
  }
}

/** What a row reads of matrices. */
function matrixBytes({ calls }: Program): number {
  const read = calls.flatMap(({ op, inputs }) => (op === 'linear' && inputs[1] ? [inputs[1]] : []));
  return read.reduce((sum, { rows, dtype, columns }) => sum + (rows as number) * rowBytes(dtype, columns), 0);
}
