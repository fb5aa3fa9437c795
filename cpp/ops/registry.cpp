// The table of all ops: one row each. lib/program/ops.ts has the same rows with their typed signatures.
#include <cstring>

#include "ops/add.h"

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
