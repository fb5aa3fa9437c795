// layer_norm: y = (x − mean) / √(variance + ε) · weight + bias, over consecutive groups of weight's width.
//   x, y: F32 [rows, groups · width]; weight, bias (optional): F32 [1, width]; y may be x. Attribute: epsilon > 0.
//   The variance is the mean of (x − mean)², from a second pass: nothing cancels.
//   bytes: (1 read + 1 write) · 4 per value; operations: 8 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo layer_norm_op;
VIVACE_DECLARE_KERNEL(layer_norm)
}  // namespace vivace
