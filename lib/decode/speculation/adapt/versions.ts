// Which weights a drafter drafts with: they change between drafts, never during one.
import type { Executor, KvCache, KvOptions, Proposal, RowSampler, RunRequest } from '../../../program/executor.js';
import type { RunResult, SamplerOptions } from '../../../program/executor.js';

/** An executor that stands for another one, which may change between runs: programs over one cache. */
export class ChangingExecutor implements Executor {
  constructor(public current: Executor) {}

  get name(): Executor['name'] {
    return this.current.name;
  }
  get kvShape(): Executor['kvShape'] {
    return this.current.kvShape;
  }
  get kvLayers(): Executor['kvLayers'] {
    return this.current.kvLayers;
  }
  get inputs(): Executor['inputs'] {
    return this.current.inputs;
  }
  get taps(): Executor['taps'] {
    return this.current.taps;
  }
  createKvCache(options: KvOptions): KvCache {
    return this.current.createKvCache(options);
  }
  createSampler(options: SamplerOptions): RowSampler {
    return this.current.createSampler(options);
  }
  createProposal(replacement: boolean): Proposal {
    return this.current.createProposal(replacement);
  }
  run(kv: KvCache, request: RunRequest): Promise<RunResult> {
    return this.current.run(kv, request);
  }
  memory(): ReturnType<Executor['memory']> {
    return this.current.memory();
  }
  dispose(): void {
    this.current.dispose();
  }
}

/** Lets drafts in, and changes in between: a change waits for the drafts that have begun, and later drafts wait for it. */
export class DraftGate {
  private inside = 0;
  private change: (() => void) | undefined;
  private waiting: (() => void)[] = [];

  /** At most one draft has begun and is not over. */
  get alone(): boolean {
    return this.inside <= 1;
  }

  /** A draft begins, now or when the promise resolves. */
  enter(): Promise<void> | undefined {
    if (!this.change) {
      this.inside++;
      return undefined;
    }
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** It is over. */
  leave(): void {
    this.inside--;
    this.settle();
  }

  /** A later change takes the place of one that still waits. */
  request(change: () => void): void {
    this.change = change;
    this.settle();
  }

  private settle(): void {
    const { change } = this;
    if (!change || this.inside > 0) return;
    this.change = undefined;
    try {
      change();
    } finally {
      const waiting = this.waiting.splice(0);
      this.inside += waiting.length;
      for (const resolve of waiting) resolve();
    }
  }
}
