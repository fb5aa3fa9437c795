// Policies next to each other on one trace and one machine.
import type { Costs } from './machine.js';
import { policies, type PolicyName } from './policies.js';
import { simulate, type Simulated } from './simulate.js';
import type { RoutingTrace } from './trace.js';

export interface ComparedPolicy {
  readonly policy: PolicyName;
  /** Of a run, after those that warm caches up. */
  readonly secondsPerStep: number;
  readonly stallPerStep: number;
  /** Of the experts that runs needed: there because they stayed, copied ahead, or neither. */
  readonly hitRate: number;
  readonly predictedRate: number;
  readonly missedRate: number;
  /** Of the time, the share in which something was copied. */
  readonly linkBusy: number;
  readonly simulated: Simulated;
}

export interface CompareOptions {
  readonly costs: Costs;
  readonly slots: number;
  /** The first runs: caches begin with what these used most, and they are not in the results. */
  readonly warm: number;
  readonly pieces?: number;
  readonly record?: boolean;
}

/** Results in the order of `names`. `warm` must leave at least one run. */
export function comparePolicies(
  trace: RoutingTrace,
  names: readonly PolicyName[],
  { warm, ...options }: CompareOptions,
): ComparedPolicy[] {
  const measured = { ...trace, steps: trace.steps.slice(warm) };
  const before = trace.steps.slice(0, warm);
  return names.map((policy) => {
    const simulated = simulate(measured, { ...options, policy: policies[policy], before });
    const { seconds, stallSeconds, needed, hits, predicted, missed, linkSeconds } = simulated;
    const steps = measured.steps.length;
    return {
      policy,
      secondsPerStep: seconds / steps,
      stallPerStep: stallSeconds / steps,
      hitRate: hits / needed,
      predictedRate: predicted / needed,
      missedRate: missed / needed,
      linkBusy: linkSeconds / seconds,
      simulated,
    };
  });
}

/** Which placement of Fate is faster here: what `auto` takes. */
export function betterPlacement(trace: RoutingTrace, options: CompareOptions): 'shallow' | 'uniform' {
  const [uniform, shallow] = comparePolicies(trace, ['fate', 'fate-shallow'], options);
  return shallow.secondsPerStep < uniform.secondsPerStep ? 'shallow' : 'uniform';
}
