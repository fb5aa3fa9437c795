// Drafts by a model with another vocabulary whose law over the target's tokens is known, runs of two included.
import { philoxUniform } from '../../../philox.js';
import type { JobResult, Ticket } from '../../../rounds.js';
import { TokenList } from '../../../token-list.js';
import type { Proposal, SamplerOptions } from '../../../../program/executor.js';
import type { DraftEnds } from '../../adapt/stop-head.js';
import type { Spoken } from '../../adapt/studied-drafter.js';
import type { Draft, DraftContext, GenerationDrafter } from '../../drafter.js';
import type { DraftSeat } from '../draft-model.js';
import { noDraft } from '../draft-sequence.js';
import { exactStep, LawBuilder } from './laws.js';
import type { Translation } from './translation.js';

/** Tokens of the drafter that may begin a run are looked behind: so many of the most probable ones. */
const MOST_STARTERS = 8;
/** Random numbers of this drafter: a purpose that no verifier has. */
const LANE = 9n;

export interface ExactOptions {
  readonly minProbability: number;
  /** As `MergingOptions.resegmentTail`. */
  readonly resegmentTail: number;
}

interface Step {
  readonly target: number;
  readonly run: readonly number[];
}

/**
 * Each token of a draft takes one round of the drafter, in which the tokens that may begin a run are looked behind together,
 * and one more where a run was merged. Laws are made on the host, in O(vocabulary) each.
 */
export class ExactDrafter implements GenerationDrafter {
  private text: TokenList | undefined; // in the drafter's tokens
  private readonly builder: LawBuilder;
  private readonly proposal: Proposal;
  private readonly sampler: SamplerOptions;
  private readonly read: number[] = []; // what the drafter's cache holds: the text, and what was drafted behind it
  private steps: Step[] = [];
  private tickets: Ticket[] = [];
  private gone = false;
  private readonly signal: AbortSignal | undefined;
  private readonly cancel = (): void => this.tickets.forEach((ticket) => ticket.cancel());

  constructor(
    private readonly seat: DraftSeat,
    private readonly translation: Translation,
    private readonly options: ExactOptions,
    { sampler, createProposal, signal }: DraftContext,
    private readonly spoken?: Spoken,
    private readonly ends?: DraftEnds,
  ) {
    this.sampler = sampler;
    this.builder = new LawBuilder(sampler.vocab);
    this.proposal = createProposal(false);
    this.signal = signal;
    signal?.addEventListener('abort', this.cancel);
  }

  accept(tokens: Int32Array): void {
    const { translation, text } = this;
    if (text === undefined) {
      this.text = new TokenList(translation.begin(tokens));
      return;
    }
    let kept = 0;
    while (kept < this.steps.length && this.steps[kept].target === tokens[kept]) kept++;
    const { steps } = this;
    this.steps = [];
    tokens.forEach((token, place) => {
      const own = place < kept ? steps[place].run : translation.tokensOf(token);
      this.spoken?.(token, own, text, 0);
      text.append(own);
    });
    const again = translation.resegmented(text, this.options.resegmentTail);
    if (again) {
      text.truncate(again.begin);
      text.append(again.tokens);
    }
    // What was read beyond goes, and the last token is read again: its law is needed.
    const same = Math.min(text.commonPrefix(this.read), text.length - 1);
    this.read.length = same;
    this.seat.kv.truncate(this.seat.sequence, same);
  }

  async draft(maxTokens: number, maxNodes: number, cycle: number): Promise<Draft> {
    const { text, options, translation, builder, proposal } = this;
    const most = Math.min(maxTokens, maxNodes);
    if (text === undefined || text.length === 0 || most < 1 || this.gone) return noDraft;
    const { direct, target } = translation.alignment;
    const tokens: number[] = [];
    const scores: number[] = [];
    const logprobs: number[] = []; // of the drafter's tokens
    const rule = this.ends?.rule;
    this.steps = [];
    proposal.clear();
    let number = 0;
    const draw = (law: Float64Array): number => {
      const lane = (BigInt(cycle) << 20n) | (LANE << 16n) | BigInt(number++ & 0xffff);
      return drawn(law, philoxUniform(this.sampler.seed, 0n, lane));
    };
    const last = this.seat.contextLength - 2; // a run takes two
    if (text.length > last) return noDraft;
    let first = await this.lawAfter(text.slice(this.read.length));
    for (let score = 1; first && tokens.length < most && this.read.length <= last;) {
      const own = this.sayable(first);
      if (own === undefined) break;
      const starters = this.starters(own);
      const token = draw(own);
      // The one that was drawn goes on in the sequence itself.
      const behind = await this.lawsBehind(starters, token);
      if (behind === undefined) break;
      const second = new Map(starters.map((one) => [one, behind.get(one) as Float64Array]));
      const step = exactStep(own, second, translation.cache, direct, builder, { first: token, draw });
      const place = tokens.length;
      const none = step.target < 0;
      proposal.set(
        place,
        step.law.ids,
        Float32Array.from(step.law.weights),
        Int32Array.of(none ? builder.none : step.target),
      );
      const probability = own[token] * (step.run.length > 1 ? (behind.get(token) as Float64Array)[step.run[1]] : 1);
      score *= probability;
      if (none) {
        // A row that shows the verifier that something was drawn. It may be any token: it is never kept for what was drawn.
        tokens.push(translation.split(token)[0] ?? target.special.eos ?? 0);
        scores.push(0);
        break;
      }
      tokens.push(step.target);
      scores.push(score);
      this.steps.push({ target: step.target, run: step.run });
      translation.cache.lookups++;
      if (step.run.length > 1) {
        translation.cache.found++;
        translation.cache.touch(step.target);
      }
      logprobs.push(Math.log(own[token]));
      if (step.run.length > 1) logprobs.push(Math.log(probability / own[token]));
      const unlikely = rule ? rule.end(logprobs) >= 0 : probability < options.minProbability;
      if (unlikely || target.endOfGeneration.has(step.target)) break;
      first = step.run.length === 1 ? behind.get(token) : await this.lawAfter(Int32Array.of(step.run[1]));
    }
    this.ends?.drafted(
      this.steps.flatMap(({ run }) => run),
      logprobs,
    );
    return {
      tokens: Int32Array.from(tokens),
      parents: Int32Array.from(tokens, (_, index) => index - 1),
      scores: Float32Array.from(scores),
      proposal,
    };
  }

