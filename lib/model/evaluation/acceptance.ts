// How much a target accepts of a drafter, measured without regard to time: for scaling laws, and to see whether a drafter is served well.
import type { Drafter } from '../../decode/speculation/drafter.js';
import { integer } from '../../decode/option-checks.js';
import type { Measurement } from '../../decode/speculation/scaling/laws.js';
import { expected } from '../../errors.js';
import { Model } from '../model.js';

export interface AcceptanceOptions {
  readonly model: Model;
  readonly drafter: Drafter;
  /** Each gives an answer, greedily. */
  readonly prompts: readonly string[];
  /** Tokens of an answer at most, default 64. */
  readonly maxTokens?: number;
  /** Tokens of a draft at most, 1 to 64, default 6. All of them are verified. */
  readonly maxDraft?: number;
  readonly onProgress?: (fraction: number) => void;
  readonly signal?: AbortSignal;
}

/** `accepted` is tokens per round with the one that every round gives; `groups` the same of up to 20 groups of prompts. */
export type MeasuredAcceptance = Required<Pick<Measurement, 'accepted' | 'groups' | 'setting'>>;

const GROUPS = 20;

/** Throws INVALID_ARGUMENT, and what `generate` throws. */
export async function measureAcceptance(options: AcceptanceOptions): Promise<MeasuredAcceptance> {
  const { model, prompts, onProgress } = options;
  const { maxTokens, maxDraft } = check(options);
  const sums = Array.from({ length: Math.min(GROUPS, prompts.length) }, () => ({ rounds: 0, accepted: 0 }));
  for (const [index, prompt] of prompts.entries()) {
    const { rounds, accepted } = await answer(options, prompt, maxTokens, maxDraft);
    const sum = sums[index % sums.length];
    sum.rounds += rounds;
    sum.accepted += accepted;
    onProgress?.((index + 1) / prompts.length);
  }
  const perRound = (of: readonly { rounds: number; accepted: number }[]): number =>
    1 + of.reduce((all, { accepted }) => all + accepted, 0) / of.reduce((all, { rounds }) => all + rounds, 0);
  return {
    accepted: perRound(sums),
    groups: sums.map((sum) => perRound([sum])),
    setting: {
      accepted: 'tokens per round',
      temperature: 0,
      draft: `chains of ${maxDraft}`,
      answers: `${prompts.length} of ${maxTokens} tokens`,
      target: model.fingerprint(),
    },
  };
}

export interface SelfCheck {
  /** Rounds in the middle of answers that were looked at. */
  readonly places: number;
  /** Share of them whose first drafted token was kept. */
  readonly served: number;
  /** The same at the same places by drafts of new sessions, which have read the whole text with the model. */
  readonly fresh: number;
  /** Places where one was kept and the other was not. */
  readonly differ: number;
  /** `served` and `fresh` are within 0.02. */
  readonly agree: boolean;
}

/** Of each answer so many rounds at most are made again. */
const PLACES = 6;
const BOUND = 0.02;

/**
 * Whether a drafter in the middle of an answer is as good as one that has just read its text: where what it is told of kept and refused
 * tokens, positions or features is wrong, it is not, and looks like a weak drafter. Answers are greedy; at the same places the
 * first tokens of drafts are compared, so that a sound drafter differs nowhere, unless it learns, or reads what the target says in
 * other pieces than prompts (`crossVocabulary`). Throws INVALID_ARGUMENT, and what `generate` throws.
 */
export async function selfCheck(options: AcceptanceOptions): Promise<SelfCheck> {
  const { prompts, onProgress } = options;
  const { maxTokens, maxDraft } = check(options);
  const sum = { places: 0, served: 0, fresh: 0, differ: 0 };
  for (const [index, prompt] of prompts.entries()) {
    const { tokens, begin, origins } = await answer(options, prompt, maxTokens, maxDraft);
    // A round gives what was kept of its draft, and one token of the model's own; the last one may have been cut.
    const rounds = origins.flatMap((_, at) =>
      at > 0 && at + 2 < origins.length && origins[at - 1] === 'model' ? [at] : [],
    );
    const step = Math.max(1, Math.ceil(rounds.length / PLACES));
    for (const at of rounds.filter((_, i) => i % step === 0)) {
      const begun = async (from: number): Promise<string[]> =>
        (await answer(options, tokens.subarray(0, begin + from), maxDraft + 3, maxDraft)).origins;
      const kept = origins[at] === 'draft';
      // Heads draft from the second round on: for them the model says the token before it once more.
      let anew = (await begun(at))[0] === 'draft';
      if (!anew) anew = (await begun(at - 1)).slice(0, 2).join() === 'model,draft';
      sum.places++;
      sum.served += Number(kept);
      sum.fresh += Number(anew);
      sum.differ += Number(kept !== anew);
    }
    onProgress?.((index + 1) / prompts.length);
  }
  const [served, fresh] = [sum.served, sum.fresh].map((count) => (sum.places > 0 ? count / sum.places : 0));
  return { places: sum.places, served, fresh, differ: sum.differ, agree: Math.abs(served - fresh) <= BOUND };
}

function check({ model, drafter, prompts, maxTokens, maxDraft }: AcceptanceOptions): {
  maxTokens: number;
  maxDraft: number;
} {
  if (!(model instanceof Model)) throw expected('a model that was loaded', 'model', model);
  if (typeof drafter?.start !== 'function') throw expected('a drafter', 'drafter', drafter);
  if (!Array.isArray(prompts) || prompts.length === 0) throw expected('at least one prompt', 'prompts', prompts);
  return {
    maxTokens: integer('maxTokens', maxTokens, 64, 4, 2 ** 20),
    maxDraft: integer('maxDraft', maxDraft, 6, 1, 64),
  };
}

/** `tokens` are the whole text's, of which the answer begins at `begin`. */
async function answer(
  { model, drafter, signal }: AcceptanceOptions,
  prompt: string | Int32Array,
  maxTokens: number,
  maxDraft: number,
): Promise<{ tokens: Int32Array; begin: number; origins: string[]; rounds: number; accepted: number }> {
  using session = model.createSession();
  const origins: string[] = [];
  const pieces = session.generate(prompt, {
    temperature: 0,
    maxTokens,
    prefixCache: false, // rows that are taken over would give heads no features
    speculation: { drafter, maxDraft, adaptive: false, verifier: 'match' },
    ...(signal === undefined ? {} : { signal }),
  });
  let next = await pieces.next();
  for (; !next.done; next = await pieces.next()) origins.push(...(next.value.origins ?? []));
  const { tokens, speculation } = next.value;
  const { rounds = 0, accepted = 0 } = speculation ?? {};
  signal?.throwIfAborted();
  return { tokens: session.tokens, begin: session.tokens.length - tokens.length, origins, rounds, accepted };
}
