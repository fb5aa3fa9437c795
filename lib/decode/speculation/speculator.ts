// The drafts of one generation: asks the drafter, cuts drafts to what pays, and keeps the books.
import type { NativeDrafter } from '../../native.js';
import type { Executor, Proposal, RowDrafting, VerifyRule } from '../../program/executor.js';
import type { Fence } from '../constraint.js';
import type { JobDraft, JobPlan, JobResult, JobTaps, OpenDraft } from '../rounds.js';
import { costsOf, shapeRatesOf, type ShapeRates } from './scaling/costs.js';
import { depthOf, nodesOf, none } from './draft-nodes.js';
import type { Draft, DraftContext, GenerationDrafter } from './drafter.js';
import type { ResolvedSpeculation } from './options.js';
import { Guard } from './judge/guard.js';
import { Planner } from './planner.js';
import { Prober } from './prober.js';
import { assumedCosts, SteadyPlan } from './scaling/steady-plan.js';
import { Reflector } from './reflective/reflector.js';
import type { SpeculationResult } from './result.js';
import { Whereabouts } from './where.js';

/** Tokens that may be drawn ahead while drafts find nothing: more each time, for they cannot be verified together. */
const MOST_AHEAD = 8;

/** Rules that weigh the law that a draft was drawn from. */
const byLaws: readonly VerifyRule['name'][] = ['ratio', 'block', 'divergence'];

/** Rounds of a generation that say nothing of how good its drafts are. */
const FEW = 12;

/** Kept tokens per round of a drafter that may as well read less. */
const POOR = 0.02;

export class Speculator {
  private readonly drafter: GenerationDrafter;
  private readonly planner: Planner | undefined;
  private readonly reflector: Reflector | undefined;
  private readonly guard: Guard | undefined;
  private readonly where: Whereabouts | undefined; // the rule is in use
  private readonly prober: Prober;
  private judged = 0;
  /** Drafts of native drafters: a run of rounds asks for them by itself. Ask for `plan`, and not for `next`. */
  readonly goesOn: boolean;
  /** Tokens behind which a run must not go on: the rule may be another one there. */
  readonly turns: readonly number[] | undefined;
  private readonly maxNodes: number;
  private readonly shapes: ShapeRates | undefined;
  private readonly clock = { first: 0, last: 0, said: 0 };
  private said = 0; // tokens
  private quiet = 0; // rounds without a draft, one after the other
  private wait = 0; // rounds that have been asked for ahead
  private resting = 0; // rounds of a rest that are still to come, where runs go on by themselves
  private timed = true; // the round begins when it is asked for
  private current: { draft: JobDraft; hoped: number } | undefined;
  private sequences = 1; // of the last round
  private readonly steady: SteadyPlan | undefined; // in place of a planner
  private readonly decides: boolean; // what is drafted decides what is said
  private rounds = 0;
  private draftedRounds = 0;
  private drafted = 0;
  private accepted = 0;
  private readonly reached: number[] = []; // per depth
  private readonly keptAt: number[] = [];
  private draftMs = 0;
  private lastDraftMs = 0; // until a round is charged with it
  private verifyMs = 0;

  constructor(
    private readonly options: ResolvedSpeculation,
    private readonly executor: Pick<Executor, 'createProposal' | 'createSampler' | 'taps' | 'drafts' | 'weightBytes'>,
    context: Omit<DraftContext, 'createProposal'>,
    stop: readonly string[] = [],
    private readonly fence?: Fence,
  ) {
    const { taps } = executor;
    this.prober = new Prober(executor, context.sampler);
    let draws = false;
    const createProposal = (replacement: boolean): Proposal => {
      draws = true;
      return executor.createProposal(replacement);
    };
    this.guard = options.judge && new Guard(options.judge, context.tokenizer, stop, taps[options.judge.feature]);
    this.reflector = options.reflection && new Reflector(options.reflection, context.tokenizer);
    const { maxDraft, maxNodes, adaptive } = options;
    this.drafter = options.drafter.start({
      ...context,
      weightBytes: executor.weightBytes,
      createProposal,
      maxDraft,
      maxNodes,
    });
    const matches = this.rule(draws).name === 'match' || context.sampler.temperature === 0;
    this.decides = !matches || this.guard !== undefined || this.reflector !== undefined;
    const byTheClock = adaptive && !this.decides;
    this.where = options.within === undefined ? undefined : new Whereabouts(options.within, context.tokenizer);
    this.turns = this.where ? this.where.turns : [];
    const alone = !this.reflector && this.turns && !this.fence && executor.drafts === true;
    const anyShape = alone && byTheClock && maxNodes > maxDraft && this.drafter.anyShape;
    this.shapes = anyShape ? shapeRatesOf(executor, options.drafter.name) : undefined;
    this.maxNodes = this.shapes?.choose() === 'chain' ? maxDraft : maxNodes;
    this.goesOn = alone === true && this.drafter.native !== undefined;
    if (adaptive && this.decides)
      this.steady = new SteadyPlan(maxDraft, assumedCosts(executor.weightBytes ?? Infinity), maxNodes > maxDraft);
    if (!byTheClock) return;
    const { goingOn, returning, calibrations, poor } = costsOf(executor);
    if (this.goesOn && poor.has(options.drafter.name)) this.drafter.saves?.();
    this.planner = new Planner(this.goesOn ? goingOn : returning, calibrations.get(options.drafter.name));
  }

