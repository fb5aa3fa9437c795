// The plainest possible sampler, in float64: the oracle of cpp/decode/sample.cpp, and the sampler of the reference executor.
// The order of the steps is explained in lib/decode/options.ts.
import { VivaceError } from '../errors.js';
import type { RowSampler, SamplerOptions, VerifyRule } from '../program/executor.js';
import { philoxUniform } from './philox.js';
import type { Judgement } from './speculation/judge/rule.js';
import { fuse, greatest } from './speculation/reflective/fuse.js';
import { verifyDraft } from './speculation/rules.js';
import type { DraftRows, Drawing, Verdict } from './speculation/rules.js';

const { abs, exp, log, max } = Math; // look-ups of globals are slow in the realms of test runners

export interface Sampled {
  readonly token: number;
  /** Natural, under softmax of the logits as the model gave them; NaN when it is not asked for. */
  readonly logprob: number;
  /** [token, logprob] pairs, most probable first. */
  readonly top: readonly (readonly [number, number])[];
}

export interface ReferenceSampler extends RowSampler {
  /** Draws from logits[0, min(length, vocab)), which stay as they are; of a mask's tokens only. */
  sample(logits: Float32Array | Float64Array, mask?: Mask): Sampled;
  /** Draws a draft's token, number `step` of it, and says what from. */
  propose(logits: Float32Array | Float64Array, cycle: number, step: number): Sampled & { readonly law: Float64Array };
  /**
   * Verifies a draft, with the logits after each of its rows, and accepts what comes out. `cycle`: the number of the draft,
   * from 1. `reports[i]` is about `tokens[i]`.
   */
  verify(
    draft: DraftRows,
    rule: VerifyRule,
    logits: readonly (Float32Array | Float64Array)[],
    cycle: number,
    drawing?: Drawing,
    lossy?: Lossy,
  ): Verdict & { readonly reports: readonly Sampled[]; readonly changed: readonly number[] };
}

/** What verification may have beside a rule. */
export interface Lossy {
  /** Logits behind those of the draft's rows are a second reading of `rows`. */
  readonly reflection?: { readonly alpha: number; readonly corrects: boolean; readonly rows: ArrayLike<number> };
  readonly judge?: Judgement;
  /** [rows]: the tokens that may follow each. */
  readonly masks?: readonly Mask[];
}

/** Tokens that may be drawn, token t being bit t % 32 of word t >> 5; null: all. */
type Mask = Uint32Array | null;

// Random numbers of a draft, by purpose; the same as in cpp/decode/verify/verify.h.
const laneOf = (cycle: number, purpose: 'draft' | 'accept' | 'residual' | 'block', number: number): bigint =>
  (BigInt(cycle) << 20n) | (BigInt({ draft: 1, accept: 2, residual: 3, block: 4 }[purpose]) << 16n) | BigInt(number);

interface Candidate {
  readonly token: number;
  readonly weight: number; // exp((logit − greatest) / temperature), not normalised
}

