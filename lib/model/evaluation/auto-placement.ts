// `placement: 'auto'`: the model says some tokens, both placements are simulated with what those cost, and the faster one is loaded.
import type { GenerateResult } from '../../decode/loop.js';
import type { ExpertOptions } from '../../experts/options.js';
import type { ExpertPlan } from '../../experts/plan.js';
import { fasterPlacement } from '../../experts/simulate/auto-placement.js';
import type { Costs } from '../../experts/simulate/machine.js';
import { traceOf } from '../../experts/simulate/trace.js';
import type { Model } from '../model.js';

const PROMPT = 16;
const TOKENS = 48;

/** `load` is called once where all experts fit, else twice. Throws what it throws. */
export async function loadPlaced(
  given: ExpertOptions,
  load: (experts: ExpertOptions) => Promise<Model>,
): Promise<Model> {
  const model = await load({ ...given, placement: 'uniform' });
  const { plan } = model.experts;
  const tokens = Math.min(TOKENS, model.info.contextLength - PROMPT);
  if (plan?.resident !== false || tokens < 2) return model;
  model.dispose();
  const probe = await load({ ...given, placement: 'uniform', trace: true });
  try {
    const placement = await choose(probe, plan, tokens);
    return await load({ ...given, placement });
  } finally {
    probe.dispose();
  }
}

async function choose(model: Model, plan: ExpertPlan, tokens: number): Promise<'uniform' | 'shallow'> {
  await say(model, tokens); // brings the caches in
  model.experts.routing();
  const { result, expertSeconds, stallSeconds, copySeconds } = await say(model, tokens);
  const routing = model.experts.routing();
  const trace = traceOf({ ...routing, runs: routing.runs.filter(({ rows }) => rows === 1) });
  const layers = plan.layers.length;
  const expert = expertSeconds / (tokens - 1) / layers / trace.used;
  const token = 1 / result.timings.completionTokensPerSecond;
  const dense = Math.max(0, token - stallSeconds / (tokens - 1) - expertSeconds / (tokens - 1)) / layers;
  const costs: Costs = { dense: () => dense, expert: () => expert, copy: () => copySeconds };
  return fasterPlacement(trace, costs, plan);
}

interface Said {
  readonly result: GenerateResult;
  /** Behind the first token: computing experts, and waiting for them. */
  readonly expertSeconds: number;
  readonly stallSeconds: number;
  /** Of a copy, where the link does nothing else. */
  readonly copySeconds: number;
}

async function say(model: Model, maxTokens: number): Promise<Said> {
  using session = model.createSession();
  const prompt = Int32Array.from({ length: PROMPT }, (_, index) => (index * 7919 + 13) % model.tokenizer.vocabSize);
  const logitBias = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
  const answer = session.generate(prompt, { maxTokens, temperature: 0, logitBias });
  await answer.next(); // the prompt and the first token
  const computed = (on: boolean): number =>
    (model.profile(on) ?? []).reduce((sum, { op, seconds }) => sum + (op.startsWith('expert_') ? seconds : 0), 0);
  const [computedBefore, before] = [computed(true), model.experts.counts()];
  for (;;) {
    const next = await answer.next();
    if (next.done !== true) continue;
    const now = model.experts.counts();
    const since = (name: 'stallSeconds' | 'linkSeconds' | 'copies'): number =>
      (now?.[name] ?? 0) - (before?.[name] ?? 0);
    return {
      result: next.value,
      expertSeconds: computed(false) - computedBefore,
      stallSeconds: since('stallSeconds'),
      copySeconds: since('linkSeconds') / Math.max(1, since('copies')),
    };
  }
}