  /** The number of the next draft: by what was said, so that it is the same however rounds are asked for. */
  private get cycle(): number {
    return 1 + this.said;
  }

  /** To be awaited before `plan`; undefined: it needs not. */
  ready(): Promise<void> | undefined {
    return this.drafter.ready?.();
  }

  /**
   * What the run that begins should do, where drafts need no JavaScript; `room`: tokens that may still be drawn, `behind`: rows
   * that fit behind the text, `sequences`:
   * how many are in the run, `alone`: nothing else is to be run.
   */
  plan(room: number, behind: number, sequences: number, alone: boolean): JobPlan {
    this.current = undefined;
    const { planner, steady, drafter, maxDraft } = this;
    const { native } = drafter;
    if (drafter.listens) return { rounds: 1 };
    if (!native || this.restsOn()) return this.without(room);
    this.sequences = sequences;
    const begin = performance.now();
    const most = Math.min(maxDraft, room - 1);
    const maxNodes = this.isTree ? this.maxNodes : maxDraft;
    const rounds = Math.min(steady?.rounds ?? planner?.horizon ?? Infinity, drafter.horizon ?? Infinity);
    const drafting = this.drafting(native, room, { maxDraft, maxNodes }, sequences);
    const begins = alone && most > 0 && !planner?.insists && drafter.runs === true;
    if (begins) return { drafting: { ...drafting, begins }, rounds };
    const job = (draft: Draft): JobDraft | OpenDraft | undefined => this.job(draft, behind, begin);
    const whole = most > 0 ? drafter.draft(most, Math.min(maxNodes, room - 1), this.cycle) : none;
    return { draft: whole instanceof Promise ? whole.then(job) : job(whole), drafting, rounds };
  }

  private drafting(
    native: NativeDrafter,
    room: number,
    sizes: Pick<RowDrafting, 'maxDraft' | 'maxNodes'>,
    sequences: number,
  ): RowDrafting {
    const { planner, drafter, prober } = this;
    const { taps, probeRows: probed = 0 } = drafter;
    const judge = this.guard?.standing;
    return {
      drafter: native,
      ...sizes,
      room,
      rule: this.rule(drafter.draws),
      cycle: this.cycle,
      costs: planner?.costsFor(sequences, sequences * (sizes.maxNodes + probed)) ?? new Float64Array(),
      calibration: planner?.calibration ?? 1,
      ...(judge ? { judge } : {}),
      ...(taps ? { taps: taps.names } : {}),
      ...(probed > 0 ? { prober: prober.seat } : {}),
    };
  }

  /** Rounds that draft nothing; who reads what the target knows hears of them where they are. */
  private without(room: number): JobPlan {
    const { native, taps } = this.drafter;
    const rounds = this.resting || this.pause;
    if (!native || !taps) return { rounds };
    return { drafting: this.drafting(native, room, { maxDraft: 0, maxNodes: 0 }, 1), rounds };
  }

  private get isTree(): boolean {
    return this.maxNodes > this.options.maxDraft;
  }

  /** Tokens of the next draft at most. */
  private get maxDraft(): number {
    const { maxDraft } = this.options;
    return Math.min(maxDraft, this.steady?.tokens ?? maxDraft);
  }

  /** Should the next rounds go without a draft? */
  private rests(): boolean {
    return this.planner?.rests() ?? (this.options.maxDraft > 0 && this.maxDraft === 0);
  }

  /** The same where runs go on by themselves, which may end before a rest does. */
  private restsOn(): boolean {
    if (!this.planner) return this.rests();
    if (this.resting === 0 && this.planner.rests()) this.resting = this.planner.pause;
    return this.resting > 0;
  }

