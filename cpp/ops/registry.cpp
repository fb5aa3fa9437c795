// The table of all ops: one row each. lib/program/ops.ts has the same rows with their typed signatures.
//
// An op lives in cpp/ops/<family>/ as three files of one stem: <op>.h (contract), <op>.cpp (table row and checks) and
// <op>_kernel.cpp (body, compiled once per instruction-set level). Families, at most five ops each:
//   attention  rope_table, rope, kv_write, attention
//   linear     linear, quantize_rows
//   norm       rms_norm, layer_norm, softmax, log_softmax
//   pointwise  add, mul, scale, soft_cap, gated_activation
//   rows       embedding, row_select
#include <cstring>

#include "ops/pointwise/add.h"

namespace vivace {
namespace {

const OpInfo* const table[] = {
    &add_op,
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
