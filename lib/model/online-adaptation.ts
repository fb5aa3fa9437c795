// A drafter that learns from its target while it is used.
import { Acceptance } from '../decode/speculation/adapt/acceptance.js';
import { mappedTokens, type TokenMap } from '../decode/speculation/adapt/lessons.js';
import { LowRank, type LowRankOwner, type LowRankWeights } from '../decode/speculation/adapt/low-rank.js';
import { StopHead } from '../decode/speculation/adapt/stop-head.js';
import { resolveAdaptation } from '../decode/speculation/adapt/options.js';
import type { OnlineAdaptationOptions, ResolvedAdaptation } from '../decode/speculation/adapt/options.js';
import type { Adaptation, Learner } from '../decode/speculation/adapt/studied-drafter.js';
import { Trainer, type TrainingReport } from '../decode/speculation/adapt/trainer.js';
import { ChangingExecutor, DraftGate } from '../decode/speculation/adapt/versions.js';
import type { DraftSeat } from '../decode/speculation/drafters/draft-model.js';
import { tokenizerFingerprint } from '../decode/speculation/drafters/datastore-build.js';
import type { Tokenizer } from '../formats/tokenizer/tokenizer.js';
import { Engine } from '../engine.js';
import { expected, VivaceError } from '../errors.js';
import { buildProgram } from '../models/registry.js';
import type { Executor } from '../program/executor.js';
import { lowRankTensors, withLowRank } from '../program/low-rank.js';
import type { Program } from '../program/program.js';
import type { Model } from './model.js';

export interface AdaptationReport extends TrainingReport {
  /** Share of drafted tokens that is kept, of the newest drafts with what was learned, and of those without; NaN: none yet. */
  readonly acceptance: number;
  readonly plainAcceptance: number;
  /** How often better weights were put back. */
  readonly rollbacks: number;
  /** Drafts without what was learned have been better: it is not used any more. */
  readonly off: boolean;
}

/**
 * What a drafter learns: an addition of low rank to its output matrix. It belongs to the model and the target that it is
 * used with first. The caller disposes of it before the drafter's model, after the generations that use it.
 */
export class OnlineAdaptation implements Adaptation {
  readonly options: ResolvedAdaptation;
  private bound: Bound | undefined;
  private gone = false;

  /** @internal Made by `onlineAdaptation`. */
  constructor(options: OnlineAdaptationOptions | undefined) {
    this.options = resolveAdaptation(options);
  }

  /** @internal The model that learns. Throws UNSUPPORTED_FEATURE, INVALID_ARGUMENT when it is another one already. */
  bind(model: Model): void {
    if (this.gone) throw new VivaceError('DISPOSED', 'The adaptation was disposed');
    if (!this.bound) this.bound = new Bound(model, this.options);
    else if (this.bound.model !== model) {
      throw new VivaceError('INVALID_ARGUMENT', 'The adaptation belongs to another model', {
        remedy: 'Make one for each model that drafts.',
      });
    }
  }

  seat(): DraftSeat {
    return this.alive().seat();
  }

  learner(target: Tokenizer, map: TokenMap): Learner {
    return this.alive().learner(target, map);
  }

  report(): AdaptationReport | undefined {
    return this.bound?.report();
  }

  /** Resolves when everything that was said so far has been learned, as fast as it goes; for tests and servers at rest. */
  async settle(): Promise<void> {
    await this.bound?.trainer?.settle();
  }

  /**
   * Writes what was learned, as safetensors, when what waits has been learned. It tells of texts. Throws FILE_*, and
   * INVALID_ARGUMENT before a generation has used it.
   */
  async save(path: string): Promise<void> {
    const bound = this.alive();
    await bound.trainer?.settle();
    bound.save(path);
  }

  /** Forgets the texts that wait or are kept to be learned from again. What was learned stays. */
  clear(): void {
    this.bound?.clear();
  }

  /** Ends learning and gives all memory back. */
  dispose(): void {
    if (this.gone) return;
    this.gone = true;
    this.bound?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private alive(): Bound {
    if (this.gone) throw new VivaceError('DISPOSED', 'The adaptation was disposed');
    if (!this.bound) {
      throw new VivaceError('INVALID_ARGUMENT', 'The adaptation belongs to no drafter yet', {
        remedy: 'Give it to `draftModel` or `crossVocabulary` as `adapt`.',
      });
    }
    return this.bound;
  }
}

/**
 * Lets a drafter learn while it is used, as `adapt` of `draftModel` or `crossVocabulary`: the answers stay the target's.
 * Throws INVALID_ARGUMENT; the drafter's function throws UNSUPPORTED_FEATURE for models with soft-capped logits; `generate`
 * throws for a file to restore that is missing, damaged or another pair's.
 *
 * Method: OmniDraft's online distillation (Ramakrishnan et al. 2025, arXiv 2507.02659), of the output matrix alone.
 */
export const onlineAdaptation = (options?: OnlineAdaptationOptions): OnlineAdaptation => new OnlineAdaptation(options);

export interface AdaptOptions {
  /** Learns from what targets say, while it drafts: `onlineAdaptation()`. Default: none. */
  readonly adapt?: OnlineAdaptation;
}

/** Throws INVALID_ARGUMENT for what is none, and what `bind` does. */
export function bindAdaptation(model: Model, adapt: unknown): void {
  if (adapt === undefined) return;
  if (!(adapt instanceof OnlineAdaptation))
    throw expected('an adaptation', 'adapt', adapt, 'Make one by `onlineAdaptation()`.');
  adapt.bind(model);
}

/** How many kept tokens a refused one counts as, where drafts learn to end. */
const REJECTION_WEIGHT = 3;
/** Steps of that head for each of the drafter's: its labels age as the drafter learns. */
const HEAD_STEPS = 4;

/** The adaptation of one model. */
class Bound {
  trainer: Trainer | undefined;
  private readonly program: Program;
  private readonly plain: Executor;
  private readonly executor: ChangingExecutor;
  private readonly engine: Engine;
  private readonly gate = new DraftGate();
  private readonly acceptance = new Acceptance();
  private weights: LowRank | undefined;
  private readonly head: StopHead | undefined;
  private owner: LowRankOwner | undefined;
  private target: Tokenizer | undefined;
  private learned: { readonly executor: Executor; readonly weights: LowRankWeights } | undefined;
  private drafts = 0;
  private rollbacks = 0;
  private off = false;

