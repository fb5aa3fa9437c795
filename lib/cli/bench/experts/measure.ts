// Policies of the store that brings experts from their file, measured in turns on one text, next to what the simulator foretells.
import type { GenerateResult } from '../../../decode/loop.js';
import { VivaceError } from '../../../errors.js';
import {
  expertPolicies,
  expertPolicyNames,
  type ExpertPlacement,
  type ExpertPolicy,
} from '../../../experts/policies.js';
import type { Policy } from '../../../experts/simulate/policies.js';
import { simulate } from '../../../experts/simulate/simulate.js';
import { traceOf, type RoutingTrace } from '../../../experts/simulate/trace.js';
import { joinPrompts } from '../../../experts/trace.js';
import type { ExpertStatistics } from '../../../experts/statistics.js';
import { loadModel } from '../../../model/load.js';
import type { Model } from '../../../model/model.js';
import { spread } from '../../quantities.js';
import { measureProfile } from '../profile.js';
import { measuredCosts } from './measured.js';

/** The store's policies, Fate with the other placement, and a store in which nothing stays: every expert is read each time. */
export const measuredNames = [...expertPolicyNames, 'fate-shallow', 'nothing-stays'] as const;
export type MeasuredName = (typeof measuredNames)[number];

function choiceOf(name: MeasuredName): { policy: ExpertPolicy; placement?: ExpertPlacement } {
  if (name === 'fate-shallow') return { policy: 'fate', placement: 'shallow' };
  return name === 'nothing-stays' ? { policy: 'on-demand', placement: 'none' } : { policy: name };
}

export interface MeasureOptions {
  readonly path: string;
  readonly policies: readonly MeasuredName[];
  /** Bytes for experts, and of reads per second; 0: no limit, and nothing is simulated. */
  readonly memory: number;
  readonly rate: number;
  readonly prompt: number;
  readonly generate: number;
  readonly repeat: number;
  readonly threads: number;
  readonly onProgress?: (fraction: number) => void;
}

export interface MeasuredPolicy {
  readonly policy: MeasuredName;
  readonly promptMs: ReturnType<typeof spread>;
  readonly msPerToken: ReturnType<typeof spread>;
  /** Of the last turn. */
  readonly statistics: ExpertStatistics;
  /** What the simulator says to the recorded routing and the measured costs of the model in memory. */
  readonly simulated?: { readonly promptMs: number; readonly msPerToken: number; readonly stallMs: number };
}

export interface MeasuredPolicies {
  readonly slots: number;
  readonly experts: number;
  /** Of the same text with all experts in memory. */
  readonly resident: { readonly promptMs: number; readonly msPerToken: number };
  readonly policies: readonly MeasuredPolicy[];
}