  /** How many rounds then. */
  private get pause(): number {
    return this.planner?.pause ?? this.steady?.rounds ?? 1;
  }

  /** Rows that a draft may have and must get: without them another text would be said. */
  get whole(): number {
    return this.decides ? Math.max(this.options.maxDraft, this.options.maxNodes) : 0;
  }

  accept(tokens: Int32Array, laws?: readonly JobResult['top'][]): void {
    this.reflector?.accept(tokens);
    this.where?.accept(tokens);
    this.drafter.accept(tokens, laws);
  }

  /** How many of the most probable tokens of each row the drafter wants to know. */
  get learns(): number {
    return this.drafter.learns ?? 0;
  }

  /** What the drafter wants to know of the target's rows. */
  get taps(): JobTaps | undefined {
    return this.drafter.taps;
  }

  /** How many rounds without a draft may be worked out together. */
  get ahead(): number {
    return this.wait + 1;
  }

  /**
   * A draft of at most `most` tokens in depth and number, or undefined: none, or none that pays. `room`: rows that fit
   * behind the text.
   */
  async next(most: number, room = most): Promise<JobDraft | OpenDraft | undefined> {
    this.current = undefined;
    this.timed = this.wait === 0;
    if (this.wait > 0) {
      this.wait--;
      return undefined;
    }
    if (this.rests()) {
      this.wait = Math.max(0, this.pause - 1);
      return undefined;
    }
    const maxTokens = Math.min(this.maxDraft, most);
    const begin = performance.now();
    const maxNodes = Math.min(this.isTree ? this.maxNodes : maxTokens, most);
    const pending = maxTokens > 0 ? this.drafter.draft(maxTokens, maxNodes, this.cycle) : none;
    const job = this.job(pending instanceof Promise ? await pending : pending, room, begin);
    if (job && !('bid' in job)) this.quiet = 0;
    if (!job && !this.decides) this.rest(); // where they decide what is said, none is left out, as in native runs
    return job;
  }

  private rest(): void {
    this.wait = Math.min(MOST_AHEAD - 1, this.quiet++);
  }

  /** What pays of a draft, which was begun at `begin`. */
  private job(whole: Draft, room: number, begin: number): JobDraft | OpenDraft | undefined {
    const { planner } = this;
    const allowed = this.fence ? this.fence.cut(whole) : whole;
    // What was drawn must be shown to the verifier, all of it, or the law changes.
    const cuts = planner && !allowed.proposal ? planner : undefined;
    const together = this.sequences > 1 && allowed.tokens.length > 0;
    const draft = !cuts || together ? allowed : nodesOf(allowed, cuts.choose(allowed));
    this.lastDraftMs = performance.now() - begin;
    this.draftMs += this.lastDraftMs;
    if (!cuts || !together) return this.verifying(draft, whole, room);
    return {
      bid: cuts.bid(allowed),
      costs: (sequences, rows) => cuts.costsFor(sequences, rows),
      cut: (nodes) => {
        const job = this.verifying(nodesOf(allowed, nodes), whole, room);
        if (job) this.quiet = 0;
        else if (!this.goesOn) this.rest();
        return job;
      },
    };
  }

  /** A draft as its round's, which it is to be verified in. */
  private verifying(draft: Draft, whole: Draft, room: number): JobDraft | undefined {
    const { tokens, parents, scores, proposal } = draft;
    const probe = whole.probe && whole.probe.tokens.length + tokens.length <= room ? whole.probe : undefined;
    if (tokens.length === 0 && !probe) return undefined;
    const job: JobDraft = {
      tokens,
      ...(parents.every((parent, index) => parent === index - 1) ? {} : { parents }),
      rule: this.rule(proposal !== undefined),
      ...(proposal ? { proposal } : {}),
      cycle: this.cycle,
      ...this.reflector?.read(draft, room),
      ...this.guard?.view(draft),
      ...(this.fence ? { masks: this.fence.masks(draft) } : {}),
      ...this.prober.asking(probe),
    };
    this.current = { draft: job, hoped: scores.reduce((sum, score) => sum + score, 0) };
    return job;
  }

  /** Without laws there is nothing to weigh, and matching can be done where the logits are. */
  private rule(drawn = false): VerifyRule {
    const rule: VerifyRule = this.where?.inside === false ? { name: 'ratio' } : this.options.rule;
    return !drawn && byLaws.includes(rule.name) ? { name: 'match' } : rule;
  }