  dispose(): void {
    if (this.gone) return;
    this.gone = true;
    this.signal?.removeEventListener('abort', this.cancel);
    this.seat.rounds.release(this.seat.kv, this.seat.sequence);
  }

  /** The law without tokens that can come to nothing; undefined: nothing is left. A rule that looks at no draw. */
  private sayable(law: Float64Array): Float64Array | undefined {
    const { alignment, cache } = this.translation;
    const left = law.map((weight, token) =>
      alignment.direct[token] >= 0 || cache.pairsFrom(token) !== undefined ? weight : 0,
    );
    let total = 0;
    for (const weight of left) total += weight;
    return total > 0 ? left.map((weight) => weight / total) : undefined;
  }

  /** Before anything is drawn, so that it does not depend on it. */
  private starters(law: Float64Array): number[] {
    const starters: number[] = [];
    for (const token of this.translation.cache.firsts()) if (law[token] > 0) starters.push(token);
    return starters.sort((a, b) => law[b] - law[a] || a - b).slice(0, MOST_STARTERS);
  }

  private async lawAfter(tokens: Int32Array): Promise<Float64Array | undefined> {
    const { kv, sequence } = this.seat;
    const out = new Float32Array(this.seat.logitsWidth);
    const [done] = await this.run([{ kv, sequence, tokens, logits: { firstRow: tokens.length - 1, out } }]);
    if (done === undefined) return undefined;
    this.read.push(...tokens);
    return this.lawOf(out);
  }

  /** The laws behind several tokens and behind the drawn one, which is in the sequence then. */
  private async lawsBehind(starters: readonly number[], token: number): Promise<Map<number, Float64Array> | undefined> {
    const { kv, sequence, logitsWidth, rounds } = this.seat;
    const others = starters.filter((one) => one !== token);
    const forks = others.map(() => kv.fork(sequence));
    try {
      const all = [token, ...others];
      const outs = all.map(() => new Float32Array(logitsWidth));
      const jobs = all.map((one, i) => ({
        kv,
        sequence: i === 0 ? sequence : forks[i - 1],
        tokens: Int32Array.of(one),
        logits: { firstRow: 0, out: outs[i] },
      }));
      const done = await this.run(jobs);
      if (done.some((one) => one === undefined)) return undefined;
      this.read.push(token);
      return new Map(all.map((one, i) => [one, this.lawOf(outs[i])]));
    } finally {
      for (const fork of forks) rounds.release(kv, fork);
    }
  }

  private async run(jobs: readonly Parameters<DraftSeat['rounds']['submit']>[0][]): Promise<(JobResult | undefined)[]> {
    if (this.gone || this.signal?.aborted) return [undefined];
    this.tickets = jobs.map((job) => this.seat.rounds.submit(job));
    const done = await Promise.all(this.tickets.map((ticket) => ticket.done));
    this.tickets = [];
    return this.gone ? [undefined] : done;
  }

  private lawOf(logits: Float32Array): Float64Array {
    return truncated(logits.subarray(0, this.translation.alignment.direct.length), this.sampler);
  }
}

/** Softmax at a temperature above 0, then of these the `topK` and those with `minP` of the greatest one's probability. */
export function truncated(
  logits: Float32Array,
  { temperature, topK, minP }: Pick<SamplerOptions, 'temperature' | 'topK' | 'minP'>,
): Float64Array {
  let greatest = -Infinity;
  for (const logit of logits) if (logit > greatest) greatest = logit;
  const law = new Float64Array(logits.length);
  for (let i = 0; i < law.length; i++) {
    const weight = Math.exp((logits[i] - greatest) / temperature);
    law[i] = weight >= minP ? weight : 0;
  }
  if (topK > 0 && topK < law.length) {
    const least = law.slice().sort()[law.length - topK];
    for (let i = 0; i < law.length; i++) if (law[i] < least) law[i] = 0;
  }
  let total = 0;
  for (const weight of law) total += weight;
  for (let i = 0; i < law.length; i++) law[i] /= total;
  return law;
}

function drawn(law: Float64Array, uniform: number): number {
  let left = uniform;
  let last = 0;
  for (let token = 0; token < law.length; token++) {
    if (law[token] <= 0) continue;
    last = token;
    left -= law[token];
    if (left < 0) break;
  }
  return last;
}