  constructor(
    readonly model: Model,
    private readonly options: ResolvedAdaptation,
  ) {
    const { config, store, info, executor } = model.base();
    const program = buildProgram(config, (tensor) => store.info(tensor), {
      contextLength: info.contextLength,
      readVector: (tensor) => store.vector(tensor),
    });
    this.program = withLowRank(program, options.rank);
    const { stopThreshold: threshold } = options;
    if (threshold !== undefined) this.head = new StopHead({ threshold, rejectionWeight: REJECTION_WEIGHT });
    this.plain = executor;
    this.executor = new ChangingExecutor(executor);
    this.engine = new Engine(this.executor, config.vocab);
  }

  /** As the model lends one, with drafts in rounds of their own. */
  seat(): DraftSeat {
    return { ...this.model.lend(), rounds: this.engine };
  }

  learner(target: Tokenizer, map: TokenMap): Learner {
    const trainer = this.begin(target, map);
    const { rounds, kv, sequence } = this.model.lend();
    rounds.release(kv, sequence); // only its rounds are wanted
    return {
      map,
      options: this.options,
      head: this.head,
      rounds,
      enter: () => this.enter(),
      leave: () => this.gate.leave(),
      heard: (share, withLearned) => this.acceptance.add(share, withLearned),
      submit: (study) => trainer.submit(study),
    };
  }

  report(): AdaptationReport | undefined {
    const { trainer, acceptance, rollbacks, off } = this;
    if (!trainer) return undefined;
    const { learned, plain } = acceptance.means;
    return { ...trainer.report(), acceptance: learned, plainAcceptance: plain, rollbacks, off };
  }

  save(path: string): void {
    if (!this.weights || !this.owner) {
      throw new VivaceError('INVALID_ARGUMENT', 'Nothing was learned yet: no generation has used the adaptation');
    }
    this.weights.save(path, this.owner);
  }

  clear(): void {
    this.trainer?.clear();
    this.head?.clear();
  }

  dispose(): void {
    this.engine.close();
    void this.trainer?.dispose();
    void this.engine.idle().then(() => {
      this.executor.current = this.plain;
      this.learned?.executor.dispose();
      this.learned = undefined;
    });
  }

  private begin(target: Tokenizer, map: TokenMap): Trainer {
    if (this.trainer && this.target === target) return this.trainer;
    if (this.target) {
      throw new VivaceError('INVALID_ARGUMENT', 'The adaptation learns from a target with another tokenizer', {
        remedy: 'Make one for each target.',
      });
    }
    const { restore, rank } = this.options;
    const { config, taps } = this.model.base();
    const weights = new LowRank({ rank, width: taps['hidden'], vocab: config.vocab });
    const owner = { drafter: this.model.fingerprint(), target: String(tokenizerFingerprint(target)) };
    weights.head = this.head;
    if (restore !== undefined) {
      weights.restore(restore, owner);
      this.publish(weights);
    }
    this.weights = weights;
    this.owner = owner;
    this.target = target;
    const trainer = new Trainer(weights, mappedTokens(map, config.vocab), this.options, () => this.stepped());
    return (this.trainer = trainer);
  }

  private enter(): boolean | Promise<boolean> {
    const { probeEvery } = this.options;
    const begin = (): boolean => {
      const probe = probeEvery > 0 && ++this.drafts % probeEvery === 0;
      const wanted = this.off || probe ? this.plain : (this.learned?.executor ?? this.plain);
      if (this.gate.alone) this.executor.current = wanted;
      return this.executor.current !== this.plain;
    };
    const waits = this.gate.enter();
    return waits ? waits.then(begin) : begin();
  }

  private stepped(): void {
    const { weights, acceptance, learned } = this;
    if (!weights) return;
    this.head?.learn(HEAD_STEPS);
    const better = acceptance.judge(learned?.weights);
    if (better) {
      this.rollbacks++;
      weights.reset(better);
    }
    this.off = acceptance.useless;
    this.publish(weights);
  }

  /** The next drafts are made with these weights. */
  private publish(from: LowRank): void {
    const weights = from.weights();
    const { rank, width, vocab } = from.shape;
    const { store, companion } = this.model.base();
    const own = new Map([
      [lowRankTensors[0] as string, { shape: [rank, width], values: weights.a }],
      [lowRankTensors[1] as string, { shape: [vocab, rank], values: weights.b }],
    ]);
    const executor = companion(this.program, (tensor) => {
      const found = own.get(tensor);
      if (!found) return store;
      const { shape, values } = found;
      return {
        info: () => ({ dtype: 'F32', shape }),
        bind: () => values,
        bytes: () => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
      };
    });
    this.gate.request(() => {
      this.learned?.executor.dispose();
      this.learned = { executor, weights };
      this.executor.current = executor;
    });
  }
}