export function createReferenceSampler(options: SamplerOptions): ReferenceSampler {
  const promptTokens = new Set<number>();
  const generated = new Map<number, number>(); // token → times
  let drawn = false; // until then, accepted tokens are the prompt
  let position = 0n; // tokens accepted since: a repeated draw gives the same token
  let disposed = false;

  /** `path`: tokens that the answer would have, too. */
  const adjust = (logits: Float64Array, path: readonly number[], mask: Mask = null): void => {
    const times = new Map(generated);
    for (const token of path) times.set(token, (times.get(token) ?? 0) + 1);
    for (const [token, bias] of options.logitBias) if (token < logits.length) logits[token] += bias;
    for (const token of new Set([...promptTokens, ...times.keys()])) {
      if (token >= logits.length) continue;
      const logit = logits[token];
      logits[token] = logit > 0 ? logit / options.repetitionPenalty : logit * options.repetitionPenalty;
      const count = times.get(token) ?? 0;
      if (count > 0) logits[token] -= count * options.frequencyPenalty + options.presencePenalty;
    }
    if (!mask) return;
    for (let token = 0; token < logits.length; token++) {
      if (((mask[token >> 5] >>> (token & 31)) & 1) === 0) logits[token] = -Infinity;
    }
  };

  /** Candidates in ascending order of token. */
  const candidates = (logits: Float32Array | Float64Array, path: readonly number[], mask: Mask = null): Candidate[] => {
    if (disposed) throw new VivaceError('DISPOSED', 'The sampler was disposed');
    const raw = Float64Array.from(logits.subarray(0, options.vocab));
    if (raw.some(Number.isNaN)) throw new VivaceError('NUMERIC', "The model's logits contain NaN");
    if (raw.includes(Infinity)) throw new VivaceError('NUMERIC', "The model's logits contain +infinity");
    adjust(raw, path, mask);
    const greatest = raw.reduce((a, b) => max(a, b), -Infinity);
    if (greatest === -Infinity) {
      throw new VivaceError(
        'NUMERIC',
        'Every token has probability 0 (all logits are -infinity, or logitBias or the constraint bans every token)',
      );
    }
    drawn = true;
    if (options.temperature > 0) return truncate(weigh(raw, greatest, options.temperature), options);
    return [{ token: raw.indexOf(greatest), weight: 1 }];
  };

  const report = (logits: Float32Array | Float64Array, token: number): Sampled => {
    const raw = Float64Array.from(logits.subarray(0, options.vocab));
    const logTotal = logSumExp(raw);
    const top = options.topLogprobs === 0 ? [] : rank(raw).slice(0, options.topLogprobs);
    return {
      token,
      logprob: options.logprob ? raw[token] - logTotal : NaN,
      top: top.map((id) => [id, raw[id] - logTotal] as const),
    };
  };

  const accept = (tokens: ArrayLike<number>): void => {
    if (drawn) position += BigInt(tokens.length);
    for (const token of Array.from(tokens)) {
      if (token < 0 || token >= options.vocab) continue;
      if (!drawn) promptTokens.add(token);
      else generated.set(token, (generated.get(token) ?? 0) + 1);
    }
  };

  return {
    accept,

    retract(tokens) {
      position -= BigInt(tokens.length);
      for (const token of tokens) {
        const times = (generated.get(token) ?? 0) - 1;
        if (times > 0) generated.set(token, times);
        else generated.delete(token);
      }
    },

    propose(logits, cycle, step) {
      const kept = candidates(logits, []);
      const law = new Float64Array(options.vocab);
      for (const { token, weight } of kept) law[token] = weight / massOf(kept);
      const token = draw(kept, philoxUniform(options.seed, position, laneOf(cycle, 'draft', step)));
      return { law, ...report(logits, token) };
    },

    sample(logits, mask) {
      const kept = candidates(logits, [], mask);
      return report(logits, draw(kept, philoxUniform(options.seed, position)));
    },

    verify(draft, rule, logits, cycle, drawing, { reflection, judge, masks = [] } = {}) {
      const begin = position;
      const seconds = (row: number): (Float32Array | Float64Array)[] =>
        reflection && reflection.alpha > 0
          ? logits.slice(draft.tokens.length).filter((_, i) => reflection.rows[i] === row)
          : [];
      const read = (row: number): Float32Array | Float64Array =>
        fuse(logits[row], seconds(row), reflection?.alpha ?? 0);
      const lawOf = (row: Float32Array | Float64Array, path: readonly number[], mask?: Mask): Float64Array => {
        const kept = candidates(row, path, mask);
        const law = new Float64Array(options.vocab);
        for (const { token, weight } of kept) law[token] = weight / massOf(kept);
        return law;
      };
      const lawAt = (row: number, path: readonly number[]): Float64Array => lawOf(read(row), path, masks[row]);
      const uniform = (after: number, lane: bigint): number => philoxUniform(options.seed, begin + BigInt(after), lane);
      const allowed = (row: number, path: readonly number[], token: number): boolean => {
        if (token >= options.vocab) return false;
        if (options.temperature > 0) return lawAt(row, path)[token] > 0;
        const raw = Float64Array.from(read(row).subarray(0, options.vocab));
        adjust(raw, path, masks[row]);
        return raw[token] > -Infinity;
      };
      const verdict = verifyDraft(
        draft,
        rule,
        lawAt,
        {
          accepts: (probability, after, what, trial) =>
            uniform(after, laneOf(cycle, what === 'trial' ? 'accept' : 'block', trial)) < probability,
          draws: (weights, after, how) =>
            draw(
              Array.from(weights, (weight, token) => ({ token, weight })),
              uniform(after, how === 'plain' ? 0n : laneOf(cycle, 'residual', 0)),
            ),
        },
        drawing,
        {
          ...(judge ? { judge, allows: allowed, greedy: !(options.temperature > 0) } : {}),
          ...(reflection && !reflection.corrects
            ? { plainAt: (row, path) => (seconds(row).length > 0 ? lawOf(logits[row], path, masks[row]) : undefined) }
            : {}),
        },
      );
      accept(verdict.tokens);
      const favourite = (values: Float32Array | Float64Array): number => greatest(values.subarray(0, options.vocab));
      const changed = verdict.kept.filter((row) => favourite(read(row)) !== favourite(logits[row]));
      return { ...verdict, changed, reports: verdict.tokens.map((token, i) => report(logits[verdict.kept[i]], token)) };
    },

    dispose() {
      disposed = true;
    },
  };
}

