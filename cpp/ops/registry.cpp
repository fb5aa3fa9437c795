// The table of all ops: one row each. lib/program/ops.ts has the same rows with their typed signatures.
//
// An op lives in cpp/ops/<family>/ as three files of one stem: <op>.h (contract), <op>.cpp (table row and checks) and
// <op>_kernel.cpp (body, compiled once per instruction-set level). Families, at most five ops each:
//   attention  rope_table, rope, kv_write, attention
//   experts    route, expert_gate_up, expert_down (their bodies beside linear's), sigmoid_gate
//   fused      rms_norm_quantize, gated_activation_quantize, gated_linear
//   linear     linear, quantize_rows
//   norm       rms_norm, layer_norm, softmax, log_softmax
//   offload    choose_ahead
//   pointwise  add, mul, scale, soft_cap, gated_activation
//   row_scaled quantize_tokens (and linear's kernels for row-scaled weights)
//   rows       embedding, row_select, column_select, concat
#include <cstring>

#include "ops/attention/attention.h"
#include "ops/attention/kv_write.h"
#include "ops/attention/rope.h"
#include "ops/attention/rope_table.h"
#include "ops/experts/expert_down.h"
#include "ops/experts/expert_gate_up.h"
#include "ops/experts/route.h"
#include "ops/experts/sigmoid_gate.h"
#include "ops/fused/gated_activation_quantize.h"
#include "ops/fused/gated_linear.h"
#include "ops/fused/rms_norm_quantize.h"
#include "ops/linear/linear.h"
#include "ops/linear/quantize_rows.h"
#include "ops/norm/layer_norm.h"
#include "ops/norm/log_softmax.h"
#include "ops/norm/rms_norm.h"
#include "ops/norm/softmax.h"
#include "ops/offload/choose_ahead.h"
#include "ops/pointwise/add.h"
#include "ops/pointwise/gated_activation.h"
#include "ops/pointwise/mul.h"
#include "ops/pointwise/scale.h"
#include "ops/pointwise/soft_cap.h"
#include "ops/row_scaled/quantize_tokens.h"
#include "ops/rows/column_select.h"
#include "ops/rows/concat.h"
#include "ops/rows/embedding.h"
#include "ops/rows/row_select.h"

namespace vivace {
namespace {

const OpInfo* const table[] = {
    &embedding_op,
    &linear_op,
    &quantize_rows_op,
    &quantize_tokens_op,
    &column_select_op,
    &concat_op,
    &add_op,
    &attention_op,
    &gated_activation_op,
    &kv_write_op,
    &layer_norm_op,
    &log_softmax_op,
    &mul_op,
    &rms_norm_op,
    &rope_op,
    &rope_table_op,
    &row_select_op,
    &scale_op,
    &soft_cap_op,
    &softmax_op,
    &choose_ahead_op,
    &route_op,
    &expert_gate_up_op,
    &expert_down_op,
    &sigmoid_gate_op,
    &rms_norm_quantize_op,
    &gated_activation_quantize_op,
    &gated_linear_op,
};

}  // namespace

const OpInfo* find_op(const char* name) {
  for (const OpInfo* op : table)
    if (std::strcmp(op->name, name) == 0) return op;
  return nullptr;
}

const OpInfo* const* all_ops(int& count) {
  count = static_cast<int>(sizeof(table) / sizeof(table[0]));
  return table;
}

}  // namespace vivace
