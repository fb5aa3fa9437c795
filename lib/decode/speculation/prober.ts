// What draws from a draft's probe: a sampler of its own, the most probable tokens, bans included.
import type { Executor, RowDrafting, RowSampler, SamplerOptions } from '../../program/executor.js';
import type { JobDraft } from '../rounds.js';
import type { DraftProbe } from './drafter.js';
import { plainly } from './options.js';

export class Prober {
  private sampler: RowSampler | undefined;

  /** `options`: how the target draws. */
  constructor(
    private readonly executor: Pick<Executor, 'createSampler'>,
    private readonly options: SamplerOptions,
  ) {}

  private get own(): RowSampler {
    const { logitBias, vocab, seed } = this.options;
    return (this.sampler ??= this.executor.createSampler({ ...plainly, logitBias, vocab, seed }));
  }

  asking(probe: DraftProbe | undefined): Pick<JobDraft, 'probe'> {
    return probe ? { probe: { ...probe, sampler: this.own } } : {};
  }

  /** For runs that ask drafters by themselves; what the first round asks is known when it begins. */
  get seat(): NonNullable<RowDrafting['prober']> {
    return { sampler: this.own, rows: 0, outputs: 0 };
  }

  dispose(): void {
    this.sampler?.dispose();
  }
}
