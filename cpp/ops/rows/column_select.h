// column_select: y[r][i] = x[r][indices[i]], columns in another order: for weights whose columns were sorted by group.
//   x: F32 [rows, columns]; indices: I32 [1, n], a constant, each in [0, columns); y: F32 [rows, n], apart from x.
//   bytes: 12 per value of y; no arithmetic.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo column_select_op;
VIVACE_DECLARE_KERNEL(column_select)
}  // namespace vivace