const sum = (values: Iterable<number>): number => {
  let total = 0;
  for (const value of values) total += value;
  return total;
};
const massOf = (kept: readonly Candidate[]): number => sum(kept.map(({ weight }) => weight));

function logSumExp(logits: Float64Array): number {
  const greatest = logits.reduce((a, b) => max(a, b), -Infinity);
  return greatest + log(sum(logits.map((logit) => exp(logit - greatest))));
}

/** Token ids by descending logit, of equals the lowest id first. */
const rank = (logits: Float64Array): number[] =>
  Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);

const weigh = (logits: Float64Array, greatest: number, temperature: number): Candidate[] =>
  Array.from(logits, (logit, token) => ({
    token,
    weight: exp((logit - greatest) / max(temperature, 1e-30)),
  }));

/** Candidates in ascending order of token that survive top-k, typical-p, top-p and min-p, in this order. */
function truncate(all: readonly Candidate[], options: SamplerOptions): Candidate[] {
  const inOrder = (kept: Candidate[]): Candidate[] => kept.sort((a, b) => a.token - b.token);
  const heaviestFirst = (kept: readonly Candidate[]): Candidate[] =>
    [...kept].sort((a, b) => b.weight - a.weight || a.token - b.token);
  let kept = [...all];
  if (options.topK > 0) kept = inOrder(heaviestFirst(kept).slice(0, options.topK));
  if (options.typicalP < 1) {
    const total = massOf(kept);
    const surprise = ({ weight }: Candidate): number => log(total) - log(weight);
    const possible = kept.filter(({ weight }) => weight > 0);
    const entropy = sum(possible.map((candidate) => (candidate.weight / total) * surprise(candidate)));
    const distance = (candidate: Candidate): number => abs(surprise(candidate) - entropy);
    const nearestFirst = possible.sort((a, b) => distance(a) - distance(b) || a.token - b.token);
    kept = inOrder(prefixOfMass(nearestFirst, options.typicalP * total));
  }
  if (options.topP < 1) kept = inOrder(prefixOfMass(heaviestFirst(kept), options.topP * massOf(kept)));
  if (options.minP > 0) {
    const heaviest = max(...kept.map(({ weight }) => weight));
    kept = kept.filter(({ weight }) => weight >= options.minP * heaviest);
  }
  return kept;
}

/** The shortest prefix, of at least one candidate, that holds `wanted`. */
function prefixOfMass(candidates: readonly Candidate[], wanted: number): Candidate[] {
  let have = 0;
  let count = 0;
  while (count < candidates.length && (count === 0 || have < wanted)) have += candidates[count++].weight;
  return candidates.slice(0, count);
}

function draw(kept: readonly Candidate[], uniform: number): number {
  const target = uniform * massOf(kept);
  let have = 0;
  let last = kept[0].token;
  for (const { token, weight } of kept) {
    if (weight === 0) continue;
    last = token;
    have += weight;
    if (have > target) break;
  }
  return last;
}
