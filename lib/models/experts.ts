// Experts of a layer: a router in full precision, and for every row the weighted sum of what its experts make of it.
import { VivaceError } from '../errors.js';
import type { ExpertsConfig } from '../formats/model-config.js';
import type { ProgramBuilder } from '../program/builder.js';
import { dtypes } from '../program/dtype.js';
import type { Value } from '../program/program.js';

export interface Routed {
  readonly ids: Value; // I32 [rows, used]
  readonly weights: Value; // [rows, used]
}

/** A later layer, and experts of it that are predicted for a row beyond those that it will go to. */
export interface Foreseen {
  readonly layer: number;
  readonly more: number;
}

/**
 * Which experts each row goes to; with `foreseen`, a later layer's router is asked of the same x, too: both products lie next to
 * each other and are one wait. Throws UNSUPPORTED_TENSOR_TYPE for a router that was quantised.
 */
export function routeRows(
  builder: ProgramBuilder,
  experts: ExpertsConfig,
  x: Value,
  layer: number,
  foreseen?: Foreseen,
): Routed {
  const logits = routerLogits(builder, experts, x, layer);
  const later = foreseen && routerLogits(builder, experts, x, foreseen.layer);
  const routed = route(builder, experts, logits, layer, experts.used);
  if (foreseen && later) route(builder, experts, later, foreseen.layer, predictedExperts(experts, foreseen.more));
  return routed;
}

/** How many a row is predicted to need: no more than may be chosen. */
export const predictedExperts = ({ count, used, groups, groupsUsed }: ExpertsConfig, more: number): number =>
  Math.min(used + more, (count / groups) * groupsUsed);

/** [rows, count] */
function routerLogits(builder: ProgramBuilder, experts: ExpertsConfig, x: Value, layer: number): Value {
  const router = builder.weight(`blk.${layer}.ffn_gate_inp.weight`, [experts.count, x.columns]);
  if (dtypes[router.dtype].block > 1 || router.dtype.startsWith('W')) {
    throw new VivaceError(
      'UNSUPPORTED_TENSOR_TYPE',
      `The router \`${router.name}\` is ${router.dtype}: rounded so coarsely, it sends rows to other experts`,
      { remedy: 'Quantise the model again with a tool that leaves routers in F32, F16 or BF16.' },
    );
  }
  return builder.linear(x, router);
}

function route(builder: ProgramBuilder, experts: ExpertsConfig, logits: Value, layer: number, used: number): Routed {
  const bias = `blk.${layer}.exp_probs_b.bias`;
  return builder.route(
    logits,
    builder.has(bias) ? builder.weight(bias, [experts.count]) : undefined,
    { ...experts, used },
  );
}

/** The weighted sum of each row's experts, [rows, width]. */
export function expertFeedForward(
  builder: ProgramBuilder,
  { count, hidden }: ExpertsConfig,
  x: Value,
  routed: Routed,
  layer: number,
): Value {
  const side = (name: string): Value => builder.weight(`blk.${layer}.ffn_${name}_exps.weight`, [count, hidden, x.columns]);
  const gateUp = builder.expertGateUp(x, [side('gate'), side('up')], routed.ids, {
    experts: count,
    activation: 'silu',
  });
  const down = builder.weight(`blk.${layer}.ffn_down_exps.weight`, [count, x.columns, hidden]);
  return builder.expertDown(gateUp, down, routed, count);
}
