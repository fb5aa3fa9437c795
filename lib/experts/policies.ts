// Policies by name: who says what the next layer needs, what stays, where the room is, and when experts are computed.

export const expertReplacements = ['fixed', 'lru', 'arc'] as const;
export const expertPredictors = ['none', 'router', 'paths', 'script'] as const;

/**
 * How room is shared out among layers. `uniform`: evenly. `shallow`: the first four completely, the others evenly, for predictions
 * are worst there. `layers`: whole layers from the first on. `none`: nothing stays, all room is for experts on their way.
 */
export const expertPlacements = ['uniform', 'shallow', 'layers', 'none'] as const;
export type ExpertPlacement = (typeof expertPlacements)[number];

export interface ExpertPolicyRow {
  readonly what: string;
  readonly predictor: (typeof expertPredictors)[number];
  readonly replacement: (typeof expertReplacements)[number];
  readonly placement: ExpertPlacement;
  /** Experts are computed as they arrive, not when all of a layer are there. */
  readonly pipelined: boolean;
}

export const expertPolicies = {
  fate: {
    what: 'the next layer’s router predicts from this layer’s input; ARC keeps',
    predictor: 'router',
    replacement: 'arc',
    placement: 'uniform',
    pipelined: true,
  },
  'activation-path': {
    what: 'earlier texts that used experts as this one does predict; the last used stay (MoE-Infinity)',
    predictor: 'paths',
    replacement: 'lru',
    placement: 'uniform',
    pipelined: true,
  },
  lru: {
    what: 'nothing is predicted; the last used of each layer stay (mixtral-offloading)',
    predictor: 'none',
    replacement: 'lru',
    placement: 'uniform',
    pipelined: true,
  },
  'on-demand': {
    what: 'nothing is predicted; the same experts of each layer stay, all others are read when they are needed',
    predictor: 'none',
    replacement: 'fixed',
    placement: 'uniform',
    pipelined: false,
  },
  static: {
    what: 'nothing is predicted; whole layers stay, as far as they fit (llama.cpp’s --n-cpu-moe)',
    predictor: 'none',
    replacement: 'fixed',
    placement: 'layers',
    pipelined: true,
  },
} as const satisfies Record<string, ExpertPolicyRow>;

export type ExpertPolicy = keyof typeof expertPolicies;
export const expertPolicyNames = Object.keys(expertPolicies) as ExpertPolicy[];

/** Layers that `shallow` fills first. */
const SHALLOW = 4;

/** Experts of each layer that may stay: `room` together at most, nor more than `experts` each. */
export function placeExperts(placement: ExpertPlacement, layers: number, experts: number, room: number): number[] {
  const capacities = Array.from({ length: layers }, () => 0);
  if (placement === 'none') return capacities;
  let left = Math.max(0, Math.min(room, layers * experts));
  const full = placement === 'layers' ? layers : placement === 'shallow' ? Math.min(SHALLOW, layers) : 0;
  for (let layer = 0; layer < full; layer++) {
    capacities[layer] = Math.min(experts, left);
    left -= capacities[layer];
  }
  // The rest evenly; what does not divide goes to the earlier ones.
  const rest = layers - full;
  for (let layer = full; layer < layers; layer++) {
    capacities[layer] = Math.floor(left / rest) + (layer - full < left % rest ? 1 : 0);
  }
  return capacities;
}
