// Which placement is faster on a machine, for tokens like those that were recorded.
import { expertPolicies, placeExperts, type ExpertPolicy } from '../policies.js';
import type { Costs } from './machine.js';
import { simulate } from './simulate.js';
import type { RoutingTrace } from './trace.js';

export interface Room {
  readonly policy: ExpertPolicy;
  readonly slots: number;
  /** Of them, for experts on their way. */
  readonly staging: number;
}

const choices = ['uniform', 'shallow'] as const;

/** Both are simulated on the trace, once to bring the caches in and once for the time; `uniform` where it makes no difference. */
export function fasterPlacement(
  trace: RoutingTrace,
  costs: Costs,
  { policy, slots, staging }: Room,
): (typeof choices)[number] {
  const { steps } = trace;
  const twice = { ...trace, steps: [...steps, ...steps] };
  const [uniform, shallow] = choices.map((placement) => {
    const capacities = placeExperts(placement, steps[0]?.layers.length ?? 0, trace.experts, slots - staging);
    const row = { ...expertPolicies[policy], onMiss: 'fetch', lowShare: 0, lowMisses: false } as const;
    // An expert's matrices lie apart in the file: they are read one by one.
    const options = {
      costs,
      policy: row,
      slots: 0,
      capacities,
      staging,
      pieces: 3,
      sequence: Math.max(1, steps.length),
    };
    const { stepSeconds } = simulate(twice, options);
    return stepSeconds.slice(steps.length).reduce((sum, seconds) => sum + seconds, 0);
  });
  return shallow < uniform ? 'shallow' : 'uniform';
}
