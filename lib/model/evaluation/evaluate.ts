// Measures what verifiers do to answers, and how fast they are: never one without the other.
import { Draws } from '../../decode/speculation/judge/draws.js';
import type { GenerateOptions } from '../../decode/options.js';
import type { SpeculationOptions } from '../../decode/speculation/options.js';
import { expected } from '../../errors.js';
import { Model } from '../model.js';
import type { EvaluationCase } from './cases.js';

export interface EvaluationOptions {
  readonly model: Model;
  readonly cases: readonly EvaluationCase[];
  /** What to compare with the model alone, which is always measured and comes first. */
  readonly settings: readonly { readonly name: string; readonly speculation: SpeculationOptions }[];
  /** Of all answers. Default: `temperature` 0, `maxTokens` 128. */
  readonly generate?: Omit<GenerateOptions, 'speculation'>;
  readonly onProgress?: (fraction: number) => void;
}

export interface EvaluationRow {
  readonly name: string;
  /** Share of right answers. */
  readonly right: number;
  /**
   * Less or more than the model alone, with the interval that holds 95 % of 2000 resamplings of the cases (Efron's bootstrap of paired
   * differences); 0, 0, 0 for the model alone.
   */
  readonly difference: { readonly mean: number; readonly low: number; readonly high: number };
  readonly tokensPerRound: number;
  readonly tokensPerSecond: number;
  /** Tokens of an answer, on average: what makes answers longer loses time. */
  readonly length: number;
  /** Of all tokens, the share that only a judge kept. */
  readonly judged: number;
}

const RESAMPLINGS = 2000;

/** Each case by each setting in turn. Throws INVALID_ARGUMENT, and what `generate` throws. */
export async function evaluate(options: EvaluationOptions): Promise<EvaluationRow[]> {
  const { model, cases, settings, generate: asked, onProgress } = options;
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  if (!Array.isArray(cases) || cases.length === 0) throw expected('at least one case', 'cases', cases);
  const ways = [{ name: 'the model alone' }, ...settings];
  const sums = ways.map(() => ({ right: [] as number[], tokens: 0, rounds: 0, accepted: 0, judged: 0, ms: 0 }));
  for (const [index, { prompt, check }] of cases.entries()) {
    for (const [way, setting] of ways.entries()) {
      const speculation = 'speculation' in setting ? { speculation: setting.speculation } : {};
      using session = model.createSession();
      const begin = performance.now();
      const pieces = session.generate(prompt, { temperature: 0, maxTokens: 128, ...asked, ...speculation });
      let next = await pieces.next();
      while (!next.done) next = await pieces.next();
      const { text, tokens, speculation: drafts } = next.value;
      const sum = sums[way];
      sum.ms += performance.now() - begin;
      sum.right.push(Number(check(text)));
      sum.tokens += tokens.length;
      sum.rounds += drafts?.rounds ?? tokens.length;
      sum.accepted += drafts?.accepted ?? 0;
      sum.judged += drafts?.judged ?? 0;
      onProgress?.((index * ways.length + way + 1) / (cases.length * ways.length));
    }
  }
  return sums.map(({ right, tokens, rounds, accepted, judged, ms }, way) => ({
    name: ways[way].name,
    right: mean(right),
    difference: differenceOf(right.map((value, i) => value - sums[0].right[i])),
    tokensPerRound: rounds > 0 ? 1 + accepted / rounds : 0,
    tokensPerSecond: (1000 * tokens) / ms,
    length: tokens / cases.length,
    judged: tokens > 0 ? judged / tokens : 0,
  }));
}

/**
 * Of the rows whose answers are not worse than the model's own by more than `loss`, the one with the most tokens per round; of equal
 * ones the first. Undefined: none of them.
 */
export function bestRow(rows: readonly EvaluationRow[], loss: number): EvaluationRow | undefined {
  return rows
    .filter(({ difference }) => difference.mean >= -loss)
    .reduce<EvaluationRow | undefined>(
      (best, row) => (best === undefined || row.tokensPerRound > best.tokensPerRound ? row : best),
      undefined,
    );
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** The same for the same values, whenever it is computed. */
function differenceOf(each: readonly number[]): EvaluationRow['difference'] {
  const draws = new Draws(1);
  const means = Array.from({ length: RESAMPLINGS }, () => mean(each.map(() => each[draws.below(each.length)])));
  means.sort((a, b) => a - b);
  const at = (share: number): number => means[Math.min(RESAMPLINGS - 1, Math.floor(share * RESAMPLINGS))];
  return { mean: mean(each), low: at(0.025), high: at(0.975) };
}
