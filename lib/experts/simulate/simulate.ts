// Replays a routing trace on a machine that costs what it is said to cost: compute, copies beside it, and the time lost between them.
import { makeCache, type ExpertCache } from './caches.js';
import { CopyEngine } from './copy-engine.js';
import type { Costs } from './machine.js';
import { divide } from './divide.js';
import type { Policy } from './policies.js';
import { place } from './policies.js';
import { ActivationPaths, popularOrder, precisions, type Precision } from './prediction.js';
import type { Popularity, RoutingTrace, TraceStep } from './trace.js';

export interface SimulationOptions {
  readonly costs: Costs;
  readonly policy: Policy;
  /** Experts that the fast side holds, of all layers together. */
  readonly slots: number;
  /** Slots of each layer; default: as the policy places `slots`. */
  readonly capacities?: readonly number[];
  /** Copies that can be there besides: a layer that needs more of them leaves its cache as it is. Default: any number. */
  readonly staging?: number;
  /** Pieces of a copy: an urgent one overtakes between them. */
  readonly pieces?: number;
  /** Earlier runs: caches begin with what these used most, and `paths` knows them. Default: the lowest numbers. */
  readonly before?: readonly TraceStep[];
  /** Runs of a sequence, for `paths`; default: all runs are one sequence. */
  readonly sequence?: number;
  /** Keeps what each lane did. */
  readonly record?: boolean;
}

export interface Span {
  readonly lane: 'compute' | 'copy' | 'there';
  readonly kind: 'dense' | 'hit' | 'predicted' | 'missed' | 'copy';
  readonly layer: number;
  /** -1 for what is no expert. */
  readonly expert: number;
  readonly start: number;
  readonly end: number;
}

export interface Simulated {
  readonly seconds: number;
  /** Of them, spent waiting for copies or for what is computed elsewhere. */
  readonly stallSeconds: number;
  readonly stepSeconds: readonly number[];
  /** Experts that runs needed, each once per run and layer. */
  readonly needed: number;
  readonly hits: number;
  /** Not in the cache, but predicted and so at least asked for before. */
  readonly predicted: number;
  readonly missed: number;
  readonly computedThere: number;
  readonly copies: number;
  readonly linkSeconds: number;
  readonly spans: readonly Span[];
}

/** Deterministic. The trace's layers are those with experts; `slots` beyond all experts are not used. */
export function simulate(trace: RoutingTrace, options: SimulationOptions): Simulated {
  const run = new Simulation(trace, options);
  trace.steps.forEach((step, at) => run.step(step, at));
  return run.result();
}

class Simulation {
  private readonly layers: number;
  private readonly engine: CopyEngine;
  private readonly caches: ExpertCache[];
  private readonly paths: ActivationPaths;
  private readonly spans: Span[] = [];
  private readonly stepSeconds: number[] = [];
  private readonly totals = { needed: 0, hits: 0, predicted: 0, missed: 0, computedThere: 0 };
  private clock = 0;
  private stall = 0;

  constructor(
    private readonly trace: RoutingTrace,
    private readonly options: SimulationOptions,
  ) {
    const { policy, slots, before = [] } = options;
    this.layers = trace.steps[0]?.layers.length ?? 0;
    this.engine = new CopyEngine(options.pieces);
    const capacities = options.capacities ?? place(policy.placement, this.layers, trace.experts, slots);
    const popular = popularOrder(before, this.layers, trace.experts);
    this.caches = capacities.map((capacity, layer) => makeCache(policy.replacement, capacity, popular[layer]));
    this.paths = new ActivationPaths(this.layers, trace.experts);
    this.learn(before);
  }

  private learn(before: readonly TraceStep[]): void {
    const length = this.options.sequence ?? before.length;
    before.forEach((step, at) => {
      step.layers.forEach(({ needed }, layer) => this.paths.observe(layer, needed));
      if ((at + 1) % length === 0) this.paths.endSequence();
    });
  }

  step(step: TraceStep, at: number): void {
    const began = this.clock;
    step.layers.forEach((_, layer) => this.layer(step, layer));
    const { costs } = this.options;
    if (costs.rest) this.compute('dense', this.layers, -1, costs.rest(step.rows));
    this.stepSeconds.push(this.clock - began);
    const { sequence } = this.options;
    if (sequence !== undefined && (at + 1) % sequence === 0) this.paths.endSequence();
  }

