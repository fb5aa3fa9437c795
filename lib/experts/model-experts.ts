// What a loaded model tells of its experts: how memory is spent on them, what reading them came to, and what was recorded.
import { VivaceError } from '../errors.js';
import type { ModelConfig } from '../formats/model-config.js';
import { predictedExperts } from '../models/experts.js';
import { nativeCall, type NativeExpertStatistics } from '../native.js';
import type { Executor } from '../program/executor.js';
import { NativeExecutor } from '../program/native-executor.js';
import type { ResolvedExperts } from './options.js';
import type { ExpertPlan } from './plan.js';
import { expertStatistics, type ExpertStatistics } from './statistics.js';
import { decodeRouting, type RoutingRecord } from './trace.js';

/** A run of a prompt reads nearly every expert, for however few rows: so many share what is read. */
const STORED_ROWS = 512;

export class ModelExperts {
  private readonly executor: NativeExecutor | undefined;

  /** @internal Made by `loadModel`. */
  constructor(
    private readonly config: ModelConfig,
    executor: Executor,
    private readonly options: ResolvedExperts,
    /** How the budget of `experts.memory` is spent; undefined without one, and for dense models. */
    readonly plan: ExpertPlan | undefined,
  ) {
    this.executor = executor instanceof NativeExecutor ? executor : undefined;
    if (options.trace) this.executor?.routing(true);
  }

  /** @internal Rows of a prompt in a run where experts are read from their file; undefined: as many as are over soon. */
  get promptRows(): number | undefined {
    return this.plan?.resident === false ? STORED_ROWS : undefined;
  }

  /** What reading experts from their file came to so far; undefined where all are in memory. Throws DISPOSED. */
  statistics(): ExpertStatistics | undefined {
    const found = this.counts();
    return found && this.since(found);
  }

  /** @internal For the same between two moments. */
  counts(): NativeExpertStatistics | undefined {
    return nativeCall(() => this.executor?.experts());
  }

  /** @internal */
  since(now: NativeExpertStatistics, before?: NativeExpertStatistics): ExpertStatistics {
    return expertStatistics(now, this.plan?.layers.map(({ block }) => block) ?? [], before);
  }

  /** @internal Begins to count; what it gives tells what was done since then, as long as the model lives. */
  watch(): () => ExpertStatistics | undefined {
    const before = this.counts();
    if (!before) return () => undefined;
    return () => {
      try {
        const now = this.counts();
        return now && this.since(now, before);
      } catch (error) {
        if (error instanceof VivaceError && error.code === 'DISPOSED') return undefined;
        throw error;
      }
    };
  }

  /**
   * Which experts rows went to since it was last asked for, and what the layers before predicted. Throws UNSUPPORTED_FEATURE unless
   * the model was loaded with `experts: { trace: true }`, has experts and runs on the CPU; DISPOSED.
   */
  routing(): RoutingRecord {
    const { experts } = this.config;
    const { executor, options } = this;
    if (!experts || !options.trace || !executor) {
      throw new VivaceError('UNSUPPORTED_FEATURE', 'Nothing is recorded of experts', {
        remedy: 'Load a mixture of experts with `experts: { trace: true }` on the CPU.',
      });
    }
    const layers = experts.sparse.filter(Boolean).length;
    return {
      experts: experts.count,
      used: experts.used,
      predicted: predictedExperts(experts, options.overfetch),
      runs: decodeRouting(
        nativeCall(() => executor.routing()),
        layers,
      ),
    };
  }
}
