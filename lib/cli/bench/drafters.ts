// Plain decoding and decoding with drafters, measured in turns on one prompt: `vivace bench --speculation`.
import type { GenerateResult } from '../../decode/loop.js';
import type { Drafter } from '../../decode/speculation/drafter.js';
import type { SpeculationOptions } from '../../decode/speculation/options.js';
import { VivaceError } from '../../errors.js';
import type { Model } from '../../model/model.js';
import { amount, percent, spread, table } from '../quantities.js';
import { acceptanceOf, drafterNames, possibleDrafters, type SpeculationFlags } from '../speculation/options.js';

export interface Comparison {
  readonly promptTokens: number;
  readonly generate: number;
  readonly repeat: number;
  /** Plain decoding first. */
  readonly drafters: readonly ComparisonRow[];
}

export interface ComparisonRow {
  /** Or `plain`. */
  readonly drafter: string;
  /** From the first token to the last. */
  readonly tokensPerSecond: ReturnType<typeof spread>;
  /** The median of the ratios to the plain run of the same turn. */
  readonly ratio: number;
  /** Whether every run gave plain decoding's tokens; a lossy verifier may not. */
  readonly sameTokens: boolean;
  /** Those of the last run; timings decide how far adaptive drafts go, so that runs differ a little. */
  readonly rounds: number;
  readonly drafted: number;
  readonly accepted: number;
  readonly tokensPerRound: number;
  readonly acceptance: number;
  readonly acceptanceByPosition: readonly number[];
}

export interface CompareOptions {
  readonly prompt: string;
  readonly generate: number;
  readonly repeat: number;
  readonly drafters: readonly Drafter[];
  readonly shape: (drafter: Drafter) => Omit<SpeculationOptions, 'drafter'>;
  readonly onProgress?: (fraction: number) => void;
}

/** `all` that have what they need, or names with commas. Throws INVALID_ARGUMENT. */
export function namesOf(list: string, flags: SpeculationFlags): readonly string[] {
  if (list === 'all') return possibleDrafters(flags);
  const names = [...new Set(list.split(',').map((name) => name.trim()))];
  const unknown = names.find((name) => !drafterNames.includes(name));
  if (unknown === undefined) return names;
  throw new VivaceError('INVALID_ARGUMENT', `There is no drafter \`${unknown}\``, {
    remedy: `Use --speculation all, or some of ${drafterNames.join(', ')} with commas between.`,
  });
}

/** Greedy, each turn all ways one after the other, `repeat` turns after one that is not measured. */
export async function compareDrafters(model: Model, options: CompareOptions): Promise<Comparison> {
  const { drafters, repeat, onProgress } = options;
  const ways: readonly (Drafter | undefined)[] = [undefined, ...drafters];
  const results: GenerateResult[][] = ways.map(() => []);
  for (let turn = 0; turn <= repeat; turn++) {
    for (const [place, drafter] of ways.entries()) {
      const result = await generate(model, options, drafter);
      if (turn > 0) results[place].push(result);
      onProgress?.((turn * ways.length + place + 1) / ((repeat + 1) * ways.length));
    }
  }
  const [plain] = results;
  return {
    promptTokens: plain[0].usage.promptTokens,
    generate: options.generate,
    repeat,
    drafters: results.map((runs, place) => rowOf(ways[place]?.name ?? 'plain', runs, plain)),
  };
}

function rowOf(drafter: string, runs: readonly GenerateResult[], plain: readonly GenerateResult[]): ComparisonRow {
  const speeds = runs.map(({ timings }) => timings.completionTokensPerSecond);
  const last = runs[runs.length - 1];
  const { rounds = last.tokens.length, drafted = 0, accepted = 0 } = last.speculation ?? {};
  const { tokensPerRound = 1, acceptanceByPosition = [] } = last.speculation ?? {};
  return {
    drafter,
    tokensPerSecond: spread(speeds),
    ratio: spread(speeds.map((speed, turn) => speed / plain[turn].timings.completionTokensPerSecond)).median,
    sameTokens: runs.every(({ tokens }) => tokens.join() === plain[0].tokens.join()),
    rounds,
    drafted,
    accepted,
    tokensPerRound,
    acceptance: last.speculation ? acceptanceOf(last.speculation) : 0,
    acceptanceByPosition,
  };
}

async function generate(
  model: Model,
  { prompt, generate: maxTokens, shape }: CompareOptions,
  drafter: Drafter | undefined,
): Promise<GenerateResult> {
  const session = model.createSession();
  try {
    // The model must not end before its time.
    const logitBias = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
    const speculation = drafter === undefined ? {} : { speculation: { ...shape(drafter), drafter } };
    const pieces = session.generate(prompt, { maxTokens, temperature: 0, logitBias, ...speculation });
    for (;;) {
      const next = await pieces.next();
      if (next.done === true) return next.value;
    }
  } finally {
    session.dispose();
  }
}

export function comparisonTable({ drafters }: Comparison): string {
  const rows = drafters.map((row) => [
    row.drafter,
    row.tokensPerRound.toFixed(2),
    row.drafted === 0 ? '–' : percent(row.acceptance),
    amount(row.tokensPerSecond.median),
    row.ratio.toFixed(2),
    row.sameTokens ? 'same' : 'differs',
  ]);
  return table([['drafter', 'tokens/round', 'acceptance', 'tokens/s', 'ratio', 'text'], ...rows]);
}
