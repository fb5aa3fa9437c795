// rms_norm: y = x / √(mean(x²) + ε) · weight, over consecutive groups of weight's width.
//   x, y: F32 [rows, groups · width]; weight: F32 [1, width]; y may be x. Attribute: epsilon > 0.
//   One group of a row is the norm of a layer, several are the norms of heads.
//   bytes: (1 read + 1 write) · 4 per value; operations: 4 per value.
#pragma once
#include "program/op.h"

namespace vivace {
extern const OpInfo rms_norm_op;
VIVACE_DECLARE_KERNEL(rms_norm)
}  // namespace vivace
