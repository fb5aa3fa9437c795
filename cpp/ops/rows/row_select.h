// row_select: y[i] = x[indices[i]], the rows whose logits are wanted.
//   x: F32 [rows, columns]; indices: I32 [outputs, 1], each in [0, rows), checked by whoever fills them;
//   y: F32 [outputs, columns], apart from x.
//   bytes: 8 per value of y; no arithmetic.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo row_select_op;
VIVACE_DECLARE_KERNEL(row_select)
}  // namespace vivace
