// The reference of every op, by the names of lib/program/ops.ts.
import type { OpName } from '../../ops.js';
import { attention, choose_ahead, kv_write, rope, rope_table } from './attention.js';
import type { ReferenceOp } from './call.js';
import { expert_down, expert_gate_up, route, sigmoid_gate } from './experts.js';
import { column_select, concat, embedding, linear, row_select } from './linear.js';
import { layer_norm, log_softmax, rms_norm, softmax } from './norm.js';
import { add, gated_activation, mul, scale, soft_cap } from './pointwise.js';

export const referenceOps: Readonly<Record<OpName, ReferenceOp>> = {
  embedding,
  rms_norm,
  layer_norm,
  linear,
  rope_table,
  rope,
  kv_write,
  attention,
  choose_ahead,
  gated_activation,
  add,
  mul,
  scale,
  soft_cap,
  row_select,
  column_select,
  concat,
  route,
  expert_gate_up,
  expert_down,
  sigmoid_gate,
  softmax,
  log_softmax,
};
