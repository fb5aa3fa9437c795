// row_scaled_linear: `linear` (ops/linear/linear.h) for W?A16 and W?A8 weights, rows of quant/row_scaled.h.
//   W?A16: weights become floats, exactly; an output is a vector of partial sums over k, one multiply-add each.
//   W?A8: x is A8_TOKEN; products are summed over the whole row in 32-bit integers, and
//     y = x_scale · (scale · Σ code·x - shift · Σ x)
//   Either way an output depends on its row of x and its row of weight alone: the same bits for every batch and team.
#pragma once
#include "program/op.h"

namespace vivace {
VIVACE_DECLARE_KERNEL(row_scaled_linear)
}  // namespace vivace