/** Throws what `loadModel` throws, and INVALID_ARGUMENT for a model without experts or with room for all of them. */
export async function measurePolicies(options: MeasureOptions): Promise<MeasuredPolicies> {
  const { path, policies, memory, rate, repeat, threads, onProgress } = options;
  const common = { device: 'cpu', threads, repack: 'never', prefixCache: false } as const;
  const models: { policy: MeasuredName; model: Model }[] = [];
  const resident = await loadModel(path, { ...common, experts: { trace: true } });
  try {
    for (const policy of policies) {
      const model = await loadModel(path, {
        ...common,
        experts: { memory, ...choiceOf(policy), bytesPerSecond: rate },
      });
      models.push({ policy, model });
      checkPlan(model);
    }
    const before = await run(resident, options);
    resident.experts.routing(); // what was recorded so far is of no interest
    const plain = await run(resident, options);
    const trace = traceOf(joinPrompts(resident.experts.routing(), models[0].model.experts.promptRows ?? 1));
    const profile = await measureProfile(resident, { ...options, repeat: 1 });
    const timings = models.map(() => ({ prompt: [] as number[], decode: [] as number[] }));
    const statistics: ExpertStatistics[] = [];
    for (let turn = 0; turn <= repeat; ++turn) {
      for (const [index, { model }] of models.entries()) {
        const counts = model.experts.counts();
        const result = await run(model, options);
        onProgress?.((turn * models.length + index + 1) / ((repeat + 1) * models.length));
        if (result.tokens.join() !== before.tokens.join())
          throw new VivaceError('INTERNAL', 'Policies changed the text');
        const now = model.experts.counts();
        if (turn === 0 || !now) continue; // it brings the caches in
        timings[index].prompt.push(promptMs(result, options));
        timings[index].decode.push(tokenMs(result));
        statistics[index] = model.experts.since(now, counts);
      }
    }
    return {
      slots: models[0].model.experts.plan?.slots ?? 0,
      experts: trace.experts * trace.steps[0].layers.length,
      resident: { promptMs: promptMs(plain, options), msPerToken: tokenMs(plain) },
      policies: models.map(({ policy, model }, index): MeasuredPolicy => {
        const { copies, bytesCopied } = statistics[index];
        const copySeconds = rate > 0 && copies > 0 ? bytesCopied / copies / rate : undefined;
        const capacities = model.experts.plan?.layers.map(({ slots }) => slots) ?? [];
        const shape = { layers: capacities.length, used: trace.used };
        const staging = (model.experts.plan?.slots ?? 0) - capacities.reduce((sum, count) => sum + count, 0);
        return {
          policy,
          promptMs: spread(timings[index].prompt),
          msPerToken: spread(timings[index].decode),
          statistics: statistics[index],
          ...(copySeconds !== undefined && {
            simulated: foretell(
              trace,
              policy,
              { capacities, staging },
              measuredCosts(profile, { ...shape, copySeconds }),
            ),
          }),
        };
      }),
    };
  } finally {
    resident.dispose();
    for (const { model } of models) model.dispose();
  }
}

function checkPlan({ experts }: Model): void {
  if (experts.plan && !experts.plan.resident) return;
  throw new VivaceError(
    'INVALID_ARGUMENT',
    experts.plan ? 'All experts fit into that memory' : 'The model has no experts',
    { remedy: experts.plan ? 'Give them less.' : 'Name a mixture of experts.' },
  );
}

/** The trace twice: the first time only brings the caches in, as the turn does that is not measured. */
function foretell(
  trace: RoutingTrace,
  name: MeasuredName,
  room: { readonly capacities: readonly number[]; readonly staging: number },
  costs: ReturnType<typeof measuredCosts>,
): NonNullable<MeasuredPolicy['simulated']> {
  const policy: Policy = { ...expertPolicies[choiceOf(name).policy], onMiss: 'fetch', lowShare: 0, lowMisses: false };
  const { steps } = trace;
  const twice = { ...trace, steps: [...steps, ...steps] };
  const sequence = steps.length;
  // An expert's matrices lie apart in the file: they are read one by one.
  const result = simulate(twice, { costs, policy, slots: 0, ...room, pieces: 3, sequence });
  const first = simulate(trace, { costs, policy, slots: 0, ...room, pieces: 3, sequence });
  const second = result.stepSeconds.slice(steps.length);
  const prompts = steps.filter(({ rows }) => rows > 1).length;
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  return {
    promptMs: 1000 * sum(second.slice(0, prompts)),
    msPerToken: (1000 * sum(second.slice(prompts))) / (steps.length - prompts),
    stallMs: 1000 * (result.stallSeconds - first.stallSeconds),
  };
}

const tokenMs = ({ timings }: GenerateResult): number => 1000 / timings.completionTokensPerSecond;
const promptMs = ({ timings }: GenerateResult, { prompt }: MeasureOptions): number =>
  (1000 * prompt) / timings.promptTokensPerSecond;

async function run(model: Model, { prompt, generate }: MeasureOptions): Promise<GenerateResult> {
  using session = model.createSession();
  const tokens = Int32Array.from({ length: prompt }, (_, index) => (index * 7919 + 13) % model.tokenizer.vocabSize);
  const logitBias = new Map([...model.tokenizer.endOfGeneration].map((token) => [token, -Infinity]));
  const answer = session.generate(tokens, { maxTokens: generate, temperature: 0, logitBias });
  for (;;) {
    const next = await answer.next();
    if (next.done === true) return next.value;
  }
}