  /** A round is over, which took `ms`; the drafter hears of its tokens. `prompt`: it had more rows than a draft. */
  hear(result: JobResult, ms: number, prompt: boolean): void {
    const { accepted = [], seat } = result;
    this.learn(result, result.ms ?? (this.timed && !this.goesOn ? ms : undefined), prompt);
    this.verifyMs += result.ms ?? ms;
    const { drafter, where } = this;
    if (seat && !where && !drafter.hearRound) return;
    const said = [...accepted, result];
    const tokens = Int32Array.from(said, ({ token }) => token);
    drafter.hearRound?.(tokens, accepted.length);
    if (seat) where?.accept(tokens);
    else this.accept(tokens, drafter.learns ? said.map(({ top }) => top) : undefined);
  }

  private learn(result: JobResult, ms: number | undefined, prompt: boolean): void {
    const { accepted = [], verified, seat, changed, probed, load } = result;
    this.sequences = load?.sequences ?? 1;
    if (probed) this.drafter.probed?.(probed);
    this.rounds++;
    if (this.resting > 0) this.resting--;
    this.said += 1 + accepted.length;
    this.clock.last = performance.now();
    if (this.rounds === 1) Object.assign(this.clock, { first: this.clock.last, said: this.said });
    const { draft, hoped } = verified && this.current ? this.current : nothing;
    const drafted = seat?.drafted ?? draft?.tokens.length ?? 0;
    const again = seat ? seat.probed : (draft?.again?.tokens.length ?? 0) + (draft?.probe?.tokens.length ?? 0);
    this.current = undefined;
    // A run that goes on counts its drafts as parts of its rounds.
    const within = seat?.draftMs ?? 0;
    this.draftMs += within;
    const draftMs = within + this.lastDraftMs;
    this.lastDraftMs = 0;
    if (!prompt && !load?.prompt && ms !== undefined) {
      const wanted = draft ? hoped : (seat?.hoped ?? 0);
      this.planner?.learn(1 + drafted + again, ms - within, wanted, accepted.length, draftMs, load);
      if (draft) this.reflector?.learn(changed !== undefined, 1 + accepted.length, ms + draftMs, changed);
    }
    if (drafted === 0) return void this.steady?.learn(0, 0, 0);
    this.draftedRounds++;
    this.drafted += drafted;
    this.accepted += accepted.length;
    this.judged += accepted.filter(({ judged }) => judged).length;
    const deepest = seat ? seat.depth : depthOf(draft);
    this.steady?.learn(drafted, deepest, accepted.length);
    for (let depth = 0; depth < deepest; depth++) this.reached[depth] = (this.reached[depth] ?? 0) + 1;
    accepted.forEach((_, depth) => (this.keptAt[depth] = (this.keptAt[depth] ?? 0) + 1));
  }

  /** The answer is there, whatever its drafter thinks of it: what fails now is a warning. */
  end(output: Int32Array): void {
    const { planner, draftedRounds, rounds, accepted } = this;
    const { name } = this.options.drafter;
    const { calibrations, poor } = costsOf(this.executor);
    if (planner && draftedRounds > 0) calibrations.set(name, planner.calibration);
    const { first, last, said } = this.clock;
    if (rounds >= FEW) {
      if (planner) poor[accepted < POOR * rounds ? 'add' : 'delete'](name);
      this.shapes?.learn(this.isTree ? 'tree' : 'chain', (this.said - said) / (last - first));
    }
    try {
      this.drafter.finish?.(output);
    } catch (error) {
      const why = (error as Error | undefined)?.message ?? error;
      process.emitWarning(`The drafter ${name} could not learn from an answer: ${String(why)}`);
    } finally {
      this.prober.dispose();
      this.drafter.dispose();
    }
  }

  result(): SpeculationResult {
    const { rounds, draftedRounds, drafted, accepted, draftMs, verifyMs } = this;
    return {
      drafter: this.options.drafter.name,
      rounds,
      draftedRounds,
      drafted,
      accepted,
      tokensPerRound: rounds > 0 ? 1 + accepted / rounds : 0,
      acceptanceByPosition: this.reached.map((reached, depth) => (this.keptAt[depth] ?? 0) / reached),
      draftMs,
      verifyMs,
      ...(this.guard ? { judged: this.judged } : {}),
      ...(this.reflector ? { reflection: this.reflector.result() } : {}),
    };
  }
}

const nothing: { draft: JobDraft | undefined; hoped: number } = { draft: undefined, hoped: 0 };