  private layer(step: TraceStep, layer: number): void {
    const { engine, options, totals } = this;
    const { costs, policy } = options;
    const cache = this.caches[layer];
    const { needed } = step.layers[layer];
    const wanted = new Set(needed.map(([id]) => id));
    this.compute('dense', layer, -1, costs.dense(step.rows));
    engine.advance(this.clock);

    for (let id = 0; id < this.trace.experts; id++) {
      const key = this.key(layer, id);
      if (!engine.has(key)) continue;
      if (wanted.has(id)) engine.promote(key);
      else engine.drop(key);
    }
    const here = needed.filter(([id]) => cache.has(id));
    const ahead = needed.filter(([id]) => !cache.has(id) && engine.has(this.key(layer, id)));
    const missing = needed.filter(([id]) => !cache.has(id) && !engine.has(this.key(layer, id)));
    totals.needed += needed.length;
    totals.hits += here.length;
    totals.predicted += ahead.length;
    totals.missed += missing.length;

    const late: Precision = policy.lowMisses ? 'low' : 'full';
    const there = this.divided(missing, late);
    for (const [id] of missing) if (!there.has(id)) engine.ask(this.key(layer, id), costs.copy(late), 0, this.clock);
    this.prefetch(step, layer);

    const elsewhere = this.computeThere(layer, missing, there);
    if (costs.shared) this.compute('dense', layer, -1, costs.shared(step.rows));
    this.experts(
      layer,
      here,
      ahead,
      missing.filter(([id]) => !there.has(id)),
    );
    this.wait(elsewhere);

    // The most popular one is used last.
    const fits = ahead.length + missing.length <= (options.staging ?? Infinity);
    for (const [id] of [...needed].reverse()) {
      if (!there.has(id) && (fits || cache.keys().length < cache.capacity)) cache.use(id);
      engine.drop(this.key(layer, id));
    }
    this.paths.observe(layer, needed);
  }

  private key(layer: number, id: number): number {
    return layer * this.trace.experts + id;
  }

  /** Which of the missing experts are computed where they lie. */
  private divided(missing: Popularity, late: Precision): ReadonlySet<number> {
    const { costs, policy } = this.options;
    const { there } = costs;
    if (policy.onMiss === 'fetch' || !there) return new Set();
    if (policy.onMiss === 'there') return new Set(missing.map(([id]) => id));
    const price = missing.map(([id, rows]) => ({
      id,
      there: there(rows),
      here: costs.copy(late) + costs.expert(rows),
    }));
    return divide(price);
  }

  private computeThere(layer: number, missing: Popularity, there: ReadonlySet<number>): number {
    let end = this.clock;
    for (const [id, rows] of missing) {
      if (!there.has(id)) continue;
      const start = end;
      end += this.options.costs.there?.(rows) ?? 0;
      this.note({ lane: 'there', kind: 'missed', layer, expert: id, start, end });
    }
    this.totals.computedThere += there.size;
    return end;
  }

  /** Asks for what the next layer is thought to need. */
  private prefetch(step: TraceStep, layer: number): void {
    const { policy, costs } = this.options;
    const next = layer + 1;
    if (next >= this.layers || policy.predictor === 'none') return;
    const predicted = this.prediction(step, next);
    const precision = precisions(predicted, policy.lowShare);
    for (const [id] of predicted) {
      if (this.caches[next].has(id)) continue;
      this.engine.ask(this.key(next, id), costs.copy(precision.get(id) ?? 'full'), 1, this.clock);
    }
  }

  private prediction(step: TraceStep, layer: number): Popularity {
    const { needed, predicted } = step.layers[layer];
    switch (this.options.policy.predictor) {
      case 'none':
        return [];
      case 'router':
        return predicted;
      case 'oracle':
        return needed;
      case 'paths':
        return this.paths.predict(layer, Math.max(this.trace.used + this.trace.overfetch, needed.length));
    }
  }

  private experts(layer: number, here: Popularity, ahead: Popularity, fetched: Popularity): void {
    const { costs, policy } = this.options;
    const waits = [
      ...here.map(([id, rows]) => ({ id, rows, kind: 'hit' as const, ready: this.clock })),
      ...[ahead, fetched].flatMap((group, late) =>
        group.map(([id, rows]) => ({
          id,
          rows,
          kind: late === 0 ? ('predicted' as const) : ('missed' as const),
          ready: this.engine.complete(this.key(layer, id)),
        })),
      ),
    ].sort((a, b) => a.ready - b.ready);
    if (!policy.pipelined) this.wait(Math.max(this.clock, ...waits.map(({ ready }) => ready)));
    for (const { id, rows, kind, ready } of waits) {
      this.wait(ready);
      this.compute(kind, layer, id, costs.expert(rows));
    }
  }

  private wait(until: number): void {
    this.stall += Math.max(0, until - this.clock);
    this.clock = Math.max(this.clock, until);
  }

  private compute(kind: Span['kind'], layer: number, expert: number, seconds: number): void {
    const start = this.clock;
    this.clock += seconds;
    this.note({ lane: 'compute', kind, layer, expert, start, end: this.clock });
  }

  private note(span: Span): void {
    if (this.options.record === true) this.spans.push(span);
  }

  result(): Simulated {
    const { busy } = this.engine;
    const { experts } = this.trace;
    const copies = busy.map(({ key, start, end }) => ({
      lane: 'copy' as const,
      kind: 'copy' as const,
      layer: Math.floor(key / experts),
      expert: key % experts,
      start,
      end,
    }));
    return {
      seconds: this.clock,
      stallSeconds: this.stall,
      stepSeconds: this.stepSeconds,
      ...this.totals,
      copies: copies.length,
      linkSeconds: copies.reduce((sum, { start, end }) => sum + end - start, 0),
      spans: this.options.record === true ? [...this.spans, ...copies] : [],
    };
  }
}
